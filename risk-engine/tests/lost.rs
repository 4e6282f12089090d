//! Parts of a bus are lost for good: what the engine says, and how it goes on all the same.
#![allow(missing_docs)]

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use bus::agent;
use bus::event::market::MarketEvent;
use bus::event::trade::TradeEvent;
use bus::plan::Placement;
use bus::program::{Progress, Stop, counted};
use bus::wait::WaitStrategy;
use bus::{Bus, SCHEMA_GONE, TOPIC_GONE, TOPIC_REPLACED};
use common::{Ground, feed};
use engine::{Cut, Positions};
use replay::snapshots::newest;
use replay::state::Derived;
use replay::verify::verify;
use replay::{Damage, DamageKind};
use risk_engine::{Runner, Watch};
use serde_json::Value;

/// Messages of `market-data` in each life, and of `trades`.
const LIFE: u64 = 400;
const TRADES: u64 = LIFE / common::MARKET_PER_TRADE;

/// A bus on which gateway and engine lived three times, each time in a segment of its own.
fn given() -> Ground {
    lived(3)
}

fn lived(lives: usize) -> Ground {
    let ground = Ground::new();
    for _ in 0..lives {
        publish(&ground.bus);
        assert_eq!(run(&ground, &[]).0, 0);
    }
    forget_snapshots(&ground);
    ground
}

fn publish(bus: &Bus) {
    let mut market_data = bus.publisher::<MarketEvent>("market-data").unwrap();
    let mut trades = bus.publisher::<TradeEvent>("trades").unwrap();
    feed(&mut market_data, &mut trades, LIFE);
    market_data.close().unwrap();
    trades.close().unwrap();
}

fn forget_snapshots(ground: &Ground) {
    let directory = ground.path().join("risk/snapshots");
    if directory.exists() {
        std::fs::remove_dir_all(directory).unwrap();
    }
}

fn segment(ground: &Ground, topic: &str, number: u64) -> PathBuf {
    ground.path().join(topic).join(format!("0/{number:016x}.segment"))
}

fn start(bus: &Path, flags: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_risk-engine"));
    command.args(["run", "--json", "--bus"]).arg(bus).args(flags).output().unwrap()
}

/// Runs the engine until it has caught up: its exit code, what it says, and its summary.
fn run(ground: &Ground, flags: &[&str]) -> (i32, String, Value) {
    let output = start(&ground.path(), &[&["--for", "0s"], flags].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let summary = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code().unwrap(), said, summary)
}

/// What the inputs hold after so many lives.
fn after(lives: u64) -> Cut {
    Cut { market_data: lives * LIFE, trades: lives * TRADES }
}

/// Runs an engine in this process until it has reached a cut or ended before: what it ended with.
fn run_to(runner: Runner, watch: &Watch, cut: Cut) -> Result<(), String> {
    let placement = Placement { role: "risk", core: None, wait: WaitStrategy::Yield };
    let stop = Stop::new();
    let running = agent::start(&placement, &stop, runner).unwrap();
    while !watch.has_reached(cut) && !running.is_finished() {
        std::thread::yield_now();
    }
    stop.request();
    running.join().map_err(|failure| failure.to_string())
}

/// Has an engine keep a snapshot of all that is there, which is one life more than before.
fn save(ground: &Ground, lives: u64) {
    publish(&ground.bus);
    let watch = Arc::new(Watch::default());
    let every = LIFE + TRADES;
    let runner = Runner::open(&ground.bus, None, every, Arc::clone(&watch)).unwrap();
    run_to(runner, &watch, after(lives)).unwrap();
    let is_all = |positions: &Positions| positions.cut() == after(lives);
    assert!(newest(&ground.bus, |_, positions| is_all(positions)).is_some());
}

/// What is told of a topic: how, and the sequences.
fn told(ground: &Ground, topic: &str) -> Vec<(DamageKind, u64, u64)> {
    let report = verify(&ground.bus, topic, &mut Progress::new()).unwrap();
    assert!(report.orphans.is_empty());
    let range = |damage: &Damage| (damage.kind, damage.from, damage.to);
    report.damage.listed().iter().map(range).collect()
}

/// The engine's state is the one that is derived from the journals at the same cut.
fn assert_is_derived(ground: &Ground, summary: &Value) -> Derived {
    let derived = replay::state::derive(&ground.bus, None, &mut Progress::new()).unwrap();
    assert!(derived.divergence.is_empty(), "{:?}", derived.divergence);
    let cut = serde_json::json!({"market-data": derived.cut.market_data, "trades": derived.cut.trades});
    let hash: String = derived.state_hash().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!((&summary["cut"], &summary["state_hash"]), (&cut, &hash.into()));
    derived
}

fn effects(ground: &Ground) -> u64 {
    ground.bus.watermarks("risk").unwrap().published
}

#[test]
fn a_lost_part_of_an_input_is_gone_over_when_told_to_and_never_forgotten() {
    for (topic, per_life) in [("trades", TRADES), ("market-data", LIFE)] {
        for number in [1, 2] {
            let ground = given();
            let (before, lost) =
                (effects(&ground), (DamageKind::Missing, number * per_life, (number + 1) * per_life));
            std::fs::remove_file(segment(&ground, topic, number)).unwrap();
            for _ in 0..2 {
                let (code, said, _) = run(&ground, &[]);
                let what = format!("topic '{topic}': {} to before {}", lost.1, lost.2);
                assert!(code == 1 && said.contains(&what) && said.contains("run --derive-anew"), "{said}");
                assert_eq!(effects(&ground), before, "nothing is given up unasked");
            }
            let (code, said, _) = run(&ground, &["--derive-anew"]);
            assert!(code == 1 && said.contains("lost and not applied"), "{said}");
            let cut_before = told(&ground, "risk").iter().map(|(_, from, to)| to - from).sum::<u64>();
            let (code, said, _) = run(&ground, &[]);
            assert_eq!(code, 0, "it goes on from its snapshot: {said}");
            let what =
                format!("as an input lacked their causes: {} of 'risk'", counted(cut_before, "message"));
            assert!(said.contains(&what), "that is not forgotten: {said}");
            publish(&ground.bus);
            assert_eq!(run(&ground, &[]).0, 0);
            // The order that was journalled since goes over them.
            forget_snapshots(&ground);
            let (code, said, summary) = run(&ground, &[]);
            assert!(code == 1 && said.contains("lost and not applied"), "{said}");
            assert_is_derived(&ground, &summary);
            assert_eq!(told(&ground, topic), [lost]);
            let cut = told(&ground, "risk");
            assert!(cut.iter().all(|(kind, ..)| *kind == DamageKind::Cut), "{cut:?}");
            assert_eq!(cut.last().map(|cut| cut.2), Some(before), "{topic} {number}: {cut:?}");
        }
    }
}

#[test]
fn the_state_derived_from_the_journals_goes_over_a_lost_end_as_the_engine_does() {
    for (topic, per_life) in [("trades", TRADES), ("market-data", LIFE)] {
        let ground = given();
        std::fs::remove_file(segment(&ground, topic, 2)).unwrap();
        let (code, said, summary) = run(&ground, &["--derive-anew"]);
        assert!(code == 1 && said.contains("lost and not applied"), "{said}");
        let ends_lost = assert_is_derived(&ground, &summary);
        // With more behind, and with the engine on its snapshot.
        publish(&ground.bus);
        let (_, _, summary) = run(&ground, &[]);
        for derived in [ends_lost, assert_is_derived(&ground, &summary)] {
            assert_eq!(derived.lost().collect::<Vec<_>>(), [(topic, per_life)]);
            assert_eq!((derived.is_ok(), derived.is_stale()), (false, topic == "market-data"));
        }
    }
}

#[test]
fn lost_conclusions_are_concluded_again_behind_them() {
    for number in [1, 2] {
        let ground = given();
        let before = effects(&ground);
        std::fs::remove_file(segment(&ground, "risk", number)).unwrap();
        let lost = told(&ground, "risk");
        let [(DamageKind::Missing, first, next)] = lost[..] else { panic!("{lost:?}") };
        let (code, said, _) = run(&ground, &[]);
        let what = format!("topic 'risk': {first} to before {next}");
        assert!(code == 1 && said.contains(&what) && said.contains("run --derive-anew"), "{said}");
        let (code, said, summary) = run(&ground, &["--derive-anew"]);
        assert!(code == 1 && said.contains("lost and concluded anew"), "{said}");
        assert_is_derived(&ground, &summary);
        assert_eq!(run(&ground, &[]).0, 0, "it goes on from its snapshot");
        let found = told(&ground, "risk");
        assert_eq!(found[0], lost[0], "that is not forgotten");
        let cut = &found[1..];
        assert!(if number == 2 { cut.is_empty() } else { cut[0].0 == DamageKind::Cut && cut[0].2 == before });
        assert!(effects(&ground) > next);
    }
}

#[test]
fn given_a_segment_that_the_system_refuses_expect_it_not_to_be_gone_over() {
    for topic in ["trades", "market-data", "risk"] {
        let ground = given();
        let (before, place, away) =
            (effects(&ground), segment(&ground, topic, 1), ground.path().join("away"));
        std::fs::rename(&place, &away).unwrap();
        std::fs::create_dir(&place).unwrap();
        let (code, said, _) = run(&ground, &["--derive-anew"]);
        assert!(code == 1 && said.contains("mend that and start again"), "{said}");
        assert_eq!(effects(&ground), before, "{topic}: {said}");
        std::fs::remove_dir(&place).unwrap();
        std::fs::rename(&away, &place).unwrap();
        let (code, said, summary) = run(&ground, &[]);
        assert_eq!(code, 0, "{topic}: {said}");
        assert_is_derived(&ground, &summary);
        assert_eq!(told(&ground, "risk"), [], "{topic}: nothing was cut");
    }
}

#[test]
fn given_an_engine_that_derives_anew_expect_what_is_lost_later_not_to_be_gone_over() {
    for topic in ["trades", "market-data"] {
        let ground = given();
        let watch = Arc::new(Watch::default());
        let runner = Runner::open(&ground.bus, None, u64::MAX, Arc::clone(&watch)).unwrap();
        let runner = runner.derive_anew().unwrap();
        publish(&ground.bus);
        publish(&ground.bus);
        std::fs::remove_file(segment(&ground, topic, 3)).unwrap();
        let said = run_to(runner, &watch, after(5)).unwrap_err();
        assert!(said.contains(&format!("messages are lost: topic '{topic}'")), "{said}");
        let (code, said, _) = run(&ground, &["--derive-anew"]);
        assert!(code == 1 && said.contains("lost and not applied"), "asked again: {said}");
    }
}

/// Has the mark and the newest segment of an input be lost, which shows only once its publisher starts, and an engine
/// begin before that: what it ended with.
fn lose_and_start(ground: &Ground, topic: &str, lives: u64, derives_anew: bool) -> Result<(), String> {
    std::fs::remove_file(ground.path().join(topic).join("0/mark")).unwrap();
    std::fs::remove_file(segment(ground, topic, lives - 1)).unwrap();
    let watch = Arc::new(Watch::default());
    let runner = Runner::open(&ground.bus, None, u64::MAX, Arc::clone(&watch)).unwrap();
    let runner = if derives_anew { runner.derive_anew().unwrap() } else { runner };
    publish(&ground.bus);
    run_to(runner, &watch, after(lives + 1))
}

#[test]
fn given_lost_messages_that_a_snapshot_covers_expect_them_not_to_be_needed_whenever_that_shows() {
    for (topic, per_life) in [("trades", TRADES), ("market-data", LIFE)] {
        for derives_anew in [false, true] {
            let ground = given();
            save(&ground, 4);
            assert_eq!(lose_and_start(&ground, topic, 4, derives_anew), Ok(()));
            assert_eq!(told(&ground, topic)[0], (DamageKind::Missing, 3 * per_life, 4 * per_life));
            assert_eq!(told(&ground, "risk"), [], "nothing is cut");
            assert_eq!(run(&ground, &[]).0, 0);
        }
    }
}

#[test]
fn given_lost_messages_that_no_snapshot_covers_expect_the_same_words_whenever_that_shows() {
    for (topic, per_life) in [("trades", TRADES), ("market-data", LIFE)] {
        let ground = given();
        let what = format!("messages are lost: topic '{topic}': {} to before {}", 2 * per_life, 3 * per_life);
        let said = lose_and_start(&ground, topic, 3, false).unwrap_err();
        assert!(said.contains(&what), "{said}");
        for _ in 0..2 {
            let (code, said, _) = run(&ground, &[]);
            assert!(code == 1 && said.contains(&what), "{said}");
        }
        let (code, said, _) = run(&ground, &["--derive-anew"]);
        assert!(code == 1 && said.contains("lost and not applied"), "{said}");
        assert_eq!(run(&ground, &[]).0, 0);
    }
}

#[test]
fn given_all_conclusions_lost_expect_that_to_be_told_as_of_a_part_of_them() {
    let ground = given();
    let before = effects(&ground);
    (0..3).for_each(|number| std::fs::remove_file(segment(&ground, "risk", number)).unwrap());
    for _ in 0..2 {
        let (code, said, _) = run(&ground, &[]);
        let what = format!("messages are lost: topic 'risk': 0 to before {before}");
        assert!(code == 1 && said.contains(&what) && said.contains("run --derive-anew"), "{said}");
    }
    let (code, said, summary) = run(&ground, &["--derive-anew"]);
    assert!(code == 1 && said.contains("lost and concluded anew"), "{said}");
    assert_is_derived(&ground, &summary);
    assert_eq!(run(&ground, &[]).0, 0);
    assert_eq!(told(&ground, "risk"), [(DamageKind::Missing, 0, before)], "that is not forgotten");
}

#[test]
fn given_an_input_without_its_mark_expect_the_way_to_a_new_one_to_be_told_and_to_be_one() {
    for topic in ["trades", "market-data"] {
        let ground = given();
        std::fs::write(ground.path().join(topic).join("0/mark"), [7; 4096]).unwrap();
        for _ in 0..2 {
            let (code, said, _) = run(&ground, &[]);
            let what = format!("the mark of topic '{topic}' was lost");
            assert!(code == 1 && said.contains(&what), "{said}");
            assert!(
                said.contains("where there is none start its publisher once, which writes it anew"),
                "{said}"
            );
        }
        publish(&ground.bus);
        assert_eq!(run(&ground, &[]).0, 0);
    }
}

#[test]
fn where_nothing_is_lost_nothing_is_derived_anew() {
    let ground = given();
    let before = effects(&ground);
    let (code, said, summary) = run(&ground, &["--derive-anew"]);
    assert_eq!((code, effects(&ground)), (0, before), "{said}");
    assert!(!said.contains("cut"), "{said}");
    assert_is_derived(&ground, &summary);
    assert_eq!(told(&ground, "risk"), []);
    // Beside a live engine it takes nothing away from that.
    std::fs::remove_file(segment(&ground, "trades", 1)).unwrap();
    let inputs = ["market-data", "trades"];
    let live = ground.bus.derived_publisher::<bus::event::risk::RiskEvent>("risk", &inputs).unwrap();
    let (code, said, _) = run(&ground, &["--derive-anew"]);
    assert!(code != 0 && said.contains("the journal has a writer"), "{said}");
    assert_eq!(effects(&ground), before);
    live.close().unwrap();
    assert_eq!(told(&ground, "risk"), []);
}

#[test]
fn an_input_that_is_gone_ends_the_engine_with_a_word() {
    for topic in ["trades", "market-data"] {
        let ground = given();
        let before = effects(&ground);
        std::fs::remove_dir_all(ground.path().join(topic)).unwrap();
        // It would go on for ever, if it waited.
        let output = start(&ground.path(), &[]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let what = format!("the journal is lost: topic '{topic}' is not there");
        assert!(output.status.code() == Some(1) && said.contains(&what), "{said}");
        // The way on that it names.
        publish(&ground.bus);
        let (code, said, summary) = run(&ground, &[]);
        assert!(code == 1 && said.contains("are cut, as an input lacks their causes"), "{said}");
        assert_is_derived(&ground, &summary);
        assert_eq!(told(&ground, "risk").last().map(|cut| (cut.0, cut.2)), Some((DamageKind::Cut, before)));
    }
}

#[test]
fn given_a_topic_of_another_bus_expect_the_engine_to_say_so_at_each_run_until_its_line_is_taken_out() {
    for topic in ["trades", "market-data", "risk"] {
        let (ground, other) = (lived(1), lived(1));
        let [path, others] = [&ground, &other].map(|ground| ground.path().join(topic));
        std::fs::rename(&path, path.with_extension("aside")).unwrap();
        std::fs::rename(others, &path).unwrap();
        let told = format!("topic '{topic}': {TOPIC_REPLACED}");
        for _ in 0..2 {
            let (code, said, summary) = run(&ground, &[]);
            assert!(code == 1 && said.contains(&format!("note: {told}")), "{topic}: {said}");
            let incomplete = summary["incomplete"].as_array().unwrap();
            assert!(incomplete.contains(&told.as_str().into()), "{topic}: {summary}");
        }
        let list = ground.path().join("bus.topics");
        let lines = std::fs::read_to_string(&list).unwrap();
        let others = lines.lines().filter(|line| !line.starts_with(&format!("{topic} ")));
        std::fs::write(&list, others.map(|line| format!("{line}\n")).collect::<String>()).unwrap();
        let (_, said, _) = run(&ground, &[]);
        assert!(!said.contains(&told), "{topic}: {said}");
    }
}

#[test]
fn given_an_input_that_is_gone_and_nothing_follows_from_expect_the_engine_not_to_be_whole_without_it() {
    let ground = Ground::new();
    ground.bus.publisher::<TradeEvent>("trades").unwrap().close().unwrap();
    std::fs::remove_dir_all(ground.path().join("trades")).unwrap();
    let (code, said, _) = run(&ground, &[]);
    let told = format!("topic 'trades': {TOPIC_GONE}");
    assert!(code == 1 && said.contains(&told), "{said}");
}

#[test]
fn an_input_that_lost_its_schema_is_told_with_the_ways_to_mend_it_each_of_which_does() {
    for topic in ["trades", "market-data"] {
        let ground = given();
        let schema = ground.path().join(topic).join("schema.json");
        let copy = std::fs::read(&schema).unwrap();
        let mends: [&dyn Fn(); 2] = [&|| std::fs::write(&schema, &copy).unwrap(), &|| publish(&ground.bus)];
        for mend in mends {
            std::fs::remove_file(&schema).unwrap();
            let output = start(&ground.path(), &[]);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            let told = format!("risk-engine: topic '{topic}': {}: {SCHEMA_GONE}", ground.path().display());
            assert!(output.status.code() == Some(2) && said.lines().any(|line| line == told), "{said}");
            mend();
            let (code, said, summary) = run(&ground, &[]);
            assert_eq!(code, 0, "{said}");
            assert_is_derived(&ground, &summary);
            assert_eq!(std::fs::read(&schema).unwrap(), copy);
        }
    }
}

#[test]
fn an_input_that_comes_anew_while_the_engine_starts_is_asked_for_causes_all_the_same() {
    let ground = given();
    let before = effects(&ground);
    std::fs::remove_dir_all(ground.path().join("trades")).unwrap();
    let watch = Arc::new(Watch::default());
    let runner = Runner::open(&ground.bus, None, u64::MAX, Arc::clone(&watch)).unwrap();
    publish(&ground.bus);
    let cut = Cut { market_data: 4 * LIFE, trades: TRADES };
    run_to(runner, &watch, cut).unwrap();
    assert_eq!(watch.outcome().map(|outcome| outcome.cut), Some(cut));
    assert_eq!(told(&ground, "risk").last().map(|cut| (cut.0, cut.2)), Some((DamageKind::Cut, before)));
}
