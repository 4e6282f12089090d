//! Given a journal that lost its beginning or its end, expect that this is never taken for what retention removed or for
//! what never was durable.
#![allow(missing_docs)]

mod common;

use std::{fs, path::Path};

use common::{Ground, SEGMENT, assert_messages, closed, message, read_rest, segment_name};
use journal::{Cuts, Gate, Options, ReadError, Retention, Start, storage::PwriteEngine};

const COUNT: u64 = 80_000;

type Fault = fn(&Path);

/// Ways in which a segment is lost whole.
const FAULTS: [Fault; 4] = [
    |path| fs::remove_file(path).unwrap(),
    |path| fs::File::options().write(true).open(path).unwrap().set_len(0).unwrap(),
    |path| {
        let mut bytes = fs::read(path).unwrap();
        bytes[40] ^= 1;
        fs::write(path, bytes).unwrap();
    },
    |path| {
        fs::remove_file(path).unwrap();
        fs::create_dir(path).unwrap();
    },
];

/// A journal of `COUNT` messages, whose beginning was retired: its floor, and the first sequence of each segment from
/// there on.
fn retained(ground: &Ground) -> (u64, Vec<u64>) {
    let retention = Some(Retention { bytes: 4 * SEGMENT as u64, cuts: Cuts::Oldest });
    let options = Options { retention, memory_budget: 3 * SEGMENT, ..ground.options() };
    let mut live = ground.open_with(options, Box::new(PwriteEngine::new())).unwrap();
    (0..COUNT).for_each(|n| assert_eq!(live.publish(&message(n)), n));
    live.close();
    let mut reader = ground.reader(Start::Oldest, Gate::Durable);
    let (mut floor, mut firsts) = (None, Vec::new());
    while let Some(frame) = reader.poll().unwrap() {
        let number = frame.position / SEGMENT as u64;
        let floor = *floor.get_or_insert(number);
        if number - floor >= firsts.len() as u64 {
            firsts.push(frame.sequence);
        }
    }
    let floor = floor.unwrap();
    assert!(floor > 0 && firsts.len() > 1 && firsts[0] > 0, "{floor}: {firsts:?}");
    (floor, firsts)
}

/// Positions and sequences.
type Damage = (u64, u64, (u64, u64));

fn damage(from: u64, to: u64, sequences: (u64, u64)) -> Damage {
    (from * SEGMENT as u64, to * SEGMENT as u64, sequences)
}

/// What faults tell of damage, after those that tell of retention.
fn split(faults: Vec<ReadError>) -> (Vec<u64>, Vec<Damage>) {
    let (mut retired, mut damage) = (Vec::new(), Vec::new());
    for fault in faults {
        match fault {
            ReadError::Retired { first } => {
                assert!(damage.is_empty(), "retention first");
                retired.push(first);
            }
            ReadError::Damage { from, to, sequences, .. } => damage.push((from, to, sequences)),
            fault => panic!("{fault}"),
        }
    }
    (retired, damage)
}

#[test]
fn a_retained_beginning_that_is_gone_is_damage_behind_what_was_retired() {
    for fault in FAULTS {
        let ground = Ground::new();
        let (floor, firsts) = retained(&ground);
        fault(&ground.disk.join(segment_name(floor)));
        // Which messages were in the segment nothing tells, but for the last.
        let (last, first) = (firsts[1] - 1, firsts[1]);
        let lost = damage(floor, floor + 1, (last, first));
        for (start, retired, lost) in [
            (Start::Oldest, vec![], vec![lost]),
            (Start::Sequence(0), vec![last], vec![lost]),
            (Start::Sequence(firsts[0]), vec![last], vec![lost]),
            (Start::Sequence(last), vec![], vec![lost]),
            (Start::Sequence(first), vec![], vec![]),
        ] {
            let mut reader = ground.reader(start, Gate::Durable);
            assert_eq!((reader.begins(), reader.watermarks().first), (last, first));
            let (messages, faults) = read_rest(&mut reader);
            assert_eq!(split(faults), (retired, lost), "{start:?}");
            assert!(messages.iter().map(|(n, _)| *n).eq(first..COUNT), "{start:?}");
        }
        let survey = journal::survey(&ground.places, &ground.disk.join(journal::LOCK)).unwrap();
        assert_eq!((survey.begins, survey.missing), (last, vec![(floor, floor + 1)]));
    }
}

#[test]
fn a_reader_that_retention_overtook_is_told_of_the_damage_behind() {
    for fault in FAULTS {
        let ground = Ground::new();
        let mut live = ground.open();
        (0..10).for_each(|n| assert_eq!(live.publish(&message(n)), n));
        live.close();
        let mut reader = ground.reader(Start::Oldest, Gate::Durable);
        assert_messages(&read_rest(&mut reader).0, 10);
        let retention = Some(Retention { bytes: 4 * SEGMENT as u64, cuts: Cuts::Oldest });
        let options = Options { retention, memory_budget: 3 * SEGMENT, ..ground.options() };
        let mut live = ground.open_with(options, Box::new(PwriteEngine::new())).unwrap();
        (10..COUNT).for_each(|n| assert_eq!(live.publish(&message(n)), n));
        live.close();
        let whole = ground.reader(Start::Oldest, Gate::Durable).poll().unwrap().unwrap().position;
        let floor = whole / SEGMENT as u64;
        assert!(floor > 1, "retention took what the reader would read next");
        fault(&ground.disk.join(segment_name(floor)));
        let first = ground.reader(Start::Oldest, Gate::Durable).watermarks().first;
        // It looks for what follows now and then only.
        let retired = (0..1_000).find_map(|_| reader.has_next().err());
        assert_eq!(retired, Some(ReadError::Retired { first: first - 1 }));
        let (messages, faults) = read_rest(&mut reader);
        assert_eq!(split(faults), (vec![], vec![damage(floor, floor + 1, (first - 1, first))]));
        assert!(messages.iter().map(|(n, _)| *n).eq(first..COUNT));
    }
}

#[test]
fn where_all_that_was_retained_is_gone_its_end_is_known() {
    for fault in FAULTS {
        let ground = Ground::new();
        let (floor, firsts) = retained(&ground);
        for number in (floor..).take(firsts.len()) {
            fault(&ground.disk.join(segment_name(number)));
        }
        for (start, retired, count) in [
            (Start::Oldest, vec![], 1),
            (Start::Sequence(0), vec![COUNT - 1], 1),
            (Start::Sequence(COUNT - 1), vec![], 1),
            (Start::Sequence(COUNT), vec![], 0),
            (Start::Newest, vec![], 0),
        ] {
            let mut reader = ground.reader(start, Gate::Durable);
            assert_eq!((reader.begins(), reader.watermarks().durable), (COUNT - 1, COUNT));
            let (messages, faults) = read_rest(&mut reader);
            let (told, lost) = split(faults);
            assert_eq!((messages, told), (vec![], retired), "{start:?}");
            let sequences: Vec<_> = lost.iter().map(|(_, _, sequences)| *sequences).collect();
            assert_eq!(sequences, vec![(COUNT - 1, COUNT); count], "{start:?}");
            assert_eq!(reader.next_sequence(), COUNT);
        }
    }
}

#[test]
fn a_lost_mark_makes_no_retention_of_a_damaged_beginning() {
    // The last two: whether the file is there or not is all that is left to tell.
    for fault in &FAULTS[1..] {
        let ground = Ground::new();
        let firsts = closed(&ground, 40_000);
        fs::remove_file(ground.disk.join("mark")).unwrap();
        let first = ground.disk.join(segment_name(0));
        fault(&first);
        for start in [Start::Oldest, Start::Sequence(0)] {
            let mut reader = ground.reader(start, Gate::Durable);
            assert_eq!(reader.begins(), 0);
            assert_eq!(split(read_rest(&mut reader).1), (vec![], vec![damage(0, 1, (0, firsts[1]))]));
        }
        if first.is_file() {
            ground.open().close();
            assert!(first.exists(), "what is damaged is no waste");
            assert_eq!(split(ground.read_all(Gate::Durable).1).1, [damage(0, 1, (0, firsts[1]))]);
        }
    }
}

#[test]
fn what_was_durable_at_a_lost_end_is_damage_from_wherever_it_is_asked_for() {
    for fault in FAULTS {
        for count in [1, 2] {
            let ground = Ground::new();
            let firsts = closed(&ground, 40_000);
            let newest = firsts.len() - count;
            for number in newest..firsts.len() {
                fault(&ground.disk.join(segment_name(number as u64)));
            }
            let end = firsts[newest];
            for asked in [0, end - 1, end, end + 1, 39_999] {
                let mut reader = ground.reader(Start::Sequence(asked), Gate::Durable);
                let (messages, faults) = read_rest(&mut reader);
                assert!(messages.iter().map(|(n, _)| *n).eq(asked.min(end)..end), "{asked}");
                let (retired, lost) = split(faults);
                let sequences: Vec<_> = lost.iter().map(|(_, _, sequences)| *sequences).collect();
                assert_eq!((retired, sequences), (vec![], vec![(asked.max(end), 40_000)]), "{asked}");
            }
            for start in [Start::Sequence(40_000), Start::Newest] {
                let mut reader = ground.reader(start, Gate::Durable);
                assert_eq!(read_rest(&mut reader), (vec![], vec![]), "{start:?} is behind it");
                assert_eq!(reader.next_sequence(), 40_000);
            }
            let mut beyond = ground.reader(Start::Sequence(40_001), Gate::Durable);
            assert_eq!(beyond.poll().unwrap_err(), ReadError::Regressed { to: 40_000 });
        }
    }
}
