//! Given a derived journal and an input in this state, expect that no effect is on disk, or kept, without its cause.
#![allow(missing_docs)]

mod common;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use common::{Ground, Live, SEGMENT, read_rest, segment_name};
use journal::{
    Gate, Input, OpenError, Options, ReadError, SetAside, Start,
    layout::{Cause, FLAG_CAUSED},
    storage::{AlignedBuffer, PwriteEngine, Storage, simulated::SimulatedDisk},
};
use zerocopy::IntoBytes;

/// What the tests say of an input.
#[derive(Debug, Default)]
struct State {
    durable: u64,
    /// Ends of epochs; an epoch that is not named has no end that is known.
    ends: BTreeMap<u32, u64>,
}

#[derive(Debug, Clone, Default)]
struct FakeInput(Arc<Mutex<State>>);

impl FakeInput {
    fn at(durable: u64, ends: &[(u32, u64)]) -> Self {
        let input = Self::default();
        *input.0.lock().unwrap() = State { durable, ends: ends.iter().copied().collect() };
        input
    }
}

impl Input for FakeInput {
    fn durable_sequence(&mut self) -> u64 {
        self.0.lock().unwrap().durable
    }
    fn end_of(&mut self, epoch: u32) -> Option<u64> {
        self.0.lock().unwrap().ends.get(&epoch).copied()
    }
}

struct Given {
    disk: SimulatedDisk,
    ground: Ground,
}

impl Given {
    fn new() -> Self {
        let disk = SimulatedDisk::new();
        let ground = Ground::on(Arc::new(disk.clone()));
        Self { disk, ground }
    }

    fn options(&self, input: &FakeInput) -> Options {
        Options { inputs: vec![Box::new(input.clone())], ..self.ground.options() }
    }

    fn open(&self, input: &FakeInput) -> Live {
        self.ground.open_with(self.options(input), Box::new(PwriteEngine::new())).unwrap()
    }

    /// Opens it at this moment where the input's epochs end so.
    fn open_at(&self, now: u64, ends: &[(u32, u64)]) -> Live {
        let options = Options { now, ..self.options(&FakeInput::at(u64::MAX, ends)) };
        self.ground.open_with(options, Box::new(PwriteEngine::new())).unwrap()
    }

    /// A journal that died with `count` effects, all durable, whose memory is lost; effect n has cause n of epoch 1.
    fn on_disk(count: u64, length: usize) -> Self {
        let given = Self::new();
        let mut live = given.open(&FakeInput::at(u64::MAX, &[]));
        for n in 0..count {
            publish(&mut live, n, 1, length);
        }
        live.settle();
        assert_eq!(live.writer().durable(), count);
        live.die();
        given.ground.lose_memory();
        given
    }

    /// What is told to have been cut although it had been durable: first sequence, and the one behind the last; epoch; when;
    /// whether one file keeps it.
    fn set_aside(&self) -> Vec<(u64, u64, u32, Option<u64>, bool)> {
        let told = |messages: SetAside| {
            let ((first, next), (file, last)) = (messages.sequences, messages.files);
            assert!(self.disk.names().unwrap().contains(&file) && self.disk.names().unwrap().contains(&last));
            (first, next, messages.epoch, messages.time, file == last)
        };
        journal::set_aside(&self.ground.places).unwrap().into_iter().map(told).collect()
    }

    fn sequences(&self) -> Vec<u64> {
        let (messages, faults) = self.ground.read_all(Gate::Durable);
        assert_eq!(faults, []);
        messages.into_iter().map(|(sequence, _)| sequence).collect()
    }
}

fn effect(cause: u64, epoch: u32, length: usize) -> Vec<u8> {
    let cause = Cause { sequence: cause, epoch, input: 0, index: 0 };
    let mut body = cause.as_bytes().to_vec();
    body.resize(16 + length, 7);
    body
}

fn publish(live: &mut Live, cause: u64, epoch: u32, length: usize) {
    let body = effect(cause, epoch, length);
    while live.journal.writer.append(1, FLAG_CAUSED, &body, || live.now).is_err() {
        live.work();
    }
}

#[test]
fn an_effect_waits_for_its_cause() {
    let given = Given::new();
    let input = FakeInput::at(0, &[]);
    let mut live = given.open(&input);
    for n in 0..100 {
        publish(&mut live, n, 1, 50);
    }
    live.settle();
    assert_eq!(live.writer().durable(), 0);
    for durable in [1, 40, 40, 99, 100] {
        input.0.lock().unwrap().durable = durable;
        live.settle();
        assert_eq!(live.writer().durable(), durable);
        let on_disk = common::read_file(&given.disk, &segment_name(0));
        let later = effect(durable, 1, 50);
        assert!(!on_disk.windows(later.len()).any(|window| window == later), "effect {durable}");
    }
    live.close();
    assert_eq!(given.sequences().len(), 100);
}

#[test]
fn a_segment_whose_effects_wait_stays_in_memory() {
    let given = Given::new();
    let input = FakeInput::at(10, &[]);
    let mut live = given.open(&input);
    let segment = given.ground.memory.join(segment_name(0));
    let mut n = 0;
    while !given.ground.memory.join(segment_name(2)).exists() || n < 3_000 {
        publish(&mut live, n, 1, 1_000);
        n += 1;
    }
    live.settle();
    assert_eq!(live.writer().durable(), 10, "the writer is segments ahead of the disk");
    assert!(segment.exists(), "nothing but memory has the effects that wait");
    input.0.lock().unwrap().durable = u64::MAX;
    live.settle();
    assert!(!segment.exists());
    live.close();
    assert_eq!(given.sequences().len() as u64, n);
}

#[test]
fn a_batch_waits_for_all_its_causes() {
    let given = Given::new();
    let input = FakeInput::at(5, &[]);
    let mut live = given.open(&input);
    let mut batch = live.writer().batch(0);
    for n in 0..10 {
        batch.append(1, FLAG_CAUSED, &effect(n, 1, 10)).unwrap();
    }
    batch.commit();
    live.settle();
    assert_eq!(live.writer().durable(), 0);
    input.0.lock().unwrap().durable = 10;
    live.settle();
    assert_eq!(live.writer().durable(), 10);
}

#[test]
fn recovery_cuts_at_the_first_effect_whose_cause_is_lost() {
    let given = Given::on_disk(1_000, 50);
    let mut far = given.ground.reader(Start::Oldest, Gate::Published);
    assert_eq!(read_rest(&mut far).0.len(), 1_000);
    let mut live = given.open(&FakeInput::at(600, &[(1, 600)]));
    assert!(live.journal.recovery.without_cause > 400 * 66);
    assert_eq!(live.writer().next_sequence(), 600);
    assert_eq!(given.sequences(), (0..600).collect::<Vec<_>>());
    let torn = given.disk.names().unwrap().into_iter().find(|name| name.starts_with("torn-")).unwrap();
    let kept = common::read_file(&given.disk, &torn);
    assert_eq!(kept[16..32], *Cause { sequence: 600, epoch: 1, input: 0, index: 0 }.as_bytes());
    publish(&mut live, 599, 1, 3);
    let (messages, faults) = read_rest(&mut far);
    assert_eq!((messages.len(), faults), (1, vec![ReadError::Regressed { to: 600 }]));
    live.close();
    assert_eq!(given.sequences().len(), 601);
    let live = given.open(&FakeInput::at(600, &[(1, 600)]));
    assert_eq!(live.journal.recovery.without_cause, 0, "once is enough");
}

/// A moment long after the messages were written, and later ones.
const NOW: u64 = 1_700_000_000_000_000_000;

#[test]
fn what_had_been_durable_and_was_cut_is_told_for_good() {
    let given = Given::on_disk(1_000, 50);
    assert_eq!(given.set_aside(), []);
    let mut live = given.open_at(NOW, &[(1, 600)]);
    let [told] = &live.journal.recovery.set_aside[..] else { panic!("{:?}", live.journal.recovery) };
    assert_eq!((told.sequences, told.time), ((600, 1_000), Some(NOW)));
    assert_eq!(told.positions.0, u64::from_str_radix(&told.files.0[5..], 16).unwrap());
    // Others take the sequences, in an epoch of their own, and are cut in their turn.
    live.now = NOW + 1;
    (0..700).for_each(|n| publish(&mut live, n, 2, 3));
    live.settle();
    live.die();
    given.ground.lose_memory();
    assert_eq!(given.set_aside(), [(600, 1_000, 1, Some(NOW), true)]);
    let (later, ends) = (NOW + 1_000_000_000, [(1, 600), (2, 650)]);
    let live = given.open_at(later, &ends);
    assert_eq!(live.journal.recovery.set_aside.len(), 1, "what is new since: {:?}", live.journal.recovery);
    live.close();
    given.open_at(2 * NOW, &ends).close();
    let told = [(600, 1_000, 1, Some(NOW), true), (1_250, 1_300, 2, Some(later), true)];
    assert_eq!(given.set_aside(), told);
    given.disk.remove(&torn(&given)[1]).unwrap();
    assert_eq!(given.set_aside(), told[..1], "until somebody takes the bytes away");
}

/// The names of the files that keep bytes beside.
fn torn(given: &Given) -> Vec<String> {
    given.disk.names().unwrap().into_iter().filter(|name| name.starts_with("torn-")).collect()
}

#[test]
fn a_cut_before_an_earlier_one_in_the_same_segment_tells_both() {
    for far in [300, 580, 599] {
        let given = Given::on_disk(1_000, 50);
        let mut live = given.open_at(NOW, &[(1, 600)]);
        publish(&mut live, 599, 1, 3);
        live.close();
        let later = NOW + 1;
        given.open_at(later, &[(1, far)]).close();
        let (first, second) = ((600, 1_000, 1, Some(NOW), true), (far, 600, 1, Some(later), true));
        assert_eq!(given.set_aside(), [second, first, (600, 601, 2, Some(later), true)], "{far}");
    }
}

#[test]
fn a_cut_may_lie_segments_back() {
    let given = Given::on_disk(3_000, 1_000);
    let segments =
        || given.disk.names().unwrap().into_iter().filter(|name| name.ends_with(".segment")).count();
    assert!(segments() > 3);
    let live = given.open_at(NOW, &[(1, 100)]);
    assert_eq!(live.journal.writer.next_sequence(), 100);
    assert!(live.journal.recovery.without_cause > 2 * SEGMENT as u64);
    assert_eq!(segments(), 2, "the cut one, and that of the new epoch");
    live.close();
    assert_eq!(given.sequences(), (0..100).collect::<Vec<_>>());
    let survey = journal::survey(&given.ground.places, &given.ground.disk.join(journal::LOCK)).unwrap();
    assert!(survey.segments[1].number > 2, "numbers behind a cut are not used again");
    assert_eq!(survey.missing, [], "and nothing is missed in them");
    assert_eq!(given.open(&FakeInput::at(100, &[(1, 100)])).journal.recovery.damage, []);
    assert!(torn(&given).len() > 2);
    assert_eq!(given.set_aside(), [(100, 3_000, 1, Some(NOW), false)], "as one range");
}

/// The name of a segment that is kept beside whole.
fn torn_name(number: u64) -> String {
    format!("torn-{:016x}", number * SEGMENT as u64)
}

#[test]
fn given_a_cut_that_was_cut_short_expect_the_next_start_to_make_it_whole_and_tell_it() {
    for steps in 1..=3 {
        let (given, whole) = (Given::on_disk(3_000, 1_000), Given::on_disk(3_000, 1_000));
        whole.open_at(NOW, &[(1, 100)]).close();
        let last =
            (1..).find(|number| !given.disk.names().unwrap().contains(&segment_name(number + 1))).unwrap();
        assert!(last > 2);
        // One of the segments behind it is kept beside, all are, and the tail is too, but without the SEAL in its place.
        let moved = if steps == 1 { 1..=1 } else { 1..=last };
        for number in moved {
            given.disk.rename(&segment_name(number), &torn_name(number)).unwrap();
        }
        if steps == 3 {
            let tail = &torn(&whole)[0];
            let kept = common::read_file(&whole.disk, tail);
            let mut bytes = AlignedBuffer::zeroed(kept.len().next_multiple_of(4096));
            bytes[..kept.len()].copy_from_slice(&kept);
            given.disk.create(tail, kept.len() as u64).unwrap().write_at(&bytes, 0).unwrap();
        }
        let live = given.open_at(NOW, &[(1, 100)]);
        let told: Vec<_> =
            live.journal.recovery.set_aside.iter().map(|messages| messages.sequences).collect();
        assert_eq!(told, [(100, 3_000)], "{steps}");
        live.close();
        assert_eq!(given.set_aside(), [(100, 3_000, 1, Some(NOW), false)], "{steps}");
        assert_eq!(given.sequences(), (0..100).collect::<Vec<_>>(), "{steps}: nothing is missed");
    }
}

/// As its owner asks, because what it followed from is lost though the input knows that it had it.
#[test]
fn a_journal_is_cut_where_its_owner_asks_and_that_is_told_too() {
    let given = Given::on_disk(3_000, 1_000);
    let cut_from = |from| {
        let input = FakeInput::at(u64::MAX, &[(1, 3_000)]);
        let options = Options { now: NOW, cut_from: Some(from), ..given.options(&input) };
        let live = given.ground.open_with(options, Box::new(PwriteEngine::new())).unwrap();
        let (next, cut) = (live.journal.writer.next_sequence(), live.journal.recovery.without_cause);
        live.close();
        (next, cut > 0)
    };
    assert_eq!(cut_from(3_000), (3_000, false), "nothing is there");
    assert_eq!(cut_from(100), (100, true));
    assert_eq!(given.sequences(), (0..100).collect::<Vec<_>>());
    assert_eq!(given.set_aside(), [(100, 3_000, 1, Some(NOW), false)]);
    assert_eq!(cut_from(100), (100, false), "once is enough");
    assert_eq!(cut_from(0), (0, true));
    assert_eq!(given.sequences(), [0; 0]);
}

#[test]
fn a_cut_behind_damage_takes_what_is_behind() {
    let given = Given::on_disk(3_000, 1_000);
    given.disk.remove(&segment_name(1)).unwrap();
    let (_, faults) = given.ground.read_all(Gate::Durable);
    let [ReadError::Damage { sequences: (first, next), .. }] = faults[..] else { panic!("{faults:?}") };
    let input = FakeInput::at(u64::MAX, &[(1, 3_000)]);
    let options = Options { now: NOW, cut_from: Some(first), ..given.options(&input) };
    let live = given.ground.open_with(options, Box::new(PwriteEngine::new())).unwrap();
    assert_eq!(live.journal.writer.next_sequence(), next, "no sequence of what is lost is used again");
    live.close();
    assert_eq!(given.set_aside(), [(next, 3_000, 1, Some(NOW), true)]);
    let (messages, faults) = given.ground.read_all(Gate::Durable);
    assert_eq!(messages.len() as u64, first);
    let [ReadError::Damage { sequences, .. }] = faults[..] else { panic!("{faults:?}") };
    assert_eq!(sequences, (first, next), "the loss goes on being told");
}

#[test]
fn a_cut_takes_whole_batches() {
    let given = Given::new();
    let mut live = given.open(&FakeInput::at(u64::MAX, &[]));
    for batch_of in 0..10 {
        let mut batch = live.writer().batch(0);
        for n in 0..10 {
            batch.append(1, FLAG_CAUSED, &effect(batch_of * 10 + n, 1, 10)).unwrap();
        }
        batch.commit();
    }
    live.settle();
    live.die();
    given.ground.lose_memory();
    let live = given.open_at(NOW, &[(1, 57)]);
    assert_eq!(live.journal.writer.next_sequence(), 50);
    assert_eq!(given.set_aside(), [(50, 100, 1, Some(NOW), true)]);
}

#[test]
fn a_cause_belongs_to_an_epoch() {
    let given = Given::new();
    let mut live = given.open(&FakeInput::at(u64::MAX, &[]));
    for (cause, epoch) in [(10, 1), (58, 1), (60, 2), (75, 2), (79, 2)] {
        publish(&mut live, cause, epoch, 10);
    }
    live.settle();
    live.die();
    given.ground.lose_memory();
    let keeps = |ends: &[(u32, u64)]| {
        let live = given.open(&FakeInput::at(100, ends));
        let next = live.journal.writer.next_sequence();
        live.die();
        given.ground.lose_memory();
        next
    };
    assert_eq!(keeps(&[]), 5, "what nobody knows is kept");
    assert_eq!(keeps(&[(1, 59), (2, 80)]), 5);
    assert_eq!(keeps(&[(1, 59), (2, 76)]), 4);
    assert_eq!(keeps(&[(1, 20), (2, 20)]), 1);
}

#[test]
fn a_cause_whose_epoch_is_not_told_is_measured_by_all_that_the_input_has() {
    let given = Given::new();
    let mut live = given.open(&FakeInput::at(u64::MAX, &[]));
    for cause in [10, 58, 60, 75] {
        publish(&mut live, cause, 0, 10);
    }
    live.settle();
    live.die();
    given.ground.lose_memory();
    let live = given.open(&FakeInput::at(100, &[(0, 0), (u32::MAX, 70)]));
    assert_eq!(live.journal.writer.next_sequence(), 3);
}

#[test]
fn memory_is_completed_only_when_its_causes_are_durable() {
    let given = Given::new();
    let mut live = given.open(&FakeInput::at(0, &[]));
    for n in 0..100 {
        publish(&mut live, n, 1, 50);
    }
    live.settle();
    live.die();
    let input = FakeInput::at(30, &[(1, 200)]);
    thread::scope(|scope| {
        scope.spawn(|| {
            for durable in (30..=100).step_by(10) {
                let on_disk = common::read_file(&given.disk, &segment_name(0));
                let later = effect(99, 1, 50);
                assert!(!on_disk.windows(later.len()).any(|window| window == later), "at {durable}");
                thread::sleep(Duration::from_millis(2));
                input.0.lock().unwrap().durable = durable;
            }
        });
        let live = given.open(&input);
        assert_eq!(live.journal.writer.next_sequence(), 100);
        assert!(input.0.lock().unwrap().durable >= 100);
        live.die();
    });
    given.ground.lose_memory();
    assert_eq!(given.sequences().len(), 100);
}

#[test]
fn memory_without_causes_is_cut_too() {
    let given = Given::new();
    let mut live = given.open(&FakeInput::at(40, &[]));
    for n in 0..100 {
        publish(&mut live, n, 1, 50);
    }
    live.settle();
    let mut far = given.ground.reader(Start::Sequence(90), Gate::Published);
    assert_eq!(far.poll().unwrap().unwrap().sequence, 90);
    live.die();
    let mut live = given.open(&FakeInput::at(40, &[(1, 40)]));
    assert_eq!((live.writer().next_sequence(), live.journal.recovery.damage.len()), (40, 0));
    assert!(live.journal.recovery.without_cause > 0);
    assert_eq!((torn(&given).len(), given.set_aside()), (1, vec![]), "they never were durable: no fault");
    publish(&mut live, 39, 1, 1);
    let (messages, faults) = read_rest(&mut far);
    assert_eq!(faults, [ReadError::Regressed { to: 40 }]);
    assert_eq!(messages.last().map(|(sequence, _)| *sequence), Some(40));
    live.close();
    assert_eq!(given.sequences().len(), 41);
}

#[test]
fn causes_that_never_become_durable_are_refused_by_name() {
    let given = Given::new();
    let mut live = given.open(&FakeInput::at(0, &[]));
    publish(&mut live, 9, 1, 50);
    live.die();
    let options = given.options(&FakeInput::at(5, &[(1, 10)]));
    let refused = journal::open(&given.ground.places, options);
    assert!(matches!(refused, Err(OpenError::NotDurable { input: 0, needed: 10 })), "{refused:?}");
    let live = given.open(&FakeInput::at(5, &[(1, 5)]));
    assert!(live.journal.recovery.without_cause > 0);
    assert_eq!((torn(&given).len(), given.set_aside()), (1, vec![]), "nor were they when that was refused");
}
