//! Given effects whose causes are lost, expect that an auditor learns it, whatever was started since.
#![allow(missing_docs)]

mod common;

use std::fs;

use bus::event::risk::{MergeRun, RiskEvent};
use bus::event::trade::TradeEvent;
use bus::event::{Cause, Side};
use bus::{Bus, Publisher};
use common::{Ground, Ran, copy, fill, replay};
use serde_json::{Value, json};

fn risk(bus: &Bus) -> Publisher<RiskEvent> {
    bus.derived_publisher("risk", &["market-data", "trades"]).unwrap()
}

/// Publishes so many fills, and with `judged` what the engine records of each.
fn trade(bus: &Bus, count: u64, judged: bool) {
    let mut trades = bus.publisher::<TradeEvent>("trades").unwrap();
    let mut risk = judged.then(|| risk(bus));
    for n in 0..count {
        let sequence = trades.publish(&fill(n, Side::BUY, 100, 1)).unwrap();
        let cause = Cause { sequence, epoch: trades.epoch(), input: 1, index: 0 };
        if let Some(risk) = &mut risk {
            risk.publish(&MergeRun { cause, first: sequence, count: 1 }).unwrap();
        }
    }
    risk.into_iter().for_each(|risk| risk.close().unwrap());
    trades.close().unwrap();
}

/// A bus of 150 fills and an effect of each, whose fills were then replaced by a copy that had 100.
fn with_an_older_copy() -> Ground {
    let ground = Ground::new();
    ground.market().close().unwrap();
    let (trades, older) = (ground.bus.directory().join("trades"), ground.path("older"));
    trade(&ground.bus, 100, true);
    copy(&trades, &older);
    trade(&ground.bus, 50, true);
    assert_eq!(replay(ground.bus.directory(), &["verify"]).code, 0);
    assert_eq!(ground.bus.watermarks("risk").unwrap().durable, 150);
    fs::remove_dir_all(&trades).unwrap();
    copy(&older, &trades);
    ground
}

fn verify(ground: &Ground) -> Ran {
    replay(ground.bus.directory(), &["verify"])
}

const LOST: &str =
    "risk: 50 effects from 100 to 149 without their causes, messages 100 to 149 of epoch 2 of trades\n";

/// Expects that those effects are told to be cut, in each report.
fn tells_the_cut(ground: &Ground) {
    let ran = verify(ground);
    assert!(
        ran.code == 1 && ran.out.contains("risk: cut: sequences 100 to before 150, positions "),
        "{}",
        ran.out
    );
    let json = replay(ground.bus.directory(), &["verify", "--json"]).json();
    let risk = json["topics"].as_array().unwrap().iter().find(|topic| topic["topic"] == "risk").unwrap();
    let [damage] = &risk["damage"].as_array().unwrap()[..] else { panic!("{risk}") };
    assert_eq!([&damage["kind"], &damage["from"], &damage["to"]], [&json!("cut"), &json!(100), &json!(150)]);
    let detail = damage["detail"].as_str().unwrap();
    assert!(
        detail.starts_with("50 messages of epoch 2, cut at 20") && detail.contains(" UTC, as an input"),
        "{detail}"
    );
    assert!(detail.contains("kept in risk/0/torn-"), "{detail}");
    let ran = replay(ground.bus.directory(), &["blotter"]);
    let lines = ran.lines();
    let incomplete = lines.last().unwrap()["incomplete"].as_array().unwrap();
    let cuts: Vec<&Value> = incomplete.iter().filter(|found| found["kind"] == "cut").collect();
    assert_eq!((ran.code, cuts.len(), &cuts[0]["from"], &cuts[0]["to"]), (1, 1, &json!(100), &json!(150)));
    let state = replay(ground.bus.directory(), &["state"]);
    assert!(state.code == 1 && state.error.contains("note: risk: cut: sequences 100 "), "{}", state.error);
}

/// Takes away what is kept beside, as who has settled the matter does.
fn settle(ground: &Ground) {
    let files =
        fs::read_dir(ground.bus.directory().join("risk/0")).unwrap().map(|entry| entry.unwrap().path());
    let kept: Vec<_> = files.filter(|path| path.to_string_lossy().contains("/torn-")).collect();
    assert!(!kept.is_empty());
    kept.iter().for_each(|path| fs::remove_file(path).unwrap());
}

#[test]
fn effects_cut_at_the_start_of_the_engine_are_told_by_every_later_report() {
    let ground = with_an_older_copy();
    let ran = verify(&ground);
    assert!(ran.code == 1 && ran.out.contains(LOST), "{}", ran.out);
    let bus = Bus::open(ground.bus.directory()).unwrap();
    risk(&bus).close().unwrap();
    assert_eq!(bus.cut_effects(), ["risk"]);
    tells_the_cut(&ground);
    // Others take the sequences, and other lives of the engine find nothing to cut.
    trade(&ground.bus, 80, true);
    risk(&ground.bus).close().unwrap();
    assert_eq!(ground.bus.cut_effects().len(), 0);
    tells_the_cut(&ground);
    let before = replay(ground.bus.directory(), &["state", "--at", "trades=50"]);
    assert_eq!(before.code, 0, "what was before the cut is whole: {}", before.error);
    settle(&ground);
    let ran = verify(&ground);
    assert_eq!((ran.code, replay(ground.bus.directory(), &["blotter"]).code), (0, 0), "{}", ran.out);
}

#[test]
fn where_the_gateway_comes_first_the_effects_stay_without_cause_until_the_engine_cuts_them() {
    let ground = with_an_older_copy();
    // The sequences come again, in an epoch of their own: these are not what the effects follow from.
    trade(&ground.bus, 200, false);
    let ran = verify(&ground);
    assert!(ran.code == 1 && ran.out.contains(LOST), "{}", ran.out);
    let ran = replay(ground.bus.directory(), &["blotter"]);
    let lines = ran.lines();
    let incomplete = lines.last().unwrap()["incomplete"].as_array().unwrap();
    let lost: Vec<_> = incomplete.iter().filter(|found| found["what"] == "effect without cause").collect();
    let causes = json!({"topic": "trades", "epoch": 2, "first": 100, "last": 149});
    let want = json!({"what": "effect without cause", "topic": "risk",
        "first": 100, "last": 149, "effects": 50, "causes": causes});
    assert_eq!((ran.code, lost), (1, vec![&want]));
    risk(&ground.bus).close().unwrap();
    assert_eq!(ground.bus.cut_effects(), ["risk"]);
    tells_the_cut(&ground);
}

#[test]
fn thousands_of_effects_without_cause_are_one_line() {
    let ground = Ground::new();
    trade(&ground.bus, 3_000, true);
    let trades = ground.bus.directory().join("trades");
    fs::remove_dir_all(&trades).unwrap();
    trade(&ground.bus, 10, false);
    let ran = verify(&ground);
    let told: Vec<_> = ran.out.lines().filter(|line| line.starts_with("risk: ")).collect();
    // The first ten numbers are there, but of another life than the one that the effects name.
    let want =
        "risk: 3000 effects from 0 to 2999 without their causes, messages 0 to 2999 of epoch 1 of trades";
    assert_eq!((ran.code, &told[..]), (1, &[want][..]));
    let json = replay(ground.bus.directory(), &["verify", "--json"]).json();
    let causes = json!({"topic": "trades", "epoch": 1, "first": 0, "last": 2_999});
    let report = &json["topics"][0];
    let want = json!([{"first": 0, "last": 2_999, "effects": 3_000, "causes": causes}]);
    assert_eq!(
        (&report["effects_without_cause"], &report["effects_without_cause_count"]),
        (&want, &json!(3_000))
    );
}

#[test]
fn of_an_input_that_lost_its_schema_only_that_is_said() {
    let ground = Ground::new();
    trade(&ground.bus, 20, true);
    fs::remove_file(ground.bus.directory().join("trades/schema.json")).unwrap();
    let ran = verify(&ground);
    let faults: Vec<_> =
        ran.out.lines().filter(|line| line.contains(": ") && !line.starts_with("whole")).collect();
    let gone = bus::SCHEMA_GONE;
    let want = [
        format!("risk: unreadable (causes in 'trades' are not proven: {gone})"),
        format!("trades: unreadable ({gone})"),
    ];
    assert_eq!((ran.code, faults), (1, want.iter().map(String::as_str).collect()), "{}", ran.out);
    let ran = replay(ground.bus.directory(), &["blotter"]);
    let lines = ran.lines();
    let incomplete = lines.last().unwrap()["incomplete"].as_array().unwrap();
    assert!(incomplete.iter().all(|found| found["what"] != "effect without cause"), "{incomplete:?}");
    assert!(
        incomplete.iter().any(|found| found["topic"] == "trades" && found["detail"] == gone),
        "{incomplete:?}"
    );
}
