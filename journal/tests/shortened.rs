//! Given a segment's file that is shorter or longer than it was written, expect that all messages in it and around it are
//! read, and that exactly the lost ones are named.
#![allow(missing_docs)]

mod common;

use std::{fs, ops::Range};

use common::{Ground, SEGMENT, message, read_rest};
use journal::{
    Gate, ReadError, Start, Survey,
    layout::{FRAME_HEADER, SEAL_FRAME, stride},
};

const COUNT: u64 = 50_000;
const SIZE: u64 = SEGMENT as u64;
/// Not one message, a few, most of them, and all but those beside the seal; whole blocks and parts of them.
const LENGTHS: [u64; 9] = [0, 100, 128, 4_096, 5_001, 500_000, 524_288, 1_000_000, SIZE - 4_096];

/// A closed journal of several segments, and the positions of its messages.
struct Closed {
    ground: Ground,
    positions: Vec<u64>,
}

impl Closed {
    fn new() -> Self {
        let ground = Ground::new();
        let mut live = ground.open();
        for n in 0..COUNT {
            live.publish(&message(n));
        }
        live.close();
        let mut reader = ground.reader(Start::Oldest, Gate::Durable);
        let mut positions = Vec::new();
        while let Some(frame) = reader.poll().unwrap() {
            positions.push(frame.position);
        }
        assert!(positions.len() as u64 == COUNT && positions[positions.len() - 1] > 3 * SIZE);
        Self { ground, positions }
    }

    fn newest(&self) -> u64 {
        self.positions[self.positions.len() - 1] / SIZE
    }

    /// The messages of a segment.
    fn sequences(&self, segment: u64) -> Range<u64> {
        let below = |position| self.positions.partition_point(|other| *other < position) as u64;
        below(segment * SIZE)..below((segment + 1) * SIZE)
    }

    /// The position behind a message.
    fn end(&self, sequence: u64) -> u64 {
        self.positions[sequence as usize] + stride(FRAME_HEADER + message(sequence).len()) as u64
    }

    fn set_length(&self, segment: u64, length: u64) {
        let file = self.ground.disk.join(format!("{segment:016x}.segment"));
        let before = fs::metadata(&file).unwrap().len();
        fs::File::options().write(true).open(&file).unwrap().set_len(length).unwrap();
        assert_ne!(before, length, "the fault fired");
    }

    /// Cuts a segment's file and says which messages that takes.
    fn shorten(&self, segment: u64, length: u64) -> Range<u64> {
        self.set_length(segment, length);
        let Range { start, end } = self.sequences(segment);
        let is_whole = |sequence: &u64| {
            let body = self.positions[*sequence as usize] + (FRAME_HEADER + message(*sequence).len()) as u64;
            body <= segment * SIZE + length
        };
        (start..end).find(|sequence| !is_whole(sequence)).unwrap_or(end)..end
    }

    fn survey(&self) -> Survey {
        journal::survey(&self.ground.places, &self.ground.disk.join(journal::LOCK)).unwrap()
    }

    /// Reads from a start without ever being told that there is nothing now, and answers what is lost.
    fn read(&self, start: Start, gate: Gate) -> Vec<(u64, u64, Range<u64>)> {
        let mut reader = self.ground.reader(start, gate);
        let mut next = reader.next_sequence();
        let mut lost = Vec::new();
        while next < COUNT {
            match reader.poll() {
                Ok(Some(frame)) => {
                    assert_eq!((frame.sequence, frame.body), (next, &message(next)[..]));
                    next += 1;
                }
                Ok(None) => panic!("nothing at {next}"),
                Err(ReadError::Damage { from, to, sequences: (first, behind), .. }) => {
                    assert_eq!(first, next);
                    lost.push((from, to, first..behind));
                    next = behind;
                }
                Err(error) => panic!("{error}"),
            }
        }
        let (more, faults) = read_rest(&mut reader);
        assert!(faults.is_empty() && more.iter().all(|(sequence, body)| *body == message(*sequence)));
        lost
    }
}

#[test]
fn a_shortened_segment_in_the_middle_is_an_exact_range() {
    let mut cuts = 0;
    for length in LENGTHS {
        let closed = Closed::new();
        let lost = closed.shorten(2, length);
        for gate in [Gate::Published, Gate::Durable] {
            let found = closed.read(Start::Oldest, gate);
            let [(from, to, sequences)] = &found[..] else { panic!("{length}: {found:?}") };
            assert_eq!((sequences, *to), (&lost, 3 * SIZE), "{length}");
            // Behind the last whole frame, which may be one of evidence.
            let behind = closed.end(lost.start - 1).max(2 * SIZE);
            let first = lost.clone().next().map_or(3 * SIZE, |first| closed.positions[first as usize]);
            assert!((behind..=first).contains(from), "{length}: from {from}");
        }
        cuts += u64::from(!lost.is_empty());
    }
    assert_eq!(cuts, LENGTHS.len() as u64);
}

#[test]
fn reading_may_begin_before_inside_and_behind_what_is_lost() {
    let closed = Closed::new();
    let lost = closed.shorten(2, 500_000);
    let middle = lost.start + 100;
    for (start, expected) in [
        (lost.start - 1, Some(lost.clone())),
        (lost.start, Some(lost.clone())),
        (middle, Some(middle..lost.end)),
        (lost.end - 1, Some(lost.end - 1..lost.end)),
        (lost.end, None),
        (lost.end + 1, None),
    ] {
        let found: Vec<_> =
            closed.read(Start::Sequence(start), Gate::Durable).into_iter().map(|found| found.2).collect();
        assert_eq!(found, Vec::from_iter(expected), "from {start}");
    }
}

#[test]
fn a_segment_that_lost_no_more_than_its_seal_is_damaged_and_lacks_no_message() {
    let closed = Closed::new();
    let sequences = closed.sequences(1);
    let seal = closed.end(sequences.end - 1);
    for length in [seal - SIZE, seal - SIZE + SEAL_FRAME as u64 - 1] {
        assert_eq!(closed.shorten(1, length), sequences.end..sequences.end);
        let expected = [(seal, 2 * SIZE, sequences.end..sequences.end)];
        assert_eq!(closed.read(Start::Oldest, Gate::Durable), expected);
        assert_eq!(closed.survey().shortened, [1]);
    }
}

#[test]
fn a_file_that_is_cut_behind_its_seal_lost_nothing() {
    let closed = Closed::new();
    let seal = closed.end(closed.sequences(1).end - 1);
    closed.set_length(1, seal - SIZE + SEAL_FRAME as u64);
    assert_eq!(closed.read(Start::Oldest, Gate::Durable), []);
    assert!(closed.survey().shortened.is_empty());
}

#[test]
fn neighbours_are_told_apart_by_what_is_left_between_them() {
    let closed = Closed::new();
    let lost = [closed.shorten(1, 300_000), closed.shorten(2, 4_096)];
    let found: Vec<_> = closed.read(Start::Oldest, Gate::Durable).into_iter().map(|found| found.2).collect();
    assert_eq!(found, lost);
    assert_eq!(closed.survey().shortened, [1, 2]);
    // Nothing is left of the second one: one range.
    closed.set_length(2, 0);
    let [(_, to, sequences)] = &closed.read(Start::Oldest, Gate::Durable)[..] else { panic!("one range") };
    assert_eq!((*to, sequences), (3 * SIZE, &(lost[0].start..lost[1].end)));
}

#[test]
fn the_end_of_the_newest_segment_is_missed_by_the_mark() {
    for length in LENGTHS {
        let closed = Closed::new();
        let newest = closed.newest();
        let full = fs::metadata(closed.ground.disk.join(format!("{newest:016x}.segment"))).unwrap().len();
        if length >= full {
            continue;
        }
        let lost = closed.shorten(newest, length);
        let marks = closed.ground.reader(Start::Oldest, Gate::Durable).watermarks();
        assert_eq!((marks.published, marks.durable), (COUNT, COUNT), "{length}");
        let ranges = || {
            let found = closed.read(Start::Oldest, Gate::Durable);
            found.into_iter().map(|found| found.2).collect::<Vec<_>>()
        };
        assert_eq!(ranges(), std::slice::from_ref(&lost), "{length}");
        let survey = closed.survey();
        let told = (!survey.shortened.is_empty(), !survey.missing.is_empty());
        assert_eq!(told, (length >= 100, length < 100), "{length}: {survey:?}");
        // A new writer does not use its numbers again.
        let mut live = closed.ground.open();
        assert!(!live.journal.recovery.damage.is_empty(), "{length}");
        assert_eq!(live.publish(&message(COUNT)), COUNT);
        live.close();
        assert_eq!(ranges(), [lost], "{length}");
        assert_eq!(closed.ground.reader(Start::Oldest, Gate::Durable).watermarks().durable, COUNT + 1);
    }
}

#[test]
fn a_survey_tells_what_is_shortened_from_what_is_gone() {
    for length in LENGTHS {
        let closed = Closed::new();
        assert_eq!((closed.survey().shortened, closed.survey().missing), (vec![], vec![]));
        closed.shorten(2, length);
        let survey = closed.survey();
        if length < 100 {
            assert_eq!((survey.shortened, survey.missing), (vec![], vec![(2, 3)]), "{length}");
        } else {
            assert_eq!((survey.shortened, survey.missing), (vec![2], vec![]), "{length}");
        }
    }
}

#[test]
fn a_survey_misses_the_first_segments_and_the_newest() {
    let closed = Closed::new();
    let newest = closed.newest();
    for segment in [0, newest] {
        fs::remove_file(closed.ground.disk.join(format!("{segment:016x}.segment"))).unwrap();
    }
    assert_eq!(closed.survey().missing, [(0, 1), (newest, newest + 1)]);
    for segment in 1..newest {
        fs::remove_file(closed.ground.disk.join(format!("{segment:016x}.segment"))).unwrap();
    }
    assert_eq!(closed.survey().missing, [(0, newest + 1)], "where nothing is left, too");
}

#[test]
fn a_survey_tells_a_header_that_is_destroyed_from_a_segment_that_is_gone() {
    let closed = Closed::new();
    for segment in [1, 2] {
        let path = closed.ground.disk.join(format!("{segment:016x}.segment"));
        let mut bytes = fs::read(&path).unwrap();
        bytes[..128].fill(7);
        fs::write(&path, bytes).unwrap();
    }
    fs::remove_file(closed.ground.disk.join("0000000000000001.segment")).unwrap();
    let survey = closed.survey();
    assert_eq!((survey.missing, survey.headless), (vec![(1, 3)], vec![2]));
    assert!(survey.refused.is_empty());
}

#[test]
fn what_is_appended_to_a_file_is_no_part_of_the_journal() {
    let closed = Closed::new();
    closed.set_length(1, 64 << 30);
    closed.set_length(2, SIZE + 5);
    let path = closed.ground.disk.join("0000000000000002.segment");
    let mut bytes = fs::read(&path).unwrap();
    let copy = bytes[..SEGMENT].to_vec();
    bytes.extend_from_slice(&copy);
    fs::write(&path, bytes).unwrap();
    assert_eq!(closed.read(Start::Oldest, Gate::Published), []);
    let survey = closed.survey();
    assert_eq!((survey.shortened, survey.missing), (vec![], vec![]));
}

#[test]
fn who_is_killed_often_leaves_no_whole_segment_for_each_life() {
    for loses_memory in [false, true] {
        let ground = Ground::new();
        for n in 0..20 {
            let mut live = ground.open();
            live.publish(&message(n));
            live.settle();
            live.die();
            if loses_memory {
                ground.lose_memory();
            }
        }
        ground.open().close();
        let files = fs::read_dir(&ground.disk).unwrap().flatten();
        let bytes: u64 = files.map(|file| file.metadata().unwrap().len()).sum();
        assert!(bytes < SIZE, "{bytes} bytes for 20 messages");
        let (messages, faults) = ground.read_all(Gate::Durable);
        assert_eq!((messages.len(), faults), (20, vec![]));
        common::assert_messages(&messages, 20);
    }
}
