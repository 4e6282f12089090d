//! Who is told how far long work has come.

use bus::program::Progress;

/// Is told how far long work has come.
pub trait Show {
    /// The work is where `describe` says; called now and then, and before each pause while something is waited for.
    fn show(&mut self, describe: impl FnOnce() -> String);
}

impl Show for Progress {
    fn show(&mut self, describe: impl FnOnce() -> String) {
        Self::show(self, describe);
    }
}
