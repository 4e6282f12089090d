//! The commands of `market-gateway` as a user runs them: what they refuse, and what they say at their end.

use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

fn run(bus: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_market-gateway"));
    command.args(["run", "--json", "--bus"]).arg(bus).args(arguments).output().unwrap()
}

/// An address that the system gave out.
fn free() -> String {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[test]
fn a_drop_copy_that_never_logged_on_is_a_fault_and_is_said() {
    let place = tempfile::tempdir().unwrap();
    let refusing = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let names = ["--sender", "DESK", "--target", "EXCHANGE", "--for", "300ms"];
    let line = free();
    let arguments = [&["--mold", &line, "--fix", &refusing][..], &names[..]].concat();
    let output = run(place.path(), &arguments);
    let notes = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{notes}");
    assert!(notes.contains("drop copy: never logged on"), "{notes}");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(summary["fix"]["logons"] == 0 && summary["fix"]["disconnects"].as_u64() > Some(0), "{summary}");

    let output = run(place.path(), &["--mold", &line, "--for", "100ms"]);
    assert_eq!(output.status.code(), Some(0), "without a drop copy there is nothing to miss");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary.get("fix"), None);
}

#[test]
fn given_a_source_from_which_no_packet_comes_expect_a_note_that_names_it() {
    let place = tempfile::tempdir().unwrap();
    let line = free();
    let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_market-gateway"));
    command.args(["run", "--mold", &line, "--source", "127.0.0.2", "--for", "1s", "--bus"]).arg(place.path());
    let mut gateway = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    while gateway.try_wait().unwrap().is_none() {
        // Nobody may listen yet.
        let _ = sender.send_to(b"a packet", &line);
        std::thread::sleep(Duration::from_millis(5));
    }
    let output = gateway.wait_with_output().unwrap();
    let (told, notes) =
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(told.contains(" strangers, 0 gaps open"), "{told}");
    let note = " packets came from other addresses than --source 127.0.0.2; name the venue's";
    assert!(notes.contains(note), "{notes}");
}

#[test]
fn settings_of_topics_count_for_those_that_it_publishes_and_the_others_are_noted() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("busbar.toml");
    let text = "[bus.topics.market-data]\nretention = \"1GiB\"\nwhen_full = \"expire\"\n[bus.topics.risk]";
    std::fs::write(&file, text).unwrap();
    let arguments = ["--mold", &free(), "--for", "100ms", "--config", file.to_str().unwrap()];
    let output = run(&place.path().join("bus"), &arguments);
    let notes = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{notes}");
    assert!(notes.contains("settings of topic 'risk' count in the process that publishes it"), "{notes}");
    assert!(!notes.contains("'market-data'"), "{notes}");
}

#[test]
fn a_retention_that_its_segments_exceed_is_said_with_what_the_topic_takes() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("busbar.toml");
    let text = "[bus]\nsegment = \"2MiB\"\n[bus.topics.market-data]\nretention = \"4MiB\"";
    std::fs::write(&file, text).unwrap();
    let arguments = ["--mold", &free(), "--for", "100ms", "--config", file.to_str().unwrap()];
    let output = run(&place.path().join("bus"), &arguments);
    let notes = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{notes}");
    let told = "note: topic 'market-data' takes 6MiB of disk, 3 of its segments of 2MiB, since its retention of 4MiB is";
    assert!(notes.contains(told), "{notes}");
}

#[test]
fn a_configuration_that_is_wrong_in_any_part_is_refused_with_its_place() {
    let place = tempfile::tempdir().unwrap();
    let (bus, file, line) = (place.path().join("bus"), place.path().join("busbar.toml"), free());
    for (text, what) in [
        ("[risk]\nlimit = 3", ":2:1: risk: unknown field `limit`"),
        ("[[risk.limits]]\nposition = -1", ":2:12: risk.limits.position: invalid value: integer `-1`"),
        ("[gateway]\nbuffers = 100", ":2:11: gateway.buffers: 100 where a power of two"),
        ("[engine]\nthreads = 3", ":1:2: unknown field `engine`"),
        ("[bus.topics.\"market-data.json\"]", ":1:13: bus.topics: not a topic name"),
    ] {
        std::fs::write(&file, text).unwrap();
        let output = run(&bus, &["--mold", &line, "--for", "1s", "--config", file.to_str().unwrap()]);
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}: {complaint}");
        let wanted = format!("market-gateway: wrong configuration: {}{what}", file.display());
        assert!(complaint.starts_with(&wanted) && complaint.lines().count() == 1, "{complaint}");
        assert!(!bus.exists(), "{text} has left something behind");
    }
}

#[test]
fn a_lost_schema_is_said_and_a_fault() {
    let place = tempfile::tempdir().unwrap();
    let quiet = || run(place.path(), &["--mold", &free(), "--for", "100ms"]);
    assert_eq!(quiet().status.code(), Some(0));
    let bus = bus::Bus::open(place.path()).unwrap();
    let mut market = bus.publisher::<bus::event::market::MarketEvent>("market-data").unwrap();
    market.publish(&bus::event::market::SystemEvent::default()).unwrap();
    market.close().unwrap();
    std::fs::remove_file(place.path().join("market-data/schema.json")).unwrap();
    let output = quiet();
    let notes = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{notes}");
    assert!(
        notes.contains("note: the schema of topic 'market-data' was lost and is written anew"),
        "{notes}"
    );
    assert_eq!(quiet().status.code(), Some(0), "it is there again");
}

#[test]
fn what_cannot_be_meant_is_refused_in_one_line_and_leaves_nothing() {
    let place = tempfile::tempdir().unwrap();
    let bus = place.path().join("bus");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (taken, line) = (&socket.local_addr().unwrap().to_string(), &free());
    let fix = ["--sender", "DESK", "--target", "EXCHANGE"];
    let (second, third) = (&free(), &free());
    let refused: [&[&str]; 14] = [
        &[],
        &["--mold", "127.0.0.1:0"],
        &["--mold", line, "--mold", line],
        &["--mold", line, "--mold", taken],
        &["--mold", line, "--mold", second, "--mold", third],
        &["--mold", "239.1.1.1:31001", "--interface", "192.0.2.1"],
        &["--mold", line, "--interface", "127.0.0.1"],
        &["--mold", line, "--rerequest", "127.0.0.1:0"],
        &["--mold", line, "--fix", "127.0.0.1:9880", "--sender", "DESK"],
        &["--mold", line, "--reset-numbers"],
        &["--mold", line, "--fix", "127.0.0.1:9880", "--sender", "DESK", "--target", "A\u{1}B"],
        &["--mold", line, "--fix", "127.0.0.1:9880", "--sender", "", "--target", "EXCHANGE"],
        &[&["--mold", line, "--fix", "nowhere"], &fix[..]].concat(),
        &[&["--mold", line, "--fix", "127.0.0.1:70000"], &fix[..]].concat(),
    ];
    for arguments in refused {
        let output = run(&bus, &[arguments, &["--for", "1s"]].concat());
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            (output.status.code(), complaint.lines().count()),
            (Some(2), 1),
            "{arguments:?}: {complaint}"
        );
        assert!(complaint.starts_with("market-gateway: ") && output.stdout.is_empty(), "{complaint}");
        assert!(!bus.exists(), "{arguments:?} has left something behind");
    }
}

#[test]
fn an_exchange_that_cannot_open_says_so_and_leaves_nothing() {
    let place = tempfile::tempdir().unwrap();
    let bus = place.path().join("bus");
    let notes = place.path().join("notes");
    std::fs::write(&notes, "not a day file").unwrap();
    let (folder, notes) = (place.path().to_str().unwrap(), notes.to_str().unwrap());
    let (udp, tcp) = (UdpSocket::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let taken_udp = &udp.local_addr().unwrap().to_string();
    let taken_tcp = &tcp.local_addr().unwrap().to_string();
    let refused: [(&[&str], &str); 9] = [
        (&["--rerequest", taken_udp], taken_udp),
        (&["--fix", taken_tcp], taken_tcp),
        (&["--fix", "192.0.2.1:9880"], "192.0.2.1:9880"),
        (&["--interface", "192.0.2.1"], "cannot send through the interface: 192.0.2.1: "),
        (&["--truth", folder], "cannot write the day file"),
        (&["--truth", notes], "holds something else than this session"),
        (&["--rate", "0"], "--rate 0; a rate from 1 to 100M"),
        (&["--rate", "100000001"], "--rate 100000001; a rate from 1 to 100M"),
        (&["--rate", "99999999999999"], "--rate 99999999999999; a rate from 1 to 100M"),
    ];
    for (arguments, what) in refused {
        let mut command = Command::new(env!("CARGO_BIN_EXE_market-gateway"));
        command.args(["simulate", "--for", "1s", "--mold", "239.1.1.1:31001", "--bus"]).arg(&bus);
        let output = command.args(arguments).output().unwrap();
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {complaint}");
        assert!(complaint.lines().count() == 1 && complaint.contains(what), "{arguments:?}: {complaint}");
        assert!(!bus.exists(), "{arguments:?} has left something behind");
    }
    assert_eq!(std::fs::read_to_string(notes).unwrap(), "not a day file");
}

#[test]
fn given_a_truth_expect_the_command_that_journals_it_to_give_the_session_and_date_of_the_gateway() {
    let place = tempfile::tempdir().unwrap();
    let (truth, bus) = (place.path().join("day.itch50"), place.path().join("bus"));
    let program = || Command::new(env!("CARGO_BIN_EXE_market-gateway"));
    let mut simulate = program();
    simulate.args(["simulate", "--mold", &free(), "--for", "100ms", "--bus"]).arg(&bus);
    let notes = String::from_utf8(simulate.arg("--truth").arg(&truth).output().unwrap().stderr).unwrap();
    let line =
        notes.lines().find_map(|line| line.strip_prefix("note: to journal the truth: market-gateway "));
    let line = line.unwrap_or_else(|| panic!("no command: {notes}"));
    let session = notes.lines().find_map(|line| line.strip_prefix("note: session ")).unwrap();
    assert!(line.contains(&format!("--session {} --date 2", session.split(' ').next().unwrap())), "{line}");
    let output = program().args(line.split(' ')).current_dir(place.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}
