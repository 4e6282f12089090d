//! Given a journal whose later writer has its memory at another place, expect that nobody believes what the killed one before
//! left in the usual place.
#![allow(missing_docs)]

mod common;

use std::{
    thread,
    time::{Duration, Instant},
};

use common::{Ground, Live, assert_messages, message, read_rest};
use journal::{Gate, Owner, Places, Start, storage::PwriteEngine};

/// What the killed writer published.
const KILLED: u64 = 1_000;
/// What there is in the end, in several segments.
const COUNT: u64 = 40_000;

const GATES: [Gate; 2] = [Gate::Published, Gate::Durable];

fn publish(live: &mut Live, messages: std::ops::Range<u64>) {
    for n in messages {
        assert_eq!(live.publish(&message(n)), n);
    }
}

/// A journal whose writer was killed when all that it published was on disk. Its memory is there.
fn killed() -> Ground {
    let ground = Ground::new();
    let mut live = ground.open();
    publish(&mut live, 0..KILLED);
    live.settle();
    live.die();
    ground
}

/// The next writer, with its memory at another place.
fn open_elsewhere(ground: &Ground) -> Live {
    let memory_dir = ground.memory.with_extension("elsewhere");
    let places = Places { memory_dir, ..ground.places.clone() };
    let journal = journal::open(&places, ground.options()).unwrap();
    Live { engine: Box::new(PwriteEngine::new()), journal, now: 0 }
}

#[test]
fn memory_of_an_older_life_hides_nothing_of_a_closed_journal() {
    let ground = killed();
    let mut live = open_elsewhere(&ground);
    publish(&mut live, KILLED..COUNT);
    live.close();
    for gate in GATES {
        let (messages, faults) = ground.read_all(gate);
        assert_eq!(faults, [], "{gate:?}");
        assert_messages(&messages, COUNT);
    }
    let mut reader = ground.reader(Start::Newest, Gate::Durable);
    assert_eq!((reader.next_sequence(), reader.watermarks().durable), (COUNT, COUNT));
    assert!(reader.is_closed(), "the later writer closed it");
    let survey = journal::survey(&ground.places, &ground.disk.join(journal::LOCK)).unwrap();
    assert_eq!((survey.missing, survey.owner), (vec![], Owner::Nobody));
    assert!(survey.control.is_none(), "the page is of an older life");
    assert_eq!((survey.watermarks.epoch, survey.watermarks.published), (2, COUNT));
}

#[test]
fn memory_of_an_older_life_does_not_stand_for_that_of_the_last_one() {
    let ground = killed();
    assert!(!journal::is_unrecovered(&ground.places), "its memory is there");
    let mut live = open_elsewhere(&ground);
    publish(&mut live, KILLED..COUNT);
    live.settle();
    live.die();
    assert!(journal::is_unrecovered(&ground.places), "that of its last owner is not");
    let (messages, faults) = ground.read_all(Gate::Durable);
    assert_eq!(faults, []);
    assert_messages(&messages, COUNT);
}

#[test]
fn who_reads_the_memory_of_a_killed_writer_goes_on_to_a_later_one_elsewhere() {
    for gate in GATES {
        let ground = killed();
        let mut reader = ground.reader(Start::Oldest, gate);
        let (mut messages, faults) = read_rest(&mut reader);
        assert_eq!((faults, reader.is_attached()), (vec![], true));
        assert_messages(&messages, KILLED);
        let mut live = open_elsewhere(&ground);
        publish(&mut live, KILLED..COUNT);
        live.settle();
        let began = Instant::now();
        while (messages.len() as u64) < COUNT && began.elapsed() < Duration::from_secs(20) {
            let (new, faults) = read_rest(&mut reader);
            assert_eq!(faults, [], "{gate:?}");
            messages.extend(new);
            thread::sleep(Duration::from_millis(1));
        }
        assert_messages(&messages, COUNT);
        assert!(reader.is_blind(), "the writer's memory is not seen");
        live.close();
    }
}
