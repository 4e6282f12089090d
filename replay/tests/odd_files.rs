//! Given a bus in which something else lies where a file should, expect that no command waits for it or reads without end,
//! and that it is named.
#![allow(missing_docs)]

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use common::{Ground, Ran, add};

/// What may stand in the place of a file.
const ODD: [fn(&Path); 2] = [
    |path| assert!(Command::new("mkfifo").arg(path).status().unwrap().success()),
    |path| symlink("/dev/zero", path).unwrap(),
];

fn closed() -> Ground {
    let ground = Ground::new();
    let mut market = ground.market();
    (0..10).for_each(|n| assert!(market.publish(&add(n)).is_ok()));
    market.close().unwrap();
    ground.trades().close().unwrap();
    ground
}

/// Runs the program, which is ended by force where it takes twenty seconds or 16 GiB of addresses.
fn replay(bus: &Path, arguments: &[&str]) -> Ran {
    let ran = Command::new("sh")
        .args([
            "-c",
            "ulimit -v 16777216; exec timeout -s KILL 20 \"$0\" \"$@\"",
            env!("CARGO_BIN_EXE_replay"),
        ])
        .args(arguments)
        .env("BUSBAR_DIR", bus)
        .output();
    Ran::of(ran.unwrap())
}

#[test]
fn a_schema_that_is_no_file_is_told_by_every_command() {
    for odd in ODD {
        let ground = closed();
        let bus = ground.bus.directory();
        let schema = bus.join("market-data/schema.json");
        fs::remove_file(&schema).unwrap();
        odd(&schema);
        for arguments in [&["verify"][..], &["dump", "--topic", "market-data"], &["state"], &["blotter"]] {
            let ran = replay(bus, arguments);
            let told = format!("{}{}", ran.out, ran.error);
            assert!((1..=2).contains(&ran.code), "{arguments:?} ends by itself: {} {told}", ran.code);
            assert!(told.contains("market-data/schema.json: it is no regular file"), "{arguments:?}: {told}");
        }
    }
}

#[test]
fn a_snapshot_that_is_no_file_is_passed_over() {
    for odd in ODD {
        let ground = closed();
        let snapshots = ground.path("bus/risk/snapshots");
        fs::create_dir_all(&snapshots).unwrap();
        let path = snapshots.join("00000000000000000007.snapshot");
        odd(&path);
        let bus = ground.path("bus");
        let (told, answer) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            told.send(replay::snapshots::read(&bus.join("risk/snapshots"), 7).is_none())
        });
        let is_none = answer.recv_timeout(std::time::Duration::from_secs(20));
        assert_eq!(is_none, Ok(true), "it is read in time and is none");
    }
}
