//! Given a topic with this retention, expect that it stays within it, and that nobody is left in doubt.
#![allow(missing_docs)]

mod common;

use std::{os::unix::fs::MetadataExt, path::Path, process::Command};

use bus::{
    Bus, Gate, PublishError, ReadError, Start, Survey,
    config::{BusConfig, TopicConfig, WhenFull},
    event::{Bytes, Event},
    program::Size,
};
use common::{Process, ground, orders};
use journal::Room;
use serde_json::Value;

const SEGMENT: u64 = 1 << 20;
const RETENTION: u64 = 8 * SEGMENT;
/// The journal's small files.
const BESIDE: u64 = 64 << 10;

/// A large message, so that much is soon published.
#[derive(Event, Clone, Copy)]
#[repr(C)]
struct Block {
    number: u64,
    bytes: Bytes<8000>,
}

fn block(number: u64) -> Block {
    Block { number, bytes: Bytes([7; 8000]) }
}

fn open(directory: &Path, retention: u64, when_full: WhenFull) -> Bus {
    let topic = TopicConfig { retention: Some(Size(retention)), when_full: Some(when_full) };
    let config = BusConfig {
        segment: Some(Size(SEGMENT)),
        topics: [("blocks".to_owned(), topic)].into(),
        ..BusConfig::default()
    };
    Bus::with_config(directory, config).unwrap()
}

/// What the journal really takes on disk.
fn bytes_on_disk(bus: &Path) -> u64 {
    let files = std::fs::read_dir(bus.join("blocks/0")).unwrap().flatten();
    files.filter_map(|file| Some(file.metadata().ok()?.blocks() * 512)).sum()
}

fn survey(bus: &Path) -> Survey {
    Bus::open(bus).unwrap().survey("blocks").unwrap()
}

/// The other processes: each publishes up to a last message, with a retention and what happens beyond it, and ends then
/// or stays.
#[test]
fn process() {
    let Some((bus, orders)) = orders() else { return };
    let [retention, last] = [0, 1].map(|n| orders[n].parse().unwrap());
    let when_full = if orders[2] == "wait" { WhenFull::Wait } else { WhenFull::Expire };
    let bus = open(bus.directory(), retention, when_full);
    let mut blocks = bus.publisher::<Block>("blocks").unwrap();
    println!("begin {}", blocks.next_sequence());
    while blocks.next_sequence() < last {
        blocks.publish(&block(blocks.next_sequence())).unwrap();
    }
    blocks.flush().unwrap();
    println!("end {last}");
    if orders[3] == "stay" {
        loop {
            std::thread::park();
        }
    }
}

fn publish(bus: &Path, when_full: &str, last: u64, then: &str) -> Process {
    Process::start("process", bus, &format!("{RETENTION} {last} {when_full} {then}"))
}

/// Messages of so much retention.
fn messages(retention: u64) -> u64 {
    retention / size_of::<Block>() as u64
}

#[test]
fn a_topic_that_expires_stays_within_its_retention_and_a_slow_subscriber_is_told() {
    let (_directory, bus) = ground();
    let open = open(&bus, RETENTION, WhenFull::Expire);
    let mut blocks = open.publisher::<Block>("blocks").unwrap();
    let mut slow = open.subscriber::<Block>("blocks", Start::Oldest, Gate::Durable).unwrap();
    let (mut most, count) = (0, 20 * RETENTION / size_of::<Block>() as u64);
    for number in 0..count {
        assert_eq!(blocks.publish(&block(number)), Ok(number));
        if number.is_multiple_of(20) {
            most = most.max(bytes_on_disk(&bus));
        }
    }
    blocks.close().unwrap();
    most = most.max(bytes_on_disk(&bus));
    assert!(most <= RETENTION + BESIDE, "{most} bytes where {RETENTION} are allowed");
    let mut expected = 0;
    let first = loop {
        match slow.poll() {
            Ok(Some(event)) => assert_eq!((event.number, expected), (expected, event.number)),
            Err(ReadError::Retired { first }) => break first,
            other => panic!("{:?}", other.map(|_| ())),
        }
        expected += 1;
    };
    assert!(first > expected, "{first} is retained, {expected} was missed");
    assert_eq!(first, survey(&bus).watermarks.first);
    expected = first;
    while let Some(event) = slow.wait().unwrap() {
        assert_eq!(event.number, expected);
        expected += 1;
    }
    assert_eq!(expected, count, "behind what is gone nothing is missing");
}

#[test]
fn a_topic_that_refuses_keeps_what_it_has_and_goes_on_with_more() {
    let (_directory, bus) = ground();
    let mut blocks = open(&bus, RETENTION, WhenFull::Refuse).publisher::<Block>("blocks").unwrap();
    let refused = loop {
        let next = blocks.next_sequence();
        if let Err(error) = blocks.publish(&block(next)) {
            break error;
        }
    };
    assert_eq!((refused, blocks.refused()), (PublishError::NoRoom(Room::Retention), 1));
    blocks.flush().unwrap();
    let count = blocks.next_sequence();
    assert!(bytes_on_disk(&bus) <= RETENTION + BESIDE && count * size_of::<Block>() as u64 > RETENTION / 2);
    assert!(survey(&bus).control.unwrap().counters()[3] >= 1, "who looks from outside sees refusals");
    blocks.close().unwrap();
    let mut blocks = open(&bus, 2 * RETENTION, WhenFull::Refuse).publisher::<Block>("blocks").unwrap();
    assert_eq!(blocks.publish(&block(count)), Ok(count));
    blocks.close().unwrap();
    let marks = survey(&bus).watermarks;
    assert_eq!((marks.first, marks.durable), (0, count + 1));
}

#[test]
fn a_topic_that_waits_refuses_nothing() {
    let (_directory, bus) = ground();
    let more = 2 * RETENTION / size_of::<Block>() as u64;
    let mut waiting = Process::start("process", &bus, &format!("{RETENTION} {more} wait end"));
    waiting.told("begin");
    let refusals = || survey(&bus).control.map_or(0, |control| control.counters()[3]);
    while refusals() < 3 {
        std::thread::yield_now();
    }
    let reached = survey(&bus).watermarks.published;
    assert!((1..more).contains(&reached), "{reached} of {more}");
    waiting.kill();
    let mut going_on = Process::start("process", &bus, &format!("{} {more} wait end", 4 * RETENTION));
    assert_eq!(going_on.told("begin"), reached, "it waited and published nothing more");
    assert!(going_on.end().success());
    assert_eq!(survey(&bus).watermarks.durable, more);
}

#[test]
fn what_a_keeper_of_another_process_needs_stays_while_the_topic_takes_twice_its_retention() {
    let (_directory, bus) = ground();
    let open = Bus::open(&bus).unwrap();
    assert!(open.keep_from("blocks", "auditor", 0).unwrap_err().is_missing(), "nothing could go yet");
    assert!(publish(&bus, "expire", 100, "end").end().success());
    open.keep_from("blocks", "auditor", 50).unwrap();
    let within = messages(RETENTION * 5 / 4);
    assert!(publish(&bus, "expire", within, "end").end().success());
    assert!(bytes_on_disk(&bus) > RETENTION, "the keeper holds it");
    assert!(survey(&bus).watermarks.first <= 50);
    let mut auditor = open.subscriber::<Block>("blocks", Start::Sequence(50), Gate::Durable).unwrap();
    for number in 50..within {
        assert_eq!(auditor.poll().unwrap().map(|event| event.number), Some(number));
    }
    open.keep_from("blocks", "auditor", within).unwrap();
    assert!(publish(&bus, "expire", within + 500, "end").end().success());
    assert!(bytes_on_disk(&bus) <= RETENTION + BESIDE, "it has gone on");
}

#[test]
fn a_keeper_that_stays_behind_is_overruled_which_is_counted_and_shown() {
    let (_directory, bus) = ground();
    assert!(publish(&bus, "expire", 100, "end").end().success());
    Bus::open(&bus).unwrap().keep_from("blocks", "auditor", 50).unwrap();
    let mut publisher = publish(&bus, "expire", messages(4 * RETENTION), "stay");
    publisher.told("end");
    let found = survey(&bus);
    assert_eq!(found.control.unwrap().counters()[4], 1, "what is left is of no use to it and goes as ever");
    assert!(found.watermarks.first > 50 && bytes_on_disk(&bus) <= RETENTION + BESIDE);
    let told = || {
        let status =
            Command::new(env!("CARGO_BIN_EXE_bus")).args(["status", "--json", "--bus"]).arg(&bus).output();
        serde_json::from_slice::<Value>(&status.unwrap().stdout).unwrap()
    };
    // What is told is looked up piece by piece, while the publisher may remove one segment more.
    let (mut report, mut again) = (told(), told());
    while report["topics"][0]["first"] != again["topics"][0]["first"] {
        (report, again) = (again, told());
    }
    let topic = &report["topics"][0];
    let lost = topic["first"].as_u64().unwrap() - 50;
    assert_eq!(topic["retention"], RETENTION);
    assert_eq!(
        (&topic["keepers"][0]["keeper"], &topic["keepers"][0]["lost"]),
        (&"auditor".into(), &lost.into())
    );
    let reason = report["reasons"][0].as_str().unwrap();
    assert!(reason.contains(&format!("removed {lost} messages that keeper 'auditor'")), "{reason}");
    Bus::open(&bus).unwrap().release("blocks", "auditor").unwrap();
    assert_eq!(survey(&bus).keepers, []);
}

#[test]
fn a_topic_that_waits_goes_on_as_its_keepers_do_and_they_miss_nothing() {
    let (_directory, bus) = ground();
    let (open, count) = (Bus::open(&bus).unwrap(), messages(4 * RETENTION));
    assert!(publish(&bus, "wait", 100, "end").end().success());
    open.keep_from("blocks", "auditor", 0).unwrap();
    let mut waiting = publish(&bus, "wait", count, "end");
    waiting.told("begin");
    while survey(&bus).control.is_none_or(|control| control.counters()[3] < 3) {
        std::thread::yield_now();
    }
    let mut auditor = open.subscriber::<Block>("blocks", Start::Oldest, Gate::Durable).unwrap();
    let mut most = 0;
    for number in 0..count {
        assert_eq!(auditor.wait().unwrap().map(|event| event.number), Some(number));
        if number.is_multiple_of(50) {
            open.keep_from("blocks", "auditor", number + 1).unwrap();
            most = most.max(bytes_on_disk(&bus));
        }
    }
    assert!(waiting.end().success());
    assert!(most <= RETENTION + BESIDE, "{most} bytes where {RETENTION} are allowed");
    assert!(survey(&bus).watermarks.first > 0);
}
