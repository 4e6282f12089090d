//! Parking without a fence a message.
//!
//! A reader that wants to sleep sets a word in a small page of shared memory, calls an expedited memory barrier (so
//! that a writer that runs meanwhile has either seen the word or has published what the reader sees), looks once more
//! and sleeps on that word. The writer only loads the word after each commit and wakes the sleepers if it is set:
//! at most one call for a commit, however hostile a waiter is. A sleep is bounded, so a lost wake-up costs time only.
//!
//! Source: the asymmetric barrier of membarrier(2), `MEMBARRIER_CMD_GLOBAL_EXPEDITED`.

use std::{
    path::Path,
    sync::atomic::{AtomicU32, Ordering, compiler_fence, fence},
    time::Duration,
};

use crate::{
    control::own_page,
    layout::BLOCK,
    memory::{MemoryError, SegmentMemory},
    protocol::{self, Parking},
    storage::Access,
};

const GLOBAL_EXPEDITED: libc::c_int = 1 << 1;
const REGISTER_GLOBAL_EXPEDITED: libc::c_int = 1 << 2;

/// What a sleeper waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// Something was published.
    Published = 0,
    /// `durable` advanced.
    Durable = 64,
}

/// Lets this thread's short sleeps end when they should, not up to 50 µs later as the system does to save power
/// (prctl(2), `PR_SET_TIMERSLACK`).
pub(crate) fn sleep_precisely() {
    // SAFETY: takes no pointers and concerns this thread only. Where it is refused, sleeps are longer.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_u64) };
}

/// The page of a journal's waiters.
#[derive(Debug)]
pub(crate) struct Waiters {
    memory: SegmentMemory,
}

impl Waiters {
    pub(crate) const NAME: &'static str = "waiters";

    /// Makes the page, or takes over the one there is, and registers this process for the barriers of others.
    pub(crate) fn own(path: &Path) -> Result<Self, MemoryError> {
        let memory = own_page(path)?;
        // SAFETY: membarrier takes no pointers. A kernel without it answers an error; sleeps are bounded all the same.
        unsafe { libc::syscall(libc::SYS_membarrier, REGISTER_GLOBAL_EXPEDITED, 0) };
        Ok(Self { memory })
    }

    /// Maps the page for a reader; `None` where it may not write there: such a reader naps.
    pub(crate) fn attach(path: &Path) -> Option<Self> {
        let memory = SegmentMemory::open(path, Access::Write, BLOCK).ok()?;
        Some(Self { memory })
    }

    #[inline]
    fn parked(&self, event: Event, limit: Duration) -> Parked<'_> {
        // SAFETY: both offsets are aligned and inside the page, which stays mapped; only accessed atomically.
        let word = unsafe { AtomicU32::from_ptr(self.memory.base_mut().add(event as usize).cast()) };
        Parked { word, limit }
    }

    /// Wakes the sleepers, if there are any.
    #[inline]
    pub(crate) fn wake(&self, event: Event) {
        protocol::wake(&self.parked(event, Duration::ZERO));
    }

    /// Sleeps until woken, at most `limit`, unless `ready` says after the barrier that there is something to do.
    pub(crate) fn sleep(&self, event: Event, limit: Duration, ready: impl FnOnce() -> bool) {
        protocol::sleep(&self.parked(event, limit), ready);
    }
}

/// A word of the page, and how long its sleepers sleep at most.
struct Parked<'a> {
    word: &'a AtomicU32,
    limit: Duration,
}

impl protocol::Word<u32> for Parked<'_> {
    #[inline]
    fn load(&self, order: Ordering) -> u32 {
        self.word.load(order) // ORDERING: the caller's, in `protocol`
    }
    #[inline]
    fn store(&self, value: u32, order: Ordering) {
        self.word.store(value, order); // ORDERING: the caller's, in `protocol`
    }
    #[inline]
    fn fence(order: Ordering) {
        fence(order); // ORDERING: the caller's, in `protocol`
    }
}

impl Parking for Parked<'_> {
    #[inline]
    fn compiler_fence() {
        compiler_fence(Ordering::SeqCst); // ORDERING: keeps the load of `wake` behind the commit, with no instruction
    }

    fn barrier(&self) {
        // SAFETY: takes no pointers. Where it is refused, sleeps are bounded all the same.
        unsafe { libc::syscall(libc::SYS_membarrier, GLOBAL_EXPEDITED, 0) };
    }

    fn wait(&self, value: u32) {
        let timeout = libc::timespec {
            tv_sec: self.limit.as_secs().cast_signed(),
            tv_nsec: i64::from(self.limit.subsec_nanos()),
        };
        let word = self.word.as_ptr();
        // SAFETY: word and timeout live through the call; FUTEX_WAIT returns at once if the word has another value.
        unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAIT, value, &raw const timeout) };
    }

    #[cold]
    fn wake_all(&self) {
        // SAFETY: the word is mapped and aligned; FUTEX_WAKE takes nothing else.
        unsafe { libc::syscall(libc::SYS_futex, self.word.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
    }
}
