//! Given a publisher of an input that was killed a moment ago, so that the system has not taken its lock back yet, expect
//! that what is derived from it opens all the same.
#![allow(missing_docs)]

mod common;

use std::{path::Path, thread, time::Duration};

use bus::{
    Bus, Gate, Publisher, Start,
    event::{Cause, Event},
};
use common::{Process, Quote, ground, orders, quote};
use journal::lock::{Holder, OwnerLock, Purpose, holder, is_held};

#[derive(Event, Clone, Copy, Debug)]
#[repr(C)]
struct Effect {
    cause: Cause,
}

/// The process that dies: of its last input and effect nothing is durable yet.
#[test]
fn process() {
    let Some((bus, _)) = orders() else { return };
    let mut inputs: Publisher<Quote> = bus.publisher("inputs").unwrap();
    let mut effects: Publisher<Effect> = bus.derived_publisher("effects", &["inputs"]).unwrap();
    println!("ready 0");
    let sequence = inputs.publish(&quote(0)).unwrap();
    effects
        .publish(&Effect { cause: Cause { sequence, epoch: inputs.epoch(), input: 0, index: 0 } })
        .unwrap();
    // SAFETY: takes no pointers.
    unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
}

fn lock(bus: &Path, topic: &str) -> std::path::PathBuf {
    bus.join(topic).join("0").join(journal::LOCK)
}

/// A bus on which the process has died, and the lock of its input.
fn killed(path: &Path) -> (Bus, OwnerLock) {
    let mut dying = Process::start("process", path, "die");
    assert_eq!(dying.told("ready"), 0);
    dying.end();
    let bus = Bus::open(path).unwrap();
    let held = loop {
        match OwnerLock::acquire(&lock(path, "inputs"), Purpose::Publish) {
            Ok(held) => break held,
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
    };
    (bus, held)
}

#[test]
fn an_input_whose_publisher_has_just_died_is_recovered_once_its_lock_is_free() {
    let (_directory, path) = ground();
    let (bus, held) = killed(&path);
    let marks = bus.watermarks("inputs").unwrap();
    assert_eq!((marks.published, marks.durable), (1, 0), "there is something to recover");
    // The inputs have been looked at when the derived topic is being opened.
    let effects_lock = lock(&path, "effects");
    let lets_go = thread::spawn(move || {
        while !is_held(&effects_lock).unwrap_or(false) {
            thread::sleep(Duration::from_millis(1));
        }
        drop(held);
    });
    let effects: Publisher<Effect> = bus.derived_publisher("effects", &["inputs"]).unwrap();
    lets_go.join().unwrap();
    assert_eq!(effects.next_sequence(), 1);
    let mut inputs = bus.subscriber::<Quote>("inputs", Start::Oldest, Gate::Durable).unwrap();
    assert_eq!(inputs.wait().unwrap(), Some(&quote(0)));
}

#[test]
fn who_completes_what_a_dead_publisher_left_says_so_and_the_next_publisher_follows() {
    let (_directory, path) = ground();
    let (bus, held) = killed(&path);
    let effects_lock = lock(&path, "effects");
    while is_held(&effects_lock).unwrap() {
        thread::sleep(Duration::from_millis(1));
    }
    // It waits for the input, which nobody can complete as long as its lock is held.
    let finisher = Bus::open(&path).unwrap();
    let finisher = thread::spawn(move || finisher.finish_dead("effects"));
    let named = || holder(&effects_lock).filter(|holder: &Holder| holder.process == std::process::id());
    let purpose = loop {
        match named() {
            Some(holder) => break holder.purpose,
            None => thread::sleep(Duration::from_millis(1)),
        }
    };
    assert_eq!(purpose, Purpose::Complete);
    drop(held);
    let effects: Publisher<Effect> = bus.derived_publisher("effects", &["inputs"]).unwrap();
    assert!(finisher.join().unwrap().unwrap(), "the effects were complete before");
    assert_eq!((effects.next_sequence(), named().unwrap().purpose), (1, Purpose::Publish));
}
