//! Given a bus with these contents, expect that verdict.
#![allow(missing_docs)]

mod common;

use std::fs;

use bus::event::market::{Gap, MarketEvent, Session};
use bus::event::risk::{LimitAlert, RiskEvent};
use bus::event::{Cause, Event, Price, Side};
use bus::{Bus, Frame, Gate, Start};
use common::{Ground, add, contents, fill, gap, replay, session, silent};
use replay::DamageKind;
use replay::verify::verify;
use serde_json::json;

fn filled(count: u64) -> Ground {
    let ground = Ground::new();
    let mut market = ground.market();
    for n in 0..count {
        market.publish(&add(n)).unwrap();
    }
    market.close().unwrap();
    ground
}

#[test]
fn a_whole_bus_is_counted_and_hashed() {
    let ground = filled(1_000);
    ground.trades().publish(&fill(1, Side::BUY, 100, 5)).unwrap();
    let ran = replay(ground.bus.directory(), &["verify", "--json"]);
    let report = ran.json();
    assert_eq!((ran.code, &report["ok"]), (0, &json!(true)), "{}", ran.error);
    let market = &report["topics"][0];
    for (field, want) in [
        ("topic", json!("market-data")),
        ("messages", json!(1_000)),
        ("first", json!(0)),
        ("last", json!(999)),
        ("durable", json!(1_000)),
        ("gaps", json!([])),
        ("damage", json!([])),
    ] {
        assert_eq!(market[field], want, "{field}");
    }
    assert_eq!(market["hash"].as_str().unwrap().len(), 64);
    assert_eq!(report["topics"][1]["messages"], 1);
    let one = replay(ground.bus.directory(), &["verify", "--topic", "trades", "--json"]).json();
    assert_eq!(one["topics"], json!([report["topics"][1]]));
}

#[test]
fn the_hash_is_of_the_contents_alone() {
    let hash = |ground: &Ground| verify(&ground.bus, "market-data", &mut silent()).unwrap().hash;
    let (once, again, more) = (filled(500), filled(500), filled(501));
    assert_eq!(hash(&once), hash(&again), "times of publishing and identities of journals are left out");
    assert_ne!(hash(&once), hash(&more));
    let mut market = again.market();
    market.publish(&add(500)).unwrap();
    drop(market);
    assert_eq!(hash(&again), hash(&more), "epochs are left out");
}

#[test]
fn an_empty_topic_has_no_first_message() {
    let ground = Ground::new();
    ground.market().close().unwrap();
    let report = replay(ground.bus.directory(), &["verify", "--json"]).json();
    let market = &report["topics"][0];
    assert_eq!(
        (&market["messages"], &market["first"], &market["last"]),
        (&json!(0), &json!(null), &json!(null))
    );
}

#[test]
fn a_read_only_copy_gives_the_same_report_and_nothing_is_written() {
    let ground = filled(30_000);
    let original = replay(ground.bus.directory(), &["verify", "--json"]);
    let copy = ground.read_only_copy();
    let before = contents(&copy);
    let ran = replay(&copy, &["verify", "--json"]);
    assert_eq!((ran.code, &ran.out), (0, &original.out), "{}", ran.error);
    assert_eq!(contents(&copy), before);
}

#[test]
fn a_flipped_bit_is_damage_with_its_range() {
    let ground = filled(30_000);
    ground.spoil("market-data", 1, 500_000);
    let report = verify(&ground.bus, "market-data", &mut silent()).unwrap();
    let [damage] = report.damage.listed() else { panic!("{:?}", report.damage) };
    assert_eq!(damage.kind, DamageKind::Damage);
    assert!(damage.from < damage.to && damage.to - damage.from < 2_000, "{damage:?}");
    assert_eq!(report.messages + damage.to - damage.from, 30_000, "all but the damaged ones are read");
    assert_eq!((report.first, report.last), (Some(0), Some(29_999)));
    let ran = replay(ground.bus.directory(), &["verify", "--json"]);
    let json = &ran.json()["topics"][0]["damage"][0];
    assert_eq!((ran.code, &json["from"], &json["to"]), (1, &json!(damage.from), &json!(damage.to)));
    assert_eq!(json["kind"], "damage");
    assert!(json["positions"]["from"].as_u64() < json["positions"]["to"].as_u64());
    let why = "market-data: damage reaches from the frame that fails to the next frame of evidence, up to 64 KiB on";
    assert!(replay(ground.bus.directory(), &["verify"]).out.contains(why), "why so many are lost is said");
}

#[test]
fn a_segment_that_is_gone_is_missing() {
    let ground = filled(40_000);
    fs::remove_file(ground.segment("market-data", 2)).unwrap();
    let report = verify(&ground.bus, "market-data", &mut silent()).unwrap();
    let [damage] = report.damage.listed() else { panic!("{:?}", report.damage) };
    assert_eq!(damage.kind, DamageKind::Missing);
    assert_eq!(report.messages + damage.to - damage.from, 40_000);
    let ran = replay(ground.bus.directory(), &["verify"]);
    assert_eq!(ran.code, 1);
    assert!(ran.out.contains("missing: sequences") && ran.out.contains("not whole"), "{}", ran.out);
}

#[test]
fn given_that_all_segments_are_gone_and_nothing_came_since_expect_the_range_of_all_messages() {
    let ground = filled(10_000);
    let count = ground.bus.watermarks("market-data").unwrap().published;
    for number in 0.. {
        if fs::remove_file(ground.segment("market-data", number)).is_err() {
            break;
        }
    }
    ground.market().close().unwrap();
    let report = verify(&ground.bus, "market-data", &mut silent()).unwrap();
    let [damage] = report.damage.listed() else { panic!("{:?}", report.damage) };
    assert_eq!((report.messages, damage.kind), (0, DamageKind::Missing));
    assert_eq!((damage.from, damage.to), (0, count));
}

#[test]
fn a_segment_that_the_system_refuses_is_a_range_with_the_reason_and_all_else_is_read() {
    let ground = filled(40_000);
    let path = ground.segment("market-data", 1);
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    let ran = replay(ground.bus.directory(), &["verify", "--json"]);
    let report = &ran.json()["topics"][0];
    assert_eq!((ran.code, &report["damage_count"], &report["last"]), (1, &json!(1), &json!(39_999)));
    let damage = &report["damage"][0];
    let (from, to) = (damage["from"].as_u64().unwrap(), damage["to"].as_u64().unwrap());
    assert_eq!(report["messages"], 40_000 - (to - from));
    assert_eq!(damage["positions"], json!({"from": 1 << 20, "to": 2 << 20}));
    let why = "cannot read: 0000000000000001.segment: not a regular file; mend that and try again";
    assert_eq!((&damage["kind"], &damage["detail"]), (&json!("unreadable"), &json!(why)));
    let dump = replay(ground.bus.directory(), &["dump", "--topic", "market-data"]);
    assert_eq!((dump.code, dump.out.lines().count() as u64), (1, 40_000 - (to - from)));
    let told = format!("note: market-data: unreadable: sequences {from} to before {to}, ");
    assert!(dump.error.starts_with(&told) && dump.error.contains(why), "{}", dump.error);
}

#[test]
fn a_shortened_segment_is_one_range_and_all_else_is_read() {
    let ground = filled(40_000);
    // Where each message begins, and where its bytes end.
    let places: Vec<(u64, u64)> = {
        let mut reader = ground.bus.reader("market-data", Start::Oldest, Gate::Durable).unwrap();
        let place = |frame: Frame<'_>| (frame.position, frame.position + 16 + frame.body.len() as u64);
        std::iter::from_fn(|| reader.poll().unwrap().map(place)).collect()
    };
    let (base, behind) = (2 << 20, 3 << 20);
    let next = places.partition_point(|(begin, _)| *begin < behind) as u64;
    for (length, kind) in [(600_001, "damage"), (4_096, "damage"), (100, "damage"), (0, "missing")] {
        ground.shorten("market-data", 2, length);
        let first = places.partition_point(|(begin, end)| *begin < base || *end <= base + length) as u64;
        let ran = replay(ground.bus.directory(), &["verify", "--json"]);
        let report = &ran.json()["topics"][0];
        assert_eq!((ran.code, &report["damage_count"]), (1, &json!(1)), "{length}: {report}");
        let damage = &report["damage"][0];
        assert_eq!((&damage["from"], &damage["to"]), (&json!(first), &json!(next)), "{length}");
        assert_eq!((&damage["kind"], &damage["positions"]["to"]), (&json!(kind), &json!(behind)));
        assert_eq!(report["messages"], 40_000 - (next - first), "{length}");
        let dump = replay(ground.bus.directory(), &["dump", "--topic", "market-data"]);
        let told = format!("note: market-data: {kind}: sequences {first} to before {next}, ");
        assert!(dump.code == 1 && dump.error.starts_with(&told), "{length}: {}", dump.error);
        assert_eq!(dump.out.lines().count() as u64, 40_000 - (next - first));
        for command in [&["state"][..], &["blotter"]] {
            assert_eq!(replay(ground.bus.directory(), command).code, 1, "{length}: {command:?}");
        }
    }
}

#[test]
fn a_topic_that_cannot_be_opened_hides_no_other() {
    let ground = filled(100);
    let mut trades = ground.trades();
    trades.publish(&fill(1, Side::BUY, 100, 5)).unwrap();
    trades.close().unwrap();
    let schema = ground.bus.directory().join("market-data/schema.json");
    let whole = fs::read(&schema).unwrap();
    let faults: [(&str, &dyn Fn(), &str); 4] = [
        ("cut", &|| fs::write(&schema, &whole[..whole.len() / 2]).unwrap(), "schema"),
        ("empty", &|| fs::write(&schema, "").unwrap(), "schema"),
        ("gone", &|| fs::remove_file(&schema).unwrap(), "schema.json is gone"),
        ("no journal", &|| fs::remove_dir_all(schema.with_file_name("0")).unwrap(), "no journal"),
    ];
    for (fault, spoil, reason) in faults {
        fs::write(&schema, &whole).unwrap();
        spoil();
        for arguments in [&["verify", "--json"][..], &["verify", "--topic", "market-data", "--json"]] {
            let ran = replay(ground.bus.directory(), arguments);
            let report = ran.json();
            assert_eq!((ran.code, &report["ok"]), (1, &json!(false)), "{fault}: {}", ran.error);
            let market = &report["topics"][0];
            assert_eq!((&market["topic"], &market["ok"]), (&json!("market-data"), &json!(false)));
            assert_eq!((&market["messages"], &market["first"]), (&json!(0), &json!(null)));
            assert_eq!(market["damage"][0]["kind"], "unreadable");
            let detail = market["damage"][0]["detail"].as_str().unwrap();
            assert!(detail.contains(reason), "{fault}: {detail}");
        }
        let ran = replay(ground.bus.directory(), &["verify"]);
        assert!(ran.code == 1 && ran.out.contains("market-data: unreadable ("), "{}", ran.out);
        let trades = &replay(ground.bus.directory(), &["verify", "--json"]).json()["topics"][1];
        assert_eq!(
            (&trades["topic"], &trades["ok"], &trades["messages"]),
            (&json!("trades"), &json!(true), &json!(1))
        );
    }
}

#[test]
fn causes_in_a_topic_that_cannot_be_opened_are_not_proven() {
    let ground = Ground::new();
    ground.market().close().unwrap();
    let mut trades = ground.trades();
    trades.publish(&fill(1, Side::BUY, 100, 5)).unwrap();
    let mut risk = ground.bus.derived_publisher::<RiskEvent>("risk", &["market-data", "trades"]).unwrap();
    let cause = Cause { sequence: 0, epoch: 1, input: 1, index: 0 };
    risk.publish(&LimitAlert { cause, ..LimitAlert::default() }).unwrap();
    risk.close().unwrap();
    trades.close().unwrap();
    assert!(verify(&ground.bus, "risk", &mut silent()).unwrap().is_ok());
    fs::write(ground.bus.directory().join("trades/schema.json"), "{").unwrap();
    let report = verify(&ground.bus, "risk", &mut silent()).unwrap();
    assert_eq!((report.messages, report.orphans.count()), (1, 0));
    let [damage] = report.damage.listed() else { panic!("{:?}", report.damage) };
    let detail = damage.detail.as_deref().unwrap();
    assert!(detail.starts_with("causes in 'trades' are not proven: "), "{detail}");
}

#[test]
fn a_beginning_that_is_gone_is_not_said_to_be_retired() {
    let ground = filled(40_000);
    fs::remove_file(ground.segment("market-data", 0)).unwrap();
    let ran = replay(ground.bus.directory(), &["verify", "--json"]);
    let report = &ran.json()["topics"][0];
    let (first, damage) = (&report["first"], &report["damage"][0]);
    assert_eq!((ran.code, &damage["from"], &damage["to"]), (1, &json!(0), first));
    assert_eq!(ran.error, "");
    let dump = replay(ground.bus.directory(), &["dump", "--topic", "market-data", "--from", "7"]);
    assert!(dump.code == 1 && !dump.error.contains("retention"), "{}", dump.error);
    assert!(dump.error.contains(&format!("sequences 7 to before {first}")), "{}", dump.error);
}

#[test]
fn without_its_mark_nothing_proves_where_a_topic_ends() {
    let ground = filled(100);
    fs::write(ground.segment("market-data", 0).with_file_name("mark"), [7; 8192]).unwrap();
    let ran = replay(ground.bus.directory(), &["verify", "--json"]);
    let report = &ran.json()["topics"][0];
    assert_eq!((ran.code, &report["messages"], &report["damage_count"]), (1, &json!(100), &json!(1)));
    assert_eq!(
        (&report["damage"][0]["kind"], &report["damage"][0]["from"]),
        (&json!("missing"), &json!(100))
    );
    let text = replay(ground.bus.directory(), &["verify"]).out;
    assert!(
        text.contains("market-data: missing (the mark, and with it the proof that nothing follows)"),
        "{text}"
    );
    // A new publisher makes the mark anew, which does not bring the proof back.
    ground.market().publish(&add(100)).unwrap();
    let text = replay(ground.bus.directory(), &["verify"]);
    let told = "missing (the mark before epoch 2, and with it the proof that nothing was lost there)";
    assert!(text.code == 1 && text.out.contains(told), "{}", text.out);
}

#[test]
fn a_mark_of_another_topic_is_named_and_all_messages_are_read() {
    let ground = filled(100);
    ground.trades().publish(&fill(1, Side::BUY, 100, 5)).unwrap();
    let mark = |topic| ground.segment(topic, 0).with_file_name("mark");
    fs::copy(mark("trades"), mark("market-data")).unwrap();
    let ran = replay(ground.bus.directory(), &["verify", "--json"]);
    let report = &ran.json()["topics"][0];
    assert_eq!((ran.code, &report["messages"], &report["damage_count"]), (1, &json!(100), &json!(1)));
    let told = report["damage"][0]["detail"].as_str().unwrap();
    assert!(told.contains("market-data/0/mark is of another journal, "), "{told}");
    assert!(told.ends_with("; restore it from a copy, else remove it"), "{told}");
    let refused = ground.bus.publisher::<MarketEvent>("market-data").unwrap_err().to_string();
    assert!(refused.contains("the mark: it is of journal "), "{refused}");
}

#[test]
fn a_gap_is_a_fault_until_its_messages_come() {
    let ground = Ground::new();
    let publish = |gaps: &[Gap]| {
        let mut market = ground.market();
        for gap in gaps {
            market.publish(gap).unwrap();
        }
    };
    ground.market().publish(&session("DAY1", b'S')).unwrap();
    publish(&[gap(b'O', 10, 5), gap(b'O', 30, 1), gap(b'C', 30, 1)]);
    let ran = replay(ground.bus.directory(), &["verify", "--json"]);
    assert_eq!(ran.code, 1);
    let gaps = &ran.json()["topics"][0]["gaps"];
    assert_eq!(gaps, &json!([{"session": "DAY1", "from": 10, "count": 5}]));
    publish(&[gap(b'C', 10, 5)]);
    assert_eq!(replay(ground.bus.directory(), &["verify"]).code, 0);
    publish(&[gap(b'O', 40, 2)]);
    let mut market = ground.market();
    market.publish(&session("DAY2", b'S')).unwrap();
    market.close().unwrap();
    let report = replay(ground.bus.directory(), &["verify", "--json"]).json();
    let left = json!([{"session": "DAY1", "from": 40, "count": 2}]);
    assert_eq!(report["topics"][0]["gaps"], left, "a later session closes no gap of an earlier one");
}

#[test]
fn given_a_session_that_is_taken_up_again_expect_it_to_close_its_gap() {
    let ground = Ground::new();
    let missing =
        || replay(ground.bus.directory(), &["verify", "--json"]).json()["topics"][0]["gaps"].clone();
    let mut market = ground.market();
    let end = 10_000_000;
    market.publish(&session("DAY1", b'S')).unwrap();
    market.publish(&gap(b'O', 10, end - 10)).unwrap();
    market.publish(&session("STRANGER", b'S')).unwrap();
    market.publish(&gap(b'O', 20, 3)).unwrap();
    market.publish(&Session { venue_sequence: end, ..session("DAY1", b'S') }).unwrap();
    let of_stranger = json!({"session": "STRANGER", "from": 20, "count": 3});
    assert_eq!(missing(), json!([of_stranger, {"session": "DAY1", "from": 10, "count": end - 10}]));
    market.publish(&gap(b'W', 13, end - 13)).unwrap();
    for n in 9..12 {
        market.publish(&add(n)).unwrap();
    }
    market.publish(&gap(b'C', 10, 3)).unwrap();
    assert_eq!(missing(), json!([of_stranger]));
    // That it has no open gap when it is succeeded again changes nothing.
    market.publish(&session("DAY2", b'S')).unwrap();
    market.publish(&Session { venue_sequence: 13, ..session("DAY1", b'S') }).unwrap();
    market.publish(&session("STRANGER", b'S')).unwrap();
    market.publish(&gap(b'C', 20, 3)).unwrap();
    assert_eq!(missing(), json!([of_stranger]), "one that begins anew closes nothing of the one before");
    market.close().unwrap();
}

#[test]
fn of_a_gap_that_was_filled_in_part_only_the_rest_is_told() {
    let ground = Ground::new();
    let mut market = ground.market();
    market.publish(&session("DAY1", b'S')).unwrap();
    market.publish(&gap(b'O', 10, 5)).unwrap();
    // Its venue's number is 12.
    market.publish(&add(11)).unwrap();
    market.publish(&add(20)).unwrap();
    market.close().unwrap();
    let ran = replay(ground.bus.directory(), &["verify", "--json"]);
    assert_eq!(ran.code, 1);
    let left =
        json!([{"session": "DAY1", "from": 10, "count": 2}, {"session": "DAY1", "from": 13, "count": 2}]);
    assert_eq!(ran.json()["topics"][0]["gaps"], left);
    let blotter = replay(ground.bus.directory(), &["blotter"]);
    let end = blotter.lines().pop().unwrap();
    let told = end["incomplete"].as_array().unwrap().iter().filter(|found| found["what"] == "open gap");
    let told: Vec<_> = told.map(|gap| (gap["from"].clone(), gap["count"].clone())).collect();
    assert_eq!(told, [(json!(10), json!(2)), (json!(13), json!(2))]);
}

#[test]
fn of_a_gap_that_was_withdrawn_only_what_was_sent_is_missing() {
    let ground = Ground::new();
    let mut market = ground.market();
    market.publish(&session("DAY1", b'S')).unwrap();
    market.publish(&gap(b'O', 10, 1 << 62)).unwrap();
    market.publish(&add(11)).unwrap();
    market.publish(&gap(b'W', 14, (1 << 62) - 4)).unwrap();
    market.publish(&add(13)).unwrap();
    let missing =
        || replay(ground.bus.directory(), &["verify", "--json"]).json()["topics"][0]["gaps"].clone();
    let left =
        json!([{"session": "DAY1", "from": 10, "count": 2}, {"session": "DAY1", "from": 13, "count": 1}]);
    assert_eq!(missing(), left);
    market.publish(&gap(b'C', 10, 4)).unwrap();
    market.publish(&gap(b'O', 20, 5)).unwrap();
    market.publish(&gap(b'W', 20, 5)).unwrap();
    market.close().unwrap();
    assert_eq!(missing(), json!([]));
    let ran = replay(ground.bus.directory(), &["blotter"]);
    let lines = ran.lines();
    assert_eq!(lines.iter().filter(|line| line["state"] == "W").count(), 2);
    let told = lines.last().unwrap()["incomplete"].as_array().unwrap();
    assert!(!told.iter().any(|found| found["what"] == "open gap"), "{told:?}");
}

/// A venue of the user's own, with a kind under a number that the market has too.
#[derive(Event, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[event(kind = 3)]
#[repr(C)]
struct Tick {
    price: Price,
}

#[derive(Event)]
enum Venue {
    Session(Session),
    Gap(Gap),
    Tick(Tick),
}

#[test]
fn a_gap_of_a_users_own_venue_is_a_fault_too() {
    let ground = Ground::new();
    let mut ticks = ground.bus.publisher::<Venue>("ticks").unwrap();
    ticks.publish(&session("DAY1", b'S')).unwrap();
    ticks.publish(&Tick { price: Price(1) }).unwrap();
    ticks.publish(&gap(b'O', 2, 3)).unwrap();
    ticks.publish(&Tick { price: Price(2) }).unwrap();
    ticks.flush().unwrap();
    let ran = replay(ground.bus.directory(), &["verify", "--json"]);
    assert_eq!(ran.code, 1);
    assert_eq!(ran.json()["topics"][0]["gaps"], json!([{"session": "DAY1", "from": 2, "count": 3}]));
    ticks.publish(&gap(b'C', 2, 3)).unwrap();
    ticks.close().unwrap();
    assert_eq!(replay(ground.bus.directory(), &["verify"]).code, 0);
}

#[test]
fn an_effect_needs_its_cause() {
    let ground = Ground::new();
    let mut market = ground.market();
    let mut trades = ground.trades();
    let mut risk = ground.bus.derived_publisher::<RiskEvent>("risk", &["market-data", "trades"]).unwrap();
    let alert = |input, sequence| LimitAlert {
        cause: Cause { sequence, epoch: 1, input, index: 0 },
        ..LimitAlert::default()
    };
    risk.publish(&alert(Cause::NONE, 7)).unwrap();
    trades.publish(&fill(1, Side::BUY, 100, 5)).unwrap();
    risk.publish(&alert(1, 0)).unwrap();
    assert!(verify(&ground.bus, "risk", &mut silent()).unwrap().is_ok());
    risk.publish(&alert(1, 1)).unwrap();
    let ran = replay(ground.bus.directory(), &["verify", "--json"]);
    assert_eq!(ran.code, 1);
    let orphans = &ran.json()["topics"][1]["effects_without_cause"];
    let causes = json!({"topic": "trades", "epoch": 1, "first": 1, "last": 1});
    assert_eq!(orphans, &json!([{"first": 2, "last": 2, "effects": 1, "causes": causes}]));
    trades.publish(&fill(2, Side::BUY, 100, 5)).unwrap();
    assert!(verify(&ground.bus, "risk", &mut silent()).unwrap().is_ok());
    market.flush().unwrap();
}

#[test]
fn an_input_that_is_gone_is_told_once_with_all_that_follows_from_it() {
    let ground = Ground::new();
    let mut trades = ground.trades();
    let mut risk = ground.bus.derived_publisher::<RiskEvent>("risk", &["market-data", "trades"]).unwrap();
    let alert = |input, sequence| LimitAlert {
        cause: Cause { sequence, epoch: 1, input, index: 0 },
        ..LimitAlert::default()
    };
    risk.publish(&alert(Cause::NONE, 0)).unwrap();
    for n in 0..3 {
        trades.publish(&fill(n, Side::BUY, 100, 5)).unwrap();
        risk.publish(&alert(1, n)).unwrap();
    }
    trades.close().unwrap();
    risk.close().unwrap();
    let ran = replay(ground.bus.directory(), &["verify"]);
    assert_eq!(ran.code, 0, "an input from which nothing follows need not be there: {}", ran.out);
    fs::remove_dir_all(ground.bus.directory().join("trades")).unwrap();
    let ran = replay(ground.bus.directory(), &["verify"]);
    let told: Vec<_> = ran.out.lines().filter(|line| line.starts_with("risk: ")).collect();
    let want = "risk: 3 effects from 1 to 3 without their cause: the journal of 'trades' is not there; restore it from a copy";
    assert_eq!((ran.code, told), (1, vec![want]));
    let report = &replay(ground.bus.directory(), &["verify", "--json"]).json()["topics"][0];
    assert_eq!(report["absent_inputs"], json!([{"topic": "trades", "first": 1, "last": 3, "effects": 3}]));
    assert_eq!(report["effects_without_cause_count"], 3);
}

#[test]
fn a_live_writer_is_verified_up_to_what_it_has_published() {
    let ground = Ground::new();
    let mut market = ground.market();
    for n in 0..5_000 {
        market.publish(&add(n)).unwrap();
    }
    let ran = replay(ground.bus.directory(), &["verify", "--json"]);
    assert_eq!((ran.code, &ran.json()["topics"][0]["messages"]), (0, &json!(5_000)), "{}", ran.error);
}

#[test]
fn what_is_not_there_is_refused_in_one_line() {
    let ground = Ground::new();
    let refused = |arguments: &[&str], named: &str| {
        let ran = replay(ground.bus.directory(), arguments);
        assert_eq!((ran.code, ran.error.lines().count()), (2, 1), "{}", ran.error);
        assert!(ran.error.starts_with("replay: ") && ran.error.contains(named), "{}", ran.error);
    };
    let commands: [&[&str]; 4] = [&["verify"], &["dump", "--topic", "market-data"], &["state"], &["blotter"]];
    for arguments in commands {
        refused(arguments, "no bus");
    }
    // What is left of a publisher whose first topic was refused.
    fs::create_dir(ground.bus.directory()).unwrap();
    fs::write(ground.bus.directory().join("bus.id"), "").unwrap();
    refused(&["verify"], "no topics");
    refused(&["blotter"], "no topics");
    refused(&["dump", "--topic", "market-data"], "market-data");
    refused(&["state"], "market-data");
    ground.market().close().unwrap();
    refused(&["verify", "--topic", "trades"], "trades");
    refused(&["dump", "--topic", "../market-data"], "../market-data");
    refused(&["diff"], "not in this version");
    refused(&["export"], "not in this version");
}

#[test]
fn messages_that_a_schema_written_anew_does_not_describe_are_told_for_good() {
    let ground = Ground::new();
    let mut trades = ground.trades();
    (1..4).for_each(|n| assert!(trades.publish(&fill(n, Side::BUY, 100, 1)).is_ok()));
    trades.close().unwrap();
    fs::remove_file(ground.bus.directory().join("trades/schema.json")).unwrap();
    // The wrong program is the first to come.
    let bus = Bus::open(ground.bus.directory()).unwrap();
    let mut market = bus.publisher::<bus::event::market::MarketEvent>("trades").unwrap();
    market.publish(&add(1)).unwrap();
    market.close().unwrap();
    assert_eq!(bus.lost_schemas(), ["trades"]);
    let ran = replay(bus.directory(), &["verify", "--json"]);
    let topic = &ran.json()["topics"][0];
    assert_eq!((ran.code, &topic["messages"], &topic["damage_count"]), (1, &json!(4), &json!(1)), "{topic}");
    let damage = json!({
        "from": 0, "to": 3, "kind": "undescribed", "positions": null,
        "detail": "schema.json does not describe 3 messages; restore it from a copy",
    });
    assert_eq!(topic["damage"][0], damage);
}

#[test]
fn a_topic_that_nothing_follows_from_is_missed_when_it_is_gone() {
    let ground = filled(100);
    std::fs::remove_dir_all(ground.bus.directory().join("market-data")).unwrap();
    for arguments in [&["verify", "--json"][..], &["verify", "--json", "--topic", "market-data"]] {
        let ran = replay(ground.bus.directory(), arguments);
        let json = ran.json();
        let topics = json["topics"].as_array().unwrap();
        let topic = topics.iter().find(|topic| topic["topic"] == "market-data").unwrap();
        let detail = topic["damage"][0]["detail"].as_str().unwrap();
        assert!(ran.code == 1 && detail.starts_with("its directory is gone"), "{json}");
    }
}

#[test]
fn given_what_is_no_topic_in_the_place_of_one_expect_it_told_as_gone() {
    let ground = filled(100);
    ground.trades().close().unwrap();
    let market = ground.bus.directory().join("market-data");
    fs::remove_dir_all(&market).unwrap();
    fs::write(&market, "x").unwrap();
    let ran = replay(ground.bus.directory(), &["verify", "--json"]);
    let topic = &ran.json()["topics"][0];
    assert_eq!((ran.code, &topic["topic"]), (1, &json!("market-data")));
    let detail = topic["damage"][0]["detail"].as_str().unwrap();
    assert!(detail.starts_with("its directory is gone"), "{detail}");
}

#[test]
fn given_a_garbled_list_of_topics_expect_that_nothing_is_proven_whole() {
    let ground = filled(100);
    let list = ground.bus.directory().join("bus.topics");
    let whole = fs::read_to_string(&list).unwrap();
    fs::write(&list, whole.replace("market-data ", "market-data x")).unwrap();
    let ran = replay(ground.bus.directory(), &["verify", "--json"]);
    let told = ran.json()["error"].as_str().unwrap_or_default().to_owned();
    assert!(ran.code == 1 && told.starts_with("cannot tell which topics are gone: "), "{told}");
    fs::remove_dir_all(ground.bus.directory().join("market-data")).unwrap();
    let refused = replay(ground.bus.directory(), &["verify"]);
    assert!(
        refused.code == 2 && refused.error.contains("cannot tell which topics are gone"),
        "{}",
        refused.error
    );
}

#[test]
fn a_topic_of_another_bus_is_read_and_told_and_that_of_a_copy_is_whole() {
    let [ground, other] = [100, 200].map(filled);
    let [topic, others] = [&ground, &other].map(|ground| ground.bus.directory().join("market-data"));
    let copy = ground.read_only_copy();
    assert_eq!(replay(&copy, &["verify"]).code, 0);
    fs::rename(&topic, ground.path("aside")).unwrap();
    fs::rename(others, &topic).unwrap();
    let ran = replay(ground.bus.directory(), &["verify", "--json"]);
    let topic = &ran.json()["topics"][0];
    assert_eq!(
        (ran.code, &topic["messages"], &topic["damage_count"]),
        (1, &json!(200), &json!(1)),
        "{topic}"
    );
    let damage = &topic["damage"];
    assert_eq!(damage[0]["kind"], "replaced");
    let detail = damage[0]["detail"].as_str().unwrap();
    assert!(detail.ends_with("if it was replaced on purpose, take its line out of bus.topics"), "{detail}");
}
