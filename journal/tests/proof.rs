//! Given an input and a journal derived from it on one disk, whose power fails at any operation, expect that effects prove
//! only what was durable, and that what they prove and the disk then lacks is told, to its range, and never cut.
#![allow(missing_docs)]

mod common;

use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use common::{Ground, SEGMENT, read_file, read_rest, segment_name};
use journal::{
    Gate, Input, Journal, OpenError, Options, Proof, PublishError, ReadError, Recovery, Start,
    layout::{Cause, FLAG_CAUSED, MarkSlot},
    storage::{
        Access, DiskFile, Engine, Storage,
        simulated::{Lie, SimulatedDisk},
    },
};
use zerocopy::IntoBytes;

/// One of the journals on a disk: its files are those whose names begin so.
#[derive(Clone)]
struct Share {
    disk: SimulatedDisk,
    prefix: &'static str,
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.prefix)
    }
}

impl Share {
    fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

impl Storage for Share {
    fn names(&self) -> io::Result<Vec<String>> {
        let names = self.disk.names()?.into_iter();
        Ok(names.filter_map(|name| name.strip_prefix(self.prefix).map(str::to_owned)).collect())
    }
    fn make_directory(&self) -> io::Result<()> {
        self.disk.make_directory()
    }
    fn create(&self, name: &str, length: u64) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.create(&self.name(name), length)
    }
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open(&self.name(name), access)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(&self.name(from), &self.name(to))
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(&self.name(name))
    }
    fn sync(&self) -> io::Result<()> {
        self.disk.sync()
    }
    fn free_space(&self) -> io::Result<u64> {
        self.disk.free_space()
    }
}

/// How far the input is, as its own write-out says.
#[derive(Debug, Clone, Default)]
struct Durable(Arc<AtomicU64>);

impl Input for Durable {
    fn durable_sequence(&mut self) -> u64 {
        // ORDERING: Relaxed: a test's only thread.
        self.0.load(Ordering::Relaxed)
    }
    fn end_of(&mut self, _: u32) -> Option<u64> {
        None
    }
}

fn message(n: u64) -> Vec<u8> {
    let mut body = vec![(n % 251) as u8; 8 + (n * 977 % 9_000) as usize];
    body[..8].copy_from_slice(&n.to_le_bytes());
    body
}

/// An open journal with its write-out, which take turns until the power fails.
struct Half {
    engine: Box<dyn Engine>,
    journal: Journal,
}

impl Half {
    fn append(&mut self, flags: u16, body: &[u8], now: u64) -> bool {
        loop {
            match self.journal.writer.append(1, flags, body, || now) {
                Ok(_) => return true,
                Err(PublishError::Full) => self.work(now),
                Err(PublishError::Poisoned(_)) => return false,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn work(&mut self, now: u64) {
        while let Some(completion) = self.engine.complete(None) {
            self.journal.write_out.complete(completion, now);
        }
        self.journal.write_out.work(self.engine.as_mut(), 0, now);
    }
}

/// An input and a journal derived from it.
struct Pair {
    disk: SimulatedDisk,
    input: Ground,
    effects: Ground,
}

impl Pair {
    fn on(disk: SimulatedDisk) -> Self {
        let ground = |prefix| Ground::on(Arc::new(Share { disk: disk.clone(), prefix }));
        Self { input: ground("input-"), effects: ground("effects-"), disk }
    }

    fn half(&self, ground: &Ground, inputs: Vec<Box<dyn Input>>, seed: u64) -> Option<Half> {
        let opened = journal::open(&ground.places, Options { inputs, ..ground.options() });
        let engine = Box::new(self.disk.engine(2, seed));
        opened.ok().map(|journal| Half { engine, journal })
    }

    /// Publishes messages and at once an effect of each, until the power fails. Answers how many messages were durable.
    fn live(&self, rounds: u64, seed: u64) -> u64 {
        let durable = Durable::default();
        let Some(mut input) = self.half(&self.input, Vec::new(), seed) else { return 0 };
        let Some(mut effects) = self.half(&self.effects, vec![Box::new(durable.clone())], seed) else {
            return 0;
        };
        let mut n = 0;
        for round in 0..rounds {
            let now = round * 1_000_000;
            for _ in 0..1 + round % 4 {
                let cause = Cause { sequence: n, epoch: 1, input: 0, index: 0 };
                if !input.append(0, &message(n), now) || !effects.append(FLAG_CAUSED, cause.as_bytes(), now) {
                    break;
                }
                n += 1;
            }
            input.work(now);
            // ORDERING: Relaxed: a test's only thread.
            durable.0.store(input.journal.writer.durable(), Ordering::Relaxed);
            effects.work(now);
        }
        input.journal.writer.durable()
    }

    /// What the effects on disk prove.
    fn proof(&self) -> Option<Proof> {
        journal::last_cause(self.effects.places.storage.as_ref(), 0)
    }

    /// How far the input's own mark proves it.
    fn marked(&self) -> u64 {
        let mark = read_file(self.input.places.storage.as_ref(), "mark");
        let newest = mark.chunks(4096).filter_map(MarkSlot::read).max_by_key(|slot| slot.turn);
        newest.map_or(0, |slot| slot.sequence)
    }

    /// Position of a message of the input.
    fn position(&self, sequence: u64) -> u64 {
        let mut reader = self.input.reader(Start::Sequence(sequence), Gate::Durable);
        let frame = reader.poll().unwrap().unwrap();
        assert_eq!(frame.sequence, sequence);
        frame.position
    }

    /// Spoils a message of the input.
    fn spoil(&self, position: u64) {
        let name = format!("input-{}", segment_name(position / SEGMENT as u64));
        self.disk.tamper(&name, position % SEGMENT as u64 + 17, |byte| *byte ^= 1);
    }

    /// Recovers the input: what was found, and where it goes on.
    fn recover(&self, proven: Option<Proof>) -> Result<(Recovery, u64), OpenError> {
        let proven = proven.into_iter().collect();
        let journal = journal::open(&self.input.places, Options { proven, ..self.input.options() })?;
        let next = journal.writer.next_sequence();
        drop((journal.writer, journal.write_out));
        self.input.lose_memory();
        Ok((journal.recovery, next))
    }

    /// Expects that a reader gets each message below `next` of the input, or is told that it is lost; answers how many are.
    fn tells_all(&self, next: u64) -> u64 {
        let (messages, faults) = read_rest(&mut self.input.reader(Start::Oldest, Gate::Durable));
        let mut told = vec![false; next as usize];
        for (sequence, body) in messages {
            assert_eq!(body, message(sequence));
            told[sequence as usize] = true;
        }
        let mut lost = 0;
        for fault in faults {
            let ReadError::Damage { sequences: (first, next), .. } = fault else { panic!("{fault:?}") };
            for n in first..next {
                assert!(!std::mem::replace(&mut told[n as usize], true), "{n} is there and lost");
                lost += 1;
            }
        }
        assert!(told.iter().all(|told| *told), "{told:?}");
        lost
    }
}

const ROUNDS: u64 = 120;

fn operations() -> u64 {
    let pair = Pair::on(SimulatedDisk::new());
    assert!(pair.live(ROUNDS, 1) > 200);
    pair.disk.operations()
}

/// The disk of a pair whose power failed at an operation, and how many messages of the input were durable.
fn cut_at(operation: u64, lie: Option<Lie>) -> (SimulatedDisk, u64) {
    let pair = Pair::on(SimulatedDisk::new());
    pair.disk.lie(lie);
    pair.disk.cut_at(operation);
    let durable = pair.live(ROUNDS, operation);
    pair.disk.cut();
    (pair.disk, durable)
}

#[test]
fn effects_prove_what_a_mark_that_lags_does_not() {
    let operations = operations();
    let (mut lagging, mut spoiled, mut newest, mut silent) = (0, 0, 0, 0);
    for operation in (0..operations).step_by(5) {
        let (disk, durable) = cut_at(operation, None);
        let seed = operation % 7;
        let found = || Pair::on(disk.after_cut(seed));
        let pair = found();
        let Some(proof) = pair.proof() else { continue };
        assert!(proof.epoch == 1 && proof.sequence <= durable, "cut at {operation}: {proof:?} of {durable}");
        let marked = pair.marked();
        let positions: Vec<_> = (marked..proof.sequence).map(|n| pair.position(n)).collect();
        let (recovery, next) = pair.recover(Some(proof)).unwrap();
        assert!(next >= durable, "cut at {operation}: {next} of {durable}");
        assert_eq!((recovery.damage, recovery.unbelieved, pair.tells_all(next)), (vec![], vec![], 0));
        let Some(victim) = positions.get(operation as usize % positions.len().max(1)) else { continue };
        lagging += 1;

        let pair = found();
        pair.spoil(*victim);
        let (recovery, next) = pair.recover(Some(proof)).unwrap();
        assert!(next >= proof.sequence, "cut at {operation}: {next} of {proof:?}");
        // Recovery looks at the newest segment; of those before it readers tell.
        newest += u64::from(recovery.damage.iter().any(|(from, to)| (*from..*to).contains(victim)));
        assert!(pair.tells_all(next) > 0);
        spoiled += 1;

        let control = found();
        control.spoil(*victim);
        let (recovery, next) = control.recover(None).unwrap();
        silent += u64::from(next < proof.sequence && recovery.damage.is_empty());
    }
    assert!(lagging > 25 && spoiled == lagging, "the mark lagged: {lagging}, {spoiled}");
    assert!(newest > lagging * 8 / 10, "{newest} of {lagging}");
    assert!(silent > lagging / 2, "without proof the loss goes unnoticed: {silent} of {lagging}");
}

#[test]
fn power_may_fail_again_while_a_loss_that_effects_prove_is_recovered() {
    let mut cuts = 0;
    for operation in (0..operations()).step_by(47) {
        let (disk, _) = cut_at(operation, None);
        let found = || {
            let pair = Pair::on(disk.after_cut(operation));
            let proof = pair.proof()?;
            let marked = pair.marked();
            (marked < proof.sequence).then(|| pair.spoil(pair.position(marked)))?;
            Some((pair, proof))
        };
        let Some((undisturbed, proof)) = found() else { continue };
        let before = undisturbed.disk.operations();
        let (told, next) = undisturbed.recover(Some(proof)).unwrap();
        for second in 0..undisturbed.disk.operations() - before {
            let (pair, proof) = found().unwrap();
            pair.disk.cut_at(before + second);
            assert!(matches!(pair.recover(Some(proof)), Err(OpenError::Io { .. })), "at {second}");
            let again = Pair::on(pair.disk.after_cut(second));
            assert_eq!(again.proof(), Some(proof));
            let (recovery, kept) = again.recover(again.proof()).unwrap();
            assert_eq!(
                (kept, &recovery.damage),
                (next, &told.damage),
                "cut at {operation}, then at {second}"
            );
            assert!(again.tells_all(kept) > 0);
            cuts += 1;
        }
    }
    assert!(cuts > 50, "{cuts}");
}

#[test]
fn what_a_disk_that_lies_has_lost_is_not_published_again_under_the_same_name() {
    let (mut told, mut silent) = (0, 0);
    for operation in (0..operations()).step_by(8) {
        let (disk, _) = cut_at(operation, Some(Lie::Writes));
        for seed in 0..4 {
            let found = || Pair::on(disk.after_cut(seed));
            let pair = found();
            let Some(proof) = pair.proof() else { continue };
            let Ok((recovery, next)) = pair.recover(Some(proof)) else { continue };
            assert!(
                next >= proof.sequence || recovery.unbelieved == [proof],
                "cut at {operation}, seed {seed}"
            );
            told += u64::from(pair.tells_all(next) > 0);
            let (recovery, next) = found().recover(None).unwrap();
            silent += u64::from(next < proof.sequence && recovery.damage.is_empty());
        }
    }
    assert!(told > 50 && silent > 5, "{told} {silent}");
}

/// A journal that names these causes although no input ever had them.
fn naming(causes: &[(u64, u32, u16)]) -> Pair {
    let pair = Pair::on(SimulatedDisk::new());
    let mut effects = pair.half(&pair.effects, Vec::new(), 1).unwrap();
    for (sequence, epoch, input) in causes.iter().copied() {
        let cause = Cause { sequence, epoch, input, index: 0 };
        assert!(effects.append(FLAG_CAUSED, cause.as_bytes(), 0));
    }
    assert!(effects.append(FLAG_CAUSED, b"short", 0));
    (0..100).for_each(|turn| effects.work(turn * 1_000_000));
    assert_eq!(effects.journal.writer.durable(), causes.len() as u64 + 1);
    pair
}

#[test]
fn the_newest_cause_of_an_input_is_its_proof() {
    let last = |causes: &[(u64, u32, u16)]| naming(causes).proof();
    let proof = |epoch, sequence| Some(Proof { epoch, sequence });
    assert_eq!(last(&[]), None);
    assert_eq!(
        last(&[(5, 1, 1), (5, 1, u16::MAX), (5, 0, 0)]),
        None,
        "of another input, of none, of no epoch"
    );
    assert_eq!(last(&[(5, 1, 0), (9, 1, 0), (7, 1, 0), (90, 1, 1)]), proof(1, 10));
    assert_eq!(last(&[(900, 1, 0), (20, 2, 0)]), proof(2, 21));
    assert_eq!(last(&[(5, 1, 0), (u64::MAX, 1, 0)]), proof(1, 6), "no journal has such a message");
    assert_eq!(last(&[(5, 1, 0), (7, u32::MAX, 0)]), proof(1, 6), "an epoch has a successor");
    assert_eq!(last(&[(1 << 60, u32::MAX - 1, 0)]), proof(u32::MAX - 1, (1 << 60) + 1));
}

#[test]
fn a_spoiled_journal_proves_no_more_than_it_did() {
    let pair = Pair::on(SimulatedDisk::new());
    pair.live(ROUNDS, 1);
    pair.disk.cut();
    let (mut random, mut less) = (0x9e37_79b9_7f4a_7c15_u64, 0);
    for seed in 0..80 {
        let spoiled = Pair::on(pair.disk.after_cut(seed));
        let proof = spoiled.proof();
        assert!(proof.is_some());
        let names = spoiled.effects.places.storage.names().unwrap();
        for _ in 0..1 << (seed % 10) {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let name = &names[(random >> 33) as usize % names.len().min(3)];
            let file = spoiled.effects.places.storage.open(name, Access::Read).unwrap();
            // Most of what is written lies at the beginning.
            let at = (random >> 13) % file.length().unwrap().min(16 << 10);
            spoiled.disk.tamper(&format!("effects-{name}"), at, |byte| *byte ^= (random >> 50) as u8 | 1);
        }
        let left = spoiled.proof();
        assert!(left <= proof, "{left:?} of {proof:?}");
        less += u64::from(left < proof);
        spoiled.recover(left).unwrap();
    }
    assert!(less > 10, "{less}");
}
