//! Given a journal on a simulated disk, expect that whatever the power, the disk or its space does, nothing that was
//! acknowledged is lost and nothing is invented.
//!
//! A life is deterministic: lives are lived again and again, and each time the power fails at another operation of the
//! disk. Each fault proves that it fired, and disks that lie must be caught.
#![allow(missing_docs)]

mod common;

use std::sync::Arc;

use common::{Ground, SEGMENT, read_rest};
use journal::{
    Gate, Journal, OpenError, Options, PublishError, Retention, Room, Start,
    storage::{
        Engine,
        simulated::{Failure, Fired, Lie, SimulatedDisk},
    },
};

/// Message n: its number, and a length from nothing to nearly the largest.
fn message(n: u64) -> Vec<u8> {
    let length = match n % 11 {
        0 => 8,
        3 => 200_000,
        k => 3_000 * k + 8,
    };
    let mut body = vec![(n % 251) as u8; length as usize];
    body[..8].copy_from_slice(&n.to_le_bytes());
    body
}

/// Messages of the batch that begins with message n.
fn batch_of(n: u64) -> u64 {
    [1, 1, 3, 1, 2][(n % 5) as usize]
}

/// What is known about a journal from outside.
#[derive(Debug, Default, Clone)]
struct Known {
    /// Published: none of these is ever another.
    published: u64,
    /// The highest `durable` that was seen.
    durable: u64,
    /// Ends of batches.
    ends: Vec<u64>,
    /// How often a write began while another was in flight.
    doubled: u64,
}

/// How an act ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Done,
    /// The disk failed: the journal is poisoned or could not be opened.
    Failed,
    Refused(Room),
}

/// How a life ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Close,
    /// As a killed process: the memory stays.
    Die,
}

struct Stage {
    disk: SimulatedDisk,
    ground: Ground,
    seed: u64,
}

impl Stage {
    fn new(disk: SimulatedDisk, seed: u64) -> Self {
        let ground = Ground::on(Arc::new(disk.clone()));
        Self { disk, ground, seed }
    }

    fn options(&self) -> Options {
        let retention = Some(Retention { bytes: 7 * SEGMENT as u64, cuts: journal::Cuts::Oldest });
        Options { memory_budget: 4 * SEGMENT, retention, ..self.ground.options() }
    }

    /// A life of a writer: opens, publishes, and ends.
    fn live(&self, messages: u64, way: Way, known: &mut Known) -> End {
        let journal = match journal::open(&self.ground.places, self.options()) {
            Ok(journal) => journal,
            Err(OpenError::Io { .. }) => return End::Failed,
            Err(OpenError::NoRoom { room, .. }) => return End::Refused(room),
            Err(error) => panic!("{error}"),
        };
        // What recovery did is acknowledged.
        known.durable = known.durable.max(journal.writer.durable());
        assert_eq!(journal.writer.durable(), journal.writer.next_sequence());
        assert!(journal.recovery.damage.is_empty(), "{:?}", journal.recovery);
        let engine = Box::new(self.disk.engine(2, self.seed));
        let mut life = Life { engine, journal, now: 0, known };
        let end = life.publish(messages);
        if end != End::Done || way == Way::Die {
            return end;
        }
        life.close()
    }

    /// Three lives: a good one, one that is killed, and one that takes over.
    fn lives(&self, known: &mut Known) -> End {
        for (messages, way) in [(80, Way::Close), (120, Way::Die), (60, Way::Close)] {
            let end = self.live(messages, way, known);
            if end != End::Done {
                return end;
            }
        }
        End::Done
    }

    /// The stage after the power failed: another seed may find another disk, and shared memory is gone.
    fn after_cut(&self, seed: u64) -> Self {
        Self::new(self.disk.after_cut(seed), seed)
    }

    /// Messages that a reader finds, checked to be the right ones without a gap: first and end.
    fn read(&self) -> Result<(u64, u64), String> {
        let reader = journal::Reader::open(self.ground.places.clone(), Start::Oldest, Gate::Durable);
        let mut reader = match reader {
            Ok(reader) => reader,
            Err(OpenError::Missing { .. }) => return Ok((0, 0)),
            Err(error) => return Err(error.to_string()),
        };
        let first = reader.next_sequence();
        let (messages, faults) = read_rest(&mut reader);
        if !faults.is_empty() {
            return Err(format!("{faults:?}"));
        }
        for (at, (sequence, body)) in messages.iter().enumerate() {
            if *sequence != first + at as u64 || *body != message(*sequence) {
                return Err(format!("message {sequence} is another, or out of place at {at}"));
            }
        }
        Ok((first, first + messages.len() as u64))
    }

    /// Whether this stage, found after a cut, holds what it must: an exact prefix, whole batches, all that was durable;
    /// the reader without writer shows what recovery then keeps; the journal goes on.
    fn check(&self, known: &Known) -> Result<u64, String> {
        let (first, end) = self.read()?;
        if end < known.durable || first > known.durable {
            return Err(format!("{first} to {end} is there, {} was durable", known.durable));
        }
        let journal =
            journal::open(&self.ground.places, self.options()).map_err(|error| error.to_string())?;
        if !journal.recovery.damage.is_empty() {
            return Err(format!("{:?}", journal.recovery));
        }
        let recovered = journal.writer.next_sequence();
        if recovered != end {
            return Err(format!("recovery keeps {recovered}, a reader showed {end}"));
        }
        if end != 0 && !known.ends.contains(&end) {
            return Err(format!("{end} is not the end of a batch"));
        }
        Ok(end)
    }

    /// Publishes some more where a check has left the journal, and reads all of it.
    fn goes_on(&self, end: u64) -> Result<(), String> {
        let mut known = Known { published: end, durable: end, ..Known::default() };
        assert_eq!(self.live(12, Way::Close, &mut known), End::Done);
        let (_, now) = self.read()?;
        if now == known.published { Ok(()) } else { Err(format!("{now} of {}", known.published)) }
    }
}

/// A writer with its write-out, which take turns.
struct Life<'a> {
    /// Dropped first: what is in flight needs the journal's memory.
    engine: Box<dyn Engine>,
    journal: Journal,
    now: u64,
    known: &'a mut Known,
}

impl Life<'_> {
    fn publish(&mut self, messages: u64) -> End {
        let end = self.known.published + messages;
        while self.known.published < end {
            match self.publish_batch() {
                Ok(()) => self.known.ends.push(self.known.published),
                Err(PublishError::Full) => {}
                Err(PublishError::NoRoom(room)) => return End::Refused(room),
                Err(PublishError::Poisoned(_)) => return End::Failed,
                Err(error) => panic!("{error}"),
            }
            self.work();
        }
        End::Done
    }

    fn publish_batch(&mut self) -> Result<(), PublishError> {
        let first = self.known.published;
        assert_eq!(self.journal.writer.next_sequence(), first);
        let mut batch = self.journal.writer.batch(self.now);
        for n in first..first + batch_of(first) {
            match batch.append(1, 0, &message(n)) {
                // Two large ones do not fit one batch; then it is shorter.
                Err(PublishError::TooLarge { .. }) if !batch.is_empty() => break,
                added => added?,
            }
        }
        let length = batch.len();
        batch.commit();
        self.known.published += length;
        Ok(())
    }

    fn work(&mut self) {
        self.now += 1_000_000;
        let poisoned = self.journal.writer.poison().is_some();
        while let Some(completion) = self.engine.complete(None) {
            self.journal.write_out.complete(completion, self.now);
        }
        let before = self.engine.in_flight();
        self.journal.write_out.work(self.engine.as_mut(), 0, self.now);
        self.known.doubled += u64::from(before > 0 && self.engine.in_flight() > before);
        let durable = self.journal.writer.durable();
        assert!(durable >= self.known.durable, "durable went back");
        assert!(!poisoned || durable == self.known.durable, "acknowledged after the poison");
        self.known.durable = durable;
    }

    fn close(self) -> End {
        let Self { journal: Journal { writer, mut write_out, .. }, mut engine, mut now, known } = self;
        writer.close();
        while !write_out.is_drained() {
            now += 1_000_000;
            while let Some(completion) = engine.complete(None) {
                write_out.complete(completion, now);
            }
            write_out.work(engine.as_mut(), 0, now);
        }
        // Nothing is dropped while it is written.
        while engine.in_flight() > 0 {
            engine.complete(Some(std::time::Duration::ZERO));
        }
        match write_out.close() {
            Ok(true) => {
                known.durable = known.published;
                End::Done
            }
            Ok(false) | Err(_) => End::Failed,
        }
    }
}

/// How many operations three undisturbed lives take.
fn operations() -> u64 {
    let stage = Stage::new(SimulatedDisk::new(), 1);
    let mut known = Known::default();
    assert_eq!(stage.lives(&mut known), End::Done);
    let (first, end) = stage.read().unwrap();
    assert!(0 < first && end == known.published, "retention fired: {first} to {end}");
    stage.disk.operations()
}

/// The lives with the power failing at an operation.
fn cut_at(operation: u64, lie: Option<Lie>) -> (Stage, Known) {
    let stage = Stage::new(SimulatedDisk::new(), operation);
    stage.disk.cut_at(operation);
    stage.disk.lie(lie);
    let mut known = Known::default();
    if stage.lives(&mut known) == End::Done {
        stage.disk.cut();
    }
    (stage, known)
}

fn add(sum: &mut Fired, fired: Fired) {
    sum.failures += fired.failures;
    sum.kept_sectors += fired.kept_sectors;
    sum.dropped_sectors += fired.dropped_sectors;
    sum.torn_writes += fired.torn_writes;
    sum.torn_sectors += fired.torn_sectors;
    sum.lost_names += fired.lost_names;
}

/// Runs a share of the operations on each core.
fn on_both_cores<T: Send>(operations: u64, run: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let run = &run;
    std::thread::scope(|scope| {
        let halves: Vec<_> = (0..2)
            .map(|half| scope.spawn(move || (half..operations).step_by(2).map(run).collect::<Vec<_>>()))
            .collect();
        halves.into_iter().flat_map(|half| half.join().unwrap()).collect()
    })
}

#[test]
fn power_may_fail_at_every_operation() {
    let operations = operations();
    let fired = on_both_cores(operations, |operation| {
        let (stage, known) = cut_at(operation, None);
        let mut fired = Fired::default();
        for seed in 0..3 {
            let found = stage.after_cut(seed);
            let end = found
                .check(&known)
                .unwrap_or_else(|error| panic!("cut at {operation}, seed {seed}: {error}"));
            add(&mut fired, found.disk.fired());
            if seed == 0 {
                found.ground.lose_memory();
                found.goes_on(end).unwrap_or_else(|error| panic!("cut at {operation}: {error}"));
            }
        }
        (fired, known.doubled)
    });
    let mut sum = Fired::default();
    let doubled: u64 = fired.iter().map(|(_, doubled)| doubled).sum();
    fired.into_iter().for_each(|(fired, _)| add(&mut sum, fired));
    assert!(operations > 150 && doubled > operations, "{operations}, {doubled}");
    assert!(sum.torn_writes > 50 && sum.torn_sectors > 50 && sum.lost_names > 50, "{sum:?}");
    assert!(sum.dropped_sectors > 1_000 && sum.kept_sectors > 1_000, "{sum:?}");
}

#[test]
fn power_may_fail_again_while_recovery_runs() {
    let operations = operations();
    let cuts = on_both_cores(operations / 6, |sixth| {
        let (stage, known) = cut_at(6 * sixth + 1, None);
        let seed = sixth % 16;
        let undisturbed = stage.after_cut(seed);
        let end = undisturbed.check(&known).unwrap();
        let recovery = undisturbed.disk.operations();
        for second in 0..recovery {
            let again = stage.after_cut(seed);
            again.disk.cut_at(second);
            let refused = journal::open(&again.ground.places, again.options());
            assert!(matches!(refused, Err(OpenError::Io { .. })), "{refused:?}");
            drop(refused);
            let found = again.after_cut(second);
            let kept = found.check(&known);
            assert_eq!(kept, Ok(end), "cut at {} and again at {second}", 6 * sixth + 1);
        }
        recovery
    });
    assert!(cuts.iter().sum::<u64>() > 300, "{cuts:?}");
}

#[test]
fn a_disk_that_lies_is_caught() {
    let operations = operations();
    for lie in [Lie::Writes, Lie::Syncs, Lie::Names] {
        let lost: u64 = on_both_cores(operations / 12, |twelfth| {
            let (stage, known) = cut_at(12 * twelfth + 3, Some(lie));
            (0..2).filter(|seed| stage.after_cut(*seed).check(&known).is_err()).count() as u64
        })
        .iter()
        .sum();
        assert!(lost > 0, "{lie:?} went unnoticed");
    }
}

#[test]
fn each_operation_may_fail_once_and_nothing_published_is_lost() {
    let operations = operations();
    let failed = on_both_cores(operations / 2, |half| {
        let operation = 2 * half + operations % 2;
        let stage = Stage::new(SimulatedDisk::new(), operation);
        let mut known = Known::default();
        stage.disk.fail_every(operation + 1, Some(Failure::Io));
        let end = stage.lives(&mut known);
        let failures = stage.disk.fired().failures;
        stage.disk.fail_every(1, None);
        assert!(end == End::Failed || failures == 0 || known.published > 0, "{operation}: {end:?}");
        // The memory completes what the disk did not take.
        let published = known.published;
        let journal = journal::open(&stage.ground.places, stage.options()).unwrap();
        assert_eq!(journal.writer.next_sequence(), published, "operation {operation}");
        drop(journal);
        stage.ground.lose_memory();
        let (_, end) = stage.read().unwrap_or_else(|error| panic!("operation {operation}: {error}"));
        assert_eq!(end, published, "operation {operation}");
        failures
    });
    assert!(
        failed.iter().filter(|failures| **failures > 0).count() as u64 > operations * 4 / 10,
        "{failed:?}"
    );
}

#[test]
fn a_poisoned_journal_refuses_acknowledges_nothing_and_keeps_its_memory() {
    let stage = Stage::new(SimulatedDisk::new(), 7);
    let mut known = Known::default();
    assert_eq!(stage.live(10, Way::Close, &mut known), End::Done);
    let journal = journal::open(&stage.ground.places, stage.options()).unwrap();
    let mut life = Life { engine: Box::new(stage.disk.engine(1, 3)), journal, now: 0, known: &mut known };
    assert_eq!(life.publish(10), End::Done);
    stage.disk.fail_every(1, Some(Failure::Io));
    while life.journal.writer.poison().is_none() {
        life.work();
    }
    for _ in 0..10 {
        life.work();
    }
    let failures = stage.disk.fired().failures;
    assert!(failures <= 2, "what was under way when it failed, and nothing more: {failures}");
    let durable = life.known.durable;
    assert!(durable < life.known.published);
    assert_eq!(life.publish(1), End::Failed, "refused at once");
    for _ in 0..100 {
        life.work();
    }
    assert_eq!((life.journal.writer.durable(), stage.disk.fired().failures), (durable, failures));
    assert_eq!(life.close(), End::Failed);
    stage.disk.fail_every(1, None);
    assert!(stage.ground.memory.exists());
    let journal = journal::open(&stage.ground.places, stage.options()).unwrap();
    assert_eq!(journal.writer.next_sequence(), known.published, "the memory was kept");
}

#[test]
fn a_full_disk_refuses_and_publishing_goes_on_when_there_is_room() {
    let stage = Stage::new(SimulatedDisk::new(), 5);
    let mut known = Known::default();
    stage.disk.limit_space(4 * SEGMENT as u64);
    assert_eq!(stage.live(1_000, Way::Die, &mut known), End::Refused(Room::Disk));
    let refused_at = known.published;
    assert!(refused_at > 50, "{refused_at}");
    stage.disk.limit_space(1 << 40);
    assert_eq!(stage.live(100, Way::Close, &mut known), End::Done);
    assert_eq!(stage.read().unwrap().1, known.published);

    // The same without a new life.
    stage.disk.limit_space(3 * SEGMENT as u64);
    let journal = journal::open(&stage.ground.places, stage.options());
    assert!(matches!(journal, Err(OpenError::NoRoom { room: Room::Disk, .. })), "{journal:?}");
    stage.disk.limit_space(13 * SEGMENT as u64);
    let journal = journal::open(&stage.ground.places, stage.options()).unwrap();
    let mut life = Life { engine: Box::new(stage.disk.engine(1, 3)), journal, now: 0, known: &mut known };
    stage.disk.limit_space(0);
    assert_eq!(life.publish(1_000), End::Refused(Room::Disk));
    assert_eq!(life.publish(1), End::Refused(Room::Disk));
    stage.disk.limit_space(1 << 40);
    for _ in 0..200 {
        life.work();
    }
    assert_eq!(life.publish(100), End::Done);
    assert_eq!(life.close(), End::Done);
    assert_eq!(stage.read().unwrap().1, known.published);
}

#[test]
fn a_disk_without_room_now_and_then_delays_only() {
    for every in [2, 3, 5, 7, 11] {
        let stage = Stage::new(SimulatedDisk::new(), every);
        let mut known = Known::default();
        let journal = journal::open(&stage.ground.places, stage.options()).unwrap();
        let engine = Box::new(stage.disk.engine(1, every));
        let mut life = Life { engine, journal, now: 0, known: &mut known };
        stage.disk.fail_every(every, Some(Failure::NoSpace));
        let mut turns = 0;
        while life.known.published < 200 {
            let missing = 200 - life.known.published;
            let end = life.publish(missing);
            assert!(matches!(end, End::Done | End::Refused(Room::Disk)), "every {every}: {end:?}");
            life.work();
            turns += 1;
            assert!(turns < 100_000, "every {every}: {turns} turns");
        }
        assert!(stage.disk.fired().failures > 2, "every {every}");
        stage.disk.fail_every(1, None);
        assert_eq!(life.close(), End::Done);
        assert_eq!(stage.read().unwrap().1, known.published, "every {every}");
    }
}
