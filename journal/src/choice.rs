//! Which engine writes: io_uring or blocking `pwritev2`, by how long their writes took on the disk at hand.
//!
//! The two tie on a quiet machine, where the ring wins for what it does meanwhile. A ring's durable write is completed by
//! a kernel thread on the core where the disk interrupts; beside a program that spins there it waits for milliseconds,
//! where the blocking call does not. So both are tried at the start, and when the writes become slow, or could be done
//! by the ring again, the other one is given a few writes to show how it does now.

use std::{
    io,
    os::fd::RawFd,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    layout::BLOCK,
    service::EngineMaker,
    storage::{
        AlignedBuffer, Completion, DiskFile, DiskStorage, Engine, PwriteEngine, Storage, UringEngine, Write,
    },
};

/// Writes that the ring keeps in flight: one for each of a process's journals, most often.
const DEPTH: usize = 8;
/// Writes of each engine that are compared.
const COMPARED: usize = 9;
/// Only writes up to this count, in bytes: large ones take as long as the disk does.
const SMALL: usize = 64 * 1024;
/// The ring is not doubted below this median.
const SLOW: Duration = Duration::from_millis(1);
/// Time to the next trial after a change, doubled after each that changed nothing.
const PATIENCE: Duration = Duration::from_secs(2);
/// Longest time to the next trial.
const LONGEST_PATIENCE: Duration = Duration::from_secs(512);
/// The wait for a write of the first trial goes on in steps of this.
const STEP: Duration = Duration::from_millis(100);

/// The engine that is faster in `directory`, tried when the write-out thread starts and again when writes are slow.
/// `pwritev2` where there is no ring.
pub fn fastest_engine(directory: &Path) -> EngineMaker {
    let directory = directory.to_owned();
    Box::new(move || {
        let plain = Box::new(PwriteEngine::new());
        let Ok(ring) = UringEngine::new(DEPTH) else { return plain };
        let mut chooser = Chooser::new(Box::new(ring), plain);
        // A disk that cannot be tried now is tried by its first slow writes.
        let _ = chooser.try_on(&DiskStorage::new(directory));
        Box::new(chooser)
    })
}

/// One of the two engines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Ring,
    Plain,
}

impl Which {
    fn other(self) -> Self {
        match self {
            Self::Ring => Self::Plain,
            Self::Plain => Self::Ring,
        }
    }
}

/// How long the last writes of an engine took.
#[derive(Debug, Default)]
struct Times {
    last: [Duration; COMPARED],
    count: usize,
}

impl Times {
    fn record(&mut self, took: Duration) {
        self.last[self.count % COMPARED] = took;
        self.count += 1;
    }

    /// The median, once there are enough to compare.
    fn median(&self) -> Option<Duration> {
        let mut sorted = self.last;
        sorted.sort_unstable();
        (self.count >= COMPARED).then(|| sorted[COMPARED / 2])
    }
}

/// Decides by the times of both engines which one writes.
#[derive(Debug)]
struct Comparison {
    uses: Which,
    /// While the other one has writes to show.
    is_trial: bool,
    ring: Times,
    plain: Times,
    next_trial: Instant,
    patience: Duration,
}

impl Comparison {
    fn new(now: Instant) -> Self {
        let (ring, plain) = (Times::default(), Times::default());
        Self { uses: Which::Ring, is_trial: false, ring, plain, next_trial: now, patience: PATIENCE }
    }

    /// Which engine takes the next write.
    fn next(&self) -> Which {
        if self.is_trial { self.uses.other() } else { self.uses }
    }

    fn times(&mut self, which: Which) -> &mut Times {
        match which {
            Which::Ring => &mut self.ring,
            Which::Plain => &mut self.plain,
        }
    }

    fn record(&mut self, which: Which, took: Duration, now: Instant) {
        self.times(which).record(took);
        if self.is_trial {
            self.end_trial(now);
        } else if now >= self.next_trial && self.is_doubtful() {
            self.is_trial = true;
            *self.times(self.uses.other()) = Times::default();
        }
    }

    /// Whether the other engine might do better: beside `pwritev2` the ring always might.
    fn is_doubtful(&self) -> bool {
        match self.uses {
            Which::Ring => self.ring.median().is_some_and(|median| median > SLOW),
            Which::Plain => self.plain.median().is_some(),
        }
    }

    /// Goes on with the faster one when the trial is over; with the ring unless it is clearly slower.
    fn end_trial(&mut self, now: Instant) {
        let (Some(ring), Some(plain)) = (self.ring.median(), self.plain.median()) else { return };
        let best = if ring <= plain + plain / 4 { Which::Ring } else { Which::Plain };
        let grown = (self.patience * 2).min(LONGEST_PATIENCE);
        self.patience = if best == self.uses { grown } else { PATIENCE };
        (self.uses, self.is_trial, self.next_trial) = (best, false, now + self.patience);
    }
}

/// A write whose time counts.
#[derive(Debug)]
struct Started {
    which: Which,
    token: u64,
    offset: u64,
    at: Instant,
}

/// Both engines; each write goes to the one that the comparison names.
#[derive(Debug)]
struct Chooser {
    ring: Box<dyn Engine>,
    plain: Box<dyn Engine>,
    comparison: Comparison,
    started: Vec<Started>,
}

impl Chooser {
    fn new(ring: Box<dyn Engine>, plain: Box<dyn Engine>) -> Self {
        Self { ring, plain, comparison: Comparison::new(Instant::now()), started: Vec::new() }
    }

    fn engine(&mut self, which: Which) -> &mut dyn Engine {
        match which {
            Which::Ring => self.ring.as_mut(),
            Which::Plain => self.plain.as_mut(),
        }
    }

    /// Has both engines write one block of a file of its own, in turn, and begins with the faster one.
    fn try_on(&mut self, storage: &dyn Storage) -> io::Result<()> {
        let name = format!(".trial-{}-{:?}", std::process::id(), std::thread::current().id());
        let file = storage.create(&name, BLOCK as u64)?;
        let tried = self.try_in_turn(&file);
        // A file that stays behind is one block; the next trial has another name.
        let _ = storage.remove(&name);
        tried
    }

    fn try_in_turn(&mut self, file: &Arc<dyn DiskFile>) -> io::Result<()> {
        let block = AlignedBuffer::zeroed(BLOCK);
        file.write_at(&block, 0).and_then(|()| file.sync())?;
        let mut times = Vec::new();
        for which in [Which::Plain, Which::Ring].into_iter().cycle().take(2 * COMPARED) {
            times.push((which, time_one(self.engine(which), file, &block)?));
        }
        // Only a whole trial counts: one that broke off would go on for ever with the engine that it began with.
        self.comparison.is_trial = true;
        let now = Instant::now();
        times.into_iter().for_each(|(which, took)| self.comparison.record(which, took, now));
        Ok(())
    }

    /// Takes note of how long a write took.
    fn note(&mut self, which: Which, done: &Completion) {
        let is_it = |started: &Started| {
            started.which == which && started.token == done.token && started.offset == done.offset
        };
        let Some(index) = self.started.iter().position(is_it) else { return };
        let started = self.started.swap_remove(index);
        if done.result.is_ok() {
            let now = Instant::now();
            self.comparison.record(which, now - started.at, now);
        }
    }
}

/// How long an engine takes for one block.
fn time_one(
    engine: &mut dyn Engine,
    file: &Arc<dyn DiskFile>,
    block: &AlignedBuffer,
) -> io::Result<Duration> {
    let start = Instant::now();
    let write =
        Write { file: Arc::clone(file), bytes: block.as_ptr(), length: block.len(), offset: 0, token: 0 };
    // SAFETY: the block is used for nothing else, and this function stays until the engine has given the write back.
    unsafe { engine.submit(write)? };
    while engine.in_flight() > 0 {
        if let Some(completion) = engine.complete(Some(STEP)) {
            return completion.result.map(|()| start.elapsed());
        }
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

impl Engine for Chooser {
    fn name(&self) -> &'static str {
        match self.comparison.uses {
            Which::Ring => self.ring.name(),
            Which::Plain => self.plain.name(),
        }
    }

    fn depth(&self) -> usize {
        match self.comparison.next() {
            Which::Ring => self.ring.depth(),
            Which::Plain => self.plain.depth(),
        }
    }

    unsafe fn submit(&mut self, write: Write) -> io::Result<()> {
        let which = self.comparison.next();
        let (token, offset, at) = (write.token, write.offset, Instant::now());
        let counts = write.length <= SMALL;
        // SAFETY: the caller's promise.
        unsafe { self.engine(which).submit(write)? };
        if counts {
            self.started.push(Started { which, token, offset, at });
        }
        Ok(())
    }

    fn complete(&mut self, wait: Option<Duration>) -> Option<Completion> {
        for (which, wait) in [(Which::Plain, None), (Which::Ring, wait)] {
            if let Some(done) = self.engine(which).complete(wait) {
                self.note(which, &done);
                return Some(done);
            }
        }
        None
    }

    fn in_flight(&self) -> usize {
        self.ring.in_flight() + self.plain.in_flight()
    }

    fn hold(&mut self, descriptor: RawFd) {
        self.ring.hold(descriptor);
    }

    fn release(&mut self, descriptor: RawFd) {
        self.ring.release(descriptor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::simulated::{Failure, SimulatedDisk};

    const FAST: Duration = Duration::from_micros(100);
    const STARVED: Duration = Duration::from_millis(6);

    /// A thousand writes a second that take the engines so long; returns how many were trials.
    fn writes(
        comparison: &mut Comparison,
        now: &mut Instant,
        count: usize,
        ring: Duration,
        plain: Duration,
    ) -> usize {
        let mut by_other = 0;
        for _ in 0..count {
            let which = comparison.next();
            by_other += usize::from(which != comparison.uses);
            let took = if which == Which::Ring { ring } else { plain };
            *now += Duration::from_millis(1);
            comparison.record(which, took, *now);
        }
        by_other
    }

    #[test]
    fn a_ring_that_is_fast_is_never_doubted() {
        let mut now = Instant::now();
        let mut comparison = Comparison::new(now);
        assert_eq!(writes(&mut comparison, &mut now, 100_000, FAST, FAST / 2), 0);
        assert_eq!(comparison.uses, Which::Ring);
    }

    #[test]
    fn a_starved_ring_gives_way_and_comes_back_when_it_is_fast_again() {
        let mut now = Instant::now();
        let mut comparison = Comparison::new(now);
        writes(&mut comparison, &mut now, 100, STARVED, FAST);
        assert_eq!(comparison.uses, Which::Plain);
        // Tried again now and then, ever more seldom.
        let tried = writes(&mut comparison, &mut now, 600_000, STARVED, FAST);
        assert!(comparison.uses == Which::Plain && (COMPARED..=9 * COMPARED).contains(&tried), "{tried}");
        writes(&mut comparison, &mut now, 1_100_000, FAST, FAST);
        assert_eq!(comparison.uses, Which::Ring);
    }

    #[test]
    fn a_slow_disk_is_slow_for_both_and_changes_nothing() {
        let mut now = Instant::now();
        let mut comparison = Comparison::new(now);
        let tried = writes(&mut comparison, &mut now, 600_000, STARVED, STARVED);
        assert!(comparison.uses == Which::Ring && (COMPARED..=9 * COMPARED).contains(&tried), "{tried}");
    }

    #[test]
    fn a_first_trial_that_breaks_off_leaves_the_choice_open() {
        let storage = SimulatedDisk::new();
        storage.make_directory().unwrap();
        let mut chooser = Chooser::new(Box::new(storage.engine(DEPTH, 1)), Box::new(PwriteEngine::new()));
        storage.fail_every(8, Some(Failure::Io));
        chooser.try_on(&storage).unwrap_err();
        assert!(storage.fired().failures > 0);
        assert_eq!(chooser.comparison.next(), Which::Ring);
        let mut now = Instant::now();
        writes(&mut chooser.comparison, &mut now, 100, STARVED, FAST);
        assert!(chooser.comparison.uses == Which::Plain && !chooser.comparison.is_trial);
    }

    #[test]
    fn both_engines_write_and_none_of_their_completions_is_lost() {
        let storage = SimulatedDisk::new();
        storage.make_directory().unwrap();
        let mut chooser = Chooser::new(Box::new(storage.engine(DEPTH, 1)), Box::new(PwriteEngine::new()));
        chooser.try_on(&storage).unwrap();
        assert!(chooser.comparison.ring.count == COMPARED && chooser.comparison.plain.count == COMPARED);
        assert_eq!(storage.names().unwrap(), Vec::<String>::new(), "the trial leaves nothing behind");

        let file = storage.create("journal", 64 * BLOCK as u64).unwrap();
        let block = AlignedBuffer::zeroed(BLOCK);
        let (mut done, mut by_plain) = (Vec::new(), 0);
        for number in 0..64_u64 {
            // Each takes its turn, also while the other's write is in flight.
            chooser.comparison.is_trial = number % 3 == 0;
            let (bytes, offset) = (block.as_ptr(), number * BLOCK as u64);
            by_plain += usize::from(chooser.comparison.next() == Which::Plain);
            while chooser.in_flight() >= chooser.depth() {
                done.extend(chooser.complete(Some(STEP)));
            }
            let file = Arc::clone(&file);
            // SAFETY: the block is used for nothing else and outlives the engine's last write.
            unsafe { chooser.submit(Write { file, bytes, length: BLOCK, offset, token: number }).unwrap() };
        }
        while chooser.in_flight() > 0 {
            done.extend(chooser.complete(Some(STEP)));
        }
        let mut tokens: Vec<u64> = done.iter().map(|done| done.token).collect();
        tokens.sort_unstable();
        assert!(tokens == (0..64).collect::<Vec<_>>() && done.iter().all(|done| done.result.is_ok()));
        assert!((1..64).contains(&by_plain), "{by_plain}");
    }
}
