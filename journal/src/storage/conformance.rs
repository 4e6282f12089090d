//! What every storage and every engine must do, run on each of them.

use std::path::Path;

use super::*;

/// A storage in a fresh directory, and the directory's owner.
fn disk() -> (tempfile::TempDir, DiskStorage) {
    let directory = tempfile::tempdir().expect("a directory");
    let storage = DiskStorage::new(directory.path().join("deep/er"));
    (directory, storage)
}

/// A block-aligned buffer of `blocks` blocks whose bytes tell their place and `seed`.
fn pattern(blocks: usize, seed: u8) -> AlignedBuffer {
    let mut buffer = AlignedBuffer::zeroed(blocks * BLOCK);
    for (at, byte) in buffer.iter_mut().enumerate() {
        *byte = seed.wrapping_add((at / BLOCK) as u8).wrapping_mul(31).wrapping_add(at as u8);
    }
    buffer
}

/// Refuses a system call with `error` from now on, on the calling thread alone.
pub(super) fn refuse(call: libc::c_long, error: libc::c_int) {
    let statement = |code: u32, k: u32, jf: u8| libc::sock_filter {
        code: u16::try_from(code).expect("a small constant"),
        jt: 0,
        jf,
        k,
    };
    let mut filter = [
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0),
        statement(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, u32::try_from(call).expect("a number"), 1),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ERRNO | error.unsigned_abs(), 0),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, 0),
    ];
    let program = libc::sock_fprog { len: 4, filter: filter.as_mut_ptr() };
    // SAFETY: plain numbers; forbids this thread to gain privileges.
    assert_eq!(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }, 0);
    // SAFETY: `program` points to four statements, which the kernel checks and copies.
    let set = unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    assert_eq!(set, 0, "{}", io::Error::last_os_error());
}

fn read_all(file: &dyn DiskFile) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(file.length().expect("a length")).expect("a small file")];
    assert_eq!(file.read_at(&mut bytes, 0).expect("readable"), bytes.len());
    bytes
}

/// The rules of a directory.
fn storage_keeps_its_rules(storage: &dyn Storage) {
    assert_eq!(storage.names().expect("none"), Vec::<String>::new());
    storage.make_directory().expect("made");
    storage.make_directory().expect("there already");
    let length = 3 * BLOCK as u64;
    let file = storage.create("b", length).expect("created");
    assert_eq!(file.length().expect("a length"), length);
    assert_eq!(read_all(&*file), vec![0; 3 * BLOCK]);
    let taken = storage.create("b", length).expect_err("taken");
    assert_eq!(taken.kind(), io::ErrorKind::AlreadyExists);
    storage.create("a", 0).expect("an empty file");
    storage.create("huge", 1 << 60).expect_err("an exbibyte");
    assert_eq!(storage.names().expect("names"), ["a", "b"]);
    storage.sync().expect("synced");
    storage.rename("b", "c").expect("renamed");
    storage.remove("a").expect("removed");
    assert_eq!(storage.remove("a").expect_err("gone").kind(), io::ErrorKind::NotFound);
    assert_eq!(storage.open("b", Access::Read).expect_err("gone").kind(), io::ErrorKind::NotFound);
    assert_eq!(storage.names().expect("names"), ["c"]);
    assert!(storage.free_space().expect("some") > 0);
    file.write_at(&pattern(1, 1), 0).expect("an open file follows its name");
    let again = storage.open("c", Access::Read).expect("opened");
    assert_eq!(read_all(&*again)[..BLOCK], pattern(1, 1)[..]);
}

/// The rules of a file of four zeroed blocks, opened to write and opened to read.
pub(super) fn file_keeps_its_rules(file: &dyn DiskFile, reader: &dyn DiskFile) {
    let mut model = vec![0; 4 * BLOCK];
    for (blocks, at, durable) in [(2, 1, false), (1, 0, true), (1, 2, false), (3, 3, true)] {
        let bytes = pattern(blocks, at as u8);
        model.resize(model.len().max((at + blocks) * BLOCK), 0);
        model[at * BLOCK..][..blocks * BLOCK].copy_from_slice(&bytes);
        let offset = (at * BLOCK) as u64;
        if durable { file.write_durable_at(&bytes, offset) } else { file.write_at(&bytes, offset) }
            .expect("written");
    }
    file.sync().expect("synced");
    file.barrier().expect("nothing in flight");
    for file in [file, reader] {
        assert_eq!(read_all(file), model);
        for (from, length) in [(1, 1), (BLOCK - 1, 2), (17, 2 * BLOCK), (model.len() - 3, 3)] {
            let mut bytes = vec![0; length];
            assert_eq!(file.read_at(&mut bytes, from as u64).expect("readable"), length);
            assert_eq!(bytes, model[from..from + length]);
        }
        let mut bytes = vec![0; 100];
        assert_eq!(file.read_at(&mut bytes, model.len() as u64 - 7).expect("readable"), 7);
        assert_eq!(file.read_at(&mut bytes, model.len() as u64 + 7).expect("readable"), 0);
    }
    file.truncate(BLOCK as u64 + 5).expect("cut");
    assert_eq!(read_all(file), model[..BLOCK + 5]);
    file.truncate(2 * BLOCK as u64).expect("grown");
    assert_eq!(read_all(file)[BLOCK + 5..], vec![0; BLOCK - 5]);
    file.truncate(0).expect("emptied");
    file.barrier().expect("nothing to wait for");
    reader.write_at(&pattern(1, 0), 0).expect_err("opened to read");
}

/// The same on files of a storage whose directory exists.
fn opened_files_keep_the_rules(storage: &dyn Storage) {
    let file = storage.create("file", 4 * BLOCK as u64).expect("created");
    file_keeps_its_rules(&*file, &*storage.open("file", Access::Read).expect("opened"));
}

/// Waits for one completion.
fn finish(engine: &mut dyn Engine) -> Completion {
    loop {
        assert!(engine.in_flight() > 0, "something to wait for");
        if let Some(completion) = engine.complete(Some(Duration::from_secs(1))) {
            return completion;
        }
    }
}

/// Many writes, as many in flight as the engine takes, each completed once and where it belongs.
fn engine_writes_what_it_is_given(storage: &dyn Storage, engine: &mut dyn Engine) {
    const SLOTS: usize = 24;
    storage.make_directory().expect("made");
    let file = storage.create("file", (SLOTS * 4 * BLOCK) as u64).expect("created");
    assert!(engine.depth() > 0);
    assert!(engine.complete(None).is_none() && engine.complete(Some(Duration::MAX)).is_none());
    let buffers: Vec<_> = (0..SLOTS).map(|slot| pattern(1 + slot % 4, slot as u8)).collect();
    let mut open = std::collections::BTreeSet::new();
    for (slot, buffer) in buffers.iter().enumerate() {
        if engine.in_flight() == engine.depth() {
            let done = finish(engine);
            done.result.expect("written");
            assert!(open.remove(&done.token), "completed once");
        }
        let offset = (slot * 4 * BLOCK) as u64;
        let token = u64::MAX - slot as u64;
        let write =
            Write { file: Arc::clone(&file), bytes: buffer.as_ptr(), length: buffer.len(), offset, token };
        // SAFETY: the buffers live until the end of this function, which takes every completion.
        unsafe { engine.submit(write) }.expect("taken");
        open.insert(token);
        assert_eq!(engine.in_flight(), open.len());
    }
    while !open.is_empty() {
        assert!(open.remove(&finish(engine).token), "completed once");
    }
    assert_eq!(engine.in_flight(), 0);
    let bytes = read_all(&*file);
    for (slot, buffer) in buffers.iter().enumerate() {
        assert_eq!(bytes[slot * 4 * BLOCK..][..buffer.len()], buffer[..]);
    }
}

/// A write that the disk refuses ends with its error, and the engine goes on.
fn engine_reports_errors(storage: &dyn Storage, engine: &mut dyn Engine) {
    storage.make_directory().expect("made");
    let file = storage.create("file", BLOCK as u64).expect("created");
    let reader = storage.open("file", Access::Read).expect("opened");
    let buffer = pattern(1, 3);
    for (file, token) in [(reader, 1), (Arc::clone(&file), 2)] {
        let write = Write { file, bytes: buffer.as_ptr(), length: BLOCK, offset: 0, token };
        // SAFETY: the buffer lives until the end of this function, which takes every completion.
        unsafe { engine.submit(write) }.expect("taken");
        let done = finish(engine);
        assert_eq!((done.token, done.result.is_ok()), (token, token == 2));
    }
    assert_eq!(read_all(&*file), buffer[..]);
}

/// Dropping an engine leaves nothing in flight.
fn engine_drop_waits(storage: &dyn Storage, mut engine: Box<dyn Engine>) {
    storage.make_directory().expect("made");
    let file = storage.create("file", 64 * BLOCK as u64).expect("created");
    let buffer = pattern(64, 5);
    let write =
        Write { file: Arc::clone(&file), bytes: buffer.as_ptr(), length: buffer.len(), offset: 0, token: 0 };
    // SAFETY: the buffer outlives the engine, which is dropped next.
    unsafe { engine.submit(write) }.expect("taken");
    drop(engine);
    assert_eq!(read_all(&*file), buffer[..]);
}

/// Runs the engine's rules on a directory that takes direct writes, and on one in memory.
fn engine_keeps_its_rules(make: impl Fn() -> Box<dyn Engine>) {
    let (_directory, storage) = disk();
    engine_writes_what_it_is_given(&storage, &mut *make());
    storage.remove("file").expect("removed");
    engine_reports_errors(&storage, &mut *make());
    storage.remove("file").expect("removed");
    engine_drop_waits(&storage, make());
    if Path::new("/dev/shm").is_dir() {
        let memory = tempfile::tempdir_in("/dev/shm").expect("a directory");
        engine_writes_what_it_is_given(&DiskStorage::new(memory.path()), &mut *make());
    }
}

#[test]
fn a_directory_keeps_the_rules() {
    let (_directory, storage) = disk();
    storage_keeps_its_rules(&storage);
    opened_files_keep_the_rules(&storage);
}

#[test]
fn the_blocking_engine_keeps_the_rules() {
    engine_keeps_its_rules(|| Box::new(PwriteEngine::new()));
}

#[test]
fn the_ring_keeps_the_rules() {
    if let Err(refused) = probe() {
        eprintln!("not run: {refused}");
        return;
    }
    for depth in [1, 3, 8] {
        engine_keeps_its_rules(|| Box::new(UringEngine::new(depth).expect("a ring")));
    }
}

#[test]
fn the_simulated_disk_keeps_the_rules() {
    storage_keeps_its_rules(&simulated::SimulatedDisk::new());
    let disk = simulated::SimulatedDisk::new();
    disk.make_directory().expect("made");
    opened_files_keep_the_rules(&disk);
    for seed in 0..8 {
        let disk = simulated::SimulatedDisk::new();
        engine_writes_what_it_is_given(&disk, &mut disk.engine(4, seed));
        disk.remove("file").expect("removed");
        engine_reports_errors(&disk, &mut disk.engine(4, seed));
        disk.remove("file").expect("removed");
        engine_drop_waits(&disk, Box::new(disk.engine(4, seed)));
    }
}
