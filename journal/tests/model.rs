//! Given any sequence of acts of a writer, its write-out and its deaths, expect what a list of messages would hold.
#![allow(missing_docs)]

mod common;

use std::sync::Arc;

use common::{Ground, SEGMENT, read_rest};
use journal::{
    Gate, Journal, PublishError, Reader, Start,
    storage::{Engine, simulated::SimulatedDisk},
};
use proptest::prelude::*;

/// More were tried when this was written; each takes about 50 ms.
const CASES: u32 = 48;

#[derive(Debug, Clone)]
enum Act {
    Append(usize),
    /// Claims, and publishes this share of it in 256ths.
    Shorten(usize, u8),
    Abort(usize),
    Batch(Vec<usize>),
    DropBatch(Vec<usize>),
    /// Lets time pass, in nanoseconds.
    Pass(u64),
    Work(u8),
    Close,
    Die,
    /// The reader takes what there is.
    Read,
}

/// Lengths of messages: small, around a block, around the largest.
fn length() -> impl Strategy<Value = usize> {
    const LARGEST: usize = SEGMENT / 4 - 16;
    prop_oneof![
        4 => 0..200usize,
        2 => 4_000..4_200usize,
        2 => 10_000..100_000usize,
        1 => LARGEST - 20..=LARGEST,
    ]
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => length().prop_map(Act::Append),
        2 => (length(), any::<u8>()).prop_map(|(length, share)| Act::Shorten(length, share)),
        2 => length().prop_map(Act::Abort),
        3 => prop::collection::vec(length(), 0..12).prop_map(Act::Batch),
        1 => prop::collection::vec(length(), 0..12).prop_map(Act::DropBatch),
        2 => prop_oneof![0..1_000_000u64, 4_000_000_000..5_000_000_000u64, Just(1 << 40)].prop_map(Act::Pass),
        6 => (1..20u8).prop_map(Act::Work),
        1 => Just(Act::Close),
        1 => Just(Act::Die),
        3 => Just(Act::Read),
    ]
}

fn body(n: usize, length: usize) -> Vec<u8> {
    (0..length).map(|at| (n.wrapping_mul(31) + at) as u8).collect()
}

/// What a journal must hold.
#[derive(Debug, PartialEq, Eq, Clone)]
struct Expected {
    body: Vec<u8>,
    time: u64,
    is_batch_end: bool,
}

struct Run {
    disk: SimulatedDisk,
    ground: Ground,
    /// Dropped before the journal: what is in flight needs its memory.
    engine: Box<dyn Engine>,
    journal: Journal,
    clock: u64,
    time: u64,
    expected: Vec<Expected>,
    reader: Reader,
    seen: usize,
}

impl Run {
    fn new() -> Self {
        let disk = SimulatedDisk::new();
        let ground = Ground::on(Arc::new(disk.clone()));
        let journal = journal::open(&ground.places, ground.options()).unwrap();
        let reader = ground.reader(Start::Oldest, Gate::Published);
        let engine = Box::new(disk.engine(1, 7));
        Self { disk, ground, engine, journal, clock: 0, time: 1_000, expected: Vec::new(), reader, seen: 0 }
    }

    fn work(&mut self) {
        self.clock += 1_000_000;
        while let Some(completion) = self.engine.complete(None) {
            self.journal.write_out.complete(completion, self.clock);
        }
        self.journal.write_out.work(self.engine.as_mut(), 0, self.clock);
    }

    fn expect(&mut self, body: Vec<u8>, is_batch_end: bool) {
        self.expected.push(Expected { body, time: self.time, is_batch_end });
    }

    fn append(&mut self, length: usize, share: Option<u8>) {
        let whole = body(self.expected.len(), length);
        let used = share.map_or(length, |share| length * usize::from(share) / 256);
        loop {
            match self.journal.writer.claim(3, 0, length, self.time) {
                Ok(mut claim) => {
                    claim.body().copy_from_slice(&whole);
                    assert_eq!(claim.commit_first(used), self.expected.len() as u64);
                    break;
                }
                Err(PublishError::Full) => {}
                Err(error) => panic!("{error}"),
            }
            self.work();
        }
        self.expect(whole[..used].to_vec(), true);
    }

    fn batch(&mut self, lengths: &[usize], commits: bool) {
        let mut batch = self.journal.writer.batch(self.time);
        let mut added = Vec::new();
        for length in lengths {
            let body = body(self.expected.len() + added.len(), *length);
            match batch.append(4, 0, &body) {
                Ok(()) => added.push(body),
                Err(PublishError::TooLarge { length, largest }) => assert!(length > largest),
                // The batch as it is can still be committed.
                Err(PublishError::Full) => break,
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(batch.len(), added.len() as u64);
        if commits {
            assert_eq!(batch.commit(), self.expected.len() as u64);
            let count = added.len();
            for (at, body) in added.into_iter().enumerate() {
                self.expect(body, at + 1 == count);
            }
        }
    }

    fn close(mut self) -> Self {
        let Journal { writer, mut write_out, lock, .. } = self.journal;
        writer.close();
        while !write_out.is_drained() {
            self.clock += 1_000_000;
            while let Some(completion) = self.engine.complete(None) {
                write_out.complete(completion, self.clock);
            }
            write_out.work(self.engine.as_mut(), 0, self.clock);
        }
        assert!(write_out.close().unwrap());
        drop(lock);
        assert!(!self.ground.memory.exists(), "a clean end leaves no memory");
        self.journal = journal::open(&self.ground.places, self.ground.options()).unwrap();
        self
    }

    fn die(self) -> Self {
        let Self { disk, ground, engine, journal, clock, time, expected, reader, seen } = self;
        drop(engine);
        drop(journal);
        let journal = journal::open(&ground.places, ground.options()).unwrap();
        let engine = Box::new(disk.engine(1, clock));
        Self { disk, ground, engine, journal, clock, time, expected, reader, seen }
    }

    fn act(mut self, act: Act) -> Self {
        match act {
            Act::Append(length) => self.append(length, None),
            Act::Shorten(length, share) => self.append(length, Some(share)),
            Act::Abort(length) => match self.journal.writer.claim(3, 0, length, self.time) {
                Ok(mut claim) => claim.body().fill(0xff),
                Err(error) => assert_eq!(error, PublishError::Full),
            },
            Act::Batch(lengths) => self.batch(&lengths, true),
            Act::DropBatch(lengths) => self.batch(&lengths, false),
            Act::Pass(time) => self.time += time,
            Act::Work(turns) => (0..turns).for_each(|_| self.work()),
            Act::Close => self = self.close(),
            Act::Die => self = self.die(),
            Act::Read => self.read(),
        }
        assert_eq!(self.journal.writer.next_sequence(), self.expected.len() as u64);
        self
    }

    fn read(&mut self) {
        let mut empty = 0;
        while empty < 3 {
            match self.reader.poll().unwrap() {
                Some(frame) => {
                    let expected = &self.expected[self.seen];
                    let seen = Expected {
                        body: frame.body.to_vec(),
                        time: frame.publish_time,
                        is_batch_end: frame.batch_end,
                    };
                    assert_eq!(frame.sequence, self.seen as u64);
                    assert!(seen == *expected, "message {}", self.seen);
                    assert!(frame.body.as_ptr().addr().is_multiple_of(16));
                    self.seen += 1;
                }
                None => {
                    self.reader.look();
                    empty += 1;
                }
            }
        }
        assert_eq!(self.seen, self.expected.len(), "all that was published is seen at once");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn a_journal_is_a_list_of_messages(acts in prop::collection::vec(act(), 1..120)) {
        let mut run = Run::new();
        for act in acts {
            run = run.act(act);
        }
        run.read();
        // What is durable is on the disk alone.
        let run = run.close();
        run.ground.lose_memory();
        let mut reader = run.ground.reader(Start::Oldest, Gate::Durable);
        let (messages, faults) = read_rest(&mut reader);
        prop_assert_eq!(faults, vec![]);
        prop_assert_eq!(messages.len(), run.expected.len());
        for (expected, (sequence, body)) in run.expected.iter().zip(&messages) {
            prop_assert!(expected.body == *body, "message {}", sequence);
        }
    }
}
