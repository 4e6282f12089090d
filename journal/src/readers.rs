//! Who reads a journal: each reader that follows a live journal shows its place in a small page of its own.
//!
//! ```text
//! 0    magic, version, gate (0 published, 1 durable), process id     written once
//! 24   name of the program, 16 bytes                                written once
//! 64   sequence of the next message to be delivered                 by the reader, on a line of its own
//! ```
//! The pages lie beside the journal's memory as `reader-PROCESS-NUMBER`. They are a report for people: no writer looks
//! at them, and a reader that may not make one reads all the same. A live reader holds a lock on its page, so a page
//! without one is stale, whatever its process id says.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    layout::BLOCK,
    lock::{self, Kind},
    memory::SegmentMemory,
    reader::Gate,
};

const MAGIC: u64 = u64::from_le_bytes(*b"BUSBARRD");
const VERSION: u32 = 1;
/// How the files' names begin.
const PREFIX: &str = "reader-";
/// Most pages that are looked at: who fills the directory with more does not hold up who asks.
const MAX_PAGES: usize = 4096;
/// Names that are tried for a page, should others of the same process id in another namespace have taken some.
const ATTEMPTS: usize = 8;

/// The page.
#[derive(Debug, Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Page {
    magic: u64,
    version: u32,
    gate: u32,
    process: u32,
    reserved: u32,
    name: [u8; 16],
    line_end: [u8; 24],
    sequence: u64,
}

/// A reader of a journal, as it describes itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReaderStatus {
    /// Name of its program, cut to 16 bytes.
    pub program: String,
    /// Its process id, in its own process namespace.
    pub process: u32,
    /// Its gate.
    pub gate: Gate,
    /// Sequence of the next message that it takes.
    pub sequence: u64,
}

/// A reader's own page, which goes with it.
#[derive(Debug)]
pub(crate) struct Presence {
    memory: SegmentMemory,
    path: PathBuf,
    /// Holds the lock.
    _file: File,
}

impl Presence {
    /// Lists a reader; `None` where it may not write there or there is no room.
    pub(crate) fn announce(memory_dir: &Path, gate: Gate, sequence: u64) -> Option<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        for _ in 0..ATTEMPTS {
            // ORDERING: Relaxed: the numbers need only differ.
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let path = memory_dir.join(format!("{PREFIX}{}-{number}", process::id()));
            match SegmentMemory::create(&path, BLOCK) {
                Err(error) if error.is_taken() => {}
                Err(_) => return None,
                Ok(memory) => match hold(&path, gate, sequence) {
                    Ok(Some(file)) => return Some(Self { memory, path, _file: file }),
                    // The journal's owner came before the lock and took the page for a stale one.
                    Ok(None) => {}
                    Err(_) => {
                        let _ = fs::remove_file(&path);
                        return None;
                    }
                },
            }
        }
        None
    }

    /// Shows the sequence of the next message.
    #[inline]
    pub(crate) fn tell(&self, sequence: u64) {
        let offset = std::mem::offset_of!(Page, sequence);
        // SAFETY: an aligned offset inside the page, which stays mapped as long as `self` and is this reader's alone.
        let word = unsafe { AtomicU64::from_ptr(self.memory.base_mut().add(offset).cast()) };
        // ORDERING: Relaxed: a report that orders nothing; who asks reads the file.
        word.store(sequence, Ordering::Relaxed);
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        if matches!(self.memory.is_at(&self.path), Ok(true)) {
            // What cannot be removed is stale from now on and found by the journal's owner.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Locks and fills a new page; `Ok(None)` where somebody was faster to remove it.
fn hold(path: &Path, gate: Gate, sequence: u64) -> io::Result<Option<File>> {
    let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NOFOLLOW).open(path)?;
    if !lock::set(&file, Kind::Exclusive)? || !lock::is_at(&file, path)? {
        return Ok(None);
    }
    let mut name = [0; 16];
    let program = lock::program();
    let length = program.floor_char_boundary(name.len());
    name[..length].copy_from_slice(&program.as_bytes()[..length]);
    let page = Page {
        magic: MAGIC,
        version: VERSION,
        gate: u32::from(gate == Gate::Durable),
        process: process::id(),
        reserved: 0,
        name,
        line_end: [0; 24],
        sequence,
    };
    file.write_all_at(page.as_bytes(), 0)?;
    Ok(Some(file))
}

/// The live readers of the journal that has its memory in a directory, in the order of their pages' names.
pub(crate) fn list(memory_dir: &Path) -> Vec<ReaderStatus> {
    pages(memory_dir).iter().filter_map(|path| status(path)).collect()
}

fn status(path: &Path) -> Option<ReaderStatus> {
    let file = open(path).ok()?;
    let mut bytes = [0; size_of::<Page>()];
    file.read_exact_at(&mut bytes, 0).ok()?;
    let page = Page::read_from_bytes(&bytes).ok()?;
    if page.magic != MAGIC || page.version != VERSION || !lock::is_locked(&file).ok()? {
        return None;
    }
    let length = page.name.iter().position(|byte| *byte == 0).unwrap_or(page.name.len());
    let name = String::from_utf8_lossy(&page.name[..length]);
    Some(ReaderStatus {
        program: name.chars().filter(|c| !c.is_control()).collect(),
        process: page.process,
        gate: if page.gate == 0 { Gate::Published } else { Gate::Durable },
        sequence: page.sequence,
    })
}

/// Removes the pages that dead readers left. For the journal's owner, when it opens the journal.
pub(crate) fn remove_stale(memory_dir: &Path) {
    for path in pages(memory_dir) {
        let is_stale = open(&path).is_ok_and(|file| matches!(lock::is_locked(&file), Ok(false)));
        if is_stale {
            // What cannot be removed now is tried again by the next owner.
            let _ = fs::remove_file(&path);
        }
    }
}

/// Removes all pages: nothing of the journal is left in memory that a reader could lag behind. Live readers lose their
/// page's name only, and are listed again once the journal has a writer.
pub(crate) fn remove_all(memory_dir: &Path) {
    for path in pages(memory_dir) {
        let _ = fs::remove_file(&path);
    }
}

/// Whether a path is named like a reader's page.
pub(crate) fn is_page(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(PREFIX))
}

fn pages(memory_dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(memory_dir) else { return Vec::new() };
    let mut pages: Vec<_> =
        entries.flatten().map(|entry| entry.path()).filter(|path| is_page(path)).take(MAX_PAGES).collect();
    pages.sort_unstable();
    pages
}

/// A page, for looking; whatever else has the name cannot hang us.
fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_is_listed_while_it_lives() {
        let directory = tempfile::tempdir().expect("a directory");
        let (first, second) = (
            Presence::announce(directory.path(), Gate::Published, 5).expect("a page"),
            Presence::announce(directory.path(), Gate::Durable, 7).expect("a page"),
        );
        first.tell(6);
        remove_stale(directory.path());
        let listed = list(directory.path());
        let told: Vec<_> = listed.iter().map(|reader| (reader.gate, reader.sequence)).collect();
        assert_eq!(told, [(Gate::Published, 6), (Gate::Durable, 7)]);
        assert!(listed.iter().all(|reader| reader.process == process::id() && !reader.program.is_empty()));
        drop((first, second));
        assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 0);
    }

    #[test]
    fn what_the_dead_left_and_what_others_put_there_is_no_reader() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        let live = Presence::announce(directory.path(), Gate::Published, 0).expect("a page");
        fs::copy(&live.path, path("reader-1-0")).expect("a copy that nobody holds");
        fs::write(path("reader-nonsense"), [0xff; 10]).expect("a file");
        fs::write(path("reader-long"), [0xff; 10_000]).expect("a file");
        std::os::unix::fs::symlink("/dev/zero", path("reader-link")).expect("a link");
        fs::create_dir(path("reader-directory")).expect("a directory");
        assert_eq!(list(directory.path()).len(), 1);
        remove_stale(directory.path());
        assert!(!path("reader-1-0").exists() && !path("reader-nonsense").exists() && live.path.exists());
        remove_all(directory.path());
        assert_eq!(list(directory.path()), []);
        live.tell(9);
    }

    #[test]
    fn a_reader_that_may_not_be_listed_is_not() {
        assert!(Presence::announce(Path::new("/nowhere"), Gate::Published, 0).is_none());
    }
}
