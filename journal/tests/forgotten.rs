//! Given memory that a killed writer left and a bus directory that is not where it was, expect that no message is lost
//! that is nowhere else, and that all other memory goes.
#![allow(missing_docs)]

mod common;

use std::{fs, path::Path, path::PathBuf, sync::Arc, time::Duration};

use common::{Live, SEGMENT, assert_messages, message, read_rest};
use journal::{
    Gate, Options, Places, Reader, Start,
    instance::{Forgotten, Instance, Occupancy, forgotten, sweep},
    storage::{DiskStorage, PwriteEngine},
};

/// Messages that are durable when the writer dies, and all that are published by then: more than a segment holds.
const DURABLE: u64 = 500;
const COUNT: u64 = 20_000;

/// Two disks and shared memory.
struct Machine {
    disk: tempfile::TempDir,
    other: tempfile::TempDir,
    memory: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let directory = || tempfile::tempdir().unwrap();
        let machine = Self { disk: directory(), other: directory(), memory: directory() };
        fs::create_dir(machine.bus()).unwrap();
        machine
    }

    fn bus(&self) -> PathBuf {
        self.disk.path().join("bus")
    }

    /// Where no look beside the old place finds it.
    fn elsewhere(&self) -> PathBuf {
        self.other.path().join("moved")
    }

    fn enter(&self, bus: &Path) -> Occupancy {
        Instance::below(self.memory.path(), bus).unwrap().enter().unwrap()
    }

    fn places(&self, bus: &Path) -> Places {
        let memory_dir = Instance::below(self.memory.path(), bus).unwrap().topic_path("trades", 0);
        Places { storage: Arc::new(DiskStorage::new(bus.join("trades/0"))), memory_dir }
    }

    /// A writer that comes in as those of a bus do.
    fn open(&self, bus: &Path) -> (Live, Occupancy) {
        let occupancy = self.enter(bus);
        occupancy.make_topic("trades", 0).unwrap();
        let options = Options {
            segment_size: SEGMENT,
            memory_budget: 8 * SEGMENT,
            retention: None,
            inputs: Vec::new(),
            proven: Vec::new(),
            cut_from: None,
            lock: bus.join("trades/0").join(journal::LOCK),
            now: 1_000,
            purpose: journal::lock::Purpose::Publish,
            patience: Duration::ZERO,
        };
        let journal = journal::open(&self.places(bus), options).unwrap();
        (Live { engine: Box::new(PwriteEngine::new()), journal, now: 0 }, occupancy)
    }

    /// A writer that is killed: what it published behind `durable` is in memory only.
    fn kill(&self, durable: u64, published: u64) {
        let (mut live, _occupancy) = self.open(&self.bus());
        (0..durable).for_each(|n| assert_eq!(live.publish(&message(n)), n));
        live.settle();
        assert_eq!(live.writer().durable(), durable);
        // The segments that were made ready meanwhile are enough: no turn of the write-out, so nothing more is durable.
        for n in durable..published {
            assert_eq!(live.journal.writer.append(1, 0, &message(n), || n), Ok(n));
        }
        assert_eq!(live.writer().durable(), durable);
        live.die();
    }

    fn forgotten(&self) -> Vec<Forgotten> {
        forgotten(self.memory.path()).unwrap()
    }

    fn sweep(&self) -> usize {
        sweep(self.memory.path()).unwrap()
    }

    fn instances(&self) -> usize {
        fs::read_dir(self.memory.path()).unwrap().count()
    }

    /// Opens the bus at `bus`, closes it well, and answers how many messages it has; all must be right.
    fn recover(&self, bus: &Path) -> u64 {
        let (mut live, _occupancy) = self.open(bus);
        let count = live.writer().next_sequence();
        live.close();
        let mut reader = Reader::open(self.places(bus), Start::Oldest, Gate::Durable).unwrap();
        let (messages, faults) = read_rest(&mut reader);
        assert_eq!(faults, []);
        assert_messages(&messages, count);
        count
    }
}

fn copy(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp").arg("-r").args([from, to]).status().unwrap();
    assert!(copied.success());
}

#[test]
fn a_bus_renamed_after_its_writer_was_killed_keeps_what_only_memory_holds() {
    let machine = Machine::new();
    machine.kill(DURABLE, COUNT);
    fs::rename(machine.bus(), machine.elsewhere()).unwrap();
    let [found] = &machine.forgotten()[..] else { panic!("one is forgotten") };
    assert_eq!((found.messages, found.unknown, found.in_use), (COUNT - DURABLE, 0, false));
    assert!(found.bytes > SEGMENT as u64 && found.last_used > 0 && !found.is_durable(), "{found:?}");
    assert_eq!(found.bus.as_deref(), Some(&*fs::canonicalize(machine.disk.path()).unwrap().join("bus")));
    // As when another bus's writer opens, and as when an operator asks for the forgotten to go.
    assert_eq!(machine.sweep(), 0);
    assert!(!found.remove().unwrap());
    assert_eq!(machine.recover(&machine.elsewhere()), COUNT);
    assert_eq!((machine.instances(), machine.forgotten()), (0, Vec::new()));
}

#[test]
fn memory_that_is_durable_is_swept_once_its_bus_is_gone_and_no_writer_holds_it() {
    let machine = Machine::new();
    machine.kill(COUNT, COUNT);
    assert_eq!((machine.forgotten(), machine.sweep()), (Vec::new(), 0), "its bus is there");
    let occupancy = machine.enter(&machine.bus());
    fs::rename(machine.bus(), machine.elsewhere()).unwrap();
    let [found] = &machine.forgotten()[..] else { panic!("one is forgotten") };
    assert!(found.in_use && found.is_durable() && found.bytes > 0, "{found:?}");
    assert_eq!((found.remove().unwrap(), machine.sweep()), (false, 0), "it is in use");
    drop(occupancy);
    assert_eq!((machine.sweep(), machine.instances()), (1, 0));
    assert_eq!(machine.recover(&machine.elsewhere()), COUNT, "the disk has it all");
}

#[test]
fn a_bus_that_is_renamed_where_it_was_is_not_gone() {
    let machine = Machine::new();
    machine.kill(COUNT, COUNT);
    let beside = machine.disk.path().join("renamed");
    fs::rename(machine.bus(), &beside).unwrap();
    assert_eq!((machine.forgotten(), machine.sweep(), machine.instances()), (Vec::new(), 0, 1));
    assert_eq!(machine.recover(&beside), COUNT);
}

#[test]
fn a_bus_that_came_back_is_known_by_its_new_name() {
    let machine = Machine::new();
    machine.kill(DURABLE, COUNT);
    fs::rename(machine.bus(), machine.elsewhere()).unwrap();
    let (live, occupancy) = machine.open(&machine.elsewhere());
    live.die();
    drop(occupancy);
    assert_eq!(machine.forgotten(), []);
    fs::rename(machine.elsewhere(), machine.bus()).unwrap();
    let [found] = &machine.forgotten()[..] else { panic!("one is forgotten") };
    assert_eq!((found.messages, found.is_durable()), (0, true), "recovery made all durable");
}

#[test]
fn a_bus_that_was_moved_to_another_disk_fetches_its_memory() {
    let machine = Machine::new();
    machine.kill(DURABLE, COUNT);
    let place = Instance::below(machine.memory.path(), &machine.bus()).unwrap();
    copy(&machine.bus(), &machine.elsewhere());
    fs::remove_dir_all(machine.bus()).unwrap();
    assert_eq!(machine.forgotten()[0].messages, COUNT - DURABLE);
    assert_eq!(machine.recover(&machine.elsewhere()), COUNT);
    assert!(!place.directory().exists() && machine.instances() == 0);
}

#[test]
fn a_copy_takes_no_memory_while_the_bus_is_there() {
    let machine = Machine::new();
    machine.kill(DURABLE, COUNT);
    copy(&machine.bus(), &machine.elsewhere());
    assert_eq!(machine.recover(&machine.elsewhere()), DURABLE);
    fs::rename(machine.bus(), machine.disk.path().join("renamed")).unwrap();
    assert_eq!(machine.recover(&machine.elsewhere()), DURABLE, "renamed beside it is there as well");
    assert_eq!(machine.recover(&machine.disk.path().join("renamed")), COUNT);
}

#[test]
fn a_backup_takes_no_memory_of_a_later_life() {
    let machine = Machine::new();
    machine.kill(DURABLE, DURABLE);
    copy(&machine.bus(), &machine.elsewhere());
    // The next life recovers and goes on.
    let (mut live, occupancy) = machine.open(&machine.bus());
    (DURABLE..COUNT).for_each(|n| assert_eq!(live.publish(&message(n)), n));
    live.settle();
    (COUNT..COUNT + 7).for_each(|n| assert_eq!(live.journal.writer.append(1, 0, &message(n), || n), Ok(n)));
    live.die();
    drop(occupancy);
    fs::remove_dir_all(machine.bus()).unwrap();
    assert_eq!(machine.recover(&machine.elsewhere()), DURABLE);
    assert_eq!(machine.sweep(), 0);
    let [found] = &machine.forgotten()[..] else { panic!("one is forgotten") };
    assert_eq!(found.messages, 7);
    let gone = found.discard().unwrap().expect("given up by name");
    assert_eq!((gone.messages, machine.instances()), (7, 0));
}

#[test]
fn a_bus_at_the_place_of_another_sets_its_memory_aside() {
    let machine = Machine::new();
    machine.kill(DURABLE, COUNT);
    copy(&machine.bus(), &machine.elsewhere());
    // As when the directory is removed and another bus gets its inode.
    fs::remove_dir_all(machine.bus().join("trades")).unwrap();
    fs::write(machine.bus().join("bus.id"), format!("{:032x}\n", 5)).unwrap();
    drop(machine.enter(&machine.bus()));
    let [found] = &machine.forgotten()[..] else { panic!("one is forgotten") };
    assert_eq!((found.messages, machine.sweep(), machine.instances()), (COUNT - DURABLE, 0, 1));
    assert_eq!(machine.recover(&machine.bus()), 0, "another bus begins anew");
    assert_eq!(machine.recover(&machine.elsewhere()), COUNT, "and the first one is whole");
    assert_eq!(machine.instances(), 0);
}

#[test]
fn a_bus_that_lost_its_id_keeps_its_memory() {
    let machine = Machine::new();
    machine.kill(DURABLE, COUNT);
    fs::remove_file(machine.bus().join("bus.id")).unwrap();
    assert_eq!(machine.recover(&machine.bus()), COUNT);
}

#[test]
fn what_the_control_page_does_not_vouch_for_is_nowhere_else() {
    let machine = Machine::new();
    machine.kill(COUNT, COUNT);
    let memory = machine.places(&machine.bus()).memory_dir;
    fs::remove_dir_all(machine.bus()).unwrap();
    fs::remove_file(memory.join("control")).unwrap();
    let held = machine.forgotten()[0].messages;
    assert!((1..COUNT).contains(&held), "{held} messages of the segments that are not retired");
    let mut segments: Vec<_> = fs::read_dir(&memory).unwrap().map(|entry| entry.unwrap().path()).collect();
    segments.retain(|path| path.extension().is_some_and(|extension| extension == "segment"));
    segments.sort();
    // A header that a writer left half written comes before any message; one that was destroyed may be followed by some.
    let mut bytes = fs::read(&segments[0]).unwrap();
    bytes[20] ^= 1;
    fs::write(&segments[0], &bytes).unwrap();
    assert_eq!((machine.forgotten()[0].unknown, machine.sweep()), (1, 0));
    bytes[128..].fill(0);
    fs::write(&segments[0], &bytes).unwrap();
    assert_eq!(machine.forgotten()[0].unknown, 0);
    fs::write(&segments[0], &bytes[..100_000]).unwrap();
    assert_eq!((machine.forgotten()[0].unknown, machine.sweep()), (1, 0));
}
