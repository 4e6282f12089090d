//! Given segments that the system refuses, expect that readers say which messages were in them and go on behind them, but
//! pass over nothing that can be read a moment later.
#![allow(missing_docs)]

mod common;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use common::{
    Ground, SEGMENT, assert_messages, closed,
    hooked::{Asked, hooked},
    read_rest, segment_name,
};
use journal::{Gate, Places, ReadError, Reader, Start};

const COUNT: u64 = 40_000;

/// A journal on a storage that refuses to open one segment so many times more.
struct Refusing {
    places: Places,
    times: Arc<AtomicU32>,
}

impl Refusing {
    fn reader(&self, start: Start) -> Reader {
        Reader::open(self.places.clone(), start, Gate::Durable).unwrap()
    }
}

fn refusing(ground: &Ground, segment: u64, times: u32, error: i32) -> Refusing {
    let times = Arc::new(AtomicU32::new(times));
    let left = Arc::clone(&times);
    let hook = move |asked: Asked<'_>| {
        let is_left = |times: u32| times.checked_sub(1);
        let is_it = matches!(asked, Asked::Open(name) if name == segment_name(segment));
        match is_it && left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_left).is_ok() {
            true => Err(io::Error::from_raw_os_error(error)),
            false => Ok(()),
        }
    };
    Refusing { places: hooked(ground, Box::new(hook)), times }
}

#[test]
fn a_segment_that_is_refused_is_a_range_of_sequences_with_the_reason() {
    let ground = Ground::new();
    let firsts = closed(&ground, COUNT);
    let behind = |segment: usize| firsts.get(segment + 1).copied().unwrap_or(COUNT);
    for segment in [0, 1, firsts.len() - 1] {
        let path = ground.disk.join(segment_name(segment as u64));
        let aside = path.with_extension("aside");
        std::fs::rename(&path, &aside).unwrap();
        std::fs::create_dir(&path).unwrap();
        let (messages, faults) = ground.read_all(Gate::Durable);
        let [ReadError::Damage { from, to, sequences, refused: Some(why) }] = &faults[..] else {
            panic!("{faults:?}")
        };
        let name = segment_name(segment as u64);
        assert_eq!(*why, format!("cannot read: {name}: not a regular file; mend that and try again"));
        assert_eq!((*from, *sequences), ((segment * SEGMENT) as u64, (firsts[segment], behind(segment))));
        assert!(*from < *to && *to <= *from + SEGMENT as u64, "{from} to {to}");
        let left: Vec<u64> = messages.iter().map(|(sequence, _)| *sequence).collect();
        assert_eq!(left, (0..firsts[segment]).chain(behind(segment)..COUNT).collect::<Vec<_>>());
        std::fs::remove_dir(&path).unwrap();
        std::fs::rename(&aside, &path).unwrap();
    }
    assert_messages(&ground.read_all(Gate::Durable).0, COUNT);
}

#[test]
fn neighbours_that_are_refused_and_gone_are_one_range() {
    let ground = Ground::new();
    let firsts = closed(&ground, COUNT);
    std::fs::remove_file(ground.disk.join(segment_name(1))).unwrap();
    let disk = refusing(&ground, 2, u32::MAX, libc::EACCES);
    let (messages, faults) = read_rest(&mut disk.reader(Start::Oldest));
    let [ReadError::Damage { sequences, refused: Some(why), .. }] = &faults[..] else { panic!("{faults:?}") };
    assert!(*sequences == (firsts[1], firsts[3]) && why.contains("Permission denied"), "{faults:?}");
    assert_eq!(messages.len() as u64, COUNT - (firsts[3] - firsts[1]));
}

#[test]
fn a_refusal_that_passes_costs_no_message() {
    let ground = Ground::new();
    let firsts = closed(&ground, COUNT);
    for segment in 0..firsts.len() {
        for error in [libc::EIO, libc::EACCES, libc::ESTALE] {
            let disk = refusing(&ground, segment as u64, 1, error);
            let (messages, faults) = read_rest(&mut disk.reader(Start::Oldest));
            assert_eq!(faults, [], "segment {segment}, error {error}");
            assert_messages(&messages, COUNT);
            assert_eq!(disk.times.load(Ordering::Relaxed), 0, "the fault fired");
        }
    }
}

#[test]
fn what_the_reader_itself_lacks_is_no_loss_however_long_it_lasts() {
    let ground = Ground::new();
    let firsts = closed(&ground, COUNT);
    let disk = refusing(&ground, 1, 0, libc::EMFILE);
    let mut reader = disk.reader(Start::Oldest);
    disk.times.store(50, Ordering::Relaxed);
    let (mut read, mut failed) = (Vec::new(), 0);
    while read.len() < COUNT as usize {
        match reader.poll() {
            Ok(Some(frame)) => read.push((frame.sequence, frame.body.to_vec())),
            Ok(None) => reader.look(),
            Err(ReadError::Failed(why)) => {
                assert_eq!((reader.next_sequence(), why.contains("Too many open files")), (firsts[1], true));
                failed += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((failed, disk.times.load(Ordering::Relaxed)), (50, 0), "the fault fired");
    assert_messages(&read, COUNT);
}
