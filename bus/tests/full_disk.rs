//! Given a disk that is nearly full, expect that the topics of a bus leave each other what they need to start, and that who
//! is refused is told how much room helps. The disk is a file system in memory that a user namespace is given; where the
//! system has none to give, the tests say so and prove nothing.
#![allow(missing_docs)]

mod common;

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use bus::{Bus, BusError, Publisher, config::BusConfig, program::Size};
use common::{Process, Quote, ground, orders, quote};
use journal::storage::space;

const SEGMENT: u64 = 1 << 20;
/// Longer than anything here takes; reaching it fails the test.
const PATIENCE: Duration = Duration::from_secs(20);
/// Becomes a user of its own with a file system of the size `$1` at `$2`, and runs the rest of its arguments.
const SMALL: &str = "mount -t tmpfs -o size=$1 tmpfs \"$2\" && echo ready 0 && shift 2 && exec \"$@\"";

/// The other processes: each does what its orders say.
#[test]
fn process() {
    let Some((bus, orders)) = orders() else { return };
    let config =
        BusConfig { segment: Some(Size(SEGMENT)), memory: Some(Size(128 << 20)), ..BusConfig::default() };
    let bus = Bus::with_config(bus.directory(), config).unwrap();
    if orders[0] == "share" { share(&bus) } else { refuse(&bus) }
}

/// A process with a small disk; none where the system gives no such thing.
fn start(size: &str, bus: &Path, orders: &str) -> Option<Process> {
    fs::create_dir(bus).unwrap();
    let small = |program: &Path| {
        let mut command = Command::new("unshare");
        command.args(["-U", "-r", "-m", "sh", "-c", SMALL, "sh", size]).arg(bus).arg(program);
        command
    };
    let is_given = small(Path::new("true")).output().is_ok_and(|tried| tried.status.success());
    if !is_given {
        eprintln!("not proven: this system gives no user namespace");
        return None;
    }
    let mut process = Process::start_by(small(&std::env::current_exe().unwrap()), "process", bus, orders);
    process.told("ready");
    Some(process)
}

/// Files of segments of a topic.
fn segments(bus: &Bus, topic: &str) -> usize {
    let files = fs::read_dir(bus.directory().join(topic).join("0")).unwrap().flatten();
    files.filter(|file| file.path().extension().is_some_and(|ending| ending == "segment")).count()
}

/// A publisher that has made what it makes ahead: all of it where there is room, and at least the next segment.
fn open(bus: &Bus, topic: &str) -> Result<Publisher<Quote>, BusError> {
    let mut quotes = bus.publisher::<Quote>(topic)?;
    let start = Instant::now();
    let is_roomy = || space(bus.directory()).unwrap().free >= 8 * SEGMENT;
    while segments(bus, topic) < 2 || (segments(bus, topic) < 5 && is_roomy()) {
        assert!(start.elapsed() < PATIENCE, "topic '{topic}' cannot go on");
        std::thread::yield_now();
    }
    quotes.publish(&quote(0)).unwrap();
    Ok(quotes)
}

/// Opens as many topics as there is room for two segments each.
fn share(bus: &Bus) {
    let publishers: Vec<_> = ["one", "two", "three", "four"].map(|topic| open(bus, topic).unwrap()).into();
    publishers.into_iter().for_each(|publisher| publisher.close().unwrap());
    println!("shared 4");
}

/// Opens more than there is room for, and then makes as much room as it is told to.
fn refuse(bus: &Bus) {
    let root = bus.directory();
    let filler = root.join("filler");
    let filled = space(root).unwrap().free - 5 * SEGMENT;
    fs::write(&filler, vec![1; filled as usize]).unwrap();
    let before = space(root).unwrap().free;
    let opened = ["one", "two"].map(|topic| open(bus, topic).unwrap());
    let refused = bus.publisher::<Quote>("three").unwrap_err();
    assert!(refused.is_no_room());
    assert!(!root.join("three/0").exists(), "no journal is left of a topic that never was");
    let told = refused.to_string();
    let BusError::TooLittleDisk { segment, free, needed, before: told_before, .. } = refused else {
        panic!("{refused:?}")
    };
    assert!(segment == SEGMENT && free < SEGMENT && needed > 6 * SEGMENT, "{told}");
    assert!(told_before <= before && told_before + (64 << 10) > before, "{told}");
    let more: u64 =
        told.split("; make ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap().parse().unwrap();
    opened.into_iter().for_each(|publisher| publisher.close().unwrap());
    assert!(
        space(root).unwrap().free > SEGMENT,
        "what was taken is given back, and one segment was not enough"
    );
    fs::File::options().write(true).open(&filler).unwrap().set_len(filled - more).unwrap();
    let again = ["one", "two", "three"].map(|topic| open(bus, topic).unwrap());
    again.into_iter().for_each(|publisher| publisher.close().unwrap());
    println!("refused {more}");
}

#[test]
fn topics_that_are_opened_first_leave_the_others_room() {
    let (_directory, bus) = ground();
    let Some(mut process) = start("11m", &bus, "share") else { return };
    assert_eq!(process.told("shared"), 4);
    assert!(process.end().success());
}

#[test]
fn who_makes_the_room_that_is_asked_for_can_start() {
    let (_directory, bus) = ground();
    let Some(mut process) = start("16m", &bus, "refuse") else { return };
    assert!(process.told("refused") >= SEGMENT);
    assert!(process.end().success());
}
