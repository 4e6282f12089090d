//! A storage that tells what is done to it, each act when it has been done.

use std::{fmt, io, os::fd::RawFd, sync::Arc};

use journal::{
    layout::BLOCK,
    storage::{Access, DiskFile, Storage},
};

/// What has just been done to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act<'a> {
    /// The first block of a longer read; the rest is read next.
    HalfRead(&'a str),
    /// So many bytes read.
    Read { name: &'a str, length: usize },
    /// Bytes written, durable at once or not yet.
    Written { name: &'a str, bytes: &'a [u8], offset: u64, durable: bool },
    /// The length was set.
    Truncated(&'a str),
    /// Made durable.
    Synced(&'a str),
    /// Made.
    Created(&'a str),
    /// Renamed to another name.
    Renamed { from: &'a str, to: &'a str },
    /// Removed.
    Removed(&'a str),
    /// The names were made durable.
    NamesSynced,
}

/// Hears of each act.
pub type Watch = Arc<dyn Fn(Act<'_>) + Send + Sync>;

/// A storage with somebody who watches it.
#[derive(Clone)]
pub struct Watched {
    pub below: Arc<dyn Storage>,
    pub watch: Watch,
}

struct WatchedFile {
    name: String,
    below: Arc<dyn DiskFile>,
    watch: Watch,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Watched").field(&self.below).finish()
    }
}

impl fmt::Debug for WatchedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WatchedFile").field(&self.below).finish()
    }
}

impl Watched {
    fn file(&self, name: &str, below: Arc<dyn DiskFile>) -> Arc<dyn DiskFile> {
        Arc::new(WatchedFile { name: name.into(), below, watch: Arc::clone(&self.watch) })
    }
}

impl Storage for Watched {
    fn names(&self) -> io::Result<Vec<String>> {
        self.below.names()
    }
    fn make_directory(&self) -> io::Result<()> {
        self.below.make_directory()
    }
    fn create(&self, name: &str, length: u64) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.below.create(name, length)?;
        (self.watch)(Act::Created(name));
        Ok(self.file(name, file))
    }
    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        Ok(self.file(name, self.below.open(name, access)?))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.below.rename(from, to)?;
        (self.watch)(Act::Renamed { from, to });
        Ok(())
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.below.remove(name)?;
        (self.watch)(Act::Removed(name));
        Ok(())
    }
    fn is_locked(&self, name: &str) -> io::Result<bool> {
        self.below.is_locked(name)
    }
    fn sync(&self) -> io::Result<()> {
        self.below.sync()?;
        (self.watch)(Act::NamesSynced);
        Ok(())
    }
    fn free_space(&self) -> io::Result<u64> {
        self.below.free_space()
    }
}

impl DiskFile for WatchedFile {
    fn length(&self) -> io::Result<u64> {
        self.below.length()
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let (first, rest) = buffer.split_at_mut(buffer.len().min(BLOCK));
        let mut read = self.below.read_at(first, offset)?;
        if rest.len() > BLOCK && read == BLOCK {
            (self.watch)(Act::HalfRead(&self.name));
        }
        if !rest.is_empty() && read == BLOCK {
            read += self.below.read_at(rest, offset + BLOCK as u64)?;
        }
        (self.watch)(Act::Read { name: &self.name, length: read });
        Ok(read)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.below.write_at(bytes, offset)?;
        (self.watch)(Act::Written { name: &self.name, bytes, offset, durable: false });
        Ok(())
    }
    fn write_durable_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.below.write_durable_at(bytes, offset)?;
        (self.watch)(Act::Written { name: &self.name, bytes, offset, durable: true });
        Ok(())
    }
    fn truncate(&self, length: u64) -> io::Result<()> {
        self.below.truncate(length)?;
        (self.watch)(Act::Truncated(&self.name));
        Ok(())
    }
    fn sync(&self) -> io::Result<()> {
        self.below.sync()?;
        (self.watch)(Act::Synced(&self.name));
        Ok(())
    }
    fn barrier(&self) -> io::Result<()> {
        self.below.barrier()
    }
    fn is_direct(&self) -> bool {
        self.below.is_direct()
    }
    fn raw_fd(&self) -> Option<RawFd> {
        self.below.raw_fd()
    }
}
