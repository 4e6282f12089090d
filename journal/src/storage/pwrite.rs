//! A real directory, and the engine that blocks in `pwritev2` for each write.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::{
    Access, AlignedBuffer, BLOCK, Completion, DiskFile, Engine, Storage, Write, assert_blocks, assert_name,
    is_blocks, space,
};
use crate::{layout::SEGMENT_MAX, lock};

/// Mode of the directories that a journal makes.
const DIRECTORY_MODE: u32 = 0o750;
/// Mode of a journal's files: the group reads.
const FILE_MODE: u32 = 0o640;
/// Most bytes read at once through the bounce buffer of an unaligned direct read.
const BOUNCE: usize = 64 * BLOCK;

/// A directory of the file system.
#[derive(Clone, Debug)]
pub struct DiskStorage {
    directory: PathBuf,
}

impl DiskStorage {
    /// The directory at `path`, which need not exist yet. Touches nothing.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { directory: path.into() }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.directory
    }

    fn file(&self, name: &str) -> PathBuf {
        assert_name(name);
        self.directory.join(name)
    }

    fn open_file(&self, name: &str, access: Access) -> io::Result<File> {
        let file = OpenOptions::new()
            .read(true)
            .write(access == Access::Write)
            // Non-blocking so that a pipe under this name cannot hang us; for files it means nothing.
            .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
            .open(self.file(name))?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(file)
    }
}

impl Storage for DiskStorage {
    fn names(&self) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut names = Vec::new();
        for entry in entries {
            names.extend(entry?.file_name().into_string());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn make_directory(&self) -> io::Result<()> {
        let mut missing = Vec::new();
        let mut path = self.directory.as_path();
        while !path.as_os_str().is_empty() && !path.is_dir() {
            missing.push(path);
            path = path.parent().unwrap_or(Path::new(""));
        }
        for path in missing.into_iter().rev() {
            match DirBuilder::new().mode(DIRECTORY_MODE).create(path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists && path.is_dir() => {}
                made => made?,
            }
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
        }
        Ok(())
    }

    fn create(&self, name: &str, length: u64) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.file(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .custom_flags(libc::O_NOFOLLOW)
            .open(&path)?;
        match reserve(&file, length).and_then(|()| RealFile::to_write(file)) {
            Ok(file) => Ok(Arc::new(file)),
            Err(error) => {
                // Should removing our empty file fail too, the first error says more.
                let _ = fs::remove_file(&path);
                Err(error)
            }
        }
    }

    fn open(&self, name: &str, access: Access) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.open_file(name, access)?;
        Ok(Arc::new(match access {
            Access::Read => RealFile { file, direct: false },
            Access::Write => RealFile::to_write(file)?,
        }))
    }

    fn is_locked(&self, name: &str) -> io::Result<bool> {
        match self.open_file(name, Access::Read) {
            Ok(file) => lock::is_locked(&file),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.file(from), self.file(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.file(name))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }

    fn free_space(&self) -> io::Result<u64> {
        Ok(space(&self.directory)?.free)
    }
}

/// An open file of the file system.
#[derive(Debug)]
struct RealFile {
    file: File,
    direct: bool,
}

impl RealFile {
    /// Turns the page cache off where the file system agrees.
    ///
    /// `O_DIRECT` is set afterwards because some file systems refuse it only after `O_CREAT` has made
    /// the file.
    fn to_write(file: File) -> io::Result<Self> {
        let fd = file.as_raw_fd();
        // SAFETY: reading the status flags of our own open descriptor.
        let flags = check(unsafe { libc::fcntl(fd, libc::F_GETFL) })?;
        let direct = aligned_for_direct(&file);
        let flags = if direct { flags | libc::O_DIRECT } else { flags } & !libc::O_NONBLOCK;
        // SAFETY: setting status flags of our own open descriptor.
        match check(unsafe { libc::fcntl(fd, libc::F_SETFL, flags) }) {
            Ok(_) => Ok(Self { file, direct }),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(Self { file, direct: false }),
            Err(error) => Err(error),
        }
    }

    /// Writes whole blocks, continuing short writes at the last whole block.
    fn write(&self, mut bytes: &[u8], mut offset: u64, durable: bool) -> io::Result<()> {
        assert_blocks(bytes.as_ptr(), bytes.len(), offset);
        while !bytes.is_empty() {
            let written = match self.write_once(bytes, offset, durable) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                written => whole_blocks(written?)?,
            };
            bytes = &bytes[written..];
            offset += written as u64;
        }
        Ok(())
    }

    fn write_once(&self, bytes: &[u8], offset: u64, durable: bool) -> io::Result<usize> {
        if !durable {
            return self.file.write_at(bytes, offset);
        }
        let vector = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let (fd, offset, flags) = (self.file.as_raw_fd(), to_offset(offset)?, libc::RWF_DSYNC);
        // SAFETY: one vector over `bytes`, which the kernel only reads, on our own open descriptor.
        let written = unsafe { libc::pwritev2(fd, &raw const vector, 1, offset, flags) };
        usize::try_from(written).map_err(|_| io::Error::last_os_error())
    }

    /// Fills an aligned part of `buffer` through a bounce buffer; answers how many bytes it got.
    fn read_bounced(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let skip = usize::try_from(offset % BLOCK as u64).expect("less than a block");
        let mut bounce = AlignedBuffer::zeroed((skip + buffer.len()).min(BOUNCE));
        let read = self.file.read_at(&mut bounce, offset - skip as u64)?;
        let got = read.saturating_sub(skip).min(buffer.len());
        buffer[..got].copy_from_slice(&bounce[skip..skip + got]);
        Ok(got)
    }
}

impl DiskFile for RealFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            let rest = &mut buffer[done..];
            let at = offset + done as u64;
            let read = if self.direct && !is_blocks(rest.as_ptr(), rest.len(), at) {
                self.read_bounced(rest, at)
            } else {
                self.file.read_at(rest, at)
            };
            match read {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write(bytes, offset, false)
    }

    fn write_durable_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        match self.write(bytes, offset, true) {
            // Some file systems and sandboxes know no flags on a write.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS)) => {
                self.write(bytes, offset, false)?;
                self.sync()
            }
            written => written,
        }
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn barrier(&self) -> io::Result<()> {
        // A file that somebody made longer takes no room for it: no segment is.
        let length = self.length()?.min(SEGMENT_MAX as u64);
        if length == 0 {
            return Ok(());
        }
        match allocate(&self.file, libc::FALLOC_FL_KEEP_SIZE, length) {
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => self.sync(),
            done => done,
        }
    }

    fn is_direct(&self) -> bool {
        self.direct
    }

    fn raw_fd(&self) -> Option<RawFd> {
        Some(self.file.as_raw_fd())
    }
}

/// The engine that blocks in `pwritev2` with `RWF_DSYNC` for each write: depth 1, no demands.
#[derive(Debug, Default)]
pub struct PwriteEngine {
    done: Option<Completion>,
}

impl PwriteEngine {
    /// A new engine.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Engine for PwriteEngine {
    fn name(&self) -> &'static str {
        "pwritev2"
    }

    fn depth(&self) -> usize {
        1
    }

    unsafe fn submit(&mut self, write: Write) -> io::Result<()> {
        assert!(self.done.is_none(), "a write beyond the engine's depth");
        assert_blocks(write.bytes, write.length, write.offset);
        // SAFETY: the caller keeps `length` bytes mapped and unchanged until the completion is taken,
        // which is after this borrow.
        let bytes = unsafe { std::slice::from_raw_parts(write.bytes, write.length) };
        let result = write.file.write_durable_at(bytes, write.offset);
        self.done = Some(Completion { token: write.token, offset: write.offset, result });
        Ok(())
    }

    fn complete(&mut self, _wait: Option<Duration>) -> Option<Completion> {
        self.done.take()
    }

    fn in_flight(&self) -> usize {
        usize::from(self.done.is_some())
    }
}

/// How much of a write counts: its whole blocks, since what follows must start at a block again.
///
/// # Errors
/// `WriteZero` where not even one block was written: trying on might never end.
pub(super) fn whole_blocks(written: usize) -> io::Result<usize> {
    match written / BLOCK * BLOCK {
        0 => Err(io::Error::new(ErrorKind::WriteZero, "the disk takes less than one block")),
        blocks => Ok(blocks),
    }
}

/// Reserves space and sets the length. A file system without `fallocate` only sets the length; the
/// first pre-write takes the space there.
fn reserve(file: &File, length: u64) -> io::Result<()> {
    if length == 0 {
        return Ok(());
    }
    match allocate(file, 0, length) {
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => file.set_len(length),
        done => done,
    }
}

/// `fallocate` from the start of the file.
fn allocate(file: &File, mode: libc::c_int, length: u64) -> io::Result<()> {
    let length = to_offset(length)?;
    loop {
        // SAFETY: a call on our own open descriptor that touches no memory of ours.
        match check(unsafe { libc::fallocate(file.as_raw_fd(), mode, 0, length) }) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return done.map(drop),
        }
    }
}

/// Whether direct writes of [`BLOCK`] suit the file, as far as the kernel (from 6.1) can tell.
fn aligned_for_direct(file: &File) -> bool {
    // SAFETY: a plain C structure of integers, for which all zeros is a value.
    let mut status: libc::statx = unsafe { std::mem::zeroed() };
    let (empty, flags) = (c"".as_ptr(), libc::AT_EMPTY_PATH);
    // SAFETY: an empty path names our own open descriptor; `status` is a `statx` to be written to.
    let asked = unsafe { libc::statx(file.as_raw_fd(), empty, flags, libc::STATX_DIOALIGN, &raw mut status) };
    let known = asked == 0 && status.stx_mask & libc::STATX_DIOALIGN != 0;
    let suits = |align: u32| align != 0 && BLOCK.is_multiple_of(align as usize);
    !known || (suits(status.stx_dio_mem_align) && suits(status.stx_dio_offset_align))
}

fn to_offset(value: u64) -> io::Result<libc::off_t> {
    libc::off_t::try_from(value).map_err(|_| io::Error::from(ErrorKind::FileTooLarge))
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

#[cfg(test)]
mod tests {
    use super::super::conformance::{file_keeps_its_rules, refuse};
    use super::*;

    #[test]
    fn a_file_without_direct_writes_keeps_the_rules() {
        let directory = tempfile::tempdir().expect("a directory");
        let storage = DiskStorage::new(directory.path());
        storage.create("file", 4 * BLOCK as u64).expect("created");
        let open = || File::options().read(true).write(true).open(directory.path().join("file"));
        let file = RealFile { file: open().expect("opened"), direct: false };
        file_keeps_its_rules(&file, &*storage.open("file", Access::Read).expect("opened"));
    }

    #[test]
    fn durable_writes_work_where_writes_take_no_flags() {
        let directory = tempfile::tempdir().expect("a directory");
        let storage = DiskStorage::new(directory.path());
        for error in [libc::EOPNOTSUPP, libc::ENOSYS] {
            let name = error.to_string();
            let file = storage.create(&name, 4 * BLOCK as u64).expect("created");
            let reader = storage.open(&name, Access::Read).expect("opened");
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    refuse(libc::SYS_pwritev2, error);
                    file_keeps_its_rules(&*file, &*reader);
                });
            });
        }
    }

    #[test]
    fn what_is_no_file_is_not_opened() {
        let directory = tempfile::tempdir().expect("a directory");
        let storage = DiskStorage::new(directory.path());
        std::fs::create_dir(directory.path().join("directory")).expect("made");
        std::os::unix::fs::symlink("directory", directory.path().join("link")).expect("linked");
        let pipe = directory.path().join("pipe").into_os_string().into_encoded_bytes();
        let pipe = std::ffi::CString::new(pipe).expect("no nul byte");
        // SAFETY: `pipe` ends in a nul byte.
        assert_eq!(unsafe { libc::mkfifo(pipe.as_ptr(), 0o600) }, 0);
        for name in ["directory", "link", "pipe", "missing"] {
            for access in [Access::Read, Access::Write] {
                storage.open(name, access).expect_err(name);
            }
        }
    }
}
