//! Given a reader that does not see the shared memory of a live writer, expect that it follows what the mark proves, calls
//! nothing damaged that is only being written, and has all of it when the writer is gone.
#![allow(missing_docs)]

mod common;

use std::{
    collections::VecDeque,
    fs, io,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use common::{
    Ground, SEGMENT, assert_messages, message, read_rest, segment_name,
    watched::{Act, Watched},
};
use journal::{
    Gate, Places, ReadError, Reader, Start,
    layout::BLOCK,
    storage::{AlignedBuffer, Completion, Engine, Write},
};

const GATES: [Gate; 2] = [Gate::Published, Gate::Durable];

/// Messages of a writer that goes on while it is read.
const MOST: u64 = 20_000;

/// Moves of the mark.
const STEPS: usize = 100;

/// Where no memory is.
fn blind(ground: &Ground) -> Places {
    Places { memory_dir: PathBuf::from("/nonexistent"), ..ground.places.clone() }
}

fn reader(places: &Places, gate: Gate) -> Reader {
    Reader::open(places.clone(), Start::Oldest, gate).unwrap()
}

#[test]
fn a_reader_without_memory_follows_a_live_writer_to_its_end() {
    for gate in GATES {
        for dies in [false, true] {
            let ground = Ground::new();
            let mut live = ground.open();
            live.work();
            let (mut follower, mut messages, mut count, mut steps) =
                (reader(&blind(&ground), gate), Vec::new(), 0, 0);
            while count < 40_000 {
                for _ in 0..700 {
                    live.publish(&message(count));
                    count += 1;
                }
                // The mark follows some turns later.
                (0..count % 11).for_each(|_| _ = live.work());
                let (new, faults) = read_rest(&mut follower);
                assert_eq!(faults, [], "{gate:?}: behind {} of {count}", messages.len());
                steps += u32::from(!new.is_empty());
                messages.extend(new);
                // Who comes now has as much.
                let (all, faults) = read_rest(&mut reader(&blind(&ground), gate));
                assert_eq!((all.len() >= messages.len(), faults), (true, vec![]));
            }
            assert!(steps > 20, "it follows: {steps}");
            live.settle();
            if dies {
                live.die()
            } else {
                live.close()
            }
            let (new, faults) = read_rest(&mut follower);
            assert_eq!(faults, []);
            messages.extend(new);
            assert_messages(&messages, count);
        }
    }
}

#[test]
fn a_writer_that_goes_on_while_a_segment_is_read_makes_no_damage_of_it() {
    for gate in GATES {
        let ground = Ground::new();
        let mut live = ground.open();
        live.publish(&message(0));
        live.settle();
        let live = Arc::new(Mutex::new((live, 1)));
        let (writes, turns) = (Arc::clone(&live), Arc::new(AtomicU32::new(0)));
        let counted = Arc::clone(&turns);
        let watch = move |act: Act<'_>| {
            if let Act::HalfRead(name) = act
                && name.ends_with(".segment")
            {
                let (live, count) = &mut *writes.lock().unwrap();
                for n in *count..MOST.min(*count + 100) {
                    live.publish(&message(n));
                    *count = n + 1;
                }
                // Enough for the mark to follow.
                (0..20).for_each(|_| _ = live.work());
                counted.fetch_add(1, Ordering::Relaxed); // ORDERING: a count of one thread
            }
        };
        let storage = Arc::new(Watched { below: Arc::clone(&ground.places.storage), watch: Arc::new(watch) });
        let mut follower = reader(&Places { storage, ..blind(&ground) }, gate);
        let (mut messages, faults) = read_rest(&mut follower);
        assert_eq!(faults, [], "{gate:?}: behind {}", messages.len());
        assert!(turns.load(Ordering::Relaxed) > 100, "the writer went on"); // ORDERING: as above
        live.lock().unwrap().0.settle();
        messages.extend(read_rest(&mut follower).0);
        assert_messages(&messages, live.lock().unwrap().1);
    }
}

#[test]
fn who_follows_a_live_writer_reads_no_more_than_the_mark_newly_proves() {
    for gate in GATES {
        let ground = Ground::new();
        let mut live = ground.open();
        live.publish(&message(0));
        live.settle();
        let read = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&read);
        let watch = move |act: Act<'_>| {
            if let Act::Read { name, length } = act
                && name.ends_with(".segment")
            {
                counted.fetch_add(length, Ordering::Relaxed); // ORDERING: a count of one thread
            }
        };
        let storage = Arc::new(Watched { below: Arc::clone(&ground.places.storage), watch: Arc::new(watch) });
        let mut follower = reader(&Places { storage, ..blind(&ground) }, gate);
        let (mut messages, _) = read_rest(&mut follower);
        let (mut count, mut written) = (1, 0);
        for step in 1..=STEPS {
            for _ in 0..300 {
                live.publish(&message(count));
                written += message(count).len();
                count += 1;
            }
            (0..20).for_each(|_| _ = live.work());
            let (new, faults) = read_rest(&mut follower);
            assert_eq!((new.len(), faults), (300, vec![]), "{gate:?}: step {step}");
            messages.extend(new);
            assert_eq!(follower.watermarks().durable, count);
        }
        assert_messages(&messages, count);
        // Each segment as it is entered, and what each mark proves with the blocks at both ends of that.
        let segments = written.div_ceil(SEGMENT) + 1;
        assert!(segments > 2);
        let most = 2 * segments * SEGMENT + STEPS * 8 * BLOCK;
        let read = read.load(Ordering::Relaxed); // ORDERING: as above
        assert!(read < most, "{gate:?}: {read} bytes read of {written} written, {most} at most");
    }
}

#[test]
fn what_is_damaged_where_the_mark_proves_it_is_told_to_who_follows() {
    for gate in GATES {
        let ground = Ground::new();
        let mut live = ground.open();
        (0..100).for_each(|n| _ = live.publish(&message(n)));
        live.settle();
        let mut follower = reader(&blind(&ground), gate);
        assert_messages(&read_rest(&mut follower).0, 100);
        (100..2_000).for_each(|n| _ = live.publish(&message(n)));
        live.settle();
        let file = fs::File::options().write(true).open(ground.disk.join(segment_name(0))).unwrap();
        // Behind what was read, and before most of what was not.
        let mut body = message(300);
        let position = {
            let mut reader = ground.reader(Start::Sequence(300), gate);
            reader.poll().unwrap().unwrap().position
        };
        body[0] ^= 1;
        file.write_all_at(&body, position + 16).unwrap();
        let (messages, faults) = read_rest(&mut follower);
        let [ReadError::Damage { from, sequences: (first, next), refused: None, .. }] = faults[..] else {
            panic!("{faults:?}")
        };
        assert_eq!((from, first, messages.last().unwrap().0), (position, 300, 1_999));
        let (before, behind) = messages.split_at(200);
        assert_eq!((before[0].0, before[199].0, behind[0].0), (100, 299, next));
        assert!(next < 1_999 && behind.iter().all(|(n, body)| *body == message(*n)));
    }
}

/// What is in flight, which ends when the test says so, the newest first.
type Desk = Arc<Mutex<VecDeque<(Write, AlignedBuffer)>>>;

/// An engine of two writes in flight, which the disk gets in any order.
struct Backwards {
    desk: Desk,
}

impl std::fmt::Debug for Backwards {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Backwards")
    }
}

impl Engine for Backwards {
    fn name(&self) -> &'static str {
        "backwards"
    }
    fn depth(&self) -> usize {
        2
    }
    unsafe fn submit(&mut self, write: Write) -> io::Result<()> {
        // SAFETY: the caller keeps the memory mapped and unchanged.
        let bytes = unsafe { std::slice::from_raw_parts(write.bytes, write.length) };
        let mut copy = AlignedBuffer::zeroed(write.length);
        copy.copy_from_slice(bytes);
        self.desk.lock().unwrap().push_back((write, copy));
        Ok(())
    }
    fn complete(&mut self, _: Option<Duration>) -> Option<Completion> {
        // The test takes them to the write-out itself.
        None
    }
    fn in_flight(&self) -> usize {
        self.desk.lock().unwrap().len()
    }
}

/// Writes the older or the newer of what is in flight.
fn end(live: &mut common::Live, desk: &Desk, newest: bool) {
    let mut waiting = desk.lock().unwrap();
    let next = if newest { waiting.pop_back() } else { waiting.pop_front() };
    drop(waiting);
    let Some((write, bytes)) = next else { return };
    let result = write.file.write_durable_at(&bytes, write.offset);
    let done = Completion { token: write.token, offset: write.offset, result };
    live.journal.write_out.complete(done, live.now);
}

#[test]
fn blocks_that_reach_the_disk_before_those_in_front_of_them_are_waited_for() {
    for gate in GATES {
        let ground = Ground::new();
        let desk = Desk::default();
        let engine = Backwards { desk: Arc::clone(&desk) };
        let mut live = ground.open_with(ground.options(), Box::new(engine)).unwrap();
        let (mut count, mut holes, mut messages) = (0, 0, Vec::new());
        let mut follower = reader(&blind(&ground), gate);
        while count < 30_000 {
            // More than one write takes.
            for _ in 0..4_000 {
                let body = message(count);
                count += u64::from(live.journal.writer.append(1, 0, &body, || live.now).is_ok());
            }
            (0..4).for_each(|_| _ = live.work());
            let has_hole = desk.lock().unwrap().len() == 2;
            end(&mut live, &desk, true);
            holes += u32::from(has_hole);
            let (new, faults) = read_rest(&mut follower);
            assert_eq!(faults, [], "{gate:?}: behind {} of {count}", messages.len());
            messages.extend(new);
            let (all, faults) = read_rest(&mut reader(&blind(&ground), gate));
            assert_eq!((all.len() >= messages.len(), faults), (true, vec![]));
            end(&mut live, &desk, false);
            // As long as the mark takes to follow.
            (0..10).for_each(|_| _ = live.work());
        }
        assert!(holes > 5, "{holes} holes");
        for _ in 0..1_000 {
            end(&mut live, &desk, false);
            live.work();
        }
        messages.extend(read_rest(&mut follower).0);
        assert_messages(&messages, count);
    }
}

#[test]
fn a_segment_that_is_only_made_ready_is_not_read_whole_at_each_look() {
    const LOOKS: usize = 100;
    for gate in GATES {
        let ground = Ground::new();
        let desk = Desk::default();
        let engine = Backwards { desk: Arc::clone(&desk) };
        let mut live = ground.open_with(ground.options(), Box::new(engine)).unwrap();
        let read = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&read);
        let watch = move |act: Act<'_>| {
            if let Act::Read { name, length } = act
                && name == segment_name(1)
            {
                counted.fetch_add(length, Ordering::Relaxed); // ORDERING: a count of one thread
            }
        };
        let storage = Arc::new(Watched { below: Arc::clone(&ground.places.storage), watch: Arc::new(watch) });
        let (mut count, mut last) = (0, 0);
        // Until the first block of the second segment is on its way, and all before it is on the disk.
        loop {
            let body = message(count);
            count += u64::from(live.journal.writer.append(1, 0, &body, || live.now).is_ok());
            live.work();
            let Some(offset) = desk.lock().unwrap().front().map(|(write, _)| write.offset) else { continue };
            if offset < last {
                break;
            }
            last = offset;
            end(&mut live, &desk, false);
        }
        (0..20).for_each(|_| _ = live.work());
        let mut follower = reader(&Places { storage, ..blind(&ground) }, gate);
        let (mut messages, faults) = read_rest(&mut follower);
        assert_eq!((messages.is_empty(), faults), (false, vec![]));
        read.store(0, Ordering::Relaxed); // ORDERING: as above
        for _ in 0..LOOKS {
            assert_eq!(read_rest(&mut follower), (vec![], vec![]));
        }
        let read_ready = read.load(Ordering::Relaxed); // ORDERING: as above
        assert!(read_ready > 0, "it is looked at");
        // Each look polls three times.
        assert!(read_ready <= LOOKS * 4 * BLOCK, "{gate:?}: {read_ready} bytes of it read");
        while live.work() > 0 || !desk.lock().unwrap().is_empty() {
            end(&mut live, &desk, false);
        }
        live.settle();
        messages.extend(read_rest(&mut follower).0);
        assert_messages(&messages, count);
    }
}

#[test]
fn memory_that_another_journal_left_at_its_place_is_none_of_a_journal_s() {
    let (other, ground) = (Ground::new(), Ground::new());
    // As a killed writer leaves it: a segment that is written, and others made ready.
    let mut dead = other.open();
    dead.publish(&message(0));
    dead.settle();
    dead.die();
    let mut live = ground.open();
    for n in 0..MOST {
        live.publish(&message(n));
    }
    live.settle();
    let places = Places { memory_dir: other.memory.clone(), ..ground.places.clone() };
    let check = |places: &Places| {
        for gate in GATES {
            let mut found = reader(places, gate);
            let (messages, faults) = read_rest(&mut found);
            assert_eq!(faults, []);
            assert_messages(&messages, MOST);
            assert_eq!(found.watermarks().durable, MOST);
        }
    };
    check(&places);
    live.close();
    check(&places);
}
