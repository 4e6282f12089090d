//! The disk side of a journal as traits, so that the same write-out and recovery run on a real
//! directory and on a simulated disk.
//!
//! A [`Storage`] is one directory, a [`DiskFile`] one open file in it, an [`Engine`] the way in which
//! the write-out makes blocks durable. Real directories are [`DiskStorage`]; engines are
//! [`PwriteEngine`] (a blocking call for each write) and [`UringEngine`] (several writes in flight). A
//! [`simulated::SimulatedDisk`] is both, and loses power where a test tells it to.
//!
//! Durability has one rule: a write is durable when a *durable* write of these very bytes has
//! completed, or when a later [`DiskFile::sync`] has. One durable write never vouches for an earlier
//! plain one.

mod aligned;
mod pwrite;
pub mod simulated;
mod space;
mod uring;

use std::any::Any;
use std::fmt::Debug;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::time::Duration;

pub use aligned::AlignedBuffer;
pub use pwrite::{DiskStorage, PwriteEngine};
pub use space::{Space, space};
pub use uring::{UringEngine, UringRefused, probe};

/// The unit of every write: offset, length and address are multiples of it. In bytes.
///
/// 4 KiB covers the logical block of all common disks and the alignment that `O_DIRECT` asks for.
pub const BLOCK: usize = 4096;

/// What a file is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reading only: works without write permission, on read-only media and without `O_DIRECT`.
    Read,
    /// Reading and writing, past the page cache where the file system allows it.
    Write,
}

/// One directory on a disk.
///
/// Names are single path components; anything else is a programmer's error and asserts.
pub trait Storage: Send + Sync + Debug {
    /// The names in the directory, sorted; a directory that does not exist has none. Names that are
    /// not UTF-8 are not ours and are left out.
    ///
    /// # Errors
    /// Whatever the disk answers, but for a missing directory.
    fn names(&self) -> io::Result<Vec<String>>;

    /// Makes the directory, its missing parents too, each of mode 0750 and durable in its own parent.
    ///
    /// # Errors
    /// Whatever the disk answers; a directory that is there already is none.
    fn make_directory(&self) -> io::Result<()>;

    /// Makes the file `name` of `length` bytes of zeros, mode 0640, its space reserved. Neither the
    /// space nor the name is durable before [`DiskFile::sync`] and [`Storage::sync`].
    ///
    /// # Errors
    /// `AlreadyExists` where the name is taken; `StorageFull` or `QuotaExceeded` where there is no
    /// room. Nothing is left behind then.
    fn create(&self, name: &str, length: u64) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens the file `name`.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, or `InvalidInput` for what is no regular file.
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn DiskFile>>;

    /// Renames a file; one that has the new name already is replaced. Durable after
    /// [`Storage::sync`].
    ///
    /// # Errors
    /// `NotFound`, or whatever the disk answers.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Durable after [`Storage::sync`].
    ///
    /// # Errors
    /// `NotFound`, or whatever the disk answers.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Whether somebody holds the lock of the file `name`, as the owner of what is here does. False where there is no such
    /// file, and on a storage that knows no locks.
    ///
    /// # Errors
    /// This user may not ask.
    fn is_locked(&self, name: &str) -> io::Result<bool> {
        let _ = name;
        Ok(false)
    }

    /// Makes the names in the directory durable.
    ///
    /// # Errors
    /// After an error the state on disk is unknown; asking again proves nothing.
    fn sync(&self) -> io::Result<()>;

    /// Bytes that an ordinary user may still write on this disk.
    ///
    /// # Errors
    /// Whatever the disk answers.
    fn free_space(&self) -> io::Result<u64>;
}

/// One open file.
pub trait DiskFile: Any + Send + Sync + Debug {
    /// The file's length in bytes.
    ///
    /// # Errors
    /// Whatever the disk answers.
    fn length(&self) -> io::Result<u64>;

    /// Reads at `offset`, of any alignment, until `buffer` is full or the file ends; answers how many
    /// bytes were read. A file opened to write reads past the page cache where it writes past it.
    ///
    /// # Errors
    /// Whatever the disk answers.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes whole blocks. Not durable before [`DiskFile::sync`].
    ///
    /// # Errors
    /// Whatever the disk answers, among it `StorageFull`; some of the blocks may have been written.
    ///
    /// # Panics
    /// If offset, length or address are not multiples of [`BLOCK`].
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Writes whole blocks and returns when these are durable. Vouches for no other write.
    ///
    /// # Errors
    /// As [`DiskFile::write_at`]. After an error it is unknown which of the blocks are on disk.
    ///
    /// # Panics
    /// As [`DiskFile::write_at`].
    fn write_durable_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Sets the file's length; what grows reads as zeros.
    ///
    /// # Errors
    /// Whatever the disk answers.
    fn truncate(&self, length: u64) -> io::Result<()>;

    /// Makes all completed writes and the length durable (`fdatasync`).
    ///
    /// # Errors
    /// After an error the kernel may have dropped the data: a second call that succeeds proves
    /// nothing, so callers never try again.
    fn sync(&self) -> io::Result<()>;

    /// Waits for writes past the page cache that a dead process still has in flight: `fallocate` over
    /// the file, at most the largest segment's length, keeping its size, takes the lock that such
    /// writes hold to their end. Where the file system has no `fallocate` it syncs instead; there only
    /// the owner's lock, which outlives the writes, keeps a successor out.
    ///
    /// # Errors
    /// Whatever the disk answers.
    fn barrier(&self) -> io::Result<()>;

    /// Whether writes go past the page cache (`O_DIRECT`). Where not, as on some overlay and network
    /// mounts, they are cached and then synced: as durable, but slower.
    fn is_direct(&self) -> bool;

    /// The descriptor, for a ring; none where the file is simulated.
    fn raw_fd(&self) -> Option<RawFd>;
}

/// One durable write of whole blocks, to be given to an [`Engine`].
#[derive(Debug)]
pub struct Write {
    /// Where to; kept open until the completion is taken.
    pub file: Arc<dyn DiskFile>,
    /// The first byte, aligned to [`BLOCK`].
    pub bytes: *const u8,
    /// How many bytes, a multiple of [`BLOCK`] above 0.
    pub length: usize,
    /// Where in the file, a multiple of [`BLOCK`].
    pub offset: u64,
    /// The caller's name for this write, given back in its [`Completion`].
    pub token: u64,
}

// SAFETY: the pointer is only read, and only while the caller of `Engine::submit` keeps the memory
// mapped and unchanged, which that contract demands whichever thread the engine lives on.
unsafe impl Send for Write {}

/// What became of a [`Write`].
#[derive(Debug)]
pub struct Completion {
    /// The write's token.
    pub token: u64,
    /// Where in its file it was.
    pub offset: u64,
    /// `Ok` when all of its bytes are durable; short writes are continued inside the engine and never
    /// answered short. After an error it is unknown which blocks are on disk.
    pub result: io::Result<()>,
}

/// The engine of the write-out: durable writes, perhaps several in flight.
///
/// An engine may be made on one thread and used on another, but from its first
/// [`submit`](Engine::submit) on it stays on that thread. Dropping an engine waits for what is in
/// flight.
pub trait Engine: Send + Debug {
    /// The name shown to operators: `io_uring`, `pwritev2` or `simulated`.
    fn name(&self) -> &'static str;

    /// How many writes may be in flight, at least 1.
    fn depth(&self) -> usize;

    /// Starts a write. It is durable when its completion says so; completions come in any order.
    ///
    /// # Errors
    /// The engine cannot take writes (any more); nothing of this one has been started.
    ///
    /// # Panics
    /// If [`depth`](Engine::depth) writes are in flight, or the write is not aligned to [`BLOCK`].
    ///
    /// # Safety
    /// The memory `bytes .. bytes + length` stays mapped and unchanged until this write's completion
    /// has been taken or the engine has been dropped.
    unsafe fn submit(&mut self, write: Write) -> io::Result<()>;

    /// Takes one completion. `None` looks once and does not wait; with a duration it waits about
    /// that long for one, perhaps shorter. Never waits while nothing is in flight.
    fn complete(&mut self, wait: Option<Duration>) -> Option<Completion>;

    /// Writes whose completion has not been taken yet.
    fn in_flight(&self) -> usize;

    /// Keeps a descriptor open for as long as writes of a process that was killed may still land: so an owner's lock
    /// outlives the owner's writes. An engine whose writes end with their thread has nothing to do. Where it cannot be
    /// done, the next owner's [`DiskFile::barrier`] is left.
    fn hold(&mut self, _descriptor: RawFd) {}

    /// Lets go of a descriptor that was given to [`Engine::hold`].
    fn release(&mut self, _descriptor: RawFd) {}
}

/// Whether memory and place suit a transfer past the page cache.
fn is_blocks(address: *const u8, length: usize, offset: u64) -> bool {
    let memory = address.addr().is_multiple_of(BLOCK) && length.is_multiple_of(BLOCK);
    memory && offset.is_multiple_of(BLOCK as u64)
}

/// Asserts what every write must hold: whole blocks at whole blocks.
fn assert_blocks(address: *const u8, length: usize, offset: u64) {
    assert!(length > 0, "a write of nothing");
    assert!(is_blocks(address, length, offset), "{length} bytes from {address:p} at {offset} are not blocks");
}

/// Asserts that `name` is one path component.
fn assert_name(name: &str) {
    let plain = !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\0']);
    assert!(plain, "{name:?} is not a file name");
}

#[cfg(test)]
mod conformance;
