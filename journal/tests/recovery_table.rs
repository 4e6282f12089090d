//! Given a journal that its writer left so, and this fault, expect that: one test a row of the table in `recovery.rs`. Row
//! 18 is `derived.rs`.
#![allow(missing_docs)]

mod common;

use std::fs;

use common::{
    SEGMENT, assert_messages,
    given::{Given, publish},
    message, segment_name,
};
use journal::{
    Gate, OpenError, Options, Proof, ReadError, Recovery, Retention, Start,
    storage::{Storage, simulated::Failure},
};

#[test]
fn row_1_memory_of_the_same_epoch_completes_the_disk() {
    let given = Given::killed(30_000, 0);
    assert!(given.names().iter().any(|name| name.ends_with(".segment")));
    let live = given.ground.open();
    let completed = live.journal.recovery.completed;
    assert!(completed > 1);
    assert_eq!(live.journal.recovery, Recovery { completed, ..Recovery::default() });
    live.die();
    given.ground.lose_memory();
    given.recover().is_prefix(30_000);
}

#[test]
fn row_2_a_file_that_fails_is_replaced_from_memory() {
    let given = Given::killed(1_000, 500);
    // Somewhere between the opening of the twin and its sync; later failures are the opening's.
    let mut replaced = 0;
    for operation in 1..8 {
        let before = given.disk.operations();
        given.disk.fail_every(before + operation, Some(Failure::Io));
        let opened = given.ground.try_open();
        replaced += u64::from(opened.is_ok());
        if let Ok(live) = opened {
            assert_eq!(live.journal.recovery.completed, 1);
            live.die();
        }
        given.disk.fail_every(1, None);
    }
    assert!(replaced > 0 && given.disk.fired().failures > 0);
    given.ground.open().die();
    given.ground.lose_memory();
    given.recover().is_prefix(1_000);
}

#[test]
fn row_2_a_file_that_is_gone_is_made_anew_from_memory() {
    let given = Given::killed(1_000, 1_000);
    given.disk.remove(&segment_name(0)).unwrap();
    given.ground.open().die();
    given.ground.lose_memory();
    given.recover().is_prefix(1_000);
}

#[test]
fn row_3_memory_of_an_older_epoch_is_discarded() {
    let given = Given::new();
    let mut live = given.ground.open();
    publish(&mut live, 0..100);
    let memory = given.ground.memory.join(segment_name(0));
    let old = fs::read(&memory).unwrap();
    publish(&mut live, 100..200);
    live.close();
    fs::create_dir_all(&given.ground.memory).unwrap();
    given.ground.open().die();
    fs::write(&memory, &old).unwrap();
    let live = given.ground.open();
    assert_eq!(live.journal.recovery.discarded, 1);
    assert_eq!(live.journal.writer.epoch(), 3);
    live.close();
    assert_messages(&given.ground.read_all(Gate::Durable).0, 200);
}

#[test]
fn row_4_memory_of_a_newer_epoch_is_refused_and_stays() {
    let given = Given::closed(100);
    let copy: Vec<_> = given.names().into_iter().map(|name| (given.read(&name), name)).collect();
    let mut live = given.ground.open();
    publish(&mut live, 100..200);
    live.die();
    for name in given.names() {
        given.disk.remove(&name).unwrap();
    }
    for (bytes, name) in &copy {
        given.write(name, bytes);
    }
    let refused = given.ground.try_open();
    assert!(matches!(refused, Err(OpenError::Damaged { .. })), "{refused:?}");
    assert!(given.ground.memory.join(segment_name(1)).exists());
    assert!(copy.iter().all(|(bytes, name)| given.read(name) == *bytes), "the disk is as it was");
}

#[test]
fn row_5_a_segment_that_nobody_entered_is_removed() {
    let given = Given::new();
    let mut live = given.ground.open();
    publish(&mut live, 0..100);
    live.settle();
    let header = fs::read(given.ground.memory.join(segment_name(0))).unwrap();
    live.die();
    let spare = given.ground.memory.join(segment_name(1));
    let mut half = fs::read(&spare).unwrap();
    half[..64].copy_from_slice(&header[..64]);
    fs::write(&spare, half).unwrap();
    fs::write(given.ground.memory.join(segment_name(9)), [0; 100]).unwrap();
    let live = given.ground.open();
    assert_eq!(live.journal.recovery, Recovery { completed: 1, ..Recovery::default() });
    assert!(!given.ground.memory.join(segment_name(9)).exists());
    live.close();
    given.recover().is_prefix(100);
}

#[test]
fn row_6_garbage_in_memory_is_damage_behind_what_is_whole() {
    let given = Given::killed(1_000, 0);
    let positions = given.positions();
    let path = given.ground.memory.join(segment_name(0));
    let mut bytes = fs::read(&path).unwrap();
    bytes[positions[600] as usize..][..8].fill(0xff);
    fs::write(&path, bytes).unwrap();
    let live = given.ground.open();
    assert_eq!(live.journal.recovery.damage, [(positions[600], SEGMENT as u64)]);
    assert_eq!(live.journal.writer.next_sequence(), 600);
    live.close();
    assert_messages(&given.ground.read_all(Gate::Durable).0, 600);
}

#[test]
fn row_7_a_sealed_journal_is_whole() {
    let given = Given::closed(1_000);
    let then = given.recover();
    assert_eq!(then.recovery, Recovery::default());
    then.is_prefix(1_000);
}

#[test]
fn row_7_what_no_evidence_covers_is_kept_and_counted() {
    let given = Given::with_tail(700, 300);
    let then = given.recover();
    assert_eq!(then.recovery.unproven, 300);
    then.is_prefix(1_000);
}

#[test]
fn row_8_a_torn_tail_is_cut_and_kept_beside() {
    let given = Given::with_tail(700, 300);
    let positions = given.positions();
    let torn = positions[900];
    given.flip(torn + 30);
    let bytes = given.read(&segment_name(0));
    let then = given.recover();
    then.is_prefix(900);
    assert_eq!(then.recovery.unproven, 200);
    let kept = given.read(&format!("torn-{torn:016x}"));
    let length = then.recovery.torn_bytes as usize;
    assert!(length > 0 && kept[..length] == bytes[torn as usize..][..length]);
}

#[test]
fn row_8_valid_frames_within_the_window_do_not_make_it_damage() {
    let given = Given::with_tail(700, 3_000);
    let positions = given.positions();
    let behind = positions[3_699] - positions[710];
    assert!((128 << 10..500 << 10).contains(&behind), "an anchor follows: {behind}");
    given.flip(positions[710] + 20);
    given.recover().is_prefix(710);
}

#[test]
fn row_8_a_torn_batch_goes_whole() {
    for spoiled in [500, 510, 519] {
        let given = Given::new();
        let mut live = given.ground.open();
        publish(&mut live, 0..500);
        live.settle();
        let mark = given.read("mark");
        let mut batch = live.writer().batch(0);
        for n in 500..520 {
            batch.append(1, 0, &message(n)).unwrap();
        }
        batch.commit();
        live.settle();
        live.die();
        given.ground.lose_memory();
        given.write("mark", &mark);
        given.flip(given.positions()[spoiled] + 17);
        given.recover().is_prefix(500);
    }
}

#[test]
fn row_9_valid_frames_beyond_the_window_make_it_damage() {
    let given = Given::with_tail(700, 7_500);
    let positions = given.positions();
    assert!(positions[8_199] - positions[710] > 600 << 10);
    given.flip(positions[710] + 20);
    let then = given.recover();
    let damage = then.after.1.clone();
    let [ReadError::Damage { sequences: (first, next), .. }] = damage[..] else { panic!("{damage:?}") };
    assert!(first == 710 && next - first < 1_000);
    let (from, to) = then.lacks(first..next, 8_200);
    assert_eq!(then.recovery.damage, [(from, to)]);
    assert!(from == positions[710] && to - from <= 80 << 10);
}

#[test]
fn row_10_what_the_mark_proves_is_never_cut() {
    let given = Given::with_tail(700, 300);
    let positions = given.positions();
    given.flip(positions[650] + 20);
    let then = given.recover();
    // Reading goes on where the mark says; once it says something else, at the next anchor.
    let [ReadError::Damage { from, to, sequences, .. }] = then.before.1[..] else {
        panic!("{:?}", then.before.1)
    };
    assert_eq!((from, to, sequences), (positions[650], positions[700], (650, 700)));
    assert_eq!(then.before.0.len(), 950);
    assert_eq!(then.recovery.damage, [(from, to)]);
    let [ReadError::Damage { from, sequences, .. }] = then.after.1[..] else { panic!("{:?}", then.after.1) };
    assert_eq!((from, sequences.0, then.next), (positions[650], 650, 1_000));
    assert_eq!(then.after.0.len() as u64, 1_000 - (sequences.1 - 650));
}

#[test]
fn row_10_what_an_anchor_proves_is_never_cut() {
    let given = Given::new();
    let mut live = given.ground.open();
    let mark = given.read("mark");
    publish(&mut live, 0..500);
    live.settle();
    publish(&mut live, 500..2_000);
    live.settle();
    live.die();
    given.ground.lose_memory();
    given.write("mark", &mark);
    assert_eq!(given.mark().durable, 0, "the mark proves nothing");
    let positions = given.positions();
    given.flip(positions[300] + 20);
    let then = given.recover();
    let faults = &then.after.1;
    let [ReadError::Damage { sequences: (300, next), .. }] = faults[..] else { panic!("{faults:?}") };
    then.lacks(300..next, 2_000);
    assert!(then.recovery.unproven < 1_600, "the anchor proves some: {}", then.recovery.unproven);
}

#[test]
fn row_10_damage_inside_a_sealed_segment_is_reported_with_its_range() {
    let given = Given::closed(5_000);
    let positions = given.positions();
    given.flip(positions[2_000] + 20);
    let then = given.recover();
    let faults = &then.after.1;
    let [ReadError::Damage { from, to, sequences: (2_000, next), .. }] = faults[..] else {
        panic!("{faults:?}")
    };
    assert_eq!(then.lacks(2_000..next, 5_000), (from, to));
    assert_eq!(then.recovery.damage, [(from, to)]);
    assert!(to - from <= 80 << 10);
}

#[test]
fn row_10_damage_up_to_the_seal_is_reported_to_the_next_segment() {
    let given = Given::closed(20_000);
    let positions = given.positions();
    let last = positions.partition_point(|position| *position < SEGMENT as u64) - 1;
    // The last message, and all behind it, the SEAL among it.
    for position in positions[last]..SEGMENT as u64 {
        given.disk.tamper(&segment_name(0), position, |byte| *byte = 0x5a);
    }
    let then = given.recover();
    let (from, to) = then.lacks(last as u64..last as u64 + 1, 20_000);
    assert_eq!((from, to), (positions[last], SEGMENT as u64));
}

#[test]
fn row_11_frames_under_a_torn_header_are_kept_beside() {
    let given = Given::without_power(12_000);
    let (newest, first) = given.newest(12_000);
    given.change_mark(|slot| (slot.durable, slot.sequence) = (newest * SEGMENT as u64, first));
    given.flip(newest * SEGMENT as u64 + 40);
    let then = given.recover();
    then.is_prefix(first);
    assert_eq!(then.recovery.torn_bytes, SEGMENT as u64);
    let name = format!("torn-{:016x}", newest * SEGMENT as u64);
    assert_eq!(given.read(&name).len(), SEGMENT);
}

#[test]
fn row_12_segments_made_ready_are_removed() {
    let given = Given::without_power(100);
    assert!(given.names().contains(&segment_name(2)), "{:?}", given.names());
    let live = given.ground.open();
    let segments: Vec<_> = given.names().into_iter().filter(|name| name.ends_with(".segment")).collect();
    assert_eq!(segments, [segment_name(0), segment_name(1)]);
    assert_eq!(live.journal.recovery.torn_bytes, 0);
}

#[test]
fn row_13_a_damaged_header_below_the_mark_is_damage_and_its_segment_stays() {
    for gone in [false, true] {
        let given = Given::without_power(12_000);
        let (newest, first) = given.newest(12_000);
        if gone {
            given.disk.remove(&segment_name(newest)).unwrap();
        } else {
            given.flip(newest * SEGMENT as u64 + 40);
        }
        let durable = given.mark().durable;
        let live = given.ground.open();
        assert_eq!(live.journal.recovery.damage, [(newest * SEGMENT as u64, durable)]);
        assert_eq!(live.journal.writer.next_sequence(), 12_000, "no sequence is used twice");
        assert_eq!(given.names().contains(&segment_name(newest)), !gone);
        live.close();
        given.ground.open().close();
        assert_eq!(given.names().contains(&segment_name(newest)), !gone, "not even later");
        let (messages, faults) = given.ground.read_all(Gate::Durable);
        assert_messages(&messages, first);
        let [ReadError::Damage { sequences, .. }] = faults[..] else { panic!("{faults:?}") };
        assert_eq!(sequences, (first, 12_000));
    }
}

#[test]
fn row_14_one_torn_slot_leaves_the_other() {
    for slot in [0, 1] {
        let given = Given::with_tail(700, 300);
        given.disk.tamper("mark", slot * 4096 + 70, |byte| *byte ^= 1);
        let then = given.recover();
        then.is_prefix(1_000);
        assert!(then.recovery.unproven >= 300);
    }
}

#[test]
fn row_15_without_a_mark_the_segments_say_whose_they_are() {
    for removed in [false, true] {
        let given = Given::without_power(20_000);
        let identity = given.mark().journal;
        if removed {
            given.disk.remove("mark").unwrap();
        } else {
            given.write("mark", &[0x77; 8192]);
        }
        let then = given.recover();
        assert!((1..10_000).contains(&then.recovery.unproven), "{:?}", then.recovery);
        then.is_prefix(20_000);
        assert!(then.recovery.mark_lost);
        let mark = given.mark();
        assert_eq!((mark.journal, mark.unmarked_before), (identity, 2));
        let began = || given.ground.reader(Start::Newest, Gate::Durable).began_unmarked();
        assert_eq!(began(), Some((2, 20_000)));
        let mut live = given.ground.open();
        assert!(!live.journal.recovery.mark_lost, "told once");
        publish(&mut live, 20_000..20_010);
        live.close();
        assert_eq!(began(), Some((2, 20_000)), "and remembered");
    }
}

#[test]
fn row_16_without_mark_and_headers_nothing_is_touched() {
    let given = Given::closed(100);
    given.write("mark", &[0x77; 8192]);
    given.flip(3);
    let segment = given.read(&segment_name(0));
    let refused = given.ground.try_open();
    assert!(matches!(refused, Err(OpenError::Damaged { .. })), "{refused:?}");
    let reader = journal::Reader::open(given.ground.places.clone(), Start::Oldest, Gate::Durable);
    assert!(matches!(reader, Err(OpenError::Damaged { .. })));
    assert_eq!(given.read(&segment_name(0)), segment);
}

#[test]
fn row_17_nothing_is_a_new_journal() {
    let given = Given::new();
    let live = given.ground.open();
    assert_eq!(live.journal.recovery, Recovery::default());
    assert_eq!((live.journal.writer.epoch(), live.journal.writer.next_sequence()), (1, 0));
}

#[test]
fn row_17_an_epoch_that_wrote_nothing_leaves_nothing_to_recover() {
    let given = Given::new();
    for epoch in 1..5 {
        let live = given.ground.open();
        assert_eq!((live.journal.writer.epoch(), live.journal.writer.next_sequence()), (epoch, 0));
        live.die();
        given.ground.lose_memory();
    }
    given.recover().is_prefix(0);
}

#[test]
fn row_19_what_lies_below_the_floor_or_is_unfinished_is_removed() {
    let given = Given::new();
    let retention = Some(Retention { bytes: 3 * SEGMENT as u64, cuts: journal::Cuts::Oldest });
    let options = || Options { retention, memory_budget: 3 * SEGMENT, ..given.ground.options() };
    let engine = || Box::new(journal::storage::PwriteEngine::new());
    let mut live = given.ground.open_with(options(), engine()).unwrap();
    publish(&mut live, 0..60_000);
    live.settle();
    let floor = given.mark().floor;
    assert!(floor > 1);
    live.close();
    given.write(&segment_name(0), b"left by a crash between the mark and the removal");
    given.write(&format!("{}.replacement", segment_name(floor)), &[1; 4096]);
    given.write("torn-0000000000000010", &[1; 4096]);
    given.ground.open().close();
    let left: Vec<_> = given.names();
    assert!(left.iter().all(|name| name == "mark" || *name >= segment_name(floor)), "{left:?}");
}

/// All of epoch 1 below this sequence was durable, as an effect says.
fn caused_below(sequence: u64) -> [Proof; 1] {
    [Proof { epoch: 1, sequence }]
}

#[test]
fn row_20_what_effects_name_is_proven() {
    let given = Given::with_tail(700, 300);
    let then = given.recover_with(&caused_below(900));
    assert_eq!(then.recovery.unproven, 100);
    then.is_prefix(1_000);
}

#[test]
fn row_20_a_tail_that_effects_name_is_damage_and_stays_where_it_is() {
    let spoiled = || {
        let given = Given::with_tail(700, 300);
        let torn = given.positions()[900];
        given.flip(torn + 30);
        (given, torn)
    };
    let (untold, _) = spoiled();
    untold.recover_with(&caused_below(900)).is_prefix(900);

    let (given, torn) = spoiled();
    let bytes = given.read(&segment_name(0));
    let then = given.recover_with(&caused_below(951));
    assert_eq!((then.next, then.recovery.torn_bytes), (951, 0));
    assert_eq!(then.recovery.damage, [(torn, SEGMENT as u64)]);
    assert_eq!(given.read(&segment_name(0)), bytes);
    assert_messages(&then.after.0, 900);
    assert_eq!(then.told(), (torn, SEGMENT as u64, (900, 951)));
}

#[test]
fn row_20_a_hole_that_effects_name_is_damage_and_what_follows_is_kept() {
    for (caused, is_cut) in [(710, true), (711, false), (3_700, false)] {
        let given = Given::with_tail(700, 3_000);
        let from = given.positions()[710];
        given.flip(from + 20);
        let then = given.recover_with(&caused_below(caused));
        if is_cut {
            then.is_prefix(710);
            continue;
        }
        let (at, to, (first, next)) = then.told();
        assert_eq!((at, first, &then.recovery.damage[..]), (from, 710, &[(from, to)][..]));
        let kept: Vec<_> = (0..3_700).filter(|n| !(710..next).contains(n)).map(|n| (n, message(n))).collect();
        assert!(then.after.0 == kept && then.next == 3_700 && next < 3_000);
    }
}

#[test]
fn row_21_a_segment_whose_messages_effects_name_is_damage_without_its_header() {
    for gone in [false, true] {
        let given = Given::without_power(12_000);
        let (newest, first) = given.newest(12_000);
        let base = newest * SEGMENT as u64;
        given.change_mark(|slot| (slot.durable, slot.sequence) = (base, first));
        if gone {
            given.disk.remove(&segment_name(newest)).unwrap();
        } else {
            given.flip(base + 40);
        }
        let then = given.recover_with(&caused_below(first + 100));
        assert_eq!((then.next, then.recovery.torn_bytes), (first + 100, 0));
        assert_eq!(then.recovery.damage, [(base, base + SEGMENT as u64)]);
        assert_eq!(given.names().contains(&segment_name(newest)), !gone);
        assert_messages(&then.before.0, first);
        assert_messages(&then.after.0, first);
        assert_eq!(then.told(), (base, base + SEGMENT as u64, (first, first + 100)));
    }
}

#[test]
fn row_21_a_lost_mark_gives_no_sequence_away_that_effects_name() {
    let given = Given::without_power(12_000);
    let (newest, first) = given.newest(12_000);
    given.disk.remove("mark").unwrap();
    given.disk.remove(&segment_name(newest)).unwrap();
    // Of an epoch of which nothing else is left.
    let then = given.recover_with(&[Proof { epoch: 2, sequence: 12_000 }]);
    assert_eq!((then.next, then.epoch, then.recovery.mark_lost), (12_000, 3, true));
    assert_eq!(then.recovery.unbelieved, []);
    assert_eq!(then.told().2, (first, 12_000));
}

/// An epoch from which no journal can go on.
const LAST: u32 = u32::MAX - 1;

#[test]
fn row_22_what_a_journal_cannot_have_had_is_not_believed() {
    let closed = || Given::closed(1_000);
    let unclean = || Given::without_power(1_000);
    let cases: [(&dyn Fn() -> Given, u32, u64, u32); 6] = [
        (&closed, 1, 1_001, 2),
        (&closed, 7, 1_200, 8),
        (&closed, LAST, 1_200, 2),
        (&unclean, 1, 1 << 60, 2),
        (&unclean, 2, 1_200, 3),
        (&unclean, LAST, u64::MAX, 2),
    ];
    for (given, epoch, sequence, next_epoch) in cases {
        let proof = Proof { epoch, sequence };
        let then = given().recover_with(&[proof]);
        assert_eq!((&then.recovery.unbelieved[..], then.epoch), (&[proof][..], next_epoch));
        then.is_prefix(1_000);
    }
}

#[test]
fn row_22_a_new_journal_has_lost_nothing() {
    for (epoch, next_epoch) in [(3, 4), (LAST, 1)] {
        let given = Given::new();
        let proof = Proof { epoch, sequence: 100 };
        let opened = given.open_with(&[proof]).journal;
        assert_eq!((&opened.recovery.unbelieved[..], opened.writer.epoch()), (&[proof][..], next_epoch));
        assert_eq!((opened.recovery.damage.len(), opened.writer.next_sequence()), (0, 0));
    }
}

#[test]
fn row_22_a_wrong_proof_beside_a_right_one_hides_nothing() {
    let given = Given::with_tail(700, 300);
    let wrong = Proof { epoch: 1, sequence: 1 << 60 };
    let then = given.recover_with(&[caused_below(900)[0], wrong, caused_below(800)[0]]);
    assert_eq!((then.recovery.unproven, &then.recovery.unbelieved[..]), (100, &[wrong][..]));
    then.is_prefix(1_000);
}

#[test]
fn row_22_what_later_epochs_have_settled_is_settled() {
    let given = Given::closed(1_000);
    given.recover().is_prefix(1_000);
    let then = given.recover_with(&caused_below(5_000));
    assert_eq!(then.recovery, Recovery::default());
    then.is_prefix(1_000);
}
