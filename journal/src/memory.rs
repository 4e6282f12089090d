//! Files of shared memory and their mappings: where segments are born and readers read them.

mod headroom;

pub use headroom::{Headroom, of_this_process as headroom};

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU8, Ordering};

use crate::lock::{self, Kind};
use crate::storage::Access;

/// Mode of the files: the group reads.
const FILE_MODE: u32 = 0o640;
/// How much is prefaulted at once: short enough that the address space is never locked for long.
const POPULATE_STEP: usize = 1 << 20;
/// The smallest page there is; touching one byte in each touches every page.
const PAGE: usize = 4096;

/// A mapped file of shared memory. The mapping stays valid when the file's name is removed; dropping
/// it unmaps.
///
/// The bytes are shared with other threads and processes, so they are reached by raw pointers only,
/// under the rules of whoever lays them out.
#[derive(Debug)]
pub struct SegmentMemory {
    base: NonNull<u8>,
    length: usize,
    access: Access,
    /// Device and inode: no other file has them while this one is mapped.
    file: (u64, u64),
    /// Holds the lock of [`SegmentMemory::hold`] and [`SegmentMemory::take`].
    handle: File,
}

// SAFETY: the mapping belongs to the process, not to a thread, and lives until the drop.
unsafe impl Send for SegmentMemory {}
// SAFETY: the methods only read fields that never change; the bytes behind the pointer are reached by
// the caller's own unsafe code alone, under its rules for concurrent access.
unsafe impl Sync for SegmentMemory {}

impl SegmentMemory {
    /// Makes the file `path` of `length` zero bytes, mode 0640, all its memory reserved, and maps it to
    /// read and write. Nobody else has made it.
    ///
    /// # Errors
    /// [`MemoryError::NoRoom`] or [`MemoryError::Group`] where the memory cannot be had,
    /// [`MemoryError::Io`] for the rest, a taken name (`AlreadyExists`) among it. Nothing is left
    /// behind but in that case.
    ///
    /// # Panics
    /// If `length` is 0.
    pub fn create(path: &Path, length: usize) -> Result<Self, MemoryError> {
        assert!(length > 0, "shared memory of no length");
        check_group(path, length)?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(path)
            .map_err(|error| MemoryError::io("create", path, error))?;
        let created =
            reserve(&file, path, length).and_then(|()| Self::map(file, path, length, Access::Write));
        if created.is_err() {
            // Should removing our empty file fail too, the first error says more.
            let _ = fs::remove_file(path);
        }
        created
    }

    /// Maps the first `length` bytes of the file `path`.
    ///
    /// # Errors
    /// [`MemoryError::TooShort`] for a file that is smaller than `length`, so that no access to the
    /// mapping can fault; [`MemoryError::Io`] for the rest, a missing file (`NotFound`) among it.
    ///
    /// # Panics
    /// If `length` is 0.
    pub fn open(path: &Path, access: Access, length: usize) -> Result<Self, MemoryError> {
        assert!(length > 0, "shared memory of no length");
        let file = OpenOptions::new()
            .read(true)
            .write(access == Access::Write)
            // Non-blocking so that a pipe under this name cannot hang us; for files it means nothing.
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(path)
            .map_err(|error| MemoryError::io("open", path, error))?;
        let status = file.metadata().map_err(|error| MemoryError::io("inspect", path, error))?;
        if !status.is_file() {
            let odd = io::Error::new(ErrorKind::InvalidInput, "not a regular file");
            return Err(MemoryError::io("open", path, odd));
        }
        if status.len() < length as u64 {
            return Err(MemoryError::TooShort {
                path: path.into(),
                expected: length as u64,
                found: status.len(),
            });
        }
        Self::map(file, path, length, access)
    }

    fn map(file: File, path: &Path, length: usize, access: Access) -> Result<Self, MemoryError> {
        let status = file.metadata().map_err(|error| MemoryError::io("inspect", path, error))?;
        let protection = match access {
            Access::Read => libc::PROT_READ,
            Access::Write => libc::PROT_READ | libc::PROT_WRITE,
        };
        let (flags, fd) = (libc::MAP_SHARED, file.as_raw_fd());
        // SAFETY: a new mapping at an address of the kernel's choice disturbs no memory of ours.
        let base = unsafe { libc::mmap(ptr::null_mut(), length, protection, flags, fd, 0) };
        if base == libc::MAP_FAILED {
            return Err(MemoryError::io("map", path, io::Error::last_os_error()));
        }
        let base = NonNull::new(base.cast()).expect("the kernel maps nothing at address 0 unasked");
        Ok(Self { base, length, access, file: (status.dev(), status.ino()), handle: file })
    }

    /// Keeps the memory what it is at `path` as long as it is mapped here: nobody can [take](Self::take) it. False where
    /// somebody has, or where it is no longer there.
    ///
    /// # Errors
    /// Whatever the system answers: it says nothing about the memory.
    pub(crate) fn hold(&self, path: &Path) -> io::Result<bool> {
        Ok(lock::set(&self.handle, Kind::Shared)? && self.is_at(path)?)
    }

    /// Takes the memory for another use, which takes the right to write it; false where somebody [holds](Self::hold) it.
    pub(crate) fn take(&self) -> bool {
        matches!(lock::set(&self.handle, Kind::Exclusive), Ok(true))
    }

    /// Gives memory that was taken another name and its first `length` bytes to be zero, for all to hold again.
    ///
    /// # Errors
    /// Whatever the system answers to the renaming.
    pub(crate) fn renew(&self, from: &Path, to: &Path, length: usize) -> io::Result<()> {
        assert!(length <= self.length && self.access == Access::Write, "{length} bytes of our own");
        // SAFETY: inside the mapping, which is for writing; the lock keeps all others out who read it by this protocol,
        // and those who do not only see bytes.
        unsafe { ptr::write_bytes(self.base.as_ptr(), 0, length) };
        fs::rename(from, to)?;
        // Should giving back the lock fail, its readers read the disk.
        let _ = lock::set(&self.handle, Kind::None);
        Ok(())
    }

    /// The first byte, page-aligned.
    #[must_use]
    #[inline]
    pub fn base(&self) -> *const u8 {
        self.base.as_ptr()
    }

    /// The first byte, to write through.
    ///
    /// # Panics
    /// If the mapping is for reading only.
    #[must_use]
    #[inline]
    pub fn base_mut(&self) -> *mut u8 {
        assert_eq!(self.access, Access::Write, "writing through a mapping for reading");
        self.base.as_ptr()
    }

    /// How many bytes are mapped.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a mapping is never empty")]
    #[inline]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether `path` names this very memory, and not nothing or a file made since.
    ///
    /// # Errors
    /// Whatever the system answers, but for a missing file.
    pub fn is_at(&self, path: &Path) -> io::Result<bool> {
        match fs::symlink_metadata(path) {
            Ok(status) => Ok((status.dev(), status.ino()) == self.file),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Has the pages of `range` mapped ahead, so that touching them later takes no fault; to be written
    /// where the mapping is for writing. Changes no byte, also where others write at the same time.
    ///
    /// # Errors
    /// `EFAULT` where the file has been cut or its memory is gone; `ENOMEM`.
    ///
    /// # Panics
    /// If the range leaves the mapping.
    pub fn populate(&self, range: Range<usize>) -> io::Result<()> {
        assert!(range.start <= range.end && range.end <= self.length, "{range:?} leaves the mapping");
        let mut from = range.start / PAGE * PAGE;
        while from < range.end {
            let to = (from + POPULATE_STEP).min(range.end);
            self.populate_step(from..to)?;
            from = to.next_multiple_of(PAGE);
        }
        Ok(())
    }

    fn populate_step(&self, range: Range<usize>) -> io::Result<()> {
        let advice = match self.access {
            Access::Read => libc::MADV_POPULATE_READ,
            Access::Write => libc::MADV_POPULATE_WRITE,
        };
        // SAFETY: within the mapping, by the caller's assertion.
        let start = unsafe { self.base.as_ptr().add(range.start) };
        loop {
            // SAFETY: the advice changes no byte and the range is within the mapping.
            if unsafe { libc::madvise(start.cast(), range.len(), advice) } == 0 {
                return Ok(());
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EINTR | libc::EAGAIN) => {}
                Some(libc::EINVAL) => {
                    self.touch(range);
                    return Ok(());
                }
                _ => return Err(error),
            }
        }
    }

    /// Touches each page, for kernels before 5.14, which have no advice to populate.
    fn touch(&self, range: Range<usize>) {
        for offset in range.step_by(PAGE) {
            // SAFETY: within the mapping, by the caller's assertion.
            let byte = unsafe { AtomicU8::from_ptr(self.base.as_ptr().add(offset)) };
            // ORDERING: Relaxed; nothing is communicated, only the page is wanted.
            match self.access {
                Access::Read => byte.load(Ordering::Relaxed),
                Access::Write => byte.fetch_or(0, Ordering::Relaxed),
            };
        }
    }
}

impl Drop for SegmentMemory {
    fn drop(&mut self) {
        // SAFETY: this very mapping was made in `map` and is unmapped only here; borrows of `self` have
        // ended, and pointers from `base` are used only while their holder keeps `self`.
        let unmapped = unsafe { libc::munmap(self.base.as_ptr().cast(), self.length) };
        debug_assert_eq!(unmapped, 0, "unmapping: {}", io::Error::last_os_error());
    }
}

/// Refuses what the memory cgroup has no room for: there the shortage is a kill, not an error.
fn check_group(path: &Path, length: usize) -> Result<(), MemoryError> {
    match headroom() {
        Some(headroom) if headroom.left < length as u64 => {
            Err(MemoryError::Group { path: path.into(), wanted: length as u64, headroom })
        }
        _ => Ok(()),
    }
}

/// Takes the memory now, so that no later access can fault for want of it.
fn reserve(file: &File, path: &Path, length: usize) -> Result<(), MemoryError> {
    let size = libc::off_t::try_from(length)
        .map_err(|_| MemoryError::io("reserve", path, ErrorKind::FileTooLarge.into()))?;
    loop {
        // SAFETY: a call on our own open descriptor that touches no memory of ours.
        if unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, size) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        return Err(match error.raw_os_error() {
            Some(libc::EINTR) => continue,
            Some(libc::ENOSPC | libc::EDQUOT | libc::ENOMEM) => {
                MemoryError::NoRoom { path: path.into(), wanted: length as u64 }
            }
            _ => MemoryError::io("reserve", path, error),
        });
    }
}

/// Why shared memory could not be had.
#[derive(Debug)]
pub enum MemoryError {
    /// The shared memory of the machine or container is full.
    NoRoom {
        /// The file that was to be made.
        path: PathBuf,
        /// Its length in bytes.
        wanted: u64,
    },
    /// The memory cgroup would not hold it: using it could get a process killed.
    Group {
        /// The file that was to be made.
        path: PathBuf,
        /// Its length in bytes.
        wanted: u64,
        /// What the group still has.
        headroom: Headroom,
    },
    /// The file is shorter than what was to be mapped.
    TooShort {
        /// The file.
        path: PathBuf,
        /// The length that was to be mapped, in bytes.
        expected: u64,
        /// The file's length in bytes.
        found: u64,
    },
    /// The system refused something else.
    Io {
        /// What was tried: `create`, `open`, `inspect`, `reserve` or `map`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

impl MemoryError {
    fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.into(), source }
    }

    /// Whether there is no room now and may be later, so that trying again makes sense.
    #[must_use]
    pub fn is_no_room(&self) -> bool {
        matches!(self, Self::NoRoom { .. } | Self::Group { .. })
    }

    /// Whether the file that was to be made has been made by somebody else.
    pub(crate) fn is_taken(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == ErrorKind::AlreadyExists)
    }

    /// Whether the file does not exist (any more).
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == ErrorKind::NotFound)
    }
}

impl fmt::Display for MemoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoom { path, wanted } => write!(
                f,
                "no shared memory for {wanted} bytes: {}; free some, enlarge it (docker: --shm-size) or \
                 lower the memory budget",
                path.display()
            ),
            Self::Group { path, wanted, headroom } => write!(
                f,
                "the memory limit of this control group has no room for {wanted} bytes of shared memory: {}; {headroom}",
                path.display()
            ),
            Self::TooShort { path, expected, found } => write!(
                f,
                "shared memory of {found} bytes where {expected} are expected: {}; remove it while no \
                 writer runs",
                path.display()
            ),
            Self::Io { action, path, source } => {
                write!(f, "cannot {action} shared memory: {}; {source}", path.display())
            }
        }
    }
}

impl std::error::Error for MemoryError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn directory() -> tempfile::TempDir {
        let root = Path::new("/dev/shm");
        if root.is_dir() { tempfile::tempdir_in(root) } else { tempfile::tempdir() }.expect("a directory")
    }

    #[test]
    fn what_one_mapping_stores_another_loads() {
        let directory = directory();
        let path = directory.path().join("segment");
        let ours = SegmentMemory::create(&path, 3 * PAGE).expect("memory");
        ours.populate(1..3 * PAGE).expect("pages");
        let theirs = SegmentMemory::open(&path, Access::Read, 2 * PAGE).expect("a mapping");
        theirs.populate(0..2 * PAGE).expect("pages");
        // SAFETY: both mappings are live, the offset is within them, and no other thread uses them.
        let seen = unsafe {
            ours.base_mut().add(PAGE + 5).write_volatile(42);
            theirs.base().add(PAGE + 5).read_volatile()
        };
        assert_eq!((seen, ours.len(), theirs.len()), (42, 3 * PAGE, 2 * PAGE));
        let mode = fs::metadata(&path).expect("the file").permissions().mode();
        assert_eq!(mode & 0o777 & !FILE_MODE, 0);
    }

    #[test]
    fn a_mapping_outlives_its_name() {
        let directory = directory();
        let path = directory.path().join("segment");
        let memory = SegmentMemory::create(&path, PAGE).expect("memory");
        assert!(memory.is_at(&path).expect("inspected"));
        fs::remove_file(&path).expect("removed");
        memory.touch(0..PAGE);
        assert!(!memory.is_at(&path).expect("inspected"));
        assert!(SegmentMemory::open(&path, Access::Read, PAGE).expect_err("it is gone").is_missing());
        let other = SegmentMemory::create(&path, PAGE).expect("memory");
        assert!(other.is_at(&path).expect("inspected") && !memory.is_at(&path).expect("inspected"));
    }

    #[test]
    fn touching_changes_nothing() {
        let directory = directory();
        let memory = SegmentMemory::create(&directory.path().join("segment"), 2 * PAGE).expect("memory");
        // SAFETY: within the live mapping, which no other thread uses.
        unsafe { memory.base_mut().add(PAGE).write_volatile(9) };
        memory.touch(0..2 * PAGE);
        memory.populate(0..2 * PAGE).expect("pages");
        // SAFETY: as above.
        assert_eq!(unsafe { memory.base().add(PAGE).read_volatile() }, 9);
    }

    #[test]
    fn a_short_file_is_refused() {
        let directory = directory();
        let path = directory.path().join("segment");
        fs::write(&path, [0; 100]).expect("a file");
        let refused = SegmentMemory::open(&path, Access::Write, PAGE).expect_err("too short");
        assert!(matches!(refused, MemoryError::TooShort { expected: 4096, found: 100, .. }), "{refused}");
    }

    #[test]
    fn a_taken_name_is_refused_and_kept() {
        let directory = directory();
        let path = directory.path().join("segment");
        fs::write(&path, b"theirs").expect("a file");
        SegmentMemory::create(&path, PAGE).expect_err("taken");
        assert_eq!(fs::read(&path).expect("still there"), b"theirs");
        SegmentMemory::open(directory.path(), Access::Read, PAGE).expect_err("a directory");
    }

    #[test]
    fn what_cannot_be_reserved_leaves_nothing_behind() {
        let directory = directory();
        let path = directory.path().join("segment");
        let refused = SegmentMemory::create(&path, 1 << 50).expect_err("a pebibyte");
        assert!(!path.exists(), "{refused}");
    }
}
