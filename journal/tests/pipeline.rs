//! Given a disk that is slower than the writer, expect that it is never without work that is ready, and that a segment's
//! last block is written once.
#![allow(missing_docs)]

mod common;

use std::{
    collections::VecDeque,
    fs, io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use common::{Ground, Live, SEGMENT, assert_messages, message, segment_name};
use journal::{
    Gate,
    layout::{ANCHOR_FRAME, BLOCK, FIRST_FRAME, FRAME_HEADER, SEAL_FRAME},
    storage::{Completion, Engine, Write},
};

/// What the test and the engine both see.
#[derive(Debug, Default)]
struct Desk {
    /// Offset and length of each write that was begun.
    begun: Mutex<Vec<(u64, usize)>>,
    /// How many completions may be taken.
    allowed: AtomicUsize,
}

impl Desk {
    fn begun(&self) -> Vec<(u64, usize)> {
        self.begun.lock().unwrap().clone()
    }
}

/// An engine of two writes in flight, which end when the test says so.
#[derive(Debug)]
struct Held {
    in_flight: VecDeque<Completion>,
    desk: Arc<Desk>,
}

impl Engine for Held {
    fn name(&self) -> &'static str {
        "held"
    }
    fn depth(&self) -> usize {
        2
    }
    unsafe fn submit(&mut self, write: Write) -> io::Result<()> {
        assert!(write.length > 0 && self.in_flight.len() < self.depth());
        let Write { file, bytes, length, offset, token } = write;
        // SAFETY: the caller keeps the memory mapped and unchanged.
        let result = file.write_durable_at(unsafe { std::slice::from_raw_parts(bytes, length) }, offset);
        self.desk.begun.lock().unwrap().push((offset, length));
        self.in_flight.push_back(Completion { token, offset, result });
        Ok(())
    }
    fn complete(&mut self, _: Option<Duration>) -> Option<Completion> {
        let is_allowed = |allowed: usize| allowed.checked_sub(1);
        // ORDERING: SeqCst: one thread drives both.
        self.desk.allowed.fetch_update(Ordering::SeqCst, Ordering::SeqCst, is_allowed).ok()?;
        self.in_flight.pop_front()
    }
    fn in_flight(&self) -> usize {
        self.in_flight.len()
    }
}

fn open(ground: &Ground) -> (Live, Arc<Desk>) {
    let desk = Arc::new(Desk::default());
    let engine = Held { in_flight: VecDeque::new(), desk: Arc::clone(&desk) };
    (ground.open_with(ground.options(), Box::new(engine)).unwrap(), desk)
}

fn allow(live: &mut Live, desk: &Desk, completions: usize) {
    desk.allowed.store(completions, Ordering::SeqCst); // ORDERING: as in `Held::complete`
    live.work();
}

/// Ends the journal on a disk that keeps up.
fn finish(live: Live, desk: &Desk) {
    desk.allowed.store(usize::MAX / 2, Ordering::SeqCst); // ORDERING: as in `Held::complete`
    live.close();
}

/// The checksum of the first frame of a segment in memory: 0 until the write-out has walked there.
fn first_checksum(ground: &Ground, segment: u64) -> u32 {
    let bytes = fs::read(ground.memory.join(segment_name(segment))).unwrap();
    u32::from_le_bytes(bytes[FIRST_FRAME + 8..FIRST_FRAME + 12].try_into().unwrap())
}

#[test]
fn the_next_segment_is_walked_while_the_last_writes_of_one_are_in_flight() {
    let ground = Ground::new();
    let (mut live, desk) = open(&ground);
    // Segments to go on in are made before anything waits for the disk.
    desk.allowed.store(usize::MAX / 2, Ordering::SeqCst); // ORDERING: as in `Held::complete`
    live.settle();
    desk.allowed.store(0, Ordering::SeqCst); // ORDERING: as in `Held::complete`
    let before = desk.begun().len();

    let mut count = 0;
    while count * 512 < SEGMENT as u64 + 64 * 1024 {
        live.publish(&message(count).repeat(8));
        count += 1;
    }
    // All but the last two writes of the first segment end.
    let is_at_its_end = |desk: &Desk| {
        let end = desk.begun().last().map_or(0, |(offset, length)| offset + *length as u64);
        end + 1024 > SEGMENT as u64
    };
    live.work();
    while !is_at_its_end(&desk) {
        allow(&mut live, &desk, 1);
        live.work();
    }
    live.work();
    assert_eq!(live.engine.in_flight(), 2, "the tail of a sealed segment follows at once");
    assert!(live.writer().durable() < count, "nothing of the next segment is durable");
    assert_ne!(first_checksum(&ground, 1), 0, "the next segment is ready to be written");

    // One turn after the last of them has ended the disk works on the next segment.
    let begun = desk.begun().len();
    allow(&mut live, &desk, 2);
    let next = desk.begun()[begun..].to_vec();
    assert_eq!(next.first().map(|(offset, _)| *offset), Some(0), "{next:?}");

    // The first segment's blocks were written once each.
    let of_first = &desk.begun()[before..begun];
    let joined = of_first.windows(2).all(|pair| pair[0].0 + pair[0].1 as u64 == pair[1].0);
    assert!(joined, "{of_first:?}");
    finish(live, &desk);
    let (messages, faults) = ground.read_all(Gate::Durable);
    assert_eq!((messages.len() as u64, faults.len()), (count, 0));
}

#[test]
fn a_seal_that_ends_with_its_block_leaves_nothing_to_write() {
    let ground = Ground::new();
    let (mut live, desk) = open(&ground);
    live.publish(&message(0));
    let first = message(0).len().next_multiple_of(16);
    let at = FIRST_FRAME + ANCHOR_FRAME + FRAME_HEADER + first;
    let body = 8 * BLOCK - SEAL_FRAME - at - FRAME_HEADER;
    live.publish(&vec![7; body]);
    let Live { mut engine, journal: journal::Journal { writer, mut write_out, .. }, .. } = live;
    writer.close();
    for now in 1..20 {
        write_out.work(engine.as_mut(), 0, now * 1_000_000);
    }
    assert_eq!(desk.begun(), [(0, 8 * BLOCK)]);
    desk.allowed.store(usize::MAX / 2, Ordering::SeqCst); // ORDERING: as in `Held::complete`
    for now in 20..40 {
        while let Some(completion) = engine.complete(None) {
            write_out.complete(completion, now * 1_000_000);
        }
        write_out.work(engine.as_mut(), 0, now * 1_000_000);
    }
    assert!(write_out.is_drained() && write_out.close().unwrap());
    let (messages, faults) = ground.read_all(Gate::Durable);
    assert_messages(&messages[..1], 1);
    assert_eq!((messages.len(), faults.len()), (2, 0));
}
