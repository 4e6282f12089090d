//! Given a journal of which files are something else than its writer left, or a disk without room, expect that recovery goes
//! on or refuses, and that nothing is lost either way.
#![allow(missing_docs)]

mod common;

use std::{
    fs,
    os::unix::{fs::MetadataExt, fs::symlink, net::UnixListener},
    path::Path,
    sync::Arc,
};

use common::{Ground, SEGMENT, assert_messages, closed, given::Given, message, segment_name};
use journal::{
    Cuts, Gate, OpenError, Options, ReadError, Retention,
    layout::SEGMENT_MAX,
    storage::{DiskStorage, PwriteEngine, simulated::Failure},
};

const COUNT: u64 = 40_000;

/// What may stand in the place of a file.
const ODD: [fn(&Path); 3] = [
    |path| fs::create_dir(path).unwrap(),
    |path| symlink("/dev/zero", path).unwrap(),
    |path| drop(UnixListener::bind(path).unwrap()),
];

#[test]
fn an_old_segment_that_is_no_file_is_damage_and_its_journal_goes_on() {
    for odd in ODD {
        let ground = Ground::new();
        let firsts = closed(&ground, COUNT);
        let path = ground.disk.join(segment_name(1));
        fs::remove_file(&path).unwrap();
        odd(&path);
        let mut live = ground.open();
        assert_eq!(live.publish(&message(COUNT)), COUNT);
        live.close();
        let (messages, faults) = ground.read_all(Gate::Durable);
        assert_eq!(messages.len() as u64, COUNT + 1 - (firsts[2] - firsts[1]));
        let [ReadError::Damage { sequences, .. }] = faults[..] else { panic!("{faults:?}") };
        assert_eq!(sequences, (firsts[1], firsts[2]));
    }
}

#[test]
fn retention_goes_past_what_is_no_file() {
    for odd in ODD {
        let ground = Ground::new();
        closed(&ground, COUNT);
        let path = ground.disk.join(segment_name(1));
        fs::remove_file(&path).unwrap();
        odd(&path);
        let options = || Options {
            retention: Some(Retention { bytes: 4 << 20, cuts: Cuts::Oldest }),
            ..ground.options()
        };
        let mut live = ground.open_with(options(), Box::new(PwriteEngine::new())).unwrap();
        let end = 3 * COUNT;
        (COUNT..end).for_each(|n| assert_eq!(live.publish(&message(n)), n));
        live.close();
        let first = ground.reader(journal::Start::Oldest, Gate::Durable).watermarks().first;
        assert!(first > COUNT, "{first}: all of the first life is removed");
        ground.open_with(options(), Box::new(PwriteEngine::new())).unwrap().close();
        let (messages, faults) = ground.read_all(Gate::Durable);
        assert_eq!((messages[0].0, messages.len() as u64, faults), (first, end - first, Vec::new()));
    }
}

#[test]
fn a_newest_segment_that_is_no_file_is_refused_until_it_is_mended() {
    for odd in ODD {
        let ground = Ground::new();
        let mut live = ground.open();
        (0..500).for_each(|n| assert_eq!(live.publish(&message(n)), n));
        live.settle();
        live.die();
        ground.lose_memory();
        let (path, aside) = (ground.disk.join(segment_name(0)), ground.disk.join("aside"));
        fs::rename(&path, &aside).unwrap();
        odd(&path);
        let refused = ground.try_open();
        assert!(matches!(refused, Err(OpenError::Io { .. })), "{refused:?}");
        fs::remove_file(&path).or_else(|_| fs::remove_dir(&path)).unwrap();
        fs::rename(&aside, &path).unwrap();
        ground.open().close();
        assert_messages(&ground.read_all(Gate::Durable).0, 500);
    }
}

#[test]
fn files_of_any_length_cost_little_room_and_no_message() {
    // Where a file may be as long as a length can say.
    let root = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
    let mut ground = Ground::new();
    ground.disk = root.path().join("disk");
    ground.places.storage = Arc::new(DiskStorage::new(&ground.disk));
    let mut live = ground.open();
    (0..COUNT).for_each(|n| assert_eq!(live.publish(&message(n)), n));
    live.settle();
    live.die();
    ground.lose_memory();
    let segments = || {
        let files = fs::read_dir(&ground.disk).unwrap().flatten();
        let paths = files.map(|file| file.path());
        paths.filter(|path| path.extension().is_some_and(|ending| ending == "segment")).collect::<Vec<_>>()
    };
    let before = segments().len() as u64;
    for path in segments() {
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_len(i64::MAX as u64).or_else(|_| file.set_len(1 << 40)).unwrap();
    }
    let retention = Some(Retention { bytes: 2 * before * SEGMENT as u64, cuts: Cuts::Oldest });
    let options = Options { retention, ..ground.options() };
    let mut live = ground.open_with(options, Box::new(PwriteEngine::new())).unwrap();
    assert_eq!(live.journal.recovery.damage, []);
    assert_eq!(live.publish(&message(COUNT)), COUNT);
    live.close();
    let (messages, faults) = ground.read_all(Gate::Durable);
    assert_eq!(faults, []);
    assert_messages(&messages, COUNT + 1);
    let taken: u64 = segments().iter().map(|path| fs::metadata(path).unwrap().blocks() * 512).sum();
    assert!(taken <= before * SEGMENT_MAX as u64, "{taken} for {before} segments");
}

#[test]
fn a_disk_that_is_full_at_any_moment_of_recovery_costs_nothing() {
    let spoiled = || {
        let given = Given::with_tail(700, 300);
        given.flip(given.positions()[900] + 30);
        given
    };
    let given = spoiled();
    let before = given.disk.operations();
    given.recover().is_prefix(900);
    let (mut refused, operations) = (0, given.disk.operations() - before);
    for operation in 1..=operations {
        let given = spoiled();
        let torn = given.positions().len();
        given.disk.fail_every(given.disk.operations() + operation, Some(Failure::NoSpace));
        match given.ground.try_open() {
            Ok(live) => live.die(),
            Err(OpenError::NoRoom { .. }) => refused += 1,
            Err(OpenError::Io { error, .. }) => {
                assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
                refused += 1;
            }
            Err(error) => panic!("{error}"),
        }
        given.disk.fail_every(1, None);
        given.ground.lose_memory();
        assert_eq!(torn, 900);
        given.recover().is_prefix(900);
    }
    assert!(refused > 3, "{refused} of {operations}");
}
