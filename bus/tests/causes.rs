//! Given a derived topic whose input lost messages, expect no effect without its cause.
#![allow(missing_docs)]

use std::{fs, path::Path};

use bus::{
    Bus, Gate, Publisher, ReadError, Start,
    event::{Cause, Event},
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
