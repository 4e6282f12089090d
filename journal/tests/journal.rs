//! Given a journal, this life, expect that.
#![allow(missing_docs)]

mod common;

use common::{Ground, SEGMENT, assert_messages, message, read_rest};
use journal::{Gate, OpenError, PublishError, ReadError, Start};

#[test]
fn what_is_published_is_read_at_once_and_what_is_durable_later() {
    let ground = Ground::new();
    let mut live = ground.open();
    for n in 0..10 {
        assert_eq!(live.publish(&message(n)), n);
    }
    assert_messages(&ground.read_all(Gate::Published).0, 10);
    assert_messages(&ground.read_all(Gate::Durable).0, 0);
    live.settle();
    assert_messages(&ground.read_all(Gate::Durable).0, 10);
}

#[test]
fn a_reader_follows_across_segments_memory_and_disk() {
    let ground = Ground::new();
    let mut live = ground.open();
    let mut reader = ground.reader(Start::Oldest, Gate::Published);
    let (mut seen, count) = (Vec::new(), 40_000);
    for n in 0..count {
        live.publish(&message(n));
        if n % 1_000 == 0 {
            live.work();
        }
        if n % 7_919 == 0 {
            let (more, faults) = read_rest(&mut reader);
            assert!(faults.is_empty(), "{faults:?}");
            seen.extend(more);
        }
    }
    live.settle();
    seen.extend(read_rest(&mut reader).0);
    assert_messages(&seen, count);
    assert_messages(&ground.read_all(Gate::Durable).0, count);
    let files = std::fs::read_dir(&ground.memory).unwrap().flatten();
    let in_memory = files.filter(|file| file.path().extension().is_some_and(|end| end == "segment")).count();
    assert!(in_memory <= 5, "retired segments leave the memory, {in_memory} are there");
}

#[test]
fn a_clean_end_leaves_no_memory_and_the_next_epoch_goes_on() {
    let ground = Ground::new();
    for epoch in 1..=3 {
        let mut live = ground.open();
        assert_eq!(live.writer().epoch(), epoch);
        for n in 0..100 {
            live.publish(&message((u64::from(epoch) - 1) * 100 + n));
        }
        live.close();
        assert!(!ground.memory.exists(), "a clean end leaves no memory");
    }
    let (messages, faults) = ground.read_all(Gate::Durable);
    assert!(faults.is_empty(), "{faults:?}");
    assert_messages(&messages, 300);
}

#[test]
fn a_killed_writer_loses_nothing_that_it_published() {
    let ground = Ground::new();
    let mut count = 0;
    for life in 0..5 {
        let mut live = ground.open();
        assert_eq!(live.writer().next_sequence(), count);
        for _ in 0..3_000 * (life + 1) {
            live.publish(&message(count));
            count += 1;
        }
        for _ in 0..life * 3 {
            live.work();
        }
        live.die();
        assert_messages(&ground.read_all(Gate::Published).0, count);
    }
    ground.open().close();
    assert_messages(&ground.read_all(Gate::Durable).0, count);
}

#[test]
fn after_power_loss_everything_durable_is_there() {
    let ground = Ground::new();
    let mut live = ground.open();
    for n in 0..20_000 {
        live.publish(&message(n));
    }
    live.settle();
    for n in 20_000..30_000 {
        live.publish(&message(n));
    }
    live.work();
    let durable = live.writer().durable();
    assert!(0 < durable && durable < 30_000, "a part is durable: {durable}");
    live.die();
    ground.lose_memory();
    let (before, faults) = ground.read_all(Gate::Durable);
    assert!(faults.is_empty(), "{faults:?}");
    assert!(before.len() as u64 >= durable);
    assert_messages(&before, before.len() as u64);
    let mut live = ground.open();
    let recovered = live.writer().next_sequence();
    assert_eq!(recovered, before.len() as u64, "readers show what recovery keeps");
    live.publish(&message(recovered));
    live.close();
    assert_messages(&ground.read_all(Gate::Durable).0, recovered + 1);
}

#[test]
fn a_second_writer_is_refused_by_name() {
    let ground = Ground::new();
    let _live = ground.open();
    match ground.try_open() {
        Err(OpenError::Held { holder, .. }) => {
            assert!(holder.contains(&std::process::id().to_string()), "{holder}")
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn aborted_and_shortened_claims_leave_nothing() {
    let ground = Ground::new();
    let mut live = ground.open();
    let writer = live.writer();
    writer.claim(1, 0, 500, 0).unwrap().body().fill(0xff);
    assert_eq!(writer.append(1, 0, b"first", || 0), Ok(0));
    let mut claim = writer.claim(1, 0, 300, 0).unwrap();
    claim.body().fill(0xee);
    claim.commit_first(7);
    assert!(writer.batch(0).is_empty());
    {
        let mut never_committed = writer.batch(0);
        never_committed.append(1, 0, &[1; 200]).unwrap();
        never_committed.append(1, 0, &[2; 200]).unwrap();
    }
    assert_eq!(writer.append(1, 0, b"last", || 0), Ok(2));
    live.settle();
    let (messages, _) = ground.read_all(Gate::Published);
    let bodies: Vec<_> = messages.into_iter().map(|(_, body)| body).collect();
    assert_eq!(bodies, [b"first".to_vec(), vec![0xee; 7], b"last".to_vec()]);
    assert_eq!(ground.read_all(Gate::Durable).0.len(), 3);
}

#[test]
fn zero_and_largest_messages_pass_and_one_more_byte_does_not() {
    let ground = Ground::new();
    let mut live = ground.open();
    let largest = live.writer().largest();
    live.publish(&[]);
    live.publish(&vec![7; largest]);
    let refused = live.writer().append(1, 0, &vec![7; largest + 1], || 0);
    assert_eq!(refused, Err(PublishError::TooLarge { length: largest + 1, largest }));
    live.settle();
    let lengths: Vec<_> = ground.read_all(Gate::Durable).0.iter().map(|(_, body)| body.len()).collect();
    assert_eq!(lengths, [0, largest]);
}

#[test]
fn batches_move_whole_to_the_next_segment_and_survive_whole() {
    let ground = Ground::new();
    let mut live = ground.open();
    let mut n = 0;
    for _ in 0..2_000 {
        for _ in 0..8 {
            live.work();
        }
        let now = live.now;
        let mut batch = live.writer().batch(now);
        for i in 0..37 {
            batch.append(1, 0, &message(n + i)).unwrap();
        }
        assert_eq!(batch.commit(), n);
        n += 37;
    }
    assert_messages(&ground.read_all(Gate::Published).0, n);
    live.work();
    live.die();
    ground.lose_memory();
    let (messages, _) = ground.read_all(Gate::Durable);
    assert_eq!(messages.len() % 37, 0, "a batch survives whole or not at all: {}", messages.len());
    assert_messages(&messages, messages.len() as u64);
}

#[test]
fn times_are_kept_through_anchors_and_segments() {
    let ground = Ground::new();
    let mut live = ground.open();
    let times: Vec<u64> = (0..20_000).map(|n| 5_000_000_000 + n * 1_234_567).collect();
    for time in &times {
        while live.journal.writer.append(1, 0, &[0; 60], || *time).is_err() {
            live.work();
        }
    }
    live.close();
    let mut reader = ground.reader(Start::Oldest, Gate::Durable);
    for time in &times {
        assert_eq!(reader.poll().unwrap().unwrap().publish_time, *time);
    }
}

#[test]
fn a_message_is_as_late_as_its_writer_was_held_up() {
    // Each frame tells its time as 32 bits since an anchor; the clock is read when the frame has its place.
    const REACH: u64 = u32::MAX as u64;
    let ground = Ground::new();
    let mut live = ground.open();
    let pauses = [0, 1, REACH, REACH + 1, 2 * REACH, 3];
    let (now, turn) = (std::cell::Cell::new(1_000_000_000_u64), std::cell::Cell::new(0));
    let clock = || {
        now.set(now.get() + pauses[turn.get() % pauses.len()]);
        turn.set(turn.get() + 1);
        now.get()
    };
    let mut times = Vec::new();
    for n in 0..30_000_usize {
        // All distances from the end of a segment.
        let body = vec![7; 1 + n % 150];
        while live.journal.writer.append(1, 0, &body, clock).is_err() {
            live.work();
        }
        times.push(now.get());
    }
    live.close();
    let mut reader = ground.reader(Start::Oldest, Gate::Durable);
    for (n, time) in times.iter().enumerate() {
        let frame = reader.poll().unwrap().unwrap();
        assert_eq!((frame.publish_time, frame.body), (*time, &vec![7; 1 + n % 150][..]), "message {n}");
    }
}

#[test]
fn a_reader_starts_where_it_is_told() {
    let ground = Ground::new();
    let mut live = ground.open();
    for n in 0..30_000 {
        live.publish(&message(n));
        if n % 500 == 0 {
            live.work();
        }
    }
    for start in [0, 1, 12_345, 29_999] {
        let mut reader = ground.reader(Start::Sequence(start), Gate::Published);
        let frame = reader.poll().unwrap().unwrap();
        assert_eq!((frame.sequence, frame.body), (start, &message(start)[..]));
    }
    let mut newest = ground.reader(Start::Newest, Gate::Published);
    assert!(newest.poll().unwrap().is_none());
    live.publish(&message(30_000));
    assert_eq!(newest.poll().unwrap().unwrap().sequence, 30_000);
}

#[test]
fn retention_removes_the_oldest_and_says_so() {
    let ground = Ground::new();
    let options = journal::Options {
        retention: Some(journal::Retention { bytes: 3 * SEGMENT as u64, cuts: journal::Cuts::Oldest }),
        ..ground.options()
    };
    let engine = Box::new(journal::storage::PwriteEngine::new());
    let mut live = ground.open_with(options, engine).unwrap();
    let mut early = ground.reader(Start::Oldest, Gate::Durable);
    for n in 0..100_000 {
        live.publish(&message(n));
    }
    live.settle();
    let (messages, faults) = ground.read_all(Gate::Durable);
    let first = messages[0].0;
    assert!(faults.is_empty() && first > 0, "{faults:?}");
    assert_eq!(messages.last().unwrap().0, 99_999);
    let on_disk = std::fs::read_dir(&ground.disk).unwrap().count();
    assert!(on_disk < 3 + 1 + 6 + 3, "{on_disk} files");
    let fault = loop {
        match early.poll() {
            Ok(Some(frame)) => assert!(frame.sequence < first),
            Ok(None) => panic!("the early reader met no fault"),
            Err(fault) => break fault,
        }
    };
    assert_eq!(fault, ReadError::Retired { first });
    assert_eq!(early.poll().unwrap().unwrap().sequence, first);
    live.close();
    let mut live = ground.open();
    assert_eq!(live.publish(b"next"), 100_000);
}

#[test]
fn a_flipped_bit_in_a_sealed_segment_is_found_with_its_range() {
    let ground = Ground::new();
    let mut live = ground.open();
    for n in 0..30_000 {
        live.publish(&message(n));
    }
    live.close();
    let path = ground.disk.join("0000000000000000.segment");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[300_000] ^= 4;
    std::fs::write(&path, &bytes).unwrap();
    let (messages, faults) = ground.read_all(Gate::Durable);
    let [ReadError::Damage { from, to, sequences: (first, next), .. }] = faults[..] else {
        panic!("{faults:?}")
    };
    assert!(from <= 300_000 && 300_000 < to && to - from <= 2 * 64 * 1024, "{from} to {to}");
    assert_eq!(messages.len() as u64 + (next - first), 30_000, "all but the damaged ones");
    for (sequence, body) in &messages {
        assert_eq!(body, &message(*sequence));
    }
}

#[test]
fn an_unknown_version_is_refused_by_name() {
    let ground = Ground::new();
    ground.open().close();
    let path = ground.disk.join("mark");
    let mut bytes = std::fs::read(&path).unwrap();
    for slot in [0, 4096] {
        let mut mark = journal::layout::MarkSlot::read(&bytes[slot..]).unwrap();
        mark.version = 2;
        bytes[slot..slot + 128].copy_from_slice(zerocopy::IntoBytes::as_bytes(&mark.sealed()));
    }
    std::fs::write(&path, &bytes).unwrap();
    assert!(matches!(ground.try_open(), Err(OpenError::Version { found: 2, .. })));
    let reader = journal::Reader::open(ground.places.clone(), Start::Oldest, Gate::Durable);
    assert!(matches!(reader, Err(OpenError::Version { found: 2, .. })));
}
