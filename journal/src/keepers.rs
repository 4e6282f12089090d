//! Who needs a journal's past: a keeper that has declared itself has a small file beside the segments, which names the
//! oldest message that it needs. It outlives its program: what reads again after a restart is kept for meanwhile.
//!
//! ```text
//! disk   BUS/TOPIC/0/keeper-NAME   one block
//! 0    magic "BUSBARKP"
//! 8    version u32, CRC32C u32 of these 128 bytes with this field 0
//! 16   sequence of the oldest message that is needed, u64
//! 24   zeros
//! ```
//! The file is replaced whole. Only the write-out reads it, and only when retention would remove something, so a keeper
//! costs the writer nothing. One that cannot be read needs everything.

use std::{
    io,
    sync::{Mutex, PoisonError},
};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::{
    checksum,
    layout::BLOCK,
    names,
    storage::{Access, AlignedBuffer, Storage},
};

const MAGIC: u64 = u64::from_le_bytes(*b"BUSBARKP");
const VERSION: u32 = 1;

/// The file's beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Page {
    magic: u64,
    version: u32,
    checksum: u32,
    sequence: u64,
    reserved: [u8; 104],
}

const _: () = assert!(size_of::<Page>() == 128);

impl Page {
    fn new(sequence: u64) -> Self {
        Self { magic: MAGIC, version: VERSION, checksum: 0, sequence, reserved: [0; 104] }.sealed()
    }

    fn sealed(mut self) -> Self {
        self.checksum = 0;
        self.checksum = checksum::plain(self.as_bytes());
        self
    }
}

/// Somebody who declared that messages of a journal are needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keeper {
    /// The name that it gave itself.
    pub name: String,
    /// The oldest message that it needs; `None` if its file cannot be read, which counts as needing all.
    pub sequence: Option<u64>,
}

impl Keeper {
    /// Whether it needs a message below `end`.
    pub(crate) fn needs_below(&self, end: u64) -> bool {
        self.sequence.is_none_or(|sequence| sequence < end)
    }

    /// Whether what it needs is gone in part, in a journal that begins at `first`.
    pub fn has_lost(&self, first: u64) -> bool {
        self.sequence.is_some_and(|sequence| sequence < first)
    }
}

/// Declares, durably, that `keeper` needs the messages of a journal from `sequence` on, and no longer those below. For
/// one process a name.
///
/// # Errors
/// Whatever the disk answers, such as that there is no such journal; what was declared before may hold then.
///
/// # Panics
/// If the name is not a file name.
pub fn keep_from(storage: &dyn Storage, keeper: &str, sequence: u64) -> io::Result<()> {
    static DECLARING: Mutex<()> = Mutex::new(());
    let _alone = DECLARING.lock().unwrap_or_else(PoisonError::into_inner);
    let name = names::keeper(keeper);
    if read(storage, &name).is_ok_and(|declared| declared == Some(sequence)) {
        return Ok(());
    }
    let fresh = names::fresh_keeper(keeper);
    let mut block = AlignedBuffer::zeroed(BLOCK);
    block[..size_of::<Page>()].copy_from_slice(Page::new(sequence).as_bytes());
    remove(storage, &fresh)?;
    let file = storage.create(&fresh, BLOCK as u64)?;
    file.write_at(&block, 0)?;
    file.sync()?;
    storage.rename(&fresh, &name)?;
    storage.sync()
}

/// Takes back what `keeper` declared, if it did.
///
/// # Errors
/// Whatever the disk answers.
///
/// # Panics
/// As [`keep_from`].
pub fn release(storage: &dyn Storage, keeper: &str) -> io::Result<()> {
    remove(storage, &names::keeper(keeper))?;
    storage.sync()
}

/// The keepers of a journal, by name.
pub(crate) fn list(storage: &dyn Storage) -> io::Result<Vec<Keeper>> {
    let mut keepers = Vec::new();
    for file in storage.names()? {
        let Some(name) = names::keeper_name(&file) else { continue };
        let sequence = match read(storage, &file) {
            Ok(sequence) => sequence,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(_) => None,
        };
        keepers.push(Keeper { name: name.chars().filter(|c| !c.is_control()).collect(), sequence });
    }
    Ok(keepers)
}

/// What a keeper's file says; `Ok(None)` if it says nothing that can be understood.
fn read(storage: &dyn Storage, name: &str) -> io::Result<Option<u64>> {
    let mut bytes = [0; size_of::<Page>()];
    storage.open(name, Access::Read)?.read_at(&mut bytes, 0)?;
    let page = Page::read_from_bytes(&bytes).ok();
    let good = page.filter(|page| page.magic == MAGIC && page.version == VERSION && *page == page.sealed());
    Ok(good.map(|page| page.sequence))
}

fn remove(storage: &dyn Storage, name: &str) -> io::Result<()> {
    match storage.remove(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::DiskStorage;

    fn keeper(name: &str, sequence: Option<u64>) -> Keeper {
        Keeper { name: name.into(), sequence }
    }

    #[test]
    fn what_was_declared_last_is_listed_until_it_is_taken_back() {
        let directory = tempfile::tempdir().expect("a directory");
        let storage = DiskStorage::new(directory.path());
        for (name, sequence) in [("engine", 5), ("archive", 7), ("engine", 9), ("engine", 9), ("archive", 6)]
        {
            keep_from(&storage, name, sequence).expect("room");
        }
        let listed = list(&storage).expect("a directory");
        assert_eq!(listed, [keeper("archive", Some(6)), keeper("engine", Some(9))]);
        for _ in 0..2 {
            release(&storage, "archive").expect("no error");
        }
        assert_eq!(list(&storage).expect("a directory"), [keeper("engine", Some(9))]);
    }

    #[test]
    fn what_cannot_be_read_needs_all_and_hangs_nobody() {
        let directory = tempfile::tempdir().expect("a directory");
        let storage = DiskStorage::new(directory.path());
        keep_from(&storage, "flipped", 5).expect("room");
        let path = |name: &str| directory.path().join(name);
        let mut bytes = std::fs::read(path("keeper-flipped")).expect("the file");
        bytes[17] ^= 1;
        std::fs::write(path("keeper-flipped"), bytes).expect("the file");
        std::fs::write(path("keeper-short"), b"BUSBARKP").expect("a file");
        std::fs::create_dir(path("keeper-directory")).expect("a directory");
        std::os::unix::fs::symlink("/dev/zero", path("keeper-link")).expect("a link");
        std::fs::write(path("new-keeper-half"), b"").expect("a file");
        let listed = list(&storage).expect("a directory");
        let all = ["directory", "flipped", "link", "short"].map(|name| keeper(name, None));
        assert_eq!(listed, all);
        assert!(listed.iter().all(|keeper| keeper.needs_below(1) && !keeper.has_lost(1)));
    }

    #[test]
    fn a_journal_that_is_not_there_has_no_keeper_and_takes_none() {
        let storage = DiskStorage::new(std::path::Path::new("/nowhere"));
        assert_eq!(list(&storage).expect("none"), []);
        assert_eq!(
            keep_from(&storage, "engine", 1).expect_err("no directory").kind(),
            io::ErrorKind::NotFound
        );
    }
}
