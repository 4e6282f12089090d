//! The owner's lock between processes. One test, since a descriptor is shared with any process that is
//! just being started until it executes its program.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use journal::lock::{LockError, OwnerLock, Purpose, is_held};

const PATH: &str = "JOURNAL_TEST_LOCK";

#[test]
fn a_lock_ends_with_its_owner_and_is_not_inherited() {
    if let Some(path) = std::env::var_os(PATH) {
        return hold(path.into());
    }
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("lock");
    let program = std::env::current_exe().expect("this test");
    let mut owner = Command::new(program)
        .args(["--exact", "a_lock_ends_with_its_owner_and_is_not_inherited", "--nocapture"])
        .env(PATH, &path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("started");
    let mut lines = BufReader::new(owner.stdout.take().expect("piped")).lines();
    assert!(lines.any(|line| line.expect("text").ends_with("locked")), "it has the lock");
    let Err(LockError::Held { holder, .. }) = OwnerLock::acquire(&path, Purpose::Publish) else {
        panic!("held")
    };
    assert!(holder.starts_with(&format!("process {} (", owner.id())), "{holder}");
    owner.kill().expect("killed");
    owner.wait().expect("gone");
    let lock = OwnerLock::acquire(&path, Purpose::Publish).expect("free at once");

    let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().expect("started");
    drop(lock);
    assert!(!is_held(&path).expect("probed"), "the child has no part in it");
    drop(child.stdin.take());
    child.wait().expect("ended");
}

/// Holds the lock until it is killed, or until its input ends.
fn hold(path: PathBuf) {
    let _lock = OwnerLock::acquire(&path, Purpose::Publish).expect("free");
    println!("locked");
    let _ = std::io::stdin().lines().count();
}
