//! The program `risk-engine` as a user meets it.
#![allow(missing_docs)]

mod common;

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use bus::event::market::MarketEvent;
use bus::event::risk::{RiskEvent, RiskEventRef};
use bus::event::trade::TradeEvent;
use bus::{Gate, Start};
use common::{Ground, Journalled, conclusions, feed};
use engine::Cut;
use risk_engine::Settings;
use serde_json::Value;

fn command(bus: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_risk-engine"));
    command.args(arguments).arg("--bus").arg(bus).arg("--json");
    command
}

fn start(bus: &Path, arguments: &[&str]) -> Child {
    command(bus, arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Runs it to a good end; its summary.
fn run(bus: &Path, arguments: &[&str]) -> Value {
    let output = command(bus, arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn errors(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    text.lines().filter(|line| !line.starts_with("note: ")).collect::<Vec<_>>().join("\n")
}

fn refused(bus: &Path, arguments: &[&str]) -> String {
    let output = command(bus, arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", errors(&output));
    assert!(output.stdout.is_empty());
    errors(&output)
}

fn interrupt(child: &Child) {
    let status = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

/// Waits for something that a running program does.
fn wait_until(child: &mut Child, is_done: impl Fn() -> bool) {
    while !is_done() {
        assert_eq!(child.try_wait().unwrap(), None, "it ended by itself");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

fn hexadecimal(hash: [u8; 32]) -> String {
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A number below `n`, other at each call: xorshift64*.
fn draw(state: &mut u64, n: u64) -> u64 {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    state.wrapping_mul(0x2545_F491_4F6C_DD1D) % n
}

#[test]
fn killed_at_any_moment_it_concludes_the_same() {
    let ground = Ground::new();
    let mut market_data = ground.bus.publisher::<MarketEvent>("market-data").unwrap();
    let mut trades = ground.bus.publisher::<TradeEvent>("trades").unwrap();
    let mut seed = 42;
    for _ in 0..8 {
        let mut engine = start(&ground.path(), &["run"]);
        for _ in 0..draw(&mut seed, 40) {
            feed(&mut market_data, &mut trades, 500);
            std::thread::sleep(std::time::Duration::from_micros(draw(&mut seed, 5_000)));
        }
        engine.kill().unwrap();
        engine.wait().unwrap();
    }
    let cut = Cut { market_data: market_data.next_sequence(), trades: trades.next_sequence() };
    let summary = run(&ground.path(), &["run", "--for", "0s"]);
    let (effects, hash) = conclusions(&Settings::default(), cut);
    assert_eq!(summary["state_hash"], hexadecimal(hash));
    assert_eq!(summary["cut"]["market-data"], cut.market_data);
    let journalled = Journalled::read(&ground.bus);
    assert_eq!(journalled.effects, effects);
    journalled.assert_order_to(cut);
}

#[test]
fn the_writer_of_an_input_may_be_dead() {
    let ground = Ground::new();
    let mut other = start(&ground.path(), &["--kafka", "off", "--rate", "5k"]);
    wait_until(&mut other, || ground.bus.watermarks("trades").is_ok_and(|marks| marks.published > 5));
    other.kill().unwrap();
    other.wait().unwrap();
    let summary = run(&ground.path(), &["run", "--for", "0s"]);
    for (topic, marks) in summary["topics"].as_object().unwrap() {
        assert_eq!(marks["published"], marks["durable"], "{topic}");
    }
    assert_eq!(summary["cut"]["trades"], summary["topics"]["trades"]["published"]);
}

#[test]
fn a_second_engine_and_wrong_configurations_are_refused() {
    let ground = Ground::new();
    let mut first = start(&ground.path(), &["run"]);
    wait_until(&mut first, || !ground.bus.topics().unwrap().is_empty());
    for command in [&["run"][..], &["--kafka", "off"]] {
        let why = refused(&ground.path(), command);
        assert!(why.contains(&first.id().to_string()), "{why}");
    }
    interrupt(&first);
    assert_eq!(first.wait().unwrap().code(), Some(0));
    let file = ground.path().join("busbar.toml");
    for (text, what) in [
        ("[risk]\nlimit = 3", "busbar.toml:2:1: risk: unknown field `limit`"),
        ("[[risk.limits]]\nposition = -1", "busbar.toml:2:12: risk.limits.position: "),
        (
            "[[risk.limits]]\nposition = 1\n[[risk.limits]]\nposition = 2",
            "busbar.toml:3:1: risk.limits: entries 1 and 2 are both for every account and every instrument",
        ),
        // The file is the gateway's too, and is right or wrong as a whole.
        ("[gateway]\nbufers = 64", "busbar.toml:2:1: gateway: unknown field `bufers`"),
        ("[gatway]\nbuffers = 64", "busbar.toml:1:2: unknown field `gatway`"),
        ("[bus.cores]\nrisk = { core = 9999 }", "no such core"),
    ] {
        std::fs::write(&file, text).unwrap();
        let why = refused(&ground.path(), &["run", "--for", "0s", "--config", file.to_str().unwrap()]);
        assert!(why.contains(what), "{why}");
    }
}

#[test]
fn settings_of_a_topic_that_others_publish_are_said_to_count_there() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("busbar.toml");
    std::fs::write(&file, "[bus.topics.market-data]\n[bus.topics.risk]\n[bus.topics.nope]").unwrap();
    let arguments = ["run", "--for", "0s", "--config", file.to_str().unwrap()];
    let output = command(&place.path().join("bus"), &arguments).output().unwrap();
    let notes = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{notes}");
    for (topic, is_said) in [("market-data", true), ("risk", false), ("nope", true)] {
        let note = format!(
            "note: settings of topic '{topic}' count in the process that publishes it: give it the same --config"
        );
        assert_eq!(notes.lines().any(|line| line == note), is_said, "{topic}: {notes}");
    }
}

#[test]
fn what_a_file_withdraws_by_its_silence_is_said() {
    let ground = Ground::new();
    let file = ground.path().with_file_name("busbar.toml");
    let told = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let arguments = ["run", "--for", "0s", "--config", file.to_str().unwrap()];
        let output = command(&ground.path(), &arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
        let notes = String::from_utf8(output.stderr).unwrap();
        Vec::from_iter(notes.lines().filter(|line| line.contains("[risk]")).map(str::to_owned))
    };
    let settings = || {
        let mut risk = ground.bus.subscriber::<RiskEvent>("risk", Start::Oldest, Gate::Durable).unwrap();
        let (mut limits, mut fees) = (0, 0);
        while let Some(event) = risk.poll().unwrap() {
            match event {
                RiskEventRef::EngineConfigured(_) => (limits, fees) = (0, 0),
                RiskEventRef::LimitSet(_) => limits += 1,
                RiskEventRef::FeeSet(_) => fees += 1,
                _ => {}
            }
        }
        (limits, fees)
    };
    let (limit, fee) = ("[[risk.limits]]\nposition = 1\n", "[[risk.fees]]\nper_unit = \"1\"\n");
    assert_eq!((told(&[limit, fee].concat()), settings()), (vec![], (1, 1)));
    assert_eq!((told("[risk]\n"), settings()), (vec![], (1, 1)), "without both, both stay");
    let no_limit = "note: [risk] gives fees and no limits: no limit is in force".to_owned();
    assert_eq!((told(fee), settings()), (vec![no_limit], (0, 1)));
    let no_fee = "note: [risk] gives limits and no fees: no fee is in force".to_owned();
    assert_eq!((told("[risk]\nlimits = []"), settings()), (vec![no_fee], (0, 0)));
}

#[test]
fn the_core_plan_says_nothing_of_the_roles_of_other_processes() {
    let ground = Ground::new();
    let output = command(&ground.path(), &["run", "--for", "0s"]).output().unwrap();
    let notes = String::from_utf8(output.stderr).unwrap();
    let plan = notes.lines().find(|line| line.starts_with("note: core plan for ")).unwrap();
    assert!(plan.contains("risk on ") && plan.contains("write-out on "), "{plan}");
    assert!(!plan.contains("gateway"), "its own line says where a gateway runs: {plan}");
}

#[test]
fn an_address_that_cannot_be_had_is_refused_before_there_is_a_bus() {
    let place = tempfile::tempdir().unwrap();
    let bus = place.path().join("bus");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().to_string();
    for address in [&taken, "192.0.2.1:9092", "nowhere"] {
        let why = refused(&bus, &["--for", "1s", "--kafka", address]);
        assert!(why.contains(address) && why.lines().count() == 1, "{why}");
        assert!(!bus.exists(), "--kafka {address} has left something behind");
    }
}

#[test]
fn the_whole_path_runs_stops_and_goes_on() {
    let ground = Ground::new();
    let path = &["--for", "1s", "--rate", "10k", "--kafka", "127.0.0.1:0", "--seed", "7"][..];
    let endless = &["--rate", "10k", "--kafka", "off"][..];
    let first = run(&ground.path(), path);
    let messages = first["input"]["messages"].as_u64().unwrap();
    assert!(messages > 0 && first["input"]["gaps"] == 0, "{first}");
    assert!(first["kafka"].as_str().unwrap().starts_with("127.0.0.1:"), "{first}");
    assert!(["io_uring", "pwritev2"].contains(&first["io"]["disk"].as_str().unwrap()), "{first}");
    assert_eq!((&first["ok"], &first["incomplete"]), (&Value::Bool(true), &Value::Array(Vec::new())));
    let why = refused(&ground.path(), &["--seed", "8", "--kafka", "off"]);
    assert!(why.contains("seed"), "{why}");
    let mut killed = start(&ground.path(), endless);
    let enough = first["topics"]["market-data"]["published"].as_u64().unwrap() + 2_000;
    wait_until(&mut killed, || {
        ground.bus.watermarks("market-data").is_ok_and(|marks| marks.published > enough)
    });
    killed.kill().unwrap();
    killed.wait().unwrap();
    let last = run(&ground.path(), path);
    for (topic, marks) in last["topics"].as_object().unwrap() {
        assert_eq!(marks["published"], marks["durable"], "{topic}");
    }
    assert_eq!(last["cut"]["market-data"], last["topics"]["market-data"]["published"]);
    let derived = replay::state::derive(&ground.bus, None, &mut bus::program::Progress::new()).unwrap();
    assert_eq!(last["state_hash"], hexadecimal(derived.state_hash()));
    assert!(derived.is_ok(), "{:?}", derived.divergence);
}

#[test]
fn without_a_terminal_the_demo_says_what_to_type_next() {
    let ground = Ground::new();
    let mut command = Command::new(env!("CARGO_BIN_EXE_risk-engine"));
    command.args(["--for", "1s", "--rate", "1k", "--kafka", "127.0.0.1:0", "--bus"]).arg(ground.path());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", errors(&output));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = Vec::from_iter(text.lines());
    assert!(lines[0].contains("kcat -b 127.0.0.1:") && lines[0].contains(" -t market-data.json"), "{text}");
    let bus = ground.path().display().to_string();
    let last = &lines[lines.len() - 2..];
    assert!(last[0].ends_with(&format!("verify --bus {bus}")), "{text}");
    assert!(last[1].ends_with(&format!("serve --bus {bus}")) && last[1].contains("kcat"), "{text}");
    assert_eq!(text.matches("kcat").count(), 2, "each is said once: {text}");
}

#[test]
fn what_a_machine_does_not_take_is_left_out_and_not_lost() {
    let ground = Ground::new();
    let summary = run(&ground.path(), &["--for", "1s", "--rate", "20M", "--kafka", "off"]);
    assert!(summary["input"]["behind"].as_u64().unwrap() > 1_000_000, "no machine takes as much: {summary}");
    assert_eq!((&summary["input"]["gaps"], &summary["ok"]), (&Value::from(0), &Value::Bool(true)));
    let derived = replay::state::derive(&ground.bus, None, &mut bus::program::Progress::new()).unwrap();
    assert_eq!(summary["state_hash"], hexadecimal(derived.state_hash()));
}

#[test]
fn a_bus_that_is_moved_away_under_the_path_ends_it_and_is_said_to_be_gone() {
    let place = tempfile::tempdir().unwrap();
    let (bus, elsewhere) = (place.path().join("bus"), place.path().join("elsewhere"));
    let mut path = start(&bus, &["--rate", "200k", "--kafka", "off", "--for", "2m"]);
    let at = |bus: &Path| bus::Bus::open(bus).and_then(|bus| bus.watermarks("market-data"));
    wait_until(&mut path, || at(&bus).is_ok_and(|marks| marks.durable > 1_000));
    std::fs::rename(&bus, &elsewhere).unwrap();
    let output = path.wait_with_output().unwrap();
    let why = errors(&output);
    assert_eq!(output.status.code(), Some(2), "{why}");
    assert!(why.contains("is gone: moved or removed") && !why.contains("the disk failed"), "{why}");
    // The remedy holds: at its new place it goes on with what was in memory only.
    let summary = run(&elsewhere, &["--for", "1s", "--rate", "5k", "--kafka", "off"]);
    assert_eq!(
        (&summary["input"]["gaps"], &summary["ok"]),
        (&Value::from(0), &Value::Bool(true)),
        "{summary}"
    );
}

/// Copies the files of a topic.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to)
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

#[test]
fn effects_that_an_older_copy_of_an_input_does_not_cause_are_cut_with_a_word_and_exit_code_1() {
    let ground = Ground::new();
    let publish = |messages| {
        let mut market_data = ground.bus.publisher::<MarketEvent>("market-data").unwrap();
        let mut trades = ground.bus.publisher::<TradeEvent>("trades").unwrap();
        feed(&mut market_data, &mut trades, messages);
    };
    let older = ground.path().with_file_name("older");
    publish(400);
    copy(&ground.path().join("trades"), &older);
    publish(4_000);
    let effects = || ground.bus.watermarks("risk").map_or(0, |marks| marks.published);
    let mut first = start(&ground.path(), &["run"]);
    wait_until(&mut first, || effects() >= 200);
    interrupt(&first);
    assert_eq!(first.wait_with_output().unwrap().status.code(), Some(0));
    std::fs::remove_dir_all(ground.path().join("trades")).unwrap();
    copy(&older, &ground.path().join("trades"));
    let before = effects();
    let second = command(&ground.path(), &["run", "--for", "500ms"]).output().unwrap();
    assert!(effects() < before, "{before} effects, and none was cut");
    assert_eq!(second.status.code(), Some(1), "{}", errors(&second));
    let told = "effects at the end of topic 'risk' are cut, as an input lacks their causes";
    assert!(errors(&second).contains(told), "{}", errors(&second));
    // Nobody told it later: an engine that comes again has nothing to cut.
    let third = command(&ground.path(), &["run", "--for", "500ms"]).output().unwrap();
    assert_eq!(third.status.code(), Some(0), "{}", errors(&third));
    let report = replay::verify::verify(&ground.bus, "risk", &mut bus::program::Progress::new()).unwrap();
    let cuts: Vec<_> = report.damage.listed().iter().map(|cut| (cut.kind, cut.to)).collect();
    assert_eq!((cuts, report.is_ok()), (vec![(replay::DamageKind::Cut, before)], false));
}
