use std::sync::Arc;
use std::thread;

use super::super::conformance::refuse;
use super::super::{AlignedBuffer, BLOCK, DiskFile, DiskStorage, Storage};
use super::*;
use crate::lock::{self, OwnerLock, Purpose};

/// The answer of `probe` on a thread that is refused the call with `error`.
fn probe_refused(call: libc::c_long, error: libc::c_int) -> UringRefused {
    let probed = thread::spawn(move || {
        refuse(call, error);
        probe()
    });
    probed.join().expect("no panic").expect_err("refused")
}

/// A file of `blocks` zeroed blocks, or nothing where there are no rings to test.
fn file(blocks: usize) -> Option<(tempfile::TempDir, Arc<dyn DiskFile>)> {
    if let Err(refused) = probe() {
        eprintln!("not run: {refused}");
        return None;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let storage = DiskStorage::new(directory.path());
    let file = storage.create("file", (blocks * BLOCK) as u64).expect("created");
    Some((directory, file))
}

fn write(file: &Arc<dyn DiskFile>, bytes: &AlignedBuffer) -> Write {
    Write { file: Arc::clone(file), bytes: bytes.as_ptr(), length: bytes.len(), offset: 0, token: 7 }
}

fn filled(blocks: usize) -> AlignedBuffer {
    let mut bytes = AlignedBuffer::zeroed(blocks * BLOCK);
    bytes.fill(9);
    bytes
}

fn assert_written(file: &dyn DiskFile, bytes: &AlignedBuffer) {
    let mut found = vec![0; bytes.len()];
    assert_eq!(file.read_at(&mut found, 0).expect("read"), bytes.len());
    assert!(found == bytes[..]);
}

#[test]
fn a_denial_is_named_with_its_cause() {
    if disabled_by_sysctl() != 0 {
        return;
    }
    let setup = libc::SYS_io_uring_setup;
    assert!(matches!(probe_refused(setup, libc::EPERM), UringRefused::Seccomp));
    assert!(matches!(probe_refused(setup, libc::ENOSYS), UringRefused::Absent { filtered: true }));
    assert!(matches!(probe_refused(setup, libc::ENOMEM), UringRefused::LockedMemory));
    let refused = probe_refused(libc::SYS_io_uring_enter, libc::EPERM);
    assert!(matches!(refused, UringRefused::Seccomp), "set up but of no use: {refused}");
}

#[test]
fn an_engine_goes_to_the_thread_that_submits() {
    let Some((_directory, file)) = file(4) else { return };
    let (mut engine, bytes) = (UringEngine::new(2).expect("a ring"), filled(4));
    thread::scope(|scope| {
        scope.spawn(|| {
            // SAFETY: the bytes outlive the engine's use here, which ends with the completion.
            unsafe { engine.submit(write(&file, &bytes)) }.expect("taken");
            let done = std::iter::repeat_with(|| engine.complete(Some(Duration::from_secs(1))));
            let done = done.flatten().next().expect("it comes");
            assert_eq!((done.token, done.result.is_ok()), (7, true));
        });
    });
    assert_written(&*file, &bytes);
}

#[test]
fn a_drop_on_another_thread_waits_too() {
    let Some((_directory, file)) = file(256) else { return };
    let bytes = filled(256);
    for _ in 0..8 {
        file.write_at(&AlignedBuffer::zeroed(256 * BLOCK), 0).expect("cleared");
        let mut engine = UringEngine::new(1).expect("a ring");
        // SAFETY: the bytes outlive the engine.
        unsafe { engine.submit(write(&file, &bytes)) }.expect("taken");
        thread::scope(|scope| scope.spawn(move || drop(engine)).join().expect("no panic"));
        assert_written(&*file, &bytes);
    }
}

#[test]
fn a_ring_holds_the_lock_as_long_as_it_lives() {
    let Some((directory, file)) = file(64) else { return };
    let path = directory.path().join("lock");
    let lock = OwnerLock::acquire(&path, Purpose::Publish).expect("free");
    let (mut engine, bytes) = (UringEngine::new(1).expect("a ring"), filled(64));
    engine.hold(lock.raw_fd());
    // SAFETY: the bytes outlive the engine.
    unsafe { engine.submit(write(&file, &bytes)) }.expect("taken");
    lock.forget();
    assert!(lock::is_held(&path).expect("probed"), "by the ring alone");
    drop(engine);
    // The kernel takes rings apart in its own time.
    while lock::is_held(&path).expect("probed") {
        thread::yield_now();
    }
    OwnerLock::acquire(&path, Purpose::Publish).expect("free");
}

#[test]
fn a_ring_in_use_takes_locks_too() {
    let Some((directory, file)) = file(1) else { return };
    let path = directory.path().join("lock");
    let lock = OwnerLock::acquire(&path, Purpose::Publish).expect("free");
    let (mut engine, bytes) = (UringEngine::new(1).expect("a ring"), filled(1));
    // SAFETY: the bytes outlive the engine.
    unsafe { engine.submit(write(&file, &bytes)) }.expect("taken");
    assert!(engine.complete(Some(Duration::MAX)).expect("it comes").result.is_ok());
    engine.hold(lock.raw_fd());
    lock.forget();
    assert!(lock::is_held(&path).expect("probed"), "by the ring alone");
}

#[test]
fn a_lock_let_go_is_free_though_the_ring_had_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let Ok(mut engine) = UringEngine::new(1) else { return };
    for round in 0..100 {
        let path = directory.path().join(format!("lock{}", round % 3));
        let lock = OwnerLock::acquire(&path, Purpose::Publish).expect("free at once");
        engine.hold(lock.raw_fd());
        if round % 2 == 0 {
            engine.release(lock.raw_fd());
        }
    }
}

#[test]
fn a_write_beyond_the_depth_is_a_programmers_error() {
    let Some((_directory, file)) = file(1) else { return };
    let bytes = filled(1);
    let mut engine = UringEngine::new(1).expect("a ring");
    // SAFETY: the bytes outlive the engine.
    unsafe { engine.submit(write(&file, &bytes)) }.expect("taken");
    let second = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        // SAFETY: as above.
        unsafe { engine.submit(write(&file, &bytes)) }
    }));
    assert!(second.is_err());
    assert_eq!(engine.in_flight(), 1);
}

#[test]
fn a_wait_without_end_is_taken() {
    let Some((_directory, file)) = file(1) else { return };
    let bytes = filled(1);
    let mut engine = UringEngine::new(1).expect("a ring");
    // SAFETY: the bytes outlive the engine.
    unsafe { engine.submit(write(&file, &bytes)) }.expect("taken");
    assert!(engine.complete(Some(Duration::MAX)).expect("it comes").result.is_ok());
}

#[test]
fn an_enabled_ring_does_nothing_but_write() {
    let Some((_directory, _)) = file(1) else { return };
    let mut engine = UringEngine::new(1).expect("a ring");
    if engine.enabled {
        return;
    }
    engine.enable().expect("disabled until now");
    // SAFETY: refers to nothing.
    unsafe { engine.ring.submission().push(&opcode::Nop::new().build()) }.expect("room");
    engine.ring.submit_and_wait(1).expect("taken");
    let refused = engine.ring.completion().next().expect("an answer").result();
    assert_eq!(refused, -libc::EACCES);
    let error = engine.ring.submitter().register_probe(&mut Probe::new()).expect_err("forbidden, too");
    assert_eq!(error.raw_os_error(), Some(libc::EACCES));
}

#[test]
fn a_short_write_goes_on_where_it_ended() {
    let Some((_directory, file)) = file(4) else { return };
    let (mut engine, bytes) = (UringEngine::new(1).expect("a ring"), filled(4));
    // SAFETY: the bytes outlive the engine.
    unsafe { engine.submit(write(&file, &bytes)) }.expect("taken");
    let done = loop {
        engine.reap(Some(Duration::from_secs(1))).expect("waited");
        if let Some(done) = engine.ring.completion().next() {
            break done;
        }
    };
    assert_eq!(done.result(), 4 * BLOCK as i32);
    // As if all but the first block had not been written.
    file.write_at(&AlignedBuffer::zeroed(3 * BLOCK), BLOCK as u64).expect("cleared");
    assert!(engine.advance(0, BLOCK as i32).is_none() && engine.in_flight() == 1);
    assert_eq!(engine.slots[0].as_ref().expect("in flight").done, BLOCK);
    assert!(engine.complete(Some(Duration::MAX)).expect("it comes").result.is_ok());
    assert_written(&*file, &bytes);
}
