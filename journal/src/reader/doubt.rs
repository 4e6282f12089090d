//! Before something is called lost: while a journal has shared memory, what is not found may be there a moment later.

use std::{fs, io, thread, time::Duration};

use super::{Reader, SECOND_TRY};
use crate::control::Control;

/// The first pause; each one behind it is twice as long.
const FIRST_PAUSE: Duration = Duration::from_micros(100);

/// Pauses between looks for the same thing, all of which together last `SECOND_TRY`.
#[derive(Debug)]
pub(super) struct Doubt {
    next: Duration,
    left: Duration,
}

impl Doubt {
    pub(super) fn new() -> Self {
        Self { next: FIRST_PAUSE, left: SECOND_TRY }
    }

    /// What is found now is final: it was waited for elsewhere.
    pub(super) fn end(&mut self) {
        self.left = Duration::ZERO;
    }

    /// Pauses; false once that was done for long enough.
    fn pause(&mut self) -> bool {
        let now = self.next.min(self.left);
        (self.next, self.left) = (2 * self.next, self.left - now);
        thread::sleep(now);
        !now.is_zero()
    }
}

impl Reader {
    /// Pauses if it is worth looking again for what was not found, or was refused: a writer's helper or somebody else may
    /// be at the files of a journal that has memory. What has none is what it is, but for what the system refuses.
    ///
    /// The reader waits here, for a few tens of microseconds as a rule, rather than to say that there is nothing yet: that
    /// is what who reads up to the end takes for the end.
    pub(super) fn looks_again(&self, doubt: &mut Doubt, is_refused: bool) -> bool {
        (is_refused || self.has_memory()) && doubt.pause()
    }

    /// Whether the journal has, or may have, memory of an owner, dead or alive.
    fn has_memory(&self) -> bool {
        let is_none = |error: &io::Error| {
            matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
        };
        let page = || fs::symlink_metadata(self.places.memory_dir.join(Control::NAME));
        self.control.is_some() || !page().is_err_and(|error| is_none(&error))
    }
}
