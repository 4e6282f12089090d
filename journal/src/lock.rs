//! Who owns a journal: an open-file-description lock on a file beside it.
//!
//! The kernel releases the lock when its last descriptor closes, however the owner ends. A descriptor
//! registered in a ring counts among them, so the lock outlives every write that a killed owner has in
//! flight. The text in the file is for messages: nothing is decided by a process id or by waiting.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::thread;
use std::time::{Duration, Instant};

/// Mode of the lock file: nobody else can hold up the owner.
const FILE_MODE: u32 = 0o600;
/// Longest text that is read from a lock file.
const MAX_TEXT: u64 = 1024;
/// How often a lock is tried again on a file that has just been replaced.
const ATTEMPTS: usize = 16;
/// How long the writes of a dead owner are waited for, and how often the lock is tried meanwhile.
const LAST_WRITES: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(2);

/// The right to write a journal, held until it is dropped or its process ends; where a ring holds the
/// descriptor of a process that was killed, until its writes in flight have ended.
#[derive(Debug)]
pub struct OwnerLock {
    file: File,
}

impl OwnerLock {
    /// Takes the lock file `path`, making it if need be. Waits only for the writes that a dead owner has in flight.
    ///
    /// # Errors
    /// [`LockError::Held`] where somebody else has it, in this process or another.
    pub fn acquire(path: &Path) -> Result<Self, LockError> {
        let failed = |source| LockError::Io { path: path.into(), source };
        let start = Instant::now();
        for _ in 0..ATTEMPTS {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(FILE_MODE)
                .custom_flags(libc::O_NOFOLLOW)
                .open(path)
                .map_err(failed)?;
            while !set(&file, Kind::Exclusive).map_err(failed)? {
                let holder = holder(path);
                if start.elapsed() > LAST_WRITES || !holder.as_ref().is_some_and(Holder::is_gone) {
                    let holder = holder.map_or("another process".into(), |holder| holder.to_string());
                    return Err(LockError::Held { holder, path: path.into() });
                }
                thread::sleep(PAUSE);
            }
            if is_at(&file, path).map_err(failed)? {
                // For the message only, so a disk without room for it is no reason to refuse.
                let _ = introduce(&file);
                return Ok(Self { file });
            }
        }
        Err(failed(ErrorKind::ResourceBusy.into()))
    }

    /// The descriptor, to be registered in the ring that writes.
    #[must_use]
    pub fn raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Closes the descriptor without freeing the lock, as the end of a killed process does.
    #[cfg(test)]
    pub(crate) fn forget(self) {
        use std::os::fd::{FromRawFd, OwnedFd};
        let this = std::mem::ManuallyDrop::new(self);
        // SAFETY: the descriptor is ours and, as the drop does not run, closed only here.
        drop(unsafe { OwnedFd::from_raw_fd(this.file.as_raw_fd()) });
    }
}

impl Drop for OwnerLock {
    fn drop(&mut self) {
        // For the message only: who looks next should not see our name.
        let _ = self.file.set_len(0);
        // Free at once, although a ring may keep the descriptor for a while. Closing it frees the lock in the end.
        let _ = set(&self.file, Kind::None);
    }
}

/// Why a lock could not be taken.
#[derive(Debug)]
pub enum LockError {
    /// Another process, or another part of this one, has it.
    Held {
        /// Who, by their own account: `process 1234 (risk-engine)`.
        holder: String,
        /// The lock file.
        path: PathBuf,
    },
    /// The lock file cannot be made or locked.
    Io {
        /// The lock file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held { holder, path } => {
                write!(f, "{holder} is the writer: {}; stop it or use another bus", path.display())
            }
            Self::Io { path, source } => {
                write!(f, "cannot lock: {}; {source}", path.display())
            }
        }
    }
}

impl std::error::Error for LockError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Held { .. } => None,
            Self::Io { source, .. } => Some(source),
        }
    }
}

/// Whether somebody holds the lock file `path`, found out without taking it. A missing file is free.
///
/// # Errors
/// `PermissionDenied` for other users than the owner's; whatever else the system answers.
pub fn is_held(path: &Path) -> io::Result<bool> {
    let file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
        file => file?,
    };
    is_locked(&file)
}

/// Whether somebody holds the open file, found out without taking it.
pub(crate) fn is_locked(file: &File) -> io::Result<bool> {
    let mut lock = whole_file(Kind::Exclusive);
    // SAFETY: asks about our own open descriptor; `lock` is a `flock` to be written to.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(libc::c_int::from(lock.l_type) != libc::F_UNLCK)
}

/// What a lock's holder says about itself. Good for messages only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Process id, in the holder's own process namespace.
    pub process: u32,
    /// The boot that the process ran in, as the kernel names it.
    pub boot: String,
    /// When the process started, in clock ticks since that boot.
    pub start: u64,
    /// The program's name.
    pub program: String,
}

impl Holder {
    fn this_process() -> Self {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self {
            process: process::id(),
            boot: boot.trim().into(),
            start: start_of("self").unwrap_or(0),
            program: program(),
        }
    }

    /// Whether no process of this account runs where we look, so that waiting a little makes sense. It decides nothing
    /// else: the lock does.
    pub(crate) fn is_gone(&self) -> bool {
        start_of(&self.process.to_string()) != Some(self.start)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        Some(Self {
            process: field("process")?.parse().ok()?,
            boot: field("boot")?.into(),
            start: field("start")?.parse().ok()?,
            program: field("program")?.chars().filter(|c| !c.is_control()).collect(),
        })
    }

    fn text(&self) -> String {
        let Self { process, boot, start, program } = self;
        format!("process {process}\nboot {boot}\nstart {start}\nprogram {program}\n")
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({})", self.process, self.program)
    }
}

/// The name of this process's program.
pub(crate) fn program() -> String {
    let path = std::env::current_exe().unwrap_or_default();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.chars().filter(|c| !c.is_control()).collect()
}

/// What the file `path` says about its holder; none where it says nothing that can be understood.
#[must_use]
pub fn holder(path: &Path) -> Option<Holder> {
    let mut text = String::new();
    File::open(path).ok()?.take(MAX_TEXT).read_to_string(&mut text).ok()?;
    Holder::parse(&text)
}

/// How a file is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// With others that share.
    Shared,
    /// Alone.
    Exclusive,
    /// Not at all.
    None,
}

/// Locks the whole of `file`, or turns its lock into one of this kind, without waiting; false where
/// others are in the way, and then a lock held before is still held.
pub(crate) fn set(file: &File, kind: Kind) -> io::Result<bool> {
    let lock = whole_file(kind);
    // SAFETY: locks our own open descriptor; `lock` is only read.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) } == 0 {
        return Ok(true);
    }
    match io::Error::last_os_error() {
        error if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
        error => Err(error),
    }
}

/// Whether `path` still names this very file.
pub(crate) fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (ours.dev(), ours.ino())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn whole_file(kind: Kind) -> libc::flock {
    // SAFETY: a plain C structure of integers, for which all zeros is a value: from the start, without
    // end, of no process.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    let kind = match kind {
        Kind::Shared => libc::F_RDLCK,
        Kind::Exclusive => libc::F_WRLCK,
        Kind::None => libc::F_UNLCK,
    };
    lock.l_type = libc::c_short::try_from(kind).expect("a small constant");
    lock.l_whence = libc::c_short::try_from(libc::SEEK_SET).expect("a small constant");
    lock
}

/// Writes this process's name into the file, over the one before rather than after clearing it, so
/// that there always is one to read.
fn introduce(file: &File) -> io::Result<()> {
    let text = Holder::this_process().text();
    file.write_all_at(text.as_bytes(), 0)?;
    file.set_len(text.len() as u64)
}

/// When a process started: the 22nd field of its `stat`; the second may contain blanks and parentheses. None for one
/// that is gone or about to go.
fn start_of(process: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, after_name) = status.rsplit_once(") ")?;
    let mut fields = after_name.split(' ');
    let is_alive = !matches!(fields.next()?, "Z" | "X");
    is_alive.then(|| fields.nth(18)?.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directory() -> tempfile::TempDir {
        tempfile::tempdir().expect("a directory")
    }

    #[test]
    fn the_second_owner_is_refused_and_told_the_first() {
        let directory = directory();
        let path = directory.path().join("lock");
        assert!(!is_held(&path).expect("no file is free"));
        let lock = OwnerLock::acquire(&path).expect("free");
        assert!(is_held(&path).expect("probed"));
        let Err(LockError::Held { holder, path: at }) = OwnerLock::acquire(&path) else {
            panic!("held by us");
        };
        assert!(holder.starts_with(&format!("process {} (", process::id())), "{holder}");
        assert_eq!(at, path);
        assert!(is_held(&path).expect("probing took nothing"));
        drop(lock);
        assert!(!is_held(&path).expect("probed"));
        assert_eq!(super::holder(&path), None);
        drop(OwnerLock::acquire(&path).expect("free again"));
    }

    #[test]
    fn a_copy_of_the_descriptor_holds_the_lock() {
        let directory = directory();
        let path = directory.path().join("lock");
        let lock = OwnerLock::acquire(&path).expect("free");
        let copy = lock.file.try_clone().expect("a descriptor");
        lock.forget();
        OwnerLock::acquire(&path).expect_err("held by the copy");
        drop(copy);
        OwnerLock::acquire(&path).expect("free");
    }

    #[test]
    fn text_is_not_trusted() {
        let directory = directory();
        let path = directory.path().join("lock");
        for text in ["", "process", "process x\nboot\n", "\u{0}\u{1}", &"x".repeat(5000)] {
            fs::write(&path, text).expect("written");
            assert_eq!(holder(&path), None);
            assert!(!is_held(&path).expect("text holds nothing"));
            drop(OwnerLock::acquire(&path).expect("free"));
        }
        let ours = Holder::this_process();
        assert_eq!(Holder::parse(&ours.text()), Some(ours.clone()));
        assert!(ours.start > 0);
    }

    #[test]
    fn of_many_starters_one_wins() {
        let directory = directory();
        let path = directory.path().join("lock");
        let barrier = std::sync::Barrier::new(16);
        let wins: Vec<_> = std::thread::scope(|scope| {
            let starters: Vec<_> = (0..16)
                .map(|_| {
                    scope.spawn(|| {
                        barrier.wait();
                        OwnerLock::acquire(&path).ok()
                    })
                })
                .collect();
            starters.into_iter().filter_map(|starter| starter.join().expect("no panic")).collect()
        });
        assert_eq!(wins.len(), 1);
    }
}
