//! Given a disk that is nearly full, expect that a journal leaves it to others what it does not need yet.
#![allow(missing_docs)]

mod common;

use std::sync::Arc;

use common::{Ground, SEGMENT, assert_messages, message};
use journal::{
    Cuts, Gate, OpenError, Options, Retention, Room, Start,
    storage::{PwriteEngine, Storage, simulated::SimulatedDisk},
};

fn segments(disk: &SimulatedDisk) -> usize {
    disk.names().unwrap().iter().filter(|name| name.ends_with(".segment")).count()
}

#[test]
fn what_is_made_ahead_leaves_room_to_other_journals() {
    let disk = SimulatedDisk::new();
    let ground = Ground::on(Arc::new(disk.clone()));
    disk.limit_space(11 * SEGMENT as u64);
    let mut live = ground.open();
    live.settle();
    // The first and the next one are needed; of those behind, one leaves eight others their room, and a second does not.
    assert_eq!(segments(&disk), 3);
    disk.limit_space(9 * SEGMENT as u64);
    live.close();
    let mut live = ground.open();
    live.settle();
    assert_eq!(segments(&disk) - 1, 2, "besides that of the first life");
    // As more is needed, it is taken to the last block.
    let mut count = 0;
    while disk.free_space().unwrap() >= SEGMENT as u64 {
        live.publish(&message(count));
        count += 1;
        live.work();
    }
    disk.limit_space(1 << 40);
    live.settle();
    let before = segments(&disk);
    live.settle();
    assert_eq!(segments(&disk), before);
    assert!(disk.free_space().unwrap() > SEGMENT as u64);
    live.close();
    assert_messages(&ground.read_all(Gate::Durable).0, count);
}

#[test]
fn what_retention_gives_back_is_made_ahead_however_full_the_disk_is() {
    let disk = SimulatedDisk::new();
    let ground = Ground::on(Arc::new(disk.clone()));
    disk.limit_space(11 * SEGMENT as u64);
    let retention = Some(Retention { bytes: 7 * SEGMENT as u64, cuts: Cuts::Oldest });
    let options = Options { retention, ..ground.options() };
    let mut live = ground.open_with(options, Box::new(PwriteEngine::new())).unwrap();
    let count = 200_000;
    (0..count).for_each(|n| assert_eq!(live.publish(&message(n)), n));
    live.close();
    let (messages, faults) = ground.read_all(Gate::Durable);
    assert!(faults.is_empty() && messages.len() as u64 > count / 5, "{} {faults:?}", messages.len());
}

#[test]
fn who_is_refused_for_want_of_disk_leaves_nothing_of_a_new_journal() {
    let disk = SimulatedDisk::new();
    let ground = Ground::on(Arc::new(disk.clone()));
    for room in [0, SEGMENT as u64 / 2] {
        disk.limit_space(room);
        let refused = ground.try_open().map(drop);
        assert!(matches!(refused, Err(OpenError::NoRoom { room: Room::Disk, .. })), "{refused:?}");
        assert_eq!(disk.names().unwrap(), [""; 0]);
        assert!(!ground.disk.join(journal::LOCK).exists());
    }
    disk.limit_space(1 << 40);
    let mut live = ground.open();
    assert_eq!((live.writer().epoch(), live.publish(&message(0))), (1, 0));
    live.close();
    assert_messages(&ground.read_all(Gate::Durable).0, 1);
}

#[test]
fn who_is_refused_for_want_of_disk_leaves_a_closed_journal_closed() {
    let disk = SimulatedDisk::new();
    let ground = Ground::on(Arc::new(disk.clone()));
    let mut live = ground.open();
    (0..100).for_each(|n| assert_eq!(live.publish(&message(n)), n));
    live.close();
    disk.limit_space(SEGMENT as u64 / 2);
    let refused = ground.try_open().map(drop);
    assert!(matches!(refused, Err(OpenError::NoRoom { room: Room::Disk, .. })), "{refused:?}");
    let survey = journal::survey(&ground.places, &ground.disk.join(journal::LOCK)).unwrap();
    assert_eq!((survey.mark.clean, survey.mark.epoch, survey.watermarks.durable), (1, 1, 100));
    assert!(ground.reader(Start::Oldest, Gate::Durable).is_closed());
    disk.limit_space(1 << 40);
    let mut live = ground.open();
    assert_eq!((live.writer().epoch(), live.publish(&message(100))), (2, 100));
    live.close();
    assert_messages(&ground.read_all(Gate::Durable).0, 101);
}

#[test]
fn who_is_refused_for_want_of_disk_leaves_what_it_recovered_closed() {
    let disk = SimulatedDisk::new();
    let ground = Ground::on(Arc::new(disk.clone()));
    let mut live = ground.open();
    (0..100).for_each(|n| assert_eq!(live.publish(&message(n)), n));
    live.die();
    disk.limit_space(SEGMENT as u64 / 2);
    let refused = ground.try_open().map(drop);
    assert!(matches!(refused, Err(OpenError::NoRoom { room: Room::Disk, .. })), "{refused:?}");
    let survey = journal::survey(&ground.places, &ground.disk.join(journal::LOCK)).unwrap();
    assert_eq!((survey.mark.clean, survey.watermarks.durable), (1, 100));
    assert!(ground.reader(Start::Oldest, Gate::Durable).is_closed());
    let (messages, faults) = ground.read_all(Gate::Durable);
    assert_messages(&messages, 100);
    assert_eq!(faults, []);
    disk.limit_space(1 << 40);
    let mut live = ground.open();
    assert_eq!(live.publish(&message(100)), 100);
    live.close();
    let (messages, faults) = ground.read_all(Gate::Durable);
    assert_messages(&messages, 101);
    assert_eq!(faults, []);
}
