//! Given a journal whose tail is in doubt, expect that nothing is taken for a message that is none, and that readers beyond
//! it are told.
#![allow(missing_docs)]

mod common;

use std::fs;

use common::{
    SEGMENT,
    given::{Given, publish},
    message, read_rest, segment_name,
};
use journal::{Gate, Options, ReadError, Retention, Start, layout::SegmentHeader};

#[test]
fn stale_frames_of_a_recycled_twin_are_never_seen() {
    let given = Given::new();
    let retention = Some(Retention { bytes: 4 * SEGMENT as u64, cuts: journal::Cuts::Oldest });
    let options = Options { retention, memory_budget: 3 * SEGMENT, ..given.ground.options() };
    let engine = Box::new(journal::storage::PwriteEngine::new());
    let mut live = given.ground.open_with(options, engine).unwrap();
    publish(&mut live, 0..80_000);
    live.settle();
    let count = live.journal.writer.next_sequence();
    let newest = given.positions().last().unwrap() / SEGMENT as u64;
    live.die();
    given.ground.lose_memory();
    let bytes = given.read(&segment_name(newest));
    assert!(bytes.iter().rev().take(100_000).any(|byte| *byte != 0), "the twin was recycled");
    let then = given.recover();
    assert_eq!((then.next, then.recovery.damage.len()), (count, 0));
    for (messages, faults) in [&then.before, &then.after] {
        assert_eq!((messages.last().unwrap().0, faults.len()), (count - 1, 0));
        assert!(messages.iter().all(|(n, body)| *body == message(*n)));
    }
}

#[test]
fn a_message_larger_than_a_write_may_be_torn_in_its_middle() {
    let given = Given::new();
    let mut live = given.ground.open();
    publish(&mut live, 0..10);
    live.settle();
    let mark = given.read("mark");
    let large = vec![0xab; live.writer().largest()];
    live.publish(&large);
    for n in 0..100 {
        live.publish(&message(n));
    }
    live.settle();
    live.die();
    given.ground.lose_memory();
    given.write("mark", &mark);
    given.flip(given.positions()[10] + 200_000);
    given.recover().is_prefix(10);
}

#[test]
fn padding_and_kinds_of_later_versions_are_passed_over() {
    use journal::layout::{KIND_PAD, Word};
    let given = Given::new();
    let mut live = given.ground.open();
    publish(&mut live, 0..3);
    let positions = given.positions();
    // In memory the word is trusted: the second message becomes padding.
    live.die();
    let path = given.ground.memory.join(segment_name(0));
    let mut bytes = fs::read(&path).unwrap();
    for (position, kind) in [(positions[1], KIND_PAD), (positions[2], 0xFFEE)] {
        let at = position as usize;
        let word = Word::unpack(u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()));
        bytes[at..at + 8].copy_from_slice(&Word { kind, ..word }.pack().to_le_bytes());
    }
    fs::write(&path, bytes).unwrap();
    assert_eq!(given.ground.read_all(Gate::Published).0, [(0, message(0))]);
    let mut live = given.ground.open();
    live.publish(&message(1));
    live.close();
    given.recover().is_prefix(2);
}

#[test]
fn readers_beyond_a_new_epoch_are_told_once() {
    let given = Given::with_tail(700, 300);
    let positions = given.positions();
    let mut far = given.ground.reader(Start::Sequence(950), Gate::Published);
    assert_eq!(far.poll().unwrap().unwrap().sequence, 950);
    given.flip(positions[900] + 20);
    let mut near = given.ground.reader(Start::Oldest, Gate::Published);
    for n in 0..100 {
        assert_eq!(near.poll().unwrap().unwrap().sequence, n);
    }
    let mut live = given.ground.open();
    publish(&mut live, 900..920);
    let (messages, faults) = read_rest(&mut far);
    assert_eq!(faults, [ReadError::Regressed { to: 900 }]);
    let mut expected: Vec<_> = (951..1_000).collect();
    expected.extend(900..920);
    assert_eq!(messages.iter().map(|(n, _)| *n).collect::<Vec<_>>(), expected);
    let (messages, faults) = read_rest(&mut near);
    assert_eq!(faults, []);
    assert_eq!(messages.iter().map(|(n, _)| *n).collect::<Vec<_>>(), (100..920).collect::<Vec<_>>());
    let mut beyond = given.ground.reader(Start::Sequence(5_000), Gate::Published);
    assert_eq!(beyond.poll().unwrap_err(), ReadError::Regressed { to: 920 });
    live.publish(&message(920));
    assert_eq!(beyond.poll().unwrap().unwrap().sequence, 920);
}

#[test]
fn a_reader_at_an_old_tail_that_retention_overtakes_is_told_so_and_not_of_damage() {
    let given = Given::with_tail(700, 300);
    let mut reader = given.ground.reader(Start::Oldest, Gate::Durable);
    assert_eq!(read_rest(&mut reader).0.len(), 1_000);
    let retention = Some(Retention { bytes: 3 * SEGMENT as u64, cuts: journal::Cuts::Oldest });
    let options = Options { retention, memory_budget: 3 * SEGMENT, ..given.ground.options() };
    let engine = Box::new(journal::storage::PwriteEngine::new());
    let mut live = given.ground.open_with(options, engine).unwrap();
    publish(&mut live, 1_000..60_000);
    live.settle();
    assert!(given.mark().floor > 1, "retention took what the reader would read next");
    let (messages, faults) = read_rest(&mut reader);
    let [ReadError::Retired { first }] = faults[..] else { panic!("{faults:?}") };
    assert_eq!(messages.iter().map(|(n, _)| *n).collect::<Vec<_>>(), (first..60_000).collect::<Vec<_>>());
}

#[test]
fn the_window_and_the_epoch_are_stated_in_each_header() {
    let given = Given::new();
    let mut live = given.ground.open();
    publish(&mut live, 0..10);
    live.close();
    let mut live = given.ground.open();
    publish(&mut live, 10..20);
    live.close();
    let headers: Vec<_> = [0, 1].map(|n| SegmentHeader::read(&given.read(&segment_name(n))).unwrap()).into();
    assert!(headers.iter().all(|header| header.window as usize > SEGMENT / 4 + 256 * 1024));
    assert_eq!((headers[1].epoch, headers[1].epoch_sequence), (2, 10));
    assert_eq!(headers[1].epoch_previous_end, SEGMENT as u64);
}
