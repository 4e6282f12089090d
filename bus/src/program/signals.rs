//! SIGINT and SIGTERM: the first asks the program to stop, the second ends it at once.

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

    /// A stop that also the first SIGINT or SIGTERM requests. From now on that signal no longer ends the process
    /// (the second one does), so the caller must look at [`Stop::requested`] often, at least each 100 ms.
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

/// Handles SIGINT and SIGTERM from now on.
pub(super) fn install() {
    for signal in [libc::SIGINT, libc::SIGTERM] {
        // SAFETY: `action` is a plain C structure for which zeros are valid (no flags, empty mask); the handler only
        // calls what is async-signal-safe.
        let result = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = on_signal as extern "C" fn(libc::c_int) as libc::sighandler_t;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut())
        };
        assert_eq!(result, 0, "SIGINT and SIGTERM can be handled");
    }
}

extern "C" fn on_signal(_: libc::c_int) {
    // ORDERING: AcqRel: Acquire pairs with the Release in `on_signals`, Release with the Acquire in `requested`.
    let at_once = !WATCHED.load(Ordering::Acquire) || SIGNALLED.swap(true, Ordering::AcqRel);
    if at_once {
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
