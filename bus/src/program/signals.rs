//! SIGINT, SIGTERM and SIGHUP (the terminal was closed): the first asks the program to stop, the second ends it at
//! once, unless it is another SIGHUP.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A command has asked to be stopped gently.
static WATCHED: AtomicBool = AtomicBool::new(false);
/// A signal came since.
static SIGNALLED: AtomicBool = AtomicBool::new(false);

/// Asks running work to stop taking input, make everything durable and end. Clones ask and answer together.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    requested: Arc<AtomicBool>,
    on_signals: bool,
}

impl Stop {
    /// A stop that only [`Stop::request`] requests.
    pub fn new() -> Self {
        Self::default()
    }

    /// A stop that also the first SIGINT, SIGTERM or SIGHUP requests. From now on that signal no longer ends the process
    /// (a second one does, but for SIGHUP), so the caller must look at [`Stop::requested`] often, at least each 100 ms.
    pub fn on_signals() -> Self {
        install();
        // ORDERING: Release pairs with the handler's Acquire; nothing else is published by it.
        WATCHED.store(true, Ordering::Release);
        Self { requested: Arc::default(), on_signals: true }
    }

    /// Requests the stop.
    pub fn request(&self) {
        // ORDERING: Release pairs with the Acquire in `requested`: what was done before the request is seen after it.
        self.requested.store(true, Ordering::Release);
    }

    /// Whether to stop.
    pub fn requested(&self) -> bool {
        // ORDERING: Acquire pairs with the Release in `request` and in the handler.
        self.requested.load(Ordering::Acquire) || (self.on_signals && SIGNALLED.load(Ordering::Acquire))
    }

    /// Sleeps for `time`, less if the stop is requested; says whether it is.
    pub fn sleep(&self, time: Duration) -> bool {
        let started = Instant::now();
        while !self.requested() {
            let Some(rest) = time.checked_sub(started.elapsed()).filter(|rest| !rest.is_zero()) else {
                return false;
            };
            std::thread::sleep(rest.min(Duration::from_millis(20)));
        }
        true
    }
}

/// The exit code of a process that a signal ended at once.
const ENDED_AT_ONCE: libc::c_int = super::Exit::CouldNotRun as libc::c_int;

/// Handles the signals from now on; SIGHUP where it is not ignored, as under nohup.
pub(super) fn install() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: `action` and `before` are plain C structures for which zeros are valid (no flags, empty mask); the
        // handler only calls what is async-signal-safe.
        let result = unsafe {
            let mut before: libc::sigaction = std::mem::zeroed();
            let asked = libc::sigaction(signal, std::ptr::null(), &raw mut before);
            if signal == libc::SIGHUP && asked == 0 && before.sa_sigaction == libc::SIG_IGN {
                continue;
            }
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_signal as extern "C" fn(libc::c_int) as libc::sighandler_t;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut())
        };
        assert_eq!(result, 0, "SIGINT, SIGTERM and SIGHUP can be handled");
    }
}

extern "C" fn on_signal(signal: libc::c_int) {
    // ORDERING: AcqRel: Acquire pairs with the Release in `on_signals`, Release with the Acquire in `requested`.
    let is_watched = WATCHED.load(Ordering::Acquire);
    let is_second = is_watched && SIGNALLED.swap(true, Ordering::AcqRel);
    // One closed terminal is told twice: by its shell and, once that has gone, by the system.
    if !is_watched || (is_second && signal != libc::SIGHUP) {
        // SAFETY: `_exit` is async-signal-safe and runs no destructors.
        unsafe { libc::_exit(ENDED_AT_ONCE) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_reaches_all_clones() {
        let stop = Stop::new();
        let other = stop.clone();
        assert!(!other.requested() && !other.sleep(Duration::ZERO));
        stop.request();
        assert!(other.requested() && other.sleep(Duration::from_secs(3600)));
    }
}
