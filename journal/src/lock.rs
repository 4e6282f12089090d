//! Who owns a journal: an open-file-description lock on a file beside it.
//!
//! The kernel releases the lock when its last descriptor closes, however the owner ends. A descriptor
//! registered in a ring counts among them, so the lock outlives every write that a killed owner has in
//! flight. The text in the file is for messages, and says how long it is worth waiting for a holder: who owns the journal
//! is decided neither by a process id nor by a purpose nor by waiting.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::thread;
use std::time::Duration;

use crate::regular;

/// Mode of the lock file: nobody else can hold up the owner.
const FILE_MODE: u32 = 0o600;
/// Longest text that is read from a lock file.
const MAX_TEXT: u64 = 1024;
/// How often a lock is tried again on a file that has just been replaced.
const ATTEMPTS: usize = 16;
/// Between two tries for a lock that somebody holds.
const PAUSE: Duration = Duration::from_millis(2);
/// How often a lock is tried again that should be free soon, five seconds in all: one of a dead owner, whose writes are in
/// flight, or of who only completes what a dead one left.
const SOON: u32 = 2_500;
/// The same where the holder has no name yet, or none any more.
const NAMELESS: u32 = 10;

/// The right to write a journal, held until it is dropped or its process ends; where a ring holds the
/// descriptor of a process that was killed, until its writes in flight have ended.
#[derive(Debug)]
pub struct OwnerLock {
    file: File,
}

impl OwnerLock {
    /// Takes the lock file `path`, making it if need be. Waits, five seconds at most, for the writes that a dead owner has in
    /// flight, and who wants to publish also for who completes what a dead one left.
    ///
    /// # Errors
    /// [`LockError::Held`] where somebody else has it, in this process or another.
    pub fn acquire(path: &Path, purpose: Purpose) -> Result<Self, LockError> {
        Self::acquire_with(path, purpose, || thread::sleep(PAUSE))
    }

    fn acquire_with(path: &Path, purpose: Purpose, mut pause: impl FnMut()) -> Result<Self, LockError> {
        let failed = |source| LockError::Io { path: path.into(), source };
        let mut pauses = 0;
        for _ in 0..ATTEMPTS {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(FILE_MODE);
            let file = regular::open_as(&mut options, libc::O_NOFOLLOW, path).map_err(failed)?;
            while !set(&file, Kind::Exclusive).map_err(failed)? {
                let holder = holder(path);
                if pauses >= tries(holder.as_ref(), purpose) {
                    return Err(LockError::held(path, holder));
                }
                pause();
                pauses += 1;
            }
            if is_at(&file, path).map_err(failed)? {
                // For the message only, so a disk without room for it is no reason to refuse.
                let _ = introduce(&file, purpose);
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

/// How often the lock of `holder` is tried again by who wants it for `purpose`.
fn tries(holder: Option<&Holder>, purpose: Purpose) -> u32 {
    match holder {
        None => NAMELESS,
        Some(holder) if holder.is_gone() => SOON,
        // Who would complete it too has nothing to wait for: somebody is at it.
        Some(holder) if holder.purpose == Purpose::Complete && purpose == Purpose::Publish => SOON,
        Some(_) => 0,
    }
}

/// What a journal's lock is taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To write the journal, for as long as that takes.
    Publish,
    /// To complete what a dead writer left, which is soon done.
    Complete,
}

impl Purpose {
    fn name(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::Complete => "complete",
        }
    }
}

/// Why a lock could not be taken.
#[derive(Debug)]
pub enum LockError {
    /// Another process, or another part of this one, has it.
    Held {
        /// Who, by their own account: `process 1234 (risk-engine)`.
        holder: String,
        /// What for, by their own account.
        purpose: Purpose,
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

impl LockError {
    fn held(path: &Path, holder: Option<Holder>) -> Self {
        let purpose = holder.as_ref().map_or(Purpose::Publish, |holder| holder.purpose);
        let holder = holder.map_or("another process".into(), |holder| holder.to_string());
        Self::Held { holder, purpose, path: path.into() }
    }
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Held { holder, purpose: Purpose::Publish, path } => {
                write!(f, "{holder} is the writer: {}; stop it or use another bus", path.display())
            }
            Self::Held { holder, purpose: Purpose::Complete, path } => write!(
                f,
                "{holder} completes what a dead writer left: {}; try again when it has",
                path.display()
            ),
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
/// `PermissionDenied` for other users than the owner's, [`Unfit::NotRegular`](regular::Unfit) for what is no lock file;
/// whatever else the system answers.
pub fn is_held(path: &Path) -> io::Result<bool> {
    let file = match regular::open(path) {
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
    /// What it holds the lock for.
    pub purpose: Purpose,
}

impl Holder {
    fn this_process(purpose: Purpose) -> Self {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self {
            process: process::id(),
            boot: boot.trim().into(),
            start: start_of("self").unwrap_or(0),
            program: program(),
            purpose,
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
            // Older versions say none, and wait for nobody's.
            purpose: match field("purpose") {
                Some("complete") => Purpose::Complete,
                _ => Purpose::Publish,
            },
        })
    }

    fn text(&self) -> String {
        let Self { process, boot, start, program, purpose } = self;
        let purpose = purpose.name();
        format!("process {process}\nboot {boot}\nstart {start}\nprogram {program}\npurpose {purpose}\n")
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
    regular::open(path).ok()?.take(MAX_TEXT).read_to_string(&mut text).ok()?;
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
fn introduce(file: &File, purpose: Purpose) -> io::Result<()> {
    let text = Holder::this_process(purpose).text();
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
        let lock = OwnerLock::acquire(&path, Purpose::Publish).expect("free");
        assert!(is_held(&path).expect("probed"));
        let Err(LockError::Held { holder, path: at, .. }) = OwnerLock::acquire(&path, Purpose::Publish)
        else {
            panic!("held by us");
        };
        assert!(holder.starts_with(&format!("process {} (", process::id())), "{holder}");
        assert_eq!(at, path);
        assert!(is_held(&path).expect("probing took nothing"));
        drop(lock);
        assert!(!is_held(&path).expect("probed"));
        assert_eq!(super::holder(&path), None);
        drop(OwnerLock::acquire(&path, Purpose::Publish).expect("free again"));
    }

    #[test]
    fn a_copy_of_the_descriptor_holds_the_lock() {
        let directory = directory();
        let path = directory.path().join("lock");
        let lock = OwnerLock::acquire(&path, Purpose::Publish).expect("free");
        let copy = lock.file.try_clone().expect("a descriptor");
        lock.forget();
        OwnerLock::acquire(&path, Purpose::Publish).expect_err("held by the copy");
        drop(copy);
        OwnerLock::acquire(&path, Purpose::Publish).expect("free");
    }

    /// Tries for a lock that `held` holds until the pause of this number.
    fn acquire_until(
        path: &Path,
        purpose: Purpose,
        held: OwnerLock,
        pauses: u32,
    ) -> (Result<OwnerLock, LockError>, u32) {
        let (mut held, mut paused) = (Some(held), 0);
        let result = OwnerLock::acquire_with(path, purpose, || {
            paused += 1;
            held.take_if(|_| paused == pauses);
        });
        (result, paused)
    }

    #[test]
    fn a_publisher_waits_for_who_completes_a_dead_journal_and_gets_the_lock() {
        let directory = directory();
        let path = directory.path().join("lock");
        let finisher = OwnerLock::acquire(&path, Purpose::Complete).expect("free");
        let (lock, paused) = acquire_until(&path, Purpose::Publish, finisher, 1_000);
        assert_eq!((paused, holder(&path).expect("named").purpose), (1_000, Purpose::Publish));
        drop(lock.expect("it was let go"));
    }

    #[test]
    fn who_completes_for_ever_is_told_as_that_and_not_as_a_writer() {
        let directory = directory();
        let path = directory.path().join("lock");
        let finisher = OwnerLock::acquire(&path, Purpose::Complete).expect("free");
        let (refused, paused) = acquire_until(&path, Purpose::Publish, finisher, u32::MAX);
        let said = refused.expect_err("it is held").to_string();
        assert_eq!(paused, SOON);
        assert!(said.contains(") completes what a dead writer left: "), "{said}");
    }

    #[test]
    fn nobody_waits_for_a_writer_nor_a_second_finisher_for_the_first() {
        let directory = directory();
        let path = directory.path().join("lock");
        for (first, second) in [
            (Purpose::Publish, Purpose::Publish),
            (Purpose::Publish, Purpose::Complete),
            (Purpose::Complete, Purpose::Complete),
        ] {
            let held = OwnerLock::acquire(&path, first).expect("free");
            let (refused, paused) = acquire_until(&path, second, held, u32::MAX);
            let Err(LockError::Held { purpose, .. }) = refused else { panic!("held for {first:?}") };
            assert_eq!((purpose, paused), (first, 0));
        }
    }

    #[test]
    fn a_holder_without_a_name_is_given_a_moment_to_come_or_go() {
        let directory = directory();
        let path = directory.path().join("lock");
        let nameless = || {
            let lock = OwnerLock::acquire(&path, Purpose::Publish).expect("free");
            lock.file.set_len(0).expect("shortened");
            lock
        };
        let (lock, _) = acquire_until(&path, Purpose::Publish, nameless(), 3);
        drop(lock.expect("it went"));
        let (refused, paused) = acquire_until(&path, Purpose::Publish, nameless(), u32::MAX);
        let Err(LockError::Held { holder, .. }) = refused else { panic!("held") };
        assert_eq!((holder.as_str(), paused), ("another process", NAMELESS));
    }

    #[test]
    fn text_is_not_trusted() {
        let directory = directory();
        let path = directory.path().join("lock");
        for text in ["", "process", "process x\nboot\n", "\u{0}\u{1}", &"x".repeat(5000)] {
            fs::write(&path, text).expect("written");
            assert_eq!(holder(&path), None);
            assert!(!is_held(&path).expect("text holds nothing"));
            drop(OwnerLock::acquire(&path, Purpose::Publish).expect("free"));
        }
        for purpose in [Purpose::Publish, Purpose::Complete] {
            let ours = Holder::this_process(purpose);
            assert_eq!(Holder::parse(&ours.text()), Some(ours.clone()));
            assert!(ours.start > 0);
        }
        let text = Holder::this_process(Purpose::Publish).text();
        let older = text.strip_suffix("purpose publish\n").expect("the last line");
        assert_eq!(Holder::parse(older), Holder::parse(&text), "older versions only publish");
    }

    #[test]
    fn a_pipe_is_no_lock_and_holds_nobody_up() {
        let directory = directory();
        let path = directory.path().join("lock");
        assert!(process::Command::new("mkfifo").arg(&path).status().expect("mkfifo runs").success());
        let (told, answer) = std::sync::mpsc::channel();
        thread::spawn(move || {
            let acquired = OwnerLock::acquire(&path, Purpose::Publish).map(|_| ());
            told.send((is_held(&path), holder(&path), acquired)).expect("it is waited for");
        });
        let (held, holder, acquired) =
            answer.recv_timeout(Duration::from_secs(20)).expect("nobody waits for who writes into the pipe");
        assert_eq!((held.expect_err("unknown").kind(), holder), (ErrorKind::InvalidInput, None));
        let refused = acquired.expect_err("it cannot be locked").to_string();
        assert!(refused.ends_with("/lock; it is no regular file"), "{refused}");
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
                        OwnerLock::acquire(&path, Purpose::Publish).ok()
                    })
                })
                .collect();
            starters.into_iter().filter_map(|starter| starter.join().expect("no panic")).collect()
        });
        assert_eq!(wins.len(), 1);
    }
}
