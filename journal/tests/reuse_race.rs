//! Given a writer that runs ahead of a short retention, while its helper makes later segments of the memory of earlier ones
//! and readers come, stay and go in threads of their own, expect that each message is read as it was written, in order, or
//! told to be retired.
#![allow(missing_docs)]

mod common;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use common::{Ground, SEGMENT, long_message as message, segment_name};
use journal::{
    Cuts, Gate, Journal, Options, PublishError, ReadError, Reader, Retention, Service, Start, Writer,
    storage::{PwriteEngine, simulated::SimulatedDisk},
};

/// Longer than anything here takes; reaching it fails the test.
const PATIENCE: Duration = Duration::from_secs(60);
const READERS: u64 = 4;
/// What has to have happened before the test ends.
const REUSES: usize = 100;
const STAYS: u64 = 60;
const RETIRED: u64 = 30;

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

/// What readers and writer know of each other, and what the readers met.
#[derive(Default)]
struct Shared {
    published: AtomicU64,
    is_over: AtomicBool,
    /// Readers that read on in a segment after its memory had lost its name.
    stays: AtomicU64,
    retired: AtomicU64,
    read: AtomicU64,
}

impl Shared {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }
}

/// Ends the others also where one of them fails.
struct Over<'a>(&'a Shared);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Relaxed);
    }
}

/// Reads at most so many messages, each the one that follows; answers the positions of the first and the last. What retention takes is
/// passed over and counted.
fn read(reader: &mut Reader, shared: &Shared, limit: u64, expected: &mut Option<u64>) -> Option<(u64, u64)> {
    let (mut positions, mut left, mut empty) = (None, limit, 0);
    while left > 0 && empty < 1_000 {
        match reader.poll() {
            Ok(Some(frame)) => {
                let sequence = frame.sequence;
                assert!(
                    expected.is_none_or(|expected| expected == sequence),
                    "{expected:?}, found {sequence}"
                );
                assert!(frame.body == message(sequence), "message {sequence} is another");
                *expected = Some(sequence + 1);
                positions = Some(
                    positions.map_or((frame.position, frame.position), |(first, _)| (first, frame.position)),
                );
                (left, empty) = (left - 1, 0);
            }
            Ok(None) => empty += 1,
            Err(ReadError::Retired { first }) => {
                assert!(
                    expected.is_none_or(|expected| expected < first),
                    "{expected:?} retired below {first}"
                );
                shared.retired.fetch_add(1, Ordering::Relaxed);
                *expected = Some(first);
            }
            Err(error) => panic!("{error}"),
        }
    }
    shared.read.fetch_add(limit - left, Ordering::Relaxed);
    positions
}

/// Readers come and go, one after the other.
fn come_and_go(ground: &Ground, shared: &Shared, mut random: Random) {
    let _over = Over(shared);
    while !shared.is_over() {
        let published = shared.published.load(Ordering::Relaxed);
        let start = match random.below(4) {
            0 => Start::Oldest,
            1 => Start::Newest,
            _ => Start::Sequence(published.saturating_sub(random.below(6_000))),
        };
        let mut reader = Reader::open(ground.places.clone(), start, Gate::Published).unwrap();
        let mut expected = if let Start::Sequence(sequence) = start { Some(sequence) } else { None };
        let Some((_, position)) = read(&mut reader, shared, 1 + random.below(3_000), &mut expected) else {
            continue;
        };
        if random.below(2) == 0 {
            continue;
        }
        // It stays where it is until the segment is retired, and reads on in what it holds.
        let number = position / SEGMENT as u64;
        let path = ground.memory.join(segment_name(number));
        while path.exists() && !shared.is_over() {
            thread::yield_now();
        }
        // Others may have come to use again what was taken.
        let enough = shared.published.load(Ordering::Relaxed) + random.below(4_000);
        while shared.published.load(Ordering::Relaxed) < enough && !shared.is_over() {
            thread::yield_now();
        }
        let on = read(&mut reader, shared, 3_000, &mut expected);
        let is_same = on.is_some_and(|(first, _)| first / SEGMENT as u64 == number) && !path.exists();
        shared.stays.fetch_add(u64::from(is_same), Ordering::Relaxed);
    }
}

/// The numbers that each file of memory has been the segment of, as far as was seen.
fn look(ground: &Ground, seen: &mut BTreeMap<u64, BTreeSet<String>>) {
    for entry in fs::read_dir(&ground.memory).unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap();
        if name.ends_with(".segment")
            && let Ok(status) = entry.metadata()
        {
            seen.entry(status.ino()).or_default().insert(name);
        }
    }
}

fn publish(writer: &mut Writer, n: u64) {
    let (body, start) = (message(n), Instant::now());
    while let Err(error) = writer.append(1, 0, &body, || 0) {
        assert_eq!(error, PublishError::Full);
        assert!(start.elapsed() < PATIENCE, "no room is made");
        thread::yield_now();
    }
}

#[test]
fn readers_in_threads_meet_memory_that_is_used_again() {
    let ground = Ground::on(Arc::new(SimulatedDisk::new()));
    let retention = Some(Retention { bytes: 6 * SEGMENT as u64, cuts: Cuts::Oldest });
    let options = Options { retention, memory_budget: 4 * SEGMENT, ..ground.options() };
    let start = Service::start(Box::new(|| Box::new(PwriteEngine::new())), || (), || ());
    let mut service = start.unwrap();
    let Journal { mut writer, write_out, lock, .. } = journal::open(&ground.places, options).unwrap();
    let token = service.add(write_out, lock);
    let (shared, mut seen) = (Shared::default(), BTreeMap::new());
    thread::scope(|scope| {
        let _over = Over(&shared);
        for seed in (0..READERS).map(|reader| 0x9E37_79B9_7F4A_7C15 ^ reader << 8) {
            let (ground, shared) = (&ground, &shared);
            scope.spawn(move || come_and_go(ground, shared, Random(seed)));
        }
        let (mut n, began) = (0, Instant::now());
        loop {
            for _ in 0..100 {
                publish(&mut writer, n);
                n += 1;
            }
            shared.published.store(n, Ordering::Relaxed);
            look(&ground, &mut seen);
            let reuses: usize = seen.values().map(|names| names.len() - 1).sum();
            let (stays, retired) =
                (shared.stays.load(Ordering::Relaxed), shared.retired.load(Ordering::Relaxed));
            if shared.is_over() || (reuses >= REUSES && stays >= STAYS && retired >= RETIRED) {
                break;
            }
            assert!(began.elapsed() < PATIENCE, "{reuses} reuses, {stays} stays, {retired} retired");
        }
    });
    assert!(shared.read.load(Ordering::Relaxed) > 1_000);
    writer.close();
    assert!(service.close(token, PATIENCE).recv().unwrap().unwrap());
}
