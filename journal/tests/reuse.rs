//! Given retired segments, expect that their memory becomes that of later ones, unless somebody reads it.
#![allow(missing_docs)]

mod common;

use std::{collections::BTreeSet, fs, os::unix::fs::MetadataExt};

use common::{Ground, Live, SEGMENT, assert_messages, message, read_rest};
use journal::{Gate, Options, Reader, Start};

/// A budget that is used up by few segments.
fn open(ground: &Ground) -> Live {
    let options = Options { memory_budget: 3 * SEGMENT, ..ground.options() };
    ground.open_with(options, Box::new(journal::storage::PwriteEngine::new())).unwrap()
}

/// Inodes of the segments in memory.
fn inodes(ground: &Ground) -> BTreeSet<u64> {
    let entries = fs::read_dir(&ground.memory).unwrap().flatten();
    let segments = entries.filter(|entry| entry.file_name().to_string_lossy().ends_with(".segment"));
    segments.map(|entry| entry.metadata().unwrap().ino()).collect()
}

/// Publishes until some segments were retired; answers how many messages there are, and all inodes that memory had.
fn flow(ground: &Ground, live: &mut Live, from: u64, segments: usize) -> (u64, BTreeSet<u64>) {
    let (mut n, mut seen) = (from, inodes(ground));
    // Messages of 16 to 136 bytes and their headers fill a segment with fewer than this many.
    let enough = from + (segments * SEGMENT / 60) as u64;
    while n < enough {
        for _ in 0..500 {
            live.publish(&message(n));
            n += 1;
        }
        live.settle();
        seen.extend(inodes(ground));
    }
    (n, seen)
}

fn next(reader: &mut Reader) -> Option<(u64, Vec<u8>)> {
    reader.poll().unwrap().map(|frame| (frame.sequence, frame.body.to_vec()))
}

#[test]
fn memory_that_nobody_reads_is_used_again() {
    let ground = Ground::new();
    let mut live = open(&ground);
    let (count, seen) = flow(&ground, &mut live, 0, 12);
    assert!(seen.len() <= 4, "{} inodes for a dozen segments", seen.len());
    assert_messages(&ground.read_all(Gate::Durable).0, count);
    live.close();
    assert!(!ground.memory.exists(), "a clean end leaves nothing");
    assert_messages(&ground.read_all(Gate::Durable).0, count);
}

#[test]
fn memory_that_somebody_reads_stays_as_it_is() {
    let ground = Ground::new();
    let mut live = open(&ground);
    for n in 0..1_000 {
        live.publish(&message(n));
    }
    let mut slow = ground.reader(Start::Oldest, Gate::Published);
    assert_eq!(next(&mut slow), Some((0, message(0))));
    let read = inodes(&ground);
    let (count, seen) = flow(&ground, &mut live, 1_000, 12);
    assert!(inodes(&ground).is_disjoint(&read), "the segment is retired, and its memory no other's");
    assert!(seen.len() > 1);
    let (mut messages, faults) = read_rest(&mut slow);
    messages.insert(0, (0, message(0)));
    assert!(faults.is_empty(), "{faults:?}");
    assert_messages(&messages, count);
}

#[test]
fn readers_that_come_and_go_meanwhile_read_each_message_once() {
    let ground = Ground::new();
    let mut live = open(&ground);
    let mut readers: Vec<(Reader, u64)> = Vec::new();
    let mut published = 0;
    for turn in 0..80 {
        for _ in 0..3_000 {
            live.publish(&message(published));
            published += 1;
        }
        for _ in 0..turn % 7 {
            live.work();
        }
        let from = published - 200;
        readers.push((ground.reader(Start::Sequence(from), Gate::Published), from));
        for (place, (reader, sequence)) in readers.iter_mut().enumerate() {
            // Some are always late, others keep up.
            for _ in 0..1 + (place % 4) * 1_500 {
                let Some(found) = next(reader) else { break };
                assert_eq!(found, (*sequence, message(*sequence)));
                *sequence += 1;
            }
        }
        if readers.len() > 30 {
            readers.remove(turn % 30);
        }
    }
    for (reader, sequence) in &mut readers {
        let (rest, faults) = read_rest(reader);
        assert!(faults.is_empty(), "{faults:?}");
        assert_eq!(rest.len() as u64, published - *sequence);
        assert!(rest.iter().all(|(n, body)| *body == message(*n)));
    }
}

#[test]
fn what_stood_there_before_is_not_between_messages() {
    let ground = Ground::new();
    let mut live = open(&ground);
    let mut n = 0;
    // Full bytes everywhere, then messages that end in the middle of the grid.
    for (length, segments) in [(1_000, 8), (9, 8)] {
        let end = n + (segments * SEGMENT / (length + 32)) as u64;
        while n < end {
            let mut claim = loop {
                match live.journal.writer.claim(1, 0, length, 0) {
                    Ok(_) => break live.journal.writer.claim(1, 0, length, 0).unwrap(),
                    Err(_) => assert!(live.work() > 0),
                }
            };
            claim.body().fill(0xFF);
            if length == 9 {
                claim.commit_first(5)
            } else {
                claim.commit()
            };
            n += 1;
        }
        live.settle();
    }
    let newest = inodes(&ground).len();
    assert!(newest <= 4, "{newest} segments");
    let (mut looked, mut entries) = (0, fs::read_dir(&ground.memory).unwrap().flatten());
    let segment = entries.find(|entry| {
        let bytes = fs::read(entry.path()).unwrap();
        entry.file_name().to_string_lossy().ends_with(".segment") && bytes[..128].iter().any(|b| *b != 0)
    });
    let bytes = fs::read(segment.expect("one is being written").path()).unwrap();
    let mut at = 128;
    while let Some(header) = bytes.get(at..at + 16) {
        let length = u32::from_le_bytes(header[..4].try_into().unwrap()) as usize;
        if length == 0 {
            break;
        }
        let next = (at + length).next_multiple_of(16);
        assert!(bytes[at + length..next].iter().all(|byte| *byte == 0), "zeros behind the frame at {at}");
        looked += usize::from(length == 16 + 5);
        at = next;
    }
    assert!(looked > 100, "{looked} short frames");
}

#[test]
fn spare_memory_of_a_killed_writer_is_no_segment() {
    let ground = Ground::new();
    let mut live = open(&ground);
    let (count, _) = flow(&ground, &mut live, 0, 6);
    let entries = fs::read_dir(&ground.memory).unwrap().flatten();
    let segment = entries.map(|entry| entry.path()).find(|path| path.extension().is_some()).unwrap();
    live.die();
    // As a kill between a retirement and the next preparation leaves it.
    let spare = ground.memory.join("spare-0000000000000001");
    fs::copy(segment, &spare).unwrap();
    let live = ground.open();
    assert!(!spare.exists());
    assert_messages(&ground.read_all(Gate::Published).0, count);
    live.close();
    assert!(!ground.memory.exists());
}
