//! The engine that keeps several durable writes in flight in an io_uring.
//!
//! Plain writes with `RWF_DSYNC` on each: registered buffers gain almost nothing here, cost locked
//! memory and need a writable mapping, and a separate `fsync` in the ring always takes a detour
//! through a kernel worker.

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::RawFd;
use std::time::Duration;

use io_uring::register::Restriction;
use io_uring::types::{Fd, SubmitArgs, Timespec};
use io_uring::{IoUring, Probe, opcode, squeue};

use super::pwrite::whole_blocks;
use super::{Completion, Engine, Write, assert_blocks};

/// Most writes that one engine keeps in flight: more only queue up in the disk.
const MAX_DEPTH: usize = 64;
/// Most descriptors that the ring keeps open for their own sake.
const MAX_HELD: usize = 64;
/// Most bytes of one submission; what is longer goes on as a short write does.
const MAX_LENGTH: usize = 1 << 30;
/// How often a submission that the kernel has no memory for is tried again.
const ATTEMPTS: usize = 1000;

/// Longest wait that is given to the kernel, which refuses those beyond its own clock.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// How long a drop waits at once for what is in flight.
const DROP_STEP: Duration = Duration::from_millis(100);

/// A write in the ring, and how much of it is durable already.
#[derive(Debug)]
struct InFlight {
    write: Write,
    done: usize,
}

/// Durable writes through an io_uring, as many in flight as asked for.
pub struct UringEngine {
    ring: IoUring,
    /// One place for each write in flight; its index is the ring's `user_data`. The ring has room for twice as many
    /// completions, so it never overflows.
    slots: Vec<Option<InFlight>>,
    /// A ring for a single issuer starts disabled and belongs to the thread that enables it.
    enabled: bool,
    /// The kernel refused to take a submission; what lies in the queue must never be submitted.
    broken: bool,
    /// The ring's table of registered descriptors, -1 where it has room. Empty until the first one comes.
    held: Vec<RawFd>,
}

impl UringEngine {
    /// A ring for `depth` writes in flight.
    ///
    /// # Errors
    /// [`UringRefused`] where this process may not or cannot have one.
    ///
    /// # Panics
    /// If `depth` is not in 1 ..= 64.
    pub fn new(depth: usize) -> Result<Self, UringRefused> {
        assert!((1..=MAX_DEPTH).contains(&depth), "a ring of depth {depth}");
        let entries = u32::try_from(depth).expect("at most 64");
        let mut modern = IoUring::builder();
        modern.setup_single_issuer().setup_defer_taskrun().setup_r_disabled();
        let (ring, enabled) = match modern.build(entries) {
            // Linux before 6.1 knows neither flag.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => (IoUring::new(entries), true),
            ring => (ring, false),
        };
        let ring = ring.map_err(UringRefused::from_setup)?;
        if !can_write(&ring)? {
            return Err(UringRefused::TooOld);
        }
        if !enabled {
            restrict(&ring).map_err(UringRefused::from_setup)?;
        }
        Ok(Self { ring, slots: (0..depth).map(|_| None).collect(), enabled, broken: false, held: Vec::new() })
    }

    fn enable(&mut self) -> io::Result<()> {
        if !self.enabled {
            self.ring.submitter().register_enable_rings()?;
            self.enabled = true;
        }
        Ok(())
    }

    /// Queues what is left of the write in `slot` and hands it to the kernel.
    fn start(&mut self, slot: usize) -> io::Result<()> {
        if self.broken {
            return Err(io::Error::other("the ring has failed before"));
        }
        let InFlight { write, done } = self.slots[slot].as_ref().expect("a write in its slot");
        let entry = entry(write, *done)?.user_data(slot as u64);
        // SAFETY: `Engine::submit` demands that the memory stays until the completion is taken, and
        // the slot keeps the file open until then.
        unsafe { self.ring.submission().push(&entry) }.expect("room for each slot");
        let submitted = self.enter();
        self.broken = submitted.is_err();
        submitted
    }

    /// Has the kernel take what is queued. It refuses for a while only when short of memory.
    fn enter(&mut self) -> io::Result<()> {
        for _ in 0..ATTEMPTS {
            match self.ring.submit() {
                Err(error) if is_transient(&error) => std::thread::yield_now(),
                submitted => submitted.map(drop)?,
            }
            if self.ring.submission().is_empty() {
                return Ok(());
            }
        }
        Err(io::Error::from(ErrorKind::OutOfMemory))
    }

    /// Takes a completion that the ring holds already; goes on with writes that ended short.
    fn take(&mut self) -> Option<Completion> {
        loop {
            let entry = self.ring.completion().next()?;
            let slot = usize::try_from(entry.user_data()).expect("a slot");
            if let Some(completion) = self.advance(slot, entry.result()) {
                return Some(completion);
            }
        }
    }

    /// Books the result of one submission; none where the write goes on.
    fn advance(&mut self, slot: usize, result: i32) -> Option<Completion> {
        let result = match usize::try_from(result) {
            Err(_) if is_transient(&io::Error::from_raw_os_error(-result)) => Ok(0),
            Err(_) => Err(io::Error::from_raw_os_error(-result)),
            Ok(written) => whole_blocks(written),
        };
        let result = match result.and_then(|written| self.go_on(slot, written)) {
            Ok(false) => return None,
            Ok(true) => Ok(()),
            Err(error) => Err(error),
        };
        let write = self.slots[slot].take().expect("a completion of a write in flight").write;
        Some(Completion { token: write.token, offset: write.offset, result })
    }

    /// Starts what is left after `written` more bytes; answers whether that is nothing.
    fn go_on(&mut self, slot: usize, written: usize) -> io::Result<bool> {
        let in_flight = self.slots[slot].as_mut().expect("a completion of a write in flight");
        in_flight.done += written;
        if in_flight.done < in_flight.write.length {
            self.start(slot)?;
            return Ok(false);
        }
        Ok(true)
    }

    /// Puts `new` in the place of `old` in the ring's table, if that has it.
    fn replace_held(&mut self, old: RawFd, new: RawFd) {
        let Some(place) = self.held.iter().position(|held| *held == old) else { return };
        let place_in_ring = u32::try_from(place).expect("at most MAX_HELD");
        if self.ring.submitter().register_files_update(place_in_ring, &[new]).is_ok() {
            self.held[place] = new;
        }
    }

    /// Lets the kernel finish what it can, and waits up to `wait` for one completion.
    ///
    /// Never submits: a queue that the kernel has refused stays where it is.
    fn reap(&self, wait: Option<Duration>) -> io::Result<()> {
        const GETEVENTS: u32 = 1;
        const EXT_ARG: u32 = 1 << 3;
        let Some(wait) = wait else {
            // SAFETY: submits nothing and passes no argument.
            return unsafe { self.ring.submitter().enter::<libc::sigset_t>(0, 0, GETEVENTS, None) }.map(drop);
        };
        let wait = Timespec::from(wait.min(LONGEST_WAIT));
        let arguments = SubmitArgs::new().timespec(&wait);
        // SAFETY: submits nothing; the argument is what `EXT_ARG` announces and outlives the call.
        unsafe { self.ring.submitter().enter(0, 1, GETEVENTS | EXT_ARG, Some(&arguments)) }.map(drop)
    }
}

impl Engine for UringEngine {
    fn name(&self) -> &'static str {
        "io_uring"
    }

    fn depth(&self) -> usize {
        self.slots.len()
    }

    unsafe fn submit(&mut self, write: Write) -> io::Result<()> {
        assert_blocks(write.bytes, write.length, write.offset);
        let slot = self.slots.iter().position(Option::is_none).expect("a write beyond the engine's depth");
        self.enable()?;
        self.slots[slot] = Some(InFlight { write, done: 0 });
        let started = self.start(slot);
        if started.is_err() {
            self.slots[slot] = None;
        }
        started
    }

    fn complete(&mut self, wait: Option<Duration>) -> Option<Completion> {
        if self.in_flight() == 0 {
            return None;
        }
        if let Some(completion) = self.take() {
            return Some(completion);
        }
        if let Err(error) = self.reap(wait) {
            // Interrupted, timed out or short of memory: there is nothing to take yet.
            assert!(
                is_transient(&error),
                "the ring refuses to wait, as it does on another thread than its own: {error}"
            );
        }
        self.take()
    }

    fn in_flight(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    /// The ring keeps registered descriptors open until its last write has ended, even when this process is killed.
    fn hold(&mut self, descriptor: RawFd) {
        if self.held.is_empty() && self.ring.submitter().register_files(&[-1; MAX_HELD]).is_ok() {
            self.held = vec![-1; MAX_HELD];
        }
        self.replace_held(-1, descriptor);
    }

    fn release(&mut self, descriptor: RawFd) {
        self.replace_held(descriptor, -1);
    }
}

impl Drop for UringEngine {
    /// Waits for what is in flight: by its completion, or, where the ring gives none (on another
    /// thread than its own), by the barrier of its file.
    fn drop(&mut self) {
        while self.in_flight() > 0 {
            if self.take().is_none() && self.reap(Some(DROP_STEP)).is_err_and(|error| !is_transient(&error)) {
                break;
            }
        }
        for in_flight in self.slots.drain(..).flatten() {
            // Nobody is left to tell; the file's next user syncs and sees the error.
            let _ = in_flight.write.file.barrier();
        }
    }
}

impl fmt::Debug for UringEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UringEngine")
            .field("depth", &self.slots.len())
            .field("in_flight", &self.in_flight())
            .field("broken", &self.broken)
            .finish_non_exhaustive()
    }
}

/// The ring's entry for what is left of a write.
fn entry(write: &Write, done: usize) -> io::Result<squeue::Entry> {
    let descriptor = write.file.raw_fd().ok_or(ErrorKind::Unsupported)?;
    let length = (write.length - done).min(MAX_LENGTH);
    let entry = opcode::Write::new(
        Fd(descriptor),
        write.bytes.wrapping_add(done),
        u32::try_from(length).expect("at most MAX_LENGTH"),
    );
    Ok(entry.offset(write.offset + done as u64).rw_flags(libc::RWF_DSYNC).build())
}

/// Whether the ring has what the engine uses: plain writes and waiting with a time limit (Linux 5.11).
fn can_write(ring: &IoUring) -> Result<bool, UringRefused> {
    let mut operations = Probe::new();
    ring.submitter().register_probe(&mut operations).map_err(UringRefused::from_setup)?;
    Ok(operations.is_supported(opcode::Write::CODE) && ring.params().is_feature_ext_arg())
}

/// From the moment it is enabled the ring writes and keeps descriptors, and does nothing else, whatever is asked of it.
fn restrict(ring: &IoUring) -> io::Result<()> {
    // Of the kernel's `io_uring_register_op`.
    const FILES: u8 = 2;
    const FILES_UPDATE: u8 = 6;
    ring.submitter().register_restrictions(&mut [
        Restriction::sqe_op(opcode::Write::CODE),
        Restriction::register_op(FILES),
        Restriction::register_op(FILES_UPDATE),
    ])
}

/// Whether the kernel only asks to try again.
fn is_transient(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::EBUSY | libc::ETIME))
}

/// Tells whether this process may use an io_uring, and whether the kernel's has what the engine needs.
///
/// # Errors
/// Why not, and what to do about it.
pub fn probe() -> Result<(), UringRefused> {
    let mut engine = UringEngine::new(1)?;
    engine.enable().map_err(UringRefused::from_setup)?;
    // Some sandboxes allow the set-up and refuse the use.
    engine.ring.submitter().submit_and_wait(0).map_err(UringRefused::from_setup)?;
    Ok(())
}

/// Why there is no io_uring, and what to do about it. The journal works without one.
#[derive(Debug)]
pub enum UringRefused {
    /// `ENOSYS`: the kernel has none, or a sandbox hides it.
    Absent {
        /// Whether a seccomp filter is active on this process, which then is the likelier cause.
        filtered: bool,
    },
    /// `EPERM` while a seccomp filter is active: the default of container runtimes.
    Seccomp,
    /// `EPERM` because of the sysctl `kernel.io_uring_disabled`, of this value.
    Sysctl(u8),
    /// `ENOMEM`: the user's limit on locked memory, which rings count against, is used up, or memory is
    /// short.
    LockedMemory,
    /// The kernel's rings lack plain writes or timed waits: it is older than Linux 5.11.
    TooOld,
    /// Anything else.
    Other(io::Error),
}

impl UringRefused {
    fn from_setup(error: io::Error) -> Self {
        match error.raw_os_error() {
            Some(libc::ENOSYS) => Self::Absent { filtered: is_filtered() },
            Some(libc::EPERM | libc::EACCES) => match disabled_by_sysctl() {
                level @ 2 => Self::Sysctl(level),
                _ if is_filtered() => Self::Seccomp,
                level @ 1 => Self::Sysctl(level),
                _ => Self::Other(error),
            },
            Some(libc::ENOMEM) => Self::LockedMemory,
            _ => Self::Other(error),
        }
    }
}

impl fmt::Display for UringRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent { filtered: false } => {
                f.write_str("no io_uring: this kernel has none; use Linux 5.11 or newer")
            }
            Self::Absent { filtered: true } => f.write_str(
                "no io_uring: hidden by a sandbox or absent from the kernel; allow io_uring_setup, \
                 io_uring_enter and io_uring_register in the seccomp profile",
            ),
            Self::Seccomp => f.write_str(
                "no io_uring: denied by a seccomp filter; allow io_uring_setup, io_uring_enter and \
                 io_uring_register in the container's profile",
            ),
            Self::Sysctl(level) => {
                write!(f, "no io_uring: denied by kernel.io_uring_disabled = {level}; set it to 0")
            }
            Self::LockedMemory => f.write_str(
                "no io_uring: no memory to lock; raise the limit on locked memory (ulimit -l, LimitMEMLOCK)",
            ),
            Self::TooOld => f.write_str("no io_uring: this kernel's is too old; use Linux 5.11 or newer"),
            Self::Other(error) => write!(f, "no io_uring: {error}; the journal works without it"),
        }
    }
}

impl std::error::Error for UringRefused {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Other(error) => Some(error),
            _ => None,
        }
    }
}

/// The sysctl that denies rings: 0 to nobody, 1 to users outside a group, 2 to all.
fn disabled_by_sysctl() -> u8 {
    let level = fs::read_to_string("/proc/sys/kernel/io_uring_disabled");
    level.ok().and_then(|level| level.trim().parse().ok()).unwrap_or(0)
}

/// Whether a seccomp filter is active on this thread.
fn is_filtered() -> bool {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    status.lines().filter_map(|line| line.strip_prefix("Seccomp:")).any(|mode| mode.trim() == "2")
}

#[cfg(test)]
mod tests;
