//! Given any bytes in the files of a journal, on disk or in shared memory, expect no panic, no hang, no invented message,
//! and every message either delivered as it was or named in a report of damage.
#![allow(missing_docs)]

mod common;

use std::{fs, ops::Range, sync::Arc};

use common::{Ground, Live, SEGMENT, message, read_file, read_rest, segment_name, write_file};
use journal::{
    Gate, OpenError, PublishError, ReadError, Reader, Start,
    layout::{
        ANCHOR_FRAME, Anchor, FIRST_FRAME, KIND_ANCHOR, KIND_SEAL, MarkSlot, POSITION_MAX, SegmentHeader,
        Word,
    },
    storage::{Storage, simulated::SimulatedDisk},
};
use proptest::prelude::*;
use zerocopy::IntoBytes;

/// A journal on a disk whose files tests can spoil.
struct Given {
    disk: SimulatedDisk,
    ground: Ground,
    count: u64,
}

impl Given {
    fn empty() -> Self {
        let disk = SimulatedDisk::new();
        disk.make_directory().unwrap();
        Self { ground: Ground::on(Arc::new(disk.clone())), disk, count: 0 }
    }

    /// Closed well, with this many messages in each of its epochs, and so in each of its segments.
    fn closed(epochs: &[u64]) -> Self {
        let mut given = Self::empty();
        for messages in epochs {
            let mut live = given.ground.open();
            for _ in 0..*messages {
                live.publish(&message(given.count));
                given.count += 1;
            }
            live.close();
        }
        given
    }

    fn read(&self, name: &str) -> Vec<u8> {
        read_file(&self.disk, name)
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        write_file(&self.disk, name, bytes);
    }

    /// Every message is delivered as it was or lies in a reported range; ranges of positions are in order.
    fn assert_accounted(&self, what: &str) {
        let (messages, faults) = self.ground.read_all(Gate::Durable);
        let mut missing: Vec<Range<u64>> = Vec::new();
        let mut reached = 0;
        for fault in &faults {
            let ReadError::Damage { from, to, sequences, .. } = fault else { panic!("{what}: {fault}") };
            assert!(reached <= *from && from <= to && sequences.0 <= sequences.1, "{what}: {faults:?}");
            reached = *to;
            missing.push(sequences.0..sequences.1);
        }
        for (sequence, body) in &messages {
            assert_eq!(*body, message(*sequence), "{what}: message {sequence} is another");
        }
        let delivered = messages.iter().map(|(sequence, _)| *sequence);
        let mut all: Vec<u64> = delivered.chain(missing.into_iter().flatten()).collect();
        all.sort_unstable();
        let expected: Vec<u64> = (0..self.count).collect();
        assert!(all == expected, "{what}: {} of {}, {faults:?}", all.len(), self.count);
    }

    /// Opening it to write ends well or with a typed error, and reading afterwards ends.
    fn assert_opens_or_refuses(&self) {
        self.ground.lose_memory();
        if let Ok(mut live) = self.ground.try_open() {
            let _ = live.journal.writer.append(1, 0, b"next", || 5);
            live.close();
        }
        if let Ok(mut reader) = Reader::open(self.ground.places.clone(), Start::Oldest, Gate::Published) {
            read_rest(&mut reader);
        }
    }
}

#[test]
fn every_flipped_bit_of_a_segment_is_found_or_meaningless() {
    let given = Given::closed(&[60, 30, 20]);
    for (number, length) in [(0, 8192), (1, 4096), (2, 4096)] {
        let name = segment_name(number);
        assert_eq!(given.read(&name).len(), length, "short segments are small files");
        // All bits of the header and of the first frame, then each 97th.
        for bit in (0..1408).chain((1408..length as u64 * 8).step_by(97)) {
            let flip = |byte: &mut u8| *byte ^= 1 << (bit % 8);
            given.disk.tamper(&name, bit / 8, flip);
            given.assert_accounted(&format!("bit {bit} of segment {number}"));
            given.disk.tamper(&name, bit / 8, flip);
        }
    }
}

#[test]
fn every_flipped_bit_of_the_mark_loses_nothing() {
    let given = Given::closed(&[40, 30]);
    let mut slots = [0, 0];
    for bit in (0..128 * 8).chain(4096 * 8..4224 * 8) {
        let flip = |byte: &mut u8| *byte ^= 1 << (bit % 8);
        given.disk.tamper("mark", bit / 8, flip);
        let (messages, faults) = given.ground.read_all(Gate::Durable);
        assert_eq!((messages.len() as u64, faults), (70, vec![]), "bit {bit}");
        given.disk.tamper("mark", bit / 8, flip);
        slots[(bit / 8 / 4096) as usize] += 1;
    }
    assert_eq!(slots, [1024, 1024]);
}

#[test]
fn segments_cut_to_any_length_are_accounted_for() {
    let given = Given::closed(&[40, 30, 20]);
    for number in [0, 1, 2] {
        let name = segment_name(number);
        let whole = given.read(&name);
        for length in (0..whole.len()).step_by(193) {
            given.write(&name, &whole[..length]);
            given.assert_accounted(&format!("{length} bytes of segment {number}"));
        }
        given.disk.remove(&name).unwrap();
        given.assert_accounted(&format!("no segment {number}"));
        given.write(&name, &whole);
    }
}

#[test]
fn blocks_in_each_others_place_are_found() {
    let mut given = Given::closed(&[]);
    let mut live = given.ground.open();
    for n in 0..15_000 {
        live.publish(&message(n));
    }
    live.close();
    given.count = 15_000;
    let name = segment_name(0);
    let whole = given.read(&name);
    for (one, other) in [(0, 1), (1, 2), (0, 255), (16, 32), (100, 200), (254, 255)] {
        let mut bytes = whole.clone();
        let (low, high) = bytes.split_at_mut(other * 4096);
        low[one * 4096..][..4096].swap_with_slice(&mut high[..4096]);
        given.write(&name, &bytes);
        given.assert_accounted(&format!("blocks {one} and {other}"));
        let (messages, _) = given.ground.read_all(Gate::Durable);
        assert!((messages.len() as u64) < given.count, "the swap was seen");
    }
}

#[test]
fn segments_of_others_are_not_taken_for_ours() {
    let given = Given::closed(&[40, 30, 20]);
    let other = Given::closed(&[40, 30, 20]);
    let ours: Vec<_> = [0, 1, 2].map(|number| given.read(&segment_name(number))).into();
    // Of another journal; of another place of the same journal.
    for (number, stranger) in
        [(1, other.read(&segment_name(1))), (1, ours[0].clone()), (0, ours[2].clone()), (2, ours[1].clone())]
    {
        given.write(&segment_name(number), &stranger);
        given.assert_accounted(&format!("a stranger as segment {number}"));
        given.write(&segment_name(number), &ours[number as usize]);
    }
    // The frames of another epoch under our own header.
    let mut spliced = ours[1].clone();
    spliced[FIRST_FRAME..].copy_from_slice(&other.read(&segment_name(1))[FIRST_FRAME..ours[1].len()]);
    given.write(&segment_name(1), &spliced);
    given.assert_accounted("strange frames under our header");
}

/// A header or a mark with a right checksum and numbers that no journal has.
fn absurd() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        Just(1),
        Just(u64::MAX),
        Just(u64::MAX - 1),
        Just(1 << 63),
        Just(POSITION_MAX),
        Just(POSITION_MAX + 1),
        Just(POSITION_MAX >> 20),
        0..10_000_000u64,
        any::<u64>()
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_are_no_journal(
        files in prop::collection::vec((0..4u64, prop::collection::vec(any::<u8>(), 0..9000)), 1..4),
        mark in prop::collection::vec(any::<u8>(), 0..9000),
    ) {
        let given = Given::empty();
        for (number, bytes) in &files {
            given.write(&segment_name(*number), bytes);
        }
        given.write("mark", &mark);
        assert!(matches!(given.ground.try_open(), Err(OpenError::Damaged { .. })));
        given.assert_opens_or_refuses();
    }

    #[test]
    fn random_bytes_over_a_journal_are_accounted_for(
        number in 0..3u64,
        at in 0..8192usize,
        bytes in prop::collection::vec(any::<u8>(), 1..5000),
    ) {
        let given = Given::closed(&[40, 30, 20]);
        let mut file = given.read(&segment_name(number));
        for (byte, random) in file.iter_mut().skip(at).zip(&bytes) {
            *byte = *random;
        }
        given.write(&segment_name(number), &file);
        given.assert_accounted("random bytes");
        given.assert_opens_or_refuses();
    }

    #[test]
    fn absurd_headers_are_refused_or_harmless(
        which in 0..3u64, field in 0..8, value in absurd(), other in absurd(),
    ) {
        let given = Given::closed(&[40, 30, 20]);
        let name = segment_name(which);
        let mut file = given.read(&name);
        let mut header = SegmentHeader::read(&file).unwrap();
        match field {
            0 => header.number = value,
            1 => header.epoch = value as u32,
            2 => header.sequence = value,
            3 => header.time = value,
            4 => header.epoch_sequence = value,
            5 => header.window = value as u32,
            6 => header.segment_size = value as u32,
            _ => (header.sequence, header.epoch_sequence, header.epoch) = (value, other.min(value), other as u32),
        }
        file[..128].copy_from_slice(header.sealed().as_bytes());
        given.write(&name, &file);
        let _ = given.ground.read_all(Gate::Durable);
        given.assert_opens_or_refuses();
    }

    #[test]
    fn absurd_marks_are_refused_or_harmless(
        field in 0..7, value in absurd(), other in absurd(), both in any::<bool>(),
    ) {
        let given = Given::closed(&[40, 30, 20]);
        let mut bytes = given.read("mark");
        for block in bytes.chunks_mut(4096).take(1 + usize::from(both)) {
            let mut slot = MarkSlot::read(block).unwrap();
            match field {
                0 => slot.turn = value,
                1 => slot.epoch = value as u32,
                2 => slot.floor = value,
                3 => slot.newest = value,
                4 => (slot.durable, slot.sequence) = (value, other),
                5 => slot.segment_size = value as u32,
                _ => slot.sequence = value,
            }
            block[..128].copy_from_slice(slot.sealed().as_bytes());
        }
        given.write("mark", &bytes);
        if let Ok(mut reader) = Reader::open(given.ground.places.clone(), Start::Oldest, Gate::Durable) {
            read_rest(&mut reader);
            reader.watermarks();
        }
        given.assert_opens_or_refuses();
    }

    #[test]
    fn a_hostile_peer_in_shared_memory_does_no_harm(
        spoiled in prop::collection::vec((0..3usize, 0..SEGMENT, any::<u64>()), 1..20),
        words in prop::collection::vec((0..2_000usize, any::<u32>(), any::<u16>(), any::<u16>()), 0..4),
    ) {
        let given = Given::empty();
        let mut live = given.ground.open();
        for n in 0..15_000 {
            live.publish(&message(n));
        }
        let mut reader = given.ground.reader(Start::Oldest, Gate::Published);
        let mut files: Vec<_> = fs::read_dir(&given.ground.memory).unwrap().flatten().map(|e| e.path()).collect();
        files.sort();
        for (file, at, value) in &spoiled {
            poke(&files[file % files.len()], at % 4096, &value.to_le_bytes());
            let segment = files.iter().find(|path| path.extension().is_some()).unwrap();
            poke(segment, *at, &value.to_le_bytes());
        }
        for (at, length, kind, flags) in words {
            let word = Word { length: length % 100_000, kind, flags };
            let segment = files.iter().find(|path| path.extension().is_some()).unwrap();
            poke(segment, FIRST_FRAME + at * 16, &word.pack().to_le_bytes());
        }
        harmless_reading(&mut reader);
        let _ = reader.watermarks();
        for start in [Start::Oldest, Start::Newest, Start::Sequence(14_000)] {
            if let Ok(mut reader) = Reader::open(given.ground.places.clone(), start, Gate::Durable) {
                harmless_reading(&mut reader);
            }
        }
        // The write-out meets the same bytes: it goes on or is poisoned.
        for _ in 0..100 {
            live.work();
        }
        match live.journal.writer.append(1, 0, b"more", || live.now) {
            Ok(_) | Err(PublishError::Poisoned(_) | PublishError::Full) => {}
            Err(error) => panic!("{error}"),
        }
        live.die();
        if let Ok(live) = given.ground.try_open() {
            live.close();
        }
        given.assert_opens_or_refuses();
    }
}

#[test]
fn a_spoiled_word_in_memory_poisons_the_writer_and_is_damage_to_readers() {
    let given = Given::empty();
    let mut live = given.ground.open();
    let mut reader = given.ground.reader(Start::Oldest, Gate::Published);
    let mut at = FIRST_FRAME + ANCHOR_FRAME;
    for n in 0..100 {
        live.publish(&message(n));
        at += if n < 50 { (16 + message(n).len()).next_multiple_of(16) } else { 0 };
    }
    poke(&given.ground.memory.join(segment_name(0)), at, &u64::MAX.to_le_bytes());
    let (messages, faults) = read_rest(&mut reader);
    assert_eq!(messages.len(), 50);
    let sequences = (50, 50);
    let damage = ReadError::Damage { from: at as u64, to: SEGMENT as u64, sequences, refused: None };
    assert_eq!(faults, [damage]);
    live.settle();
    assert_eq!(live.journal.writer.append(1, 0, b"more", || 0), Err(PublishError::Poisoned(5)));
    assert_eq!(live.writer().durable(), 0);
    live.die();
    let live = given.ground.open();
    assert_eq!(live.journal.recovery.damage, [(at as u64, SEGMENT as u64)]);
    assert_eq!(live.journal.writer.next_sequence(), 50, "what came before it is whole");
}

/// Writes into a file of shared memory as a process with write permission may. Never changes its length.
fn poke(path: &std::path::Path, at: usize, bytes: &[u8]) {
    use std::os::unix::fs::FileExt;
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    let length = file.metadata().unwrap().len() as usize;
    if at + bytes.len() <= length {
        file.write_all_at(bytes, at as u64).unwrap();
    }
}

/// Reads to the end whatever comes, within bounds.
fn harmless_reading(reader: &mut Reader) {
    let (mut polls, mut empty) = (0, 0);
    while empty < 600 {
        match reader.poll() {
            Ok(Some(frame)) => assert!(frame.body.len() <= SEGMENT),
            Ok(None) => empty += 1,
            Err(_) => empty += 1,
        }
        polls += 1;
        assert!(polls < 1_000_000, "reading has no end");
    }
    reader.look();
}

#[test]
fn a_segment_made_to_be_slow_to_scan_is_scanned_all_the_same() {
    let given = Given::closed(&[40, 30]);
    let mut bytes = given.read(&segment_name(0));
    let header = SegmentHeader::read(&bytes).unwrap();
    bytes.resize(SEGMENT, 0);
    // Behind each right anchor a word that makes the checksum of a quarter segment be asked for.
    let mut at = FIRST_FRAME;
    let trap = Word { length: SEGMENT as u32 / 4, kind: 1, flags: 0 };
    while at + ANCHOR_FRAME + 16 <= SEGMENT {
        let anchor = Anchor { sequence: 0, time: 0, durable: 0, epoch: 1, reserved: 0 };
        let frame = frame(&header, at, KIND_ANCHOR, anchor.as_bytes());
        bytes[at..at + ANCHOR_FRAME].copy_from_slice(&frame);
        bytes[at + ANCHOR_FRAME..][..8].copy_from_slice(&trap.pack().to_le_bytes());
        at += ANCHOR_FRAME + 16;
    }
    given.write(&segment_name(0), &bytes);
    let mut reader = given.ground.reader(Start::Oldest, Gate::Durable);
    let mut faults = 0;
    while reader.next_sequence() < 70 {
        match reader.poll() {
            Err(ReadError::Damage { .. }) => faults += 1,
            Err(fault) => panic!("{fault}"),
            Ok(_) => {}
        }
        assert!(faults < 5_000);
    }
    assert!(faults > 10);
}

/// A frame as the format says, written from its description and not by the code under test.
fn frame(header: &SegmentHeader, offset: usize, kind: u16, body: &[u8]) -> Vec<u8> {
    let word = Word { length: 16 + body.len() as u32, kind, flags: 0 }.pack().to_le_bytes();
    let position = (header.number * u64::from(header.segment_size) + offset as u64).to_le_bytes();
    let salt = [&header.journal[..], &header.epoch.to_le_bytes()].concat();
    let delta = 0u32.to_le_bytes();
    let sum = crc32c::crc32c(&[&salt[..], &position, &word, &delta, body].concat()).max(1);
    [&word[..], &sum.to_le_bytes(), &delta, body].concat()
}

#[test]
fn frames_are_as_the_format_says() {
    let given = Given::closed(&[3]);
    let bytes = given.read(&segment_name(0));
    let header = SegmentHeader::read(&bytes).unwrap();
    let anchor = &bytes[FIRST_FRAME + 16..FIRST_FRAME + ANCHOR_FRAME];
    assert_eq!(
        bytes[FIRST_FRAME..FIRST_FRAME + ANCHOR_FRAME],
        frame(&header, FIRST_FRAME, KIND_ANCHOR, anchor)
    );
    let mut at = FIRST_FRAME + ANCHOR_FRAME;
    for n in 0..3 {
        let body = message(n);
        let mut expected = frame(&header, at, 1, &body);
        // The time since the anchor is the message's own.
        let delta = &bytes[at + 12..at + 16];
        assert_eq!(delta, [0; 4]);
        expected.resize(expected.len().next_multiple_of(16), 0);
        assert_eq!(bytes[at..at + 16 + body.len()], expected[..16 + body.len()], "message {n}");
        at += expected.len();
    }
    assert_eq!(u16::from_le_bytes(bytes[at + 4..at + 6].try_into().unwrap()), KIND_SEAL);
}

#[test]
fn anchors_of_absurd_times_make_no_overflow() {
    let given = Given::empty();
    let mut live: Live = given.ground.open();
    live.journal.writer.append(1, 0, b"one", || u64::MAX - 1).unwrap();
    live.journal.writer.append(1, 0, b"two", || 0).unwrap();
    live.journal.writer.append(1, 0, b"three", || u64::MAX).unwrap();
    live.close();
    let mut reader = given.ground.reader(Start::Oldest, Gate::Durable);
    let times: Vec<u64> =
        std::iter::from_fn(|| reader.poll().unwrap().map(|frame| frame.publish_time)).collect();
    assert_eq!(times, [u64::MAX - 1, u64::MAX - 1, u64::MAX]);
}
