//! Given a journal that lost whole segments, expect that it says which messages were in them.
#![allow(missing_docs)]

mod common;

use common::{Ground, SEGMENT, assert_messages, closed, message};
use journal::{Gate, ReadError, Start};

const COUNT: u64 = 40_000;

fn remove(ground: &Ground, segment: usize) {
    std::fs::remove_file(ground.disk.join(format!("{segment:016x}.segment"))).unwrap();
}

/// The damage that a reader reports, after it was checked that all other messages are there.
fn lost(ground: &Ground) -> (u64, u64) {
    let (messages, faults) = ground.read_all(Gate::Published);
    let [ReadError::Damage { from, to, sequences: (first, next), .. }] = faults[..] else {
        panic!("{faults:?}")
    };
    assert!(from.is_multiple_of(SEGMENT as u64) && from < to, "{from} to {to}");
    let sequences: Vec<u64> = messages.iter().map(|(sequence, _)| *sequence).collect();
    assert_eq!(sequences, (0..first).chain(next..COUNT).collect::<Vec<_>>());
    for (sequence, body) in &messages {
        assert_eq!(body, &message(*sequence));
    }
    (first, next)
}

#[test]
fn a_segment_that_is_gone_is_a_range_of_sequences() {
    for segment in [0, 1, 2] {
        let ground = Ground::new();
        let firsts = closed(&ground, COUNT);
        remove(&ground, segment);
        assert_eq!(lost(&ground), (firsts[segment], firsts[segment + 1]), "segment {segment}");
    }
}

#[test]
fn a_beginning_that_is_gone_was_not_retired() {
    let ground = Ground::new();
    let firsts = closed(&ground, COUNT);
    remove(&ground, 0);
    for start in [0, 5, firsts[1] - 1] {
        let mut reader = ground.reader(Start::Sequence(start), Gate::Durable);
        assert_eq!((reader.begins(), reader.watermarks().first), (0, firsts[1]));
        let sequences = (start, firsts[1]);
        let fault = ReadError::Damage { from: 0, to: SEGMENT as u64, sequences, refused: None };
        assert_eq!(reader.poll().unwrap_err(), fault);
        assert_eq!(reader.poll().unwrap().unwrap().sequence, firsts[1]);
    }
}

#[test]
fn two_neighbours_are_one_range() {
    let ground = Ground::new();
    let firsts = closed(&ground, COUNT);
    remove(&ground, 1);
    remove(&ground, 2);
    assert_eq!(lost(&ground), (firsts[1], firsts[3]));
}

#[test]
fn the_newest_segment_is_missed_by_the_mark_and_its_sequences_are_not_used_again() {
    let ground = Ground::new();
    let firsts = closed(&ground, COUNT);
    let newest = firsts.len() - 1;
    remove(&ground, newest);
    let mut reader = ground.reader(Start::Oldest, Gate::Durable);
    let marks = reader.watermarks();
    assert_eq!((marks.published, marks.durable), (COUNT, COUNT), "evidence counts what is gone");
    assert_eq!(lost(&ground), (firsts[newest], COUNT));
    let mut live = ground.open();
    assert_eq!(live.journal.recovery.damage.len(), 1);
    assert_eq!(live.publish(&message(COUNT)), COUNT);
    live.close();
    let (messages, faults) = ground.read_all(Gate::Durable);
    assert_eq!(messages.last(), Some(&(COUNT, message(COUNT))));
    let [ReadError::Damage { sequences, .. }] = faults[..] else { panic!("{faults:?}") };
    assert_eq!(sequences, (firsts[newest], COUNT));
}

#[test]
fn given_that_all_segments_are_lost_expect_that_to_be_told_also_once_the_journal_goes_on() {
    let ground = Ground::new();
    let segments = closed(&ground, COUNT).len();
    (0..segments).for_each(|number| remove(&ground, number));
    assert_eq!(lost(&ground), (0, COUNT));
    for next in [COUNT, COUNT + 1] {
        let mut live = ground.open();
        assert_eq!(live.publish(&message(next)), next);
        live.close();
        let (_, faults) = ground.read_all(Gate::Durable);
        let [ReadError::Damage { sequences, .. }] = faults[..] else { panic!("{faults:?}") };
        assert_eq!(sequences, (0, COUNT), "not taken for what retention removed");
    }
}

#[test]
fn a_header_that_is_damaged_takes_its_segment_with_it() {
    let ground = Ground::new();
    let firsts = closed(&ground, COUNT);
    let path = ground.disk.join("0000000000000001.segment");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(lost(&ground), (firsts[1], firsts[2]));
}

#[test]
fn a_lost_mark_takes_no_message_with_it() {
    let ground = Ground::new();
    closed(&ground, COUNT);
    let mark = ground.disk.join("mark");
    assert!(ground.reader(Start::Oldest, Gate::Durable).is_end_proven());
    std::fs::write(&mark, vec![7; 8192]).unwrap();
    assert!(!ground.reader(Start::Oldest, Gate::Durable).is_end_proven(), "it takes the proof of the end");
    assert_messages(&ground.read_all(Gate::Durable).0, COUNT);
    std::fs::remove_file(&mark).unwrap();
    assert_messages(&ground.read_all(Gate::Durable).0, COUNT);
    let mut live = ground.open();
    assert_eq!((live.writer().epoch(), live.publish(&message(COUNT))), (2, COUNT));
    assert!(live.journal.recovery.mark_lost);
    live.close();
    let (messages, faults) = ground.read_all(Gate::Durable);
    assert!(faults.is_empty(), "{faults:?}");
    assert_messages(&messages, COUNT + 1);
}

#[test]
fn a_mark_of_another_journal_is_told_and_nothing_is_read_or_written_by_it() {
    let (ground, other) = (Ground::new(), Ground::new());
    closed(&ground, COUNT);
    other.open().close();
    let (mark, foreign) = (ground.disk.join("mark"), std::fs::read(other.disk.join("mark")).unwrap());
    let own = std::fs::read(&mark).unwrap();
    assert_eq!(ground.reader(Start::Oldest, Gate::Durable).foreign_mark(), None);
    std::fs::write(&mark, foreign).unwrap();
    let reader = ground.reader(Start::Oldest, Gate::Durable);
    let strange = other.reader(Start::Oldest, Gate::Durable).journal();
    let digits = strange.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!((reader.foreign_mark(), reader.is_end_proven()), (Some(digits.clone()), false));
    let (messages, faults) = ground.read_all(Gate::Durable);
    assert_messages(&messages, COUNT);
    assert_eq!(faults, []);
    let files = || std::fs::read_dir(&ground.disk).unwrap().count();
    let before = files();
    let refused = ground.try_open().unwrap_err().to_string();
    assert!(refused.starts_with("damaged: the mark") && refused.contains(&digits), "{refused}");
    assert_eq!(files(), before, "an owner would else take the segments for strangers'");
    std::fs::write(&mark, own).unwrap();
    let mut live = ground.open();
    assert_eq!(live.publish(&message(COUNT)), COUNT);
    live.close();
    assert_messages(&ground.read_all(Gate::Durable).0, COUNT + 1);
}

#[test]
fn without_a_mark_a_segment_that_is_refused_hides_no_other() {
    let ground = Ground::new();
    let firsts = closed(&ground, COUNT);
    std::fs::remove_file(ground.disk.join("mark")).unwrap();
    remove(&ground, 1);
    std::fs::create_dir(ground.disk.join("0000000000000001.segment")).unwrap();
    assert_eq!(lost(&ground), (firsts[1], firsts[2]));
}

#[test]
fn a_reader_that_waits_behind_the_end_meets_no_fault() {
    let ground = Ground::new();
    closed(&ground, COUNT);
    let mut reader = ground.reader(Start::Newest, Gate::Durable);
    for _ in 0..1_000 {
        assert!(reader.poll().unwrap().is_none());
    }
    let mut live = ground.open();
    for _ in 0..1_000 {
        assert!(reader.poll().unwrap().is_none());
    }
    live.publish(&message(COUNT));
    live.settle();
    let mut polls = 0;
    let frame = loop {
        polls += 1;
        assert!(polls < 2_000, "the reader finds the new epoch");
        if reader.has_next().unwrap() {
            break reader.poll().unwrap().unwrap();
        }
    };
    assert_eq!(frame.sequence, COUNT);
}
