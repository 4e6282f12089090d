//! Given a derived topic whose input lost messages, expect no effect without its cause.
#![allow(missing_docs)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use bus::{
    Bus, Gate, Publisher, ReadError, Start,
    config::BusConfig,
    event::{Cause, Event},
    program::Size,
};

#[derive(Event, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
struct Input {
    value: i64,
}

#[derive(Event, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
struct Effect {
    cause: Cause,
    value: i64,
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap().flatten() {
        let to = to.join(file.file_name());
        if file.path().is_dir() {
            copy(&file.path(), &to);
        } else {
            fs::copy(file.path(), to).unwrap();
        }
    }
}

/// Publishes inputs and an effect of each.
fn run(bus: &Bus, count: i64) {
    let mut inputs: Publisher<Input> = bus.publisher("inputs").unwrap();
    let mut effects: Publisher<Effect> = bus.derived_publisher("effects", &["inputs"]).unwrap();
    for value in 0..count {
        let sequence = inputs.publish(&Input { value }).unwrap();
        let cause = Cause { sequence, epoch: inputs.epoch(), input: 0, index: 0 };
        effects.publish(&Effect { cause, value }).unwrap();
    }
    effects.close().unwrap();
    inputs.close().unwrap();
}

#[test]
fn effects_of_what_an_older_copy_of_the_input_lacks_are_cut() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().join("bus");
    run(&Bus::open(&at).unwrap(), 100);
    copy(&at.join("inputs"), &directory.path().join("older"));
    run(&Bus::open(&at).unwrap(), 50);
    let bus = Bus::open(&at).unwrap();
    let mut reader = bus.subscriber::<Effect>("effects", Start::Oldest, Gate::Published).unwrap();
    for _ in 0..150 {
        assert!(reader.poll().unwrap().is_some());
    }
    fs::remove_dir_all(at.join("inputs")).unwrap();
    copy(&directory.path().join("older"), &at.join("inputs"));

    let effects: Publisher<Effect> = bus.derived_publisher("effects", &["inputs"]).unwrap();
    assert_eq!(effects.next_sequence(), 100);
    assert!(effects.recovery().without_cause > 0);
    let told = std::iter::repeat_with(|| reader.poll().map(|event| event.is_some()));
    assert_eq!(
        told.take(100_000).find(|told| *told != Ok(false)),
        Some(Err(ReadError::Regressed { to: 100 }))
    );
    effects.close().unwrap();
    let marks = bus.watermarks("effects").unwrap();
    assert_eq!((marks.first, marks.published, marks.durable), (0, 100, 100));

    run(&bus, 10);
    let mut reader = bus.subscriber::<Effect>("effects", Start::Oldest, Gate::Durable).unwrap();
    let mut sequences = Vec::new();
    while let Some(effect) = reader.wait().unwrap() {
        sequences.push(effect.cause.sequence);
    }
    assert_eq!(sequences, (0..110).collect::<Vec<_>>());
}

/// Publishes inputs of several segments and an effect of each thousandth.
fn run_long(at: &Path) -> Bus {
    let config = BusConfig { segment: Some(Size(1 << 20)), ..BusConfig::default() };
    let bus = Bus::with_config(at, config).unwrap();
    let mut inputs: Publisher<Input> = bus.publisher("inputs").unwrap();
    let mut effects: Publisher<Effect> = bus.derived_publisher("effects", &["inputs"]).unwrap();
    for value in 0..150_000 {
        let sequence = inputs.publish(&Input { value }).unwrap();
        let cause = Cause { sequence, epoch: inputs.epoch(), input: 0, index: 0 };
        if value % 1_000 == 999 {
            effects.publish(&Effect { cause, value }).unwrap();
        }
    }
    effects.close().unwrap();
    inputs.close().unwrap();
    bus
}

/// Expects that opening the effects cuts none of them.
fn keeps_all_effects(bus: &Bus) {
    let effects: Publisher<Effect> = bus.derived_publisher("effects", &["inputs"]).unwrap();
    assert_eq!((effects.next_sequence(), effects.recovery().without_cause), (150, 0));
    effects.close().unwrap();
}

/// The files of the input's segments, with their first sequences, oldest first.
fn segments(bus: &Bus) -> Vec<(PathBuf, u64)> {
    let directory = bus.directory().join("inputs/0");
    let segments = bus.survey("inputs").unwrap().segments.into_iter();
    segments.map(|held| (directory.join(format!("{:016x}.segment", held.number)), held.sequence)).collect()
}

#[test]
fn effects_of_durable_inputs_that_are_gone_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let bus = run_long(directory.path());
    let segments = segments(&bus);
    let lost = &segments[segments.len() - 2..];
    assert!(lost[0].1 > 0 && lost[0].1 < 149_000, "{lost:?}");
    lost.iter().for_each(|(path, _)| fs::remove_file(path).unwrap());
    keeps_all_effects(&bus);
    keeps_all_effects(&bus);
    // A new publisher of the input says the loss, and uses no lost sequence again: the effects keep their own causes.
    let mut inputs: Publisher<Input> = bus.publisher("inputs").unwrap();
    assert_eq!((inputs.recovery().damage.len(), inputs.recovery().mark_lost), (1, false));
    assert_eq!(inputs.publish(&Input { value: 1 }), Ok(150_000));
    keeps_all_effects(&bus);
}

#[test]
fn an_input_that_lost_its_mark_and_its_end_says_so_and_takes_no_effect_along() {
    let directory = tempfile::tempdir().unwrap();
    let bus = run_long(directory.path());
    let (newest, first) = segments(&bus).pop().unwrap();
    fs::File::options().write(true).open(&newest).unwrap().set_len(8 << 10).unwrap();
    fs::remove_file(newest.with_file_name("mark")).unwrap();
    keeps_all_effects(&bus);
    assert_eq!(bus.lost_marks().len(), 0, "of the effects nothing is lost");
    let mut inputs: Publisher<Input> = bus.publisher("inputs").unwrap();
    let began = inputs.next_sequence();
    assert!(inputs.recovery().mark_lost && (first..149_000).contains(&began), "{began}");
    assert_eq!(bus.lost_marks(), ["inputs"]);
    inputs.publish(&Input { value: 1 }).unwrap();
    keeps_all_effects(&bus);
    inputs.close().unwrap();
    let inputs: Publisher<Input> = bus.publisher("inputs").unwrap();
    assert!(!inputs.recovery().mark_lost);
    let reader = bus.reader("inputs", Start::Newest, Gate::Published).unwrap();
    assert_eq!((reader.is_end_proven(), reader.began_unmarked()), (true, Some((2, began))));
    keeps_all_effects(&bus);
}
