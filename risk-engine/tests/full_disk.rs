//! The whole path on a disk that becomes full. The disk is a file system in memory that a user namespace is given; where the
//! system has none to give, the test says so and proves nothing.
#![allow(missing_docs)]

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longer than anything here takes; reaching it fails the test.
const PATIENCE: Duration = Duration::from_secs(60);
/// Becomes a user of its own with a file system of 60 MiB at `$1`, and runs the rest of its arguments.
const SMALL: &str = "mount -t tmpfs -o size=60m tmpfs \"$1\" && shift && exec \"$@\"";

fn small(bus: &Path, program: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["-U", "-r", "-m", "sh", "-c", SMALL, "sh"]).arg(bus).arg(program);
    command
}

/// Ends with the test, however that ends.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_full_disk_is_named_while_the_path_runs_and_when_it_ends() {
    let directory = tempfile::tempdir().unwrap();
    let (bus, notes) = (directory.path().join("bus"), directory.path().join("notes"));
    fs::create_dir(&bus).unwrap();
    if !small(&bus, "true").output().is_ok_and(|tried| tried.status.success()) {
        return eprintln!("not proven: this system gives no user namespace");
    }
    let mut path = small(&bus, env!("CARGO_BIN_EXE_risk-engine"));
    path.args(["--kafka", "off", "--rate", "200k", "--json", "--bus"]).arg(&bus);
    let summary = directory.path().join("summary");
    path.stderr(File::create(&notes).unwrap()).stdout(File::create(&summary).unwrap());
    let mut path = Ended(path.spawn().unwrap());
    let (told, began) = ("market-data waits for room: the disk is full: make room", Instant::now());
    let notes = || fs::read_to_string(&notes).unwrap();
    while !notes().contains(told) {
        assert!(began.elapsed() < PATIENCE && path.0.try_wait().unwrap().is_none(), "{}", notes());
        std::thread::sleep(Duration::from_millis(5));
    }
    Command::new("kill").args(["-INT", &path.0.id().to_string()]).status().unwrap();
    assert_eq!(path.0.wait().unwrap().code(), Some(1), "{}", notes());
    let summary: Value = serde_json::from_slice(&fs::read(&summary).unwrap()).unwrap();
    let incomplete = summary["incomplete"].to_string();
    assert!(incomplete.contains("are missing; ") && incomplete.contains(told), "{summary}");
}
