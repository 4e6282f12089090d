//! Given a topic, expect these lines.
#![allow(missing_docs)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use bus::SCHEMA_GONE;
use bus::event::market::AddOrder;
use bus::event::{Event, Price, Symbol};
use common::{Ground, Ran, add, program, replay, text};
use serde_json::json;

#[derive(Event, Clone, Copy, Debug, Default)]
#[repr(C)]
struct Quote {
    instrument: Symbol,
    bid: Price,
}

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
fn each_message_is_one_object() {
    let ground = filled(3);
    let ran = replay(ground.bus.directory(), &["dump", "--topic", "market-data", "--json"]);
    assert_eq!((ran.code, ran.error.as_str()), (0, ""));
    let lines = ran.lines();
    assert_eq!(lines.len(), 3);
    for (n, line) in (0..).zip(&lines) {
        let AddOrder { exchange_time, order, price, .. } = add(n);
        assert_eq!((&line["sequence"], &line["type"]), (&json!(n), &json!("add_order")));
        assert_eq!((&line["exchange_time"], &line["order"]), (&json!(exchange_time.0), &json!(order)));
        assert_eq!(line["price"], bus::program::decimal(price.0));
        assert!(line["publish_time"].as_u64().unwrap() > 0 && line["receive_time"] == 0);
    }
    let plain = replay(ground.bus.directory(), &["dump", "--topic", "market-data"]);
    assert_eq!(plain.out, ran.out, "lines for people are the same");
}

#[test]
fn a_range_has_both_its_ends() {
    let ground = filled(30_000);
    let sequences = |arguments: &[&str]| {
        let ran = replay(ground.bus.directory(), &[&["dump", "--topic", "market-data"], arguments].concat());
        assert_eq!(ran.code, 0, "{}", ran.error);
        ran.lines().iter().map(|line| line["sequence"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(sequences(&["--from", "12345", "--to", "12347"]), [12_345, 12_346, 12_347]);
    assert_eq!(sequences(&["--to", "0"]), [0]);
    assert_eq!(sequences(&["--from", "29999"]), [29_999]);
    assert_eq!(sequences(&["--from", "29998", "--to", "99999"]), [29_998, 29_999]);
    for (arguments, named) in [
        (["--from", "2", "--to", "1"], "--from 2 --to 1"),
        (["--gate", "archived", "--to", "1"], "--gate archived"),
        (["--from", "-1", "--to", "1"], "--from"),
    ] {
        let ran =
            replay(ground.bus.directory(), &[&["dump", "--topic", "market-data"], &arguments[..]].concat());
        assert!(ran.code == 2 && ran.error.contains(named), "{}", ran.error);
    }
}

#[test]
fn what_lies_beyond_the_end_is_refused_with_the_end_as_state_does() {
    let ground = filled(3);
    let refused = |arguments: &[&str]| {
        let ran = replay(ground.bus.directory(), arguments);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{arguments:?}");
        ran.error
    };
    for from in ["3", "99999"] {
        let told = refused(&["dump", "--topic", "market-data", "--from", from]);
        let words = format!(
            "replay: no message {from} yet: 'market-data' holds sequences 0 to before 3; name one of these\n"
        );
        assert_eq!(told, words);
        assert_eq!(refused(&["state", "--at", &format!("market-data={from}")]), words);
    }
    let short = replay(ground.bus.directory(), &["dump", "--topic", "market-data", "--to", "7"]);
    assert_eq!((short.code, short.lines().len()), (0, 3));
    assert_eq!(short.error, "note: market-data: ends before sequence 3; message 7 is not there yet\n");
    ground.trades().close().unwrap();
    let empty = replay(ground.bus.directory(), &["dump", "--topic", "trades", "--from", "0"]);
    assert_eq!((empty.code, empty.out.as_str(), empty.error.as_str()), (0, "", ""));
    let told = refused(&["dump", "--topic", "trades", "--from", "1"]);
    assert_eq!(told, "replay: no message 1 yet: 'trades' holds none; publish some or name another topic\n");
}

#[test]
fn a_topic_that_lost_its_schema_is_not_taken_for_one_that_never_was() {
    let ground = filled(3);
    fs::remove_file(ground.bus.directory().join("market-data/schema.json")).unwrap();
    let ran = replay(ground.bus.directory(), &["dump", "--topic", "market-data"]);
    let told = format!("replay: topic 'market-data': {}: {SCHEMA_GONE}\n", ground.bus.directory().display());
    assert_eq!((ran.code, ran.error), (2, told));
}

#[test]
fn a_dump_without_the_mark_and_the_newest_segment_is_short_and_says_so() {
    let ground = filled(40_000);
    let newest = (0..).find(|next| !ground.segment("market-data", next + 1).exists()).unwrap();
    assert!(newest > 1, "of several");
    std::fs::remove_file(ground.segment("market-data", newest)).unwrap();
    std::fs::remove_file(ground.segment("market-data", 0).with_file_name("mark")).unwrap();
    let dump = |arguments: &[&str]| {
        let ran = replay(ground.bus.directory(), &[&["dump", "--topic", "market-data"], arguments].concat());
        (ran.code, ran.out.lines().count(), ran.error)
    };
    let (code, left, told) = dump(&[]);
    assert!(code == 1 && left < 40_000, "{left}");
    assert_eq!(told, "note: market-data: missing (the mark, and with it the proof that nothing follows)\n");
    let last = left - 1;
    assert_eq!(
        dump(&["--to", &last.to_string()]),
        (0, left, String::new()),
        "all that was asked for is there"
    );
    let (code, lines, told) = dump(&["--to", "39999"]);
    assert!((code, lines) == (1, left) && told.contains("the mark"), "{told}");
}

#[test]
fn a_dump_that_follows_waits_for_a_message_that_is_not_there_yet() {
    let ground = filled(2);
    let mut follower = program(ground.bus.directory())
        .args(["dump", "--topic", "market-data", "--follow", "--from", "4", "--to", "5"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut market = ground.market();
    for n in 2..8 {
        market.publish(&add(n)).unwrap();
    }
    let mut out = BufReader::new(follower.stdout.take().unwrap());
    for n in [4, 5] {
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert!(line.starts_with(&format!("{{\"sequence\":{n},")), "{line}");
    }
    let ran = Ran::of(follower.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.error.as_str()), (0, ""));
}

#[test]
fn any_users_own_topic_is_printed() {
    let ground = Ground::new();
    let mut quotes = ground.bus.publisher::<Quote>("quotes").unwrap();
    quotes.publish(&Quote { instrument: text("ABC"), bid: Price(1_500_000_000) }).unwrap();
    let ran = replay(ground.bus.directory(), &["dump", "--topic", "quotes"]);
    assert_eq!((&ran.lines()[0]["bid"], &ran.lines()[0]["instrument"]), (&json!("1.5"), &json!("ABC")));
}

#[test]
fn what_is_durable_is_a_part_of_what_is_published() {
    let ground = Ground::new();
    let mut market = ground.market();
    for n in 0..1_000 {
        market.publish(&add(n)).unwrap();
    }
    let count = |gate| {
        let ran = replay(ground.bus.directory(), &["dump", "--topic", "market-data", "--gate", gate]);
        ran.lines().len()
    };
    assert_eq!(count("published"), 1_000);
    market.flush().unwrap();
    assert_eq!(count("durable"), 1_000);
}

#[test]
fn damage_is_told_and_the_rest_is_printed() {
    let ground = filled(30_000);
    ground.spoil("market-data", 1, 500_000);
    let ran = replay(ground.bus.directory(), &["dump", "--topic", "market-data"]);
    assert_eq!(ran.code, 1);
    assert!(ran.error.starts_with("note: market-data: damage: sequences "), "{}", ran.error);
    let lines = ran.lines();
    assert!(lines.len() > 28_000 && lines.len() < 30_000);
    assert_eq!(lines.last().unwrap()["sequence"], 29_999);
}

#[test]
fn a_dump_that_follows_prints_what_comes_until_it_is_stopped() {
    let ground = filled(2);
    let mut follower = program(ground.bus.directory())
        .args(["dump", "--topic", "market-data", "--follow"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(follower.stdout.take().unwrap());
    let mut expect = |n: u64| {
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert!(line.starts_with(&format!("{{\"sequence\":{n},")), "{line}");
    };
    (0..2).for_each(&mut expect);
    let mut market = ground.market();
    for n in 2..5 {
        market.publish(&add(n)).unwrap();
        expect(n);
    }
    drop(market);
    stop(&follower);
    let ran = Ran::of(follower.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.error.as_str()), (0, ""));
}

#[test]
fn a_range_that_follows_ends_with_its_last_message() {
    let ground = filled(2);
    let mut market = ground.market();
    let follower = program(ground.bus.directory())
        .args(["dump", "--topic", "market-data", "--follow", "--to", "3"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    for n in 2..9 {
        market.publish(&add(n)).unwrap();
    }
    let ran = Ran::of(follower.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.lines().len()), (0, 4));
}

fn stop(child: &std::process::Child) {
    let stopped = std::process::Command::new("kill").arg(child.id().to_string()).status().unwrap();
    assert!(stopped.success());
}
