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
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use crate::{
    control::own_page,
    layout::BLOCK,
    memory::{MemoryError, SegmentMemory},
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

    fn word(&self, event: Event) -> &AtomicU32 {
        // SAFETY: both offsets are aligned and inside the page, which stays mapped; only accessed atomically.
        unsafe { AtomicU32::from_ptr(self.memory.base_mut().add(event as usize).cast()) }
    }

    /// Wakes the sleepers, if there are any.
    #[inline]
    pub(crate) fn wake(&self, event: Event) {
        let word = self.word(event);
        // ORDERING: Relaxed: ordered after the commit by the sleeper's expedited barrier (see the module's head).
        if word.load(Ordering::Relaxed) != 0 {
            // ORDERING: Relaxed: a sleeper that sets it again afterwards looks again before it sleeps.
            word.store(0, Ordering::Relaxed);
            // SAFETY: the word is mapped and aligned; FUTEX_WAKE takes nothing else.
            unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
        }
    }

    /// Sleeps until woken, at most `limit`, unless `ready` says after the barrier that there is something to do.
    pub(crate) fn sleep(&self, event: Event, limit: Duration, ready: impl FnOnce() -> bool) {
        let word = self.word(event);
        word.store(1, Ordering::Relaxed); // ORDERING: before the barrier below, which pairs with the load in `wake`
        // SAFETY: takes no pointers.
        unsafe { libc::syscall(libc::SYS_membarrier, GLOBAL_EXPEDITED, 0) };
        if ready() {
            return;
        }
        let timeout = libc::timespec {
            tv_sec: limit.as_secs().cast_signed(),
            tv_nsec: i64::from(limit.subsec_nanos()),
        };
        // SAFETY: word and timeout live through the call; FUTEX_WAIT returns at once if the word is no longer 1.
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, 1, &raw const timeout) };
    }
}
