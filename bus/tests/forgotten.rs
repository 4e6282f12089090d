//! Given a killed publisher and a bus directory that is not where it was, expect that messages which only shared memory
//! holds wait for their bus, until an operator gives them up by name.
#![allow(missing_docs)]

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::Duration,
};

use bus::{Bus, Gate, Start, event::Event, event::as_bytes};
use common::{Process, Quote, orders, quote};
use journal::{Journal, Options, Places, instance::Instance, storage::DiskStorage};
use serde_json::{Value, json};

/// Messages that are durable, and those that are only in memory.
const DURABLE: u64 = 1_000;
const HELD: u64 = 500;

/// The other processes: each does what its orders say.
#[test]
fn process() {
    let Some((bus, orders)) = orders() else { return };
    match &*orders[0] {
        "flush" => {
            let mut quotes = bus.publisher::<Quote>("quotes").unwrap();
            (0..DURABLE).for_each(|n| assert_eq!(quotes.publish(&quote(n)), Ok(n)));
            quotes.flush().unwrap();
            park();
        }
        "hold" => hold(&bus),
        _ => read(&bus),
    }
}

fn park() -> ! {
    println!("published 0");
    loop {
        std::thread::park();
    }
}

/// Publishes what no write-out makes durable.
fn hold(bus: &Bus) {
    drop(bus.publisher::<Quote>("quotes").unwrap());
    let occupancy = Instance::of(bus.directory()).unwrap().enter().unwrap();
    let disk = bus.directory().join("quotes/0");
    let places = Places {
        storage: Arc::new(DiskStorage::new(&disk)),
        memory_dir: occupancy.make_topic("quotes", 0).unwrap(),
    };
    let options = Options {
        segment_size: 1 << 20,
        memory_budget: 4 << 20,
        retention: None,
        inputs: Vec::new(),
        proven: Vec::new(),
        cut_from: None,
        lock: disk.join(journal::LOCK),
        now: 0,
        purpose: journal::lock::Purpose::Publish,
        patience: Duration::ZERO,
    };
    let Journal { mut writer, write_out, lock, .. } = journal::open(&places, options).unwrap();
    for n in DURABLE..DURABLE + HELD {
        assert_eq!(writer.append(Quote::KIND, 0, as_bytes(&quote(n)), || n), Ok(n));
    }
    assert_eq!(writer.durable(), DURABLE);
    let _held = (write_out, lock);
    park();
}

/// Publishes once more and checks all that is there.
fn read(bus: &Bus) {
    let mut quotes = bus.publisher::<Quote>("quotes").unwrap();
    let count = quotes.next_sequence();
    quotes.publish(&quote(count)).unwrap();
    quotes.close().unwrap();
    let mut subscriber = bus.subscriber::<Quote>("quotes", Start::Oldest, Gate::Durable).unwrap();
    (0..=count).for_each(|n| assert_eq!(subscriber.wait().unwrap(), Some(&quote(n))));
    println!("had {count}");
}

/// A disk with two directories, and shared memory that no other test sees.
struct Machine {
    disk: tempfile::TempDir,
    memory: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let memory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let disk = tempfile::tempdir().unwrap();
        ["here", "there"].iter().for_each(|name| fs::create_dir(disk.path().join(name)).unwrap());
        Self { disk, memory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.disk.path().join(name)
    }

    fn start(&self, bus: &Path, orders: &str) -> Process {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env("BUSBAR_SHM", self.memory.path());
        Process::start_by(command, "process", bus, orders)
    }

    /// A publisher that is killed; then its bus is where nobody looks.
    fn kill_and_rename(&self, orders: &[&str]) -> PathBuf {
        let (bus, moved) = (self.path("here/bus"), self.path("there/moved"));
        for orders in orders {
            let mut publisher = self.start(&bus, orders);
            publisher.told("published");
            publisher.kill();
        }
        fs::rename(bus, &moved).unwrap();
        moved
    }

    /// How many messages a publisher finds.
    fn reopen(&self, bus: &Path) -> u64 {
        let mut process = self.start(bus, "read");
        let had = process.told("had");
        assert!(process.end().success());
        had
    }

    /// Exit code and what of the report is about forgotten memory.
    fn doctor(&self, flags: &[&str]) -> (Option<i32>, Value) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bus"));
        command.args(["doctor", "--json", "--bus"]).arg(self.path("other")).args(flags);
        let told = command.env("BUSBAR_SHM", self.memory.path()).output().unwrap();
        assert!(told.stderr.is_empty(), "{}", String::from_utf8_lossy(&told.stderr));
        let report: Value = serde_json::from_slice(&told.stdout).unwrap();
        assert_eq!(
            report["ok"],
            told.status.code() == Some(0),
            "the report agrees with the exit code: {report}"
        );
        (told.status.code(), report["forgotten"].clone())
    }

    fn instances(&self) -> usize {
        fs::read_dir(self.memory.path()).unwrap().count()
    }
}

#[test]
fn what_only_memory_holds_waits_for_the_renamed_bus() {
    let machine = Machine::new();
    let moved = machine.kill_and_rename(&["flush", "hold"]);
    // Another bus's publisher sweeps, and an operator asks for the forgotten to go.
    assert_eq!(machine.reopen(&machine.path("other")), 0);
    let (code, listed) = machine.doctor(&["--remove-forgotten"]);
    assert_eq!((code, &listed[0]["messages"], &listed[0]["removed"]), (Some(1), &json!(HELD), &json!(false)));
    let mut command = Command::new(env!("CARGO_BIN_EXE_bus"));
    command.args(["status", "--bus"]).arg(&moved).env("BUSBAR_SHM", machine.memory.path());
    let status = String::from_utf8(command.output().unwrap().stdout).unwrap();
    let told = "topic 'quotes': its publisher died and left 500 messages in shared memory only; ";
    assert!(status.contains(told), "{status}");
    let id = fs::read_to_string(moved.join("bus.id")).unwrap();
    assert_eq!(listed[0]["id"], id.trim());
    assert!(
        listed[0]["bytes"].as_u64() > Some(1 << 20) && listed[0]["last_used"].as_u64() > Some(0),
        "{listed}"
    );
    assert_eq!(machine.reopen(&moved), DURABLE + HELD);
    assert_eq!((machine.doctor(&[]), machine.instances()), ((Some(0), json!([])), 0));
}

#[test]
fn memory_whose_messages_are_durable_is_swept() {
    let machine = Machine::new();
    machine.kill_and_rename(&["flush"]);
    assert_eq!(machine.instances(), 1);
    assert_eq!(machine.reopen(&machine.path("other")), 0);
    assert_eq!(machine.instances(), 0, "swept by the other bus's publisher");
}

#[test]
fn memory_whose_messages_are_durable_goes_on_request() {
    let machine = Machine::new();
    let moved = machine.kill_and_rename(&["flush"]);
    let (code, listed) = machine.doctor(&[]);
    assert_eq!((code, &listed[0]["messages"], &listed[0]["removed"]), (Some(0), &json!(0), &json!(false)));
    let (code, listed) = machine.doctor(&["--remove-forgotten"]);
    assert_eq!((code, &listed[0]["removed"]), (Some(0), &json!(true)));
    assert_eq!((machine.doctor(&[]), machine.instances()), ((Some(0), json!([])), 0));
    assert_eq!(machine.reopen(&moved), DURABLE);
}

#[test]
fn memory_that_a_stranger_may_have_put_there_is_not_believed() {
    let machine = Machine::new();
    let bus = machine.path("here/bus");
    let mut publisher = machine.start(&bus, "flush");
    publisher.told("published");
    publisher.kill();
    let status = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bus"));
        command.args(["status", "--bus"]).arg(&bus).env("BUSBAR_SHM", machine.memory.path());
        command.output().unwrap()
    };
    assert_eq!(status().status.code(), Some(0));
    let instance = fs::read_dir(machine.memory.path()).unwrap().next().unwrap().unwrap().path();
    let elsewhere = machine.path("elsewhere");
    fs::rename(&instance, &elsewhere).or_else(|_| fs::create_dir(&elsewhere)).unwrap();
    let _ = fs::remove_dir_all(&instance);
    // Whatever its owner may be, no directory of the bus is a link.
    std::os::unix::fs::symlink(&elsewhere, &instance).unwrap();
    let refused = status();
    let line = String::from_utf8(refused.stdout).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{line}");
    assert!(
        line.contains("attention")
            && line.contains("who does not own the bus")
            && line.contains("BUSBAR_SHM"),
        "{line}"
    );
}

#[test]
fn messages_are_given_up_by_name_only_and_counted() {
    let machine = Machine::new();
    let moved = machine.kill_and_rename(&["flush", "hold"]);
    let text = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bus"));
        let told = command.arg("doctor").env("BUSBAR_SHM", machine.memory.path()).output().unwrap();
        String::from_utf8(told.stdout).unwrap()
    };
    let (_, listed) = machine.doctor(&[]);
    let directory = listed[0]["directory"].as_str().unwrap();
    assert!(
        text().contains("500 messages that are nowhere else")
            && text().contains(&format!("--discard {directory}"))
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_bus"));
    command.args(["doctor", "--discard", "busbar-0-nonsense"]).env("BUSBAR_SHM", machine.memory.path());
    let refused = command.output().unwrap();
    let line = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert_eq!(line, "bus: no forgotten shared memory: busbar-0-nonsense; see what 'bus doctor' lists\n");
    assert_eq!(machine.instances(), 1);
    let (code, gone) = machine.doctor(&["--discard", directory]);
    assert_eq!((code, &gone[0]["messages"], &gone[0]["removed"]), (Some(1), &json!(HELD), &json!(true)));
    assert_eq!(machine.instances(), 0);
    assert_eq!(machine.reopen(&moved), DURABLE);
}

#[test]
fn memory_of_live_writers_is_listed_and_stays() {
    let machine = Machine::new();
    let (bus, moved) = (machine.path("here/bus"), machine.path("there/moved"));
    let mut publisher = machine.start(&bus, "flush");
    publisher.told("published");
    fs::rename(&bus, &moved).unwrap();
    let (code, listed) = machine.doctor(&["--remove-forgotten"]);
    assert_eq!((code, &listed[0]["in_use"], &listed[0]["removed"]), (Some(0), &json!(true), &json!(false)));
    publisher.kill();
    assert_eq!(machine.reopen(&moved), DURABLE);
}
