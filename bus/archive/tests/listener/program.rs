//! The binary: its commands, its address, its end.

use crate::client::{Client, publish_orders, serve};
use crate::faults::published;
use kafka_protocol::ResponseError;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};

fn archive(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_archive")).args(arguments).output().unwrap()
}

#[test]
fn commands_of_a_later_version_are_refused_and_not_in_the_help() {
    let help = archive(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(help.contains("archive serve") && help.contains("--listen"), "{help}");
    for command in ["replicate", "verify", "fly"] {
        assert!(!help.contains(command), "{help}");
        let refused = archive(&[command]);
        assert_eq!(refused.status.code(), Some(2));
        let line = String::from_utf8(refused.stderr).unwrap();
        assert!(
            line.starts_with("archive: ") && line.contains(command) && line.lines().count() == 1,
            "{line}"
        );
    }
}

#[test]
fn an_address_that_cannot_be_bound_is_refused() {
    let taken = serve();
    let address = taken.server.address().to_string();
    let bus = taken.directory().to_str().unwrap();
    let refused = archive(&["serve", "--listen", &address, "--bus", bus]);
    assert_eq!(refused.status.code(), Some(2));
    let line = String::from_utf8(refused.stderr).unwrap();
    assert!(
        line.starts_with(&format!("archive: cannot listen: {address}: ")) && line.lines().count() == 1,
        "{line}"
    );
}

/// Starts `archive serve` on a free port of `address`.
fn start(bus: &Path, address: &str) -> (Child, BufReader<ChildStderr>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_archive"))
        .args(["serve", "--json", "--listen", &format!("{address}:0"), "--bus"])
        .arg(bus)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let notes = BufReader::new(child.stderr.take().unwrap());
    (child, notes)
}

fn line(notes: &mut impl BufRead) -> String {
    let mut line = String::new();
    notes.read_line(&mut line).unwrap();
    line
}

#[test]
fn it_serves_another_process_and_ends_well_at_sigterm() {
    let publishing = serve();
    publish_orders(&mut publishing.market(), 1, 100);
    let (mut child, mut notes) = start(publishing.directory(), "127.0.0.1");
    let note = line(&mut notes);
    let address = note.trim_end().strip_prefix("note: Kafka consumers read this bus at ").unwrap();
    assert_eq!(Client::connect(address.parse().unwrap()).read_all("market-data.json").len(), 100);

    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut stdout = String::new();
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    let summary: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&summary["records"], &summary["kafka"]), (&100.into(), &address.into()));
    assert_eq!((&summary["turned_away"], &summary["gave_way"]), (&0.into(), &0.into()));
}

#[test]
fn it_ends_with_1_if_a_consumer_met_what_is_lost() {
    let published = published(30_000);
    std::fs::remove_file(published.directory().join("market-data/0/0000000000000001.segment")).unwrap();
    for (begin, code) in [(0, 0), (29_999, 0), (15_000, 1), (29_999, 1)] {
        if code == 1 && begin == 29_999 {
            std::fs::remove_file(published.directory().join("market-data/0/0000000000000002.segment"))
                .unwrap();
        }
        let (mut child, mut notes) = start(published.directory(), "127.0.0.1");
        let note = line(&mut notes);
        let address = note.trim_end().strip_prefix("note: Kafka consumers read this bus at ").unwrap();
        let mut client = Client::connect(address.parse().unwrap());
        let met = client.fetch(11, "market-data", begin, 1).error_code;
        assert_eq!(met == ResponseError::CorruptMessage.code(), code == 1, "at {begin}");

        assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), Some(code), "at {begin}");
        assert_eq!(line(&mut notes).contains("are lost"), code == 1, "at {begin}");
    }
}

#[test]
fn given_topics_that_are_gone_or_of_another_bus_expect_both_said_at_the_start_and_an_end_with_1() {
    let [ground, other] = [(); 2].map(|()| published(100));
    let topic = ground.directory().join("market-data");
    let served = || {
        let (mut child, mut told) = start(ground.directory(), "127.0.0.1");
        line(&mut told);
        assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
        let mut said = String::new();
        told.read_to_string(&mut said).unwrap();
        (child.wait().unwrap().code(), said)
    };
    std::fs::remove_dir_all(&topic).unwrap();
    let (code, said) = served();
    assert!(said.contains("note: topic 'market-data': its directory is gone"), "{said}");
    assert_eq!(code, Some(1));
    std::fs::rename(other.directory().join("market-data"), &topic).unwrap();
    let (code, said) = served();
    assert!(said.contains("note: topic 'market-data': this is not the journal that bus.topics"), "{said}");
    assert_eq!(code, Some(1));
}

#[test]
fn a_bus_that_is_not_there_is_refused_and_one_without_topics_is_said() {
    let place = tempfile::tempdir().unwrap();
    let absent = place.path().join("absent");
    let refused = archive(&["serve", "--listen", "127.0.0.1:0", "--bus", absent.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(2));
    let complaint = String::from_utf8(refused.stderr).unwrap();
    let want = format!("archive: no bus: {}; start a publisher or name another --bus\n", absent.display());
    assert_eq!(complaint, want);
    assert!(!absent.exists(), "who only reads makes nothing");

    let (mut child, mut notes) = start(place.path(), "127.0.0.1");
    line(&mut notes);
    let want = format!("note: no topics yet: {}; each is served once its publisher", place.path().display());
    let told = line(&mut notes);
    assert!(told.starts_with(&want), "{told}");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_topic_that_cannot_be_served_is_named() {
    let publishing = serve();
    publish_orders(&mut publishing.market(), 1, 1);
    let broken = publishing.directory().join("broken");
    std::fs::create_dir(&broken).unwrap();
    std::fs::write(broken.join("schema.json"), "{").unwrap();
    let (mut child, mut notes) = start(publishing.directory(), "127.0.0.1");
    line(&mut notes);
    let told = line(&mut notes);
    assert!(told.starts_with("note: not served until that is mended: topic 'broken'"), "{told}");
    assert!(told.contains("; restore the file from a copy"), "{told}");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn an_address_that_others_reach_is_warned_of() {
    let publishing = serve();
    publish_orders(&mut publishing.market(), 1, 1);
    let (mut child, mut notes) = start(publishing.directory(), "0.0.0.0");
    line(&mut notes);
    assert!(line(&mut notes).contains("no authentication"));
    child.kill().unwrap();
    child.wait().unwrap();
}
