//! Preparing segments ahead of the writer, in small steps between the writes: memory reserved and faulted in, and on
//! disk a twin whose blocks are written, so that later writes are pure overwrites.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use crate::{
    error::Room,
    layout::{BLOCK, FIRST_FRAME},
    memory::{MemoryError, SegmentMemory},
    names,
    segment::Segment,
    storage::{AlignedBuffer, DiskFile, Storage},
};

/// Bytes of one step.
const STEP: usize = 256 * 1024;

/// What a step could not do.
#[derive(Debug)]
pub(crate) enum Failure {
    NoRoom(Room),
    Io(io::Error),
}

/// A segment on its way to the writer.
#[derive(Debug)]
pub(crate) struct Preparation {
    number: u64,
    size: usize,
    memory_dir: PathBuf,
    memory: Option<SegmentMemory>,
    populated: usize,
    /// Name of a twin that is no longer needed and may be renamed.
    recycled: Option<String>,
    spare: Option<Spare>,
}

/// Memory that was taken from a retired segment and waits under a name of its own, which goes with it.
#[derive(Debug)]
pub(crate) struct Spare {
    pub(crate) memory: SegmentMemory,
    pub(crate) path: PathBuf,
}

impl Spare {
    /// Makes it the memory of a segment that begins with `length` zero bytes, if that can be done.
    fn renew(self, path: &Path, length: usize) -> Option<SegmentMemory> {
        let renewed = self.memory.renew(&self.path, path, length);
        if renewed.is_err() {
            let _ = std::fs::remove_file(&self.path);
        }
        renewed.is_ok().then_some(self.memory)
    }

    /// Gives it back.
    pub(crate) fn forget(self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Preparation {
    pub(crate) fn new(number: u64, size: usize, memory_dir: PathBuf) -> Self {
        Self { number, size, memory_dir, memory: None, populated: 0, recycled: None, spare: None }
    }

    /// The same, made of what an older segment left, where it left something.
    pub(crate) fn from(mut self, recycled: Option<String>, spare: Option<Spare>) -> Self {
        (self.recycled, self.spare) = (recycled, spare);
        self
    }

    /// The twin that was to be used again and was not.
    pub(crate) fn into_recycled(mut self) -> Option<String> {
        self.recycled.take()
    }

    /// One step. `Some` when the segment can be given to the writer, with its twin.
    pub(crate) fn step(&mut self, storage: &dyn Storage) -> Result<Option<(Arc<Segment>, Twin)>, Failure> {
        let Some(memory) = &self.memory else {
            let path = self.memory_dir.join(names::segment(self.number));
            let spare = self.spare.take();
            if let Some(memory) = spare.and_then(|spare| spare.renew(&path, FIRST_FRAME + size_of::<u64>())) {
                (self.memory, self.populated) = (Some(memory), self.size);
                return Ok(None);
            }
            let memory = SegmentMemory::create(&path, self.size).map_err(memory_failure)?;
            self.memory = Some(memory);
            return Ok(None);
        };
        if self.populated < self.size {
            let end = (self.populated + 4 * STEP).min(self.size);
            memory.populate(self.populated..end).map_err(|e| failure(e, Room::Memory))?;
            self.populated = end;
            return Ok(None);
        }
        let twin = Twin::make(storage, self.number, self.size, &mut self.recycled)?;
        Ok(self.memory.take().map(|memory| (Arc::new(Segment::shared(memory, self.number)), twin)))
    }
}

impl Drop for Preparation {
    /// A memory file that never reached the writer is removed: no reader enters it before the writer does.
    fn drop(&mut self) {
        if self.memory.take().is_some() {
            let _ = std::fs::remove_file(self.memory_dir.join(names::segment(self.number)));
        }
        if let Some(spare) = self.spare.take() {
            spare.forget();
        }
    }
}

/// The disk copy of a segment.
#[derive(Debug)]
pub(crate) struct Twin {
    pub(crate) file: Arc<dyn DiskFile>,
    size: usize,
    written: usize,
    /// Whether nothing of the file waits for a sync: it was another segment's and has only another name.
    is_old: bool,
    synced: bool,
}

impl Twin {
    /// Makes the file of a segment: a recycled one by renaming, else a new one with its space reserved.
    pub(crate) fn make(
        storage: &dyn Storage,
        number: u64,
        size: usize,
        recycled: &mut Option<String>,
    ) -> Result<Self, Failure> {
        let name = names::segment(number);
        if let Some(old) = recycled.take() {
            storage.rename(&old, &name).map_err(Failure::Io)?;
            let file = storage.open(&name, crate::storage::Access::Write).map_err(Failure::Io)?;
            if file.length().map_err(Failure::Io)? == size as u64 {
                return Ok(Self { file, size, written: size, is_old: true, synced: false });
            }
            drop(file);
            storage.remove(&name).map_err(Failure::Io)?;
        }
        let file = storage.create(&name, size as u64).map_err(|e| failure(e, Room::Disk))?;
        Ok(Self { file, size, written: 0, is_old: false, synced: false })
    }

    /// Whether durable writes may begin.
    pub(crate) fn is_ready(&self) -> bool {
        self.synced
    }

    /// Gives back what a segment sealed early does not need, and says how much the file holds now.
    pub(crate) fn shorten(&self, used: usize) -> io::Result<u64> {
        shorten(self.file.as_ref(), used, self.size)
    }

    /// One step of writing the twin's blocks; afterwards file and directory are synced, of one that is used again only the
    /// directory, in which it has another name. A sync that fails, for whatever
    /// reason, is never tried again.
    pub(crate) fn step(&mut self, storage: &dyn Storage) -> io::Result<()> {
        if self.written < self.size {
            let length = STEP.min(self.size - self.written);
            debug_assert!(length.is_multiple_of(BLOCK));
            self.file.write_at(&zeros()[..length], self.written as u64)?;
            self.written += length;
        } else if !self.synced {
            if !self.is_old {
                self.file.sync().map_err(for_good)?;
            }
            storage.sync().map_err(for_good)?;
            self.synced = true;
        }
        Ok(())
    }
}

/// Gives back what is not used of the file of a segment of this size, if that is worth it, and says how much it holds now.
pub(crate) fn shorten(file: &dyn DiskFile, used: usize, size: usize) -> io::Result<u64> {
    let used = used.next_multiple_of(BLOCK);
    if used * 2 > size {
        return Ok(size as u64);
    }
    match file.truncate(used as u64) {
        Ok(()) => Ok(used as u64),
        // Some file systems need room to give room back.
        Err(error) if is_no_room(&error) => Ok(size as u64),
        Err(error) => Err(error),
    }
}

/// What one step writes, at most.
fn zeros() -> &'static [u8] {
    static ZEROS: OnceLock<AlignedBuffer> = OnceLock::new();
    ZEROS.get_or_init(|| AlignedBuffer::zeroed(STEP))
}

/// Whether an error only says that there is no room now.
pub(crate) fn is_no_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The error of a sync: it may say that there is no room, and is not waited out all the same. Any other keeps its number.
fn for_good(error: io::Error) -> io::Error {
    if is_no_room(&error) { io::Error::other(error) } else { error }
}

fn failure(error: io::Error, room: Room) -> Failure {
    if is_no_room(&error) || error.kind() == io::ErrorKind::OutOfMemory {
        return Failure::NoRoom(room);
    }
    Failure::Io(error)
}

fn memory_failure(error: MemoryError) -> Failure {
    match error {
        MemoryError::NoRoom { .. } => Failure::NoRoom(Room::Memory),
        MemoryError::Group { .. } => Failure::NoRoom(Room::Group),
        MemoryError::Io { source, .. } => failure(source, Room::Memory),
        MemoryError::TooShort { .. } => Failure::Io(io::ErrorKind::UnexpectedEof.into()),
    }
}
