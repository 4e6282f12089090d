//! Given a derived topic whose input lost messages, expect no effect without its cause.
#![allow(missing_docs)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use bus::{
    Bus, Gate, Proof, Publisher, ReadError, Recovery, Start,
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

    // Nothing that lies about there keeps the rest from being told.
    fs::create_dir(at.join("effects/0/torn-0000000000000010")).unwrap();
    let effects: Publisher<Effect> = bus.derived_publisher("effects", &["inputs"]).unwrap();
    assert_eq!(effects.next_sequence(), 100);
    assert!(effects.recovery().without_cause > 0);
    assert_eq!(bus.cut_effects(), ["effects"]);
    let told = std::iter::repeat_with(|| reader.poll().map(|event| event.is_some()));
    assert_eq!(
        told.take(100_000).find(|told| *told != Ok(false)),
        Some(Err(ReadError::Regressed { to: 100 }))
    );
    effects.close().unwrap();
    let marks = bus.watermarks("effects").unwrap();
    assert_eq!((marks.first, marks.published, marks.durable), (0, 100, 100));
    let set_aside = || {
        let told = bus.set_aside("effects").unwrap();
        told.iter().map(|told| (told.sequences, told.epoch, told.time > Some(0))).collect::<Vec<_>>()
    };
    assert_eq!((set_aside(), bus.set_aside("inputs").unwrap()), (vec![((100, 150), 2, true)], vec![]));

    run(&bus, 10);
    let mut reader = bus.subscriber::<Effect>("effects", Start::Oldest, Gate::Durable).unwrap();
    let mut sequences = Vec::new();
    while let Some(effect) = reader.wait().unwrap() {
        sequences.push(effect.cause.sequence);
    }
    assert_eq!(sequences, (0..110).collect::<Vec<_>>());
    assert_eq!(set_aside(), [((100, 150), 2, true)], "also after others took their sequences");
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
    assert_eq!((bus.cut_effects().len(), bus.set_aside("effects").unwrap()), (0, vec![]));
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
    // The last effect says how far they were durable: no sequence that it or another names is used again.
    let began = inputs.next_sequence();
    assert_eq!((began, inputs.recovery().damage.len(), inputs.recovery().mark_lost), (150_000, 1, true));
    assert_eq!(bus.lost_marks(), ["inputs"]);
    inputs.publish(&Input { value: 1 }).unwrap();
    let mut reader = bus.subscriber::<Input>("inputs", Start::Sequence(first), Gate::Published).unwrap();
    let told = loop {
        if let Err(fault) = reader.poll() {
            break fault;
        }
    };
    let ReadError::Damage { sequences, .. } = told else { panic!("{told:?}") };
    assert!((first..149_000).contains(&sequences.0) && sequences.1 == began, "{sequences:?}");
    keeps_all_effects(&bus);
    inputs.close().unwrap();
    let inputs: Publisher<Input> = bus.publisher("inputs").unwrap();
    assert!(!inputs.recovery().mark_lost);
    let reader = bus.reader("inputs", Start::Newest, Gate::Published).unwrap();
    assert_eq!((reader.is_end_proven(), reader.began_unmarked()), (true, Some((2, began))));
    keeps_all_effects(&bus);
}

/// Marks an input's bytes.
const VALUE: i64 = 0x5eed_0000_0000;
/// Messages of a bus that lost its power, all durable, an effect of each; and the first of those that are torn.
const COUNT: u64 = 1_000;
const TORN: u64 = 800;

/// A bus as it was found after a power loss: no shared memory, a mark from before the last messages, and a disk that gave
/// back none of the inputs from [`TORN`] on although it had said to have them.
fn after_power_loss(directory: &Path) -> Bus {
    let bus = Bus::open(directory.join("live")).unwrap();
    let mut inputs: Publisher<Input> = bus.publisher("inputs").unwrap();
    let mut effects: Publisher<Effect> = bus.derived_publisher("effects", &["inputs"]).unwrap();
    let mark = fs::read(bus.directory().join("inputs/0/mark")).unwrap();
    for n in 0..COUNT {
        let sequence = inputs.publish(&Input { value: VALUE + n as i64 }).unwrap();
        let cause = Cause { sequence, epoch: inputs.epoch(), input: 0, index: 0 };
        effects.publish(&Effect { cause, value: 0 }).unwrap();
    }
    effects.flush().unwrap();
    assert_eq!((inputs.durable(), effects.durable()), (COUNT, COUNT));
    let found = directory.join("found");
    copy(bus.directory(), &found);
    fs::write(found.join("inputs/0/mark"), mark).unwrap();
    let segment = found.join("inputs/0/0000000000000000.segment");
    let mut bytes = fs::read(&segment).unwrap();
    let torn = (VALUE + TORN as i64).to_le_bytes();
    let at = bytes.windows(8).position(|window| window == torn).expect("it was written");
    bytes[at..].fill(0);
    fs::write(segment, bytes).unwrap();
    Bus::open(found).unwrap()
}

/// Expects that a publisher of the input begins behind what effects name, that the loss is told to its very range, and that
/// no effect is lost.
fn tells_what_is_lost(bus: &Bus) {
    let mut inputs: Publisher<Input> = bus.publisher("inputs").unwrap();
    assert_eq!(inputs.publish(&Input { value: 1 }), Ok(COUNT));
    let effects: Publisher<Effect> = bus.derived_publisher("effects", &["inputs"]).unwrap();
    assert_eq!((effects.next_sequence(), effects.recovery().without_cause), (COUNT, 0));
    let mut reader = bus.subscriber::<Input>("inputs", Start::Oldest, Gate::Published).unwrap();
    let (mut values, mut faults) = (Vec::new(), Vec::new());
    while values.len() <= TORN as usize {
        match reader.poll() {
            Ok(Some(input)) => values.push(input.value),
            Ok(None) => {}
            Err(fault) => faults.push(fault),
        }
    }
    let [ReadError::Damage { sequences: (TORN, COUNT), .. }] = faults[..] else { panic!("{faults:?}") };
    assert_eq!(values, (0..TORN as i64).map(|n| VALUE + n).chain([1]).collect::<Vec<_>>());
}

#[test]
fn what_effects_name_is_told_as_lost_and_never_cut() {
    let directory = tempfile::tempdir().unwrap();
    let bus = after_power_loss(directory.path());
    let inputs: Publisher<Input> = bus.publisher("inputs").unwrap();
    let recovery = inputs.recovery();
    assert_eq!((recovery.damage.len(), recovery.torn_bytes, recovery.unproven), (1, 0, 0), "{recovery:?}");
    inputs.close().unwrap();
    tells_what_is_lost(&bus);
}

#[test]
fn a_derived_topic_has_its_inputs_recovered_before_it_is_cut() {
    let directory = tempfile::tempdir().unwrap();
    let bus = after_power_loss(directory.path());
    let effects: Publisher<Effect> = bus.derived_publisher("effects", &["inputs"]).unwrap();
    assert_eq!((effects.next_sequence(), effects.recovery().without_cause), (COUNT, 0));
    effects.close().unwrap();
    tells_what_is_lost(&bus);
}

#[test]
fn without_effects_the_same_loss_goes_unnoticed() {
    for damaged in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let bus = after_power_loss(directory.path());
        let effects = bus.directory().join("effects/0");
        if damaged {
            let segment = effects.join("0000000000000000.segment");
            let length = fs::metadata(&segment).unwrap().len() as usize;
            fs::write(segment, vec![0x5a; length]).unwrap();
        } else {
            fs::remove_dir_all(effects).unwrap();
        }
        let inputs: Publisher<Input> = bus.publisher("inputs").unwrap();
        assert_eq!((inputs.next_sequence(), inputs.recovery().damage.len()), (TORN, 0));
        assert!(inputs.recovery().unproven > 0);
    }
}

#[test]
fn what_an_older_copy_of_the_input_goes_on_with_has_names_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().join("bus");
    run(&Bus::open(&at).unwrap(), 100);
    copy(&at.join("inputs"), &directory.path().join("older"));
    run(&Bus::open(&at).unwrap(), 50);
    fs::remove_dir_all(at.join("inputs")).unwrap();
    copy(&directory.path().join("older"), &at.join("inputs"));

    let bus = Bus::open(&at).unwrap();
    let mut inputs: Publisher<Input> = bus.publisher("inputs").unwrap();
    // Messages 100 to 149 of epoch 2 are others.
    assert_eq!((inputs.next_sequence(), inputs.epoch()), (100, 3));
    assert_eq!(inputs.recovery().unbelieved, [Proof { epoch: 2, sequence: 150 }]);
    for value in 0..10 {
        inputs.publish(&Input { value }).unwrap();
    }
    let effects: Publisher<Effect> = bus.derived_publisher("effects", &["inputs"]).unwrap();
    assert_eq!(effects.next_sequence(), 100, "none follows from a message that it did not know");
    let told = bus.set_aside("effects").unwrap();
    assert_eq!((told.len(), told[0].sequences, bus.cut_effects()), (1, (100, 150), vec!["effects".into()]));
}

#[test]
fn no_derived_topic_keeps_its_input_from_being_opened() {
    let directory = tempfile::tempdir().unwrap();
    let bus = Bus::open(directory.path().join("bus")).unwrap();
    run(&bus, 100);
    let spoil: [&dyn Fn(&Path); 6] = [
        &|at| fs::write(at.join("schema.json"), b"{").unwrap(),
        &|at| fs::write(at.join("0/mark"), [0x77; 8192]).unwrap(),
        &|at| fs::remove_file(at.join("0/0000000000000000.segment")).unwrap(),
        &|at| fs::create_dir(at.join("0/0000000000000000.segment")).unwrap(),
        &|at| fs::remove_dir_all(at.join("0")).unwrap(),
        &|at| std::os::unix::fs::symlink("/dev/zero", at.join("0")).unwrap(),
    ];
    for (count, spoil) in spoil.iter().enumerate() {
        spoil(&bus.directory().join("effects"));
        let mut inputs: Publisher<Input> = bus.publisher("inputs").unwrap();
        assert_eq!(inputs.recovery(), &Recovery::default());
        assert_eq!(inputs.publish(&Input { value: 1 }), Ok(100 + count as u64));
        inputs.close().unwrap();
    }
}
