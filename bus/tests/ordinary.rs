//! Given an ordinary user with little shared memory and none to lock, expect that all works, and that memory that is full
//! is refused and gone on from. What a container or a small machine gives is made with a user namespace, so that no
//! privilege is needed; where the system has none to give, the tests say so and prove nothing.
#![allow(missing_docs)]

mod common;

use std::{path::Path, process::Command};

use bus::{Bus, Gate, PublishError, Room, Start, config::BusConfig, program::Size};
use common::{Process, Quote, ground, orders, quote};
use journal::{instance, storage::space};

/// Messages that do not fit the memory at once.
const COUNT: u64 = 200_000;
/// Becomes a user of its own with a file system in memory, of the size `$1`, at `BUSBAR_SHM`; may lock no memory; runs
/// the rest of its arguments.
const SMALL: &str =
    "mount -t tmpfs -o size=$1 tmpfs \"$BUSBAR_SHM\" && ulimit -l 0 && echo ready 0 && shift && exec \"$@\"";

/// The same, with groups of memory of the test's own making before it mounts the memory.
const GROUPED: &str = "mount -t tmpfs tmpfs /sys/fs/cgroup && mkdir /sys/fs/cgroup/memory && mount -t tmpfs -o size=$1 tmpfs \
     \"$BUSBAR_SHM\" && echo ready 0 && shift && exec \"$@\"";

/// The other processes: each does what its orders say.
#[test]
fn process() {
    let Some((bus, orders)) = orders() else { return };
    match &*orders[0] {
        "carry" => carry(&bus),
        "refuse" => refuse(&bus),
        "limit" => limit(&bus),
        _ => fill(&bus),
    }
    let memory = instance::Instance::of(bus.directory()).unwrap();
    drop(bus);
    assert!(!memory.directory().exists(), "a clean end leaves no memory");
}

/// A process in little memory; none where the system gives no such thing.
fn start(size: &str, bus: &Path, orders: &str) -> Option<Process> {
    start_in(SMALL, size, bus, orders)
}

/// A process in what a script makes.
fn start_in(script: &str, size: &str, bus: &Path, orders: &str) -> Option<Process> {
    let memory = bus.parent().unwrap().join("memory");
    std::fs::create_dir(&memory).unwrap();
    let small = |size: &str, program: &Path| {
        let mut command = Command::new("unshare");
        command
            .args(["-U", "-r", "-m", "sh", "-c", script, "sh", size])
            .arg(program)
            .env("BUSBAR_SHM", &memory);
        command
    };
    let is_given = small(size, Path::new("true")).output().is_ok_and(|tried| tried.status.success());
    if !is_given {
        eprintln!("not proven: this system gives no user namespace");
        return None;
    }
    let mut process =
        Process::start_by(small(size, &std::env::current_exe().unwrap()), "process", bus, orders);
    process.told("ready");
    Some(process)
}

/// Publishes more than the memory holds, while a subscriber reads what is durable.
fn carry(bus: &Bus) {
    let mut quotes = bus.publisher::<Quote>("quotes").unwrap();
    let mut subscriber = bus.subscriber::<Quote>("quotes", Start::Oldest, Gate::Durable).unwrap();
    let reading = std::thread::spawn(move || {
        let mut seen = 0;
        while let Some(event) = subscriber.wait().unwrap() {
            assert_eq!(event, &quote(seen));
            seen += 1;
        }
        seen
    });
    (0..COUNT).for_each(|n| assert_eq!(quotes.publish(&quote(n)), Ok(n)));
    quotes.close().unwrap();
    println!("read {}", reading.join().unwrap());
}

/// Opens what there is memory for, and is refused the rest.
fn refuse(bus: &Bus) {
    let quotes = bus.publisher::<Quote>("quotes").unwrap();
    let warning = bus.scanty_memory().unwrap();
    let place = instance::root().display().to_string();
    assert!(warning.starts_with(&format!("little shared memory: {place} has 3MiB, ")), "{warning}");
    let refused = bus.publisher::<Quote>("more").unwrap_err().to_string();
    let given = format!(
        "too little shared memory for topic 'more': {place} gives 3145728 bytes, and 4210688 are needed"
    );
    assert!(refused.starts_with(&given) && refused.contains("; mount a tmpfs"), "{refused}");
    drop(quotes);
    bus.publisher::<Quote>("more").unwrap();
    println!("refused 1");
}

/// Leaves room for one segment, publishes until that is full, makes room and goes on.
fn fill(bus: &Bus) {
    let root = instance::root();
    let filler = root.join("filler");
    std::fs::write(&filler, vec![0; space(&root).unwrap().total as usize - (3 << 19)]).unwrap();
    let mut quotes = bus.publisher::<Quote>("quotes").unwrap();
    let refused = loop {
        if let Err(error) = quotes.publish(&quote(quotes.next_sequence())) {
            break error;
        }
    };
    assert_eq!((refused, quotes.refused()), (PublishError::NoRoom(Room::Memory), 1));
    quotes.flush().unwrap();
    let count = quotes.next_sequence();
    std::fs::remove_file(filler).unwrap();
    while quotes.publish(&quote(count)).is_err() {
        std::thread::yield_now();
    }
    quotes.close().unwrap();
    assert_eq!(bus.watermarks("quotes").unwrap().durable, count + 1);
    println!("refused {count}");
}

/// Publishes until the limit of its group is reached, has that raised and goes on.
fn limit(bus: &Bus) {
    let root = Path::new("/sys/fs/cgroup");
    let set = |limit: u64, used: u64| {
        for (name, bytes) in [("memory.max", limit), ("memory.current", used)] {
            std::fs::write(root.join(name), format!("{bytes}\n")).unwrap();
        }
        for (name, bytes) in [("limit_in_bytes", limit), ("usage_in_bytes", used)] {
            std::fs::write(root.join("memory").join(format!("memory.{name}")), format!("{bytes}\n")).unwrap();
        }
    };
    set(64 << 20, 0);
    let mut quotes = bus.publisher::<Quote>("quotes").unwrap();
    quotes.publish(&quote(0)).unwrap();
    set(64 << 20, (64 << 20) - 4096);
    let refused = loop {
        if let Err(error) = quotes.publish(&quote(quotes.next_sequence())) {
            break error;
        }
    };
    assert_eq!((refused, quotes.refused()), (PublishError::NoRoom(Room::Group), 1));
    let told = "the memory limit of this control group has no room for another segment: publish; raise it (a container: \
                --memory), publishing then goes on";
    assert_eq!(refused.to_string(), told);
    let count = quotes.next_sequence();
    set(64 << 20, 0);
    while quotes.publish(&quote(count)).is_err() {
        std::thread::yield_now();
    }
    quotes.close().unwrap();
    println!("refused {count}");
}

#[test]
fn a_limit_of_the_memory_group_is_named_while_publishing_too() {
    let (_directory, bus) = ground();
    let Some(mut process) = start_in(GROUPED, "64m", &bus, "limit") else { return };
    assert!(process.told("refused") > 1_000);
    assert!(process.end().success());
}

#[test]
fn little_memory_carries_much() {
    let (_directory, bus) = ground();
    let Some(mut process) = start("16m", &bus, "carry") else { return };
    assert_eq!(process.told("read"), COUNT);
    assert!(process.end().success());
}

#[test]
fn what_memory_cannot_hold_is_refused_at_once() {
    let (_directory, bus) = ground();
    let Some(mut process) = start("3m", &bus, "refuse") else { return };
    assert_eq!(process.told("refused"), 1);
    assert!(process.end().success());
}

#[test]
fn a_budget_that_cannot_hold_the_topics_is_refused_by_name() {
    let (_directory, bus) = ground();
    let with = |memory: u64| {
        let config = BusConfig { memory: Some(Size(memory)), ..BusConfig::default() };
        Bus::with_config(&bus, config).unwrap()
    };
    let refused = with(1 << 20).publisher::<Quote>("quotes").unwrap_err().to_string();
    let told = "too little shared memory for topic 'quotes': the key 'memory' of [bus] gives 1048576 bytes, and 2105344 \
                are needed with the topics that are published already; raise it, or set a smaller `segment` under \
                [bus] before the topics are made";
    assert_eq!(refused, told);
    assert!(with(1 << 20).topics().unwrap().is_empty());
    let enough = with(5 << 20);
    let (one, two) =
        (enough.publisher::<Quote>("quotes").unwrap(), enough.publisher::<Quote>("more").unwrap());
    drop((one, two));
    assert_eq!(enough.topics().unwrap(), ["more", "quotes"]);
}

#[test]
fn full_memory_is_refused_and_gone_on_from() {
    let (_directory, bus) = ground();
    let Some(mut process) = start("6m", &bus, "fill") else { return };
    assert!(process.told("refused") > 1_000);
    assert!(process.end().success());
}
