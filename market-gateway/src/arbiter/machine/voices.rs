//! Which lines say the highest number that is known, and which go on below it.

use std::time::Duration;

use bus::event::Time;

use super::after;

/// What the lines say of one number. A line that has not come to it may be late. One that said it and says lower ones
/// again contradicts itself: somebody else speaks on it.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Voices {
    /// Lines that have said it, a bit each.
    said: u64,
    /// Lines that have said lower ones only.
    late: u64,
    /// A line contradicts itself, or the number alone is reason enough for doubt.
    is_doubted: bool,
    /// When there was a reason for doubt last.
    at: Time,
}

impl Voices {
    /// The line says the number.
    pub(super) fn say_it(&mut self, line: usize) {
        self.said |= bit(line);
        self.late &= !bit(line);
    }

    /// The line says a lower one.
    pub(super) fn say_less(&mut self, line: usize, now: Time) {
        if self.said & bit(line) == 0 {
            self.late |= bit(line);
        } else {
            self.is_doubted = true;
        }
        self.at = now;
    }

    /// The number itself is hard to believe.
    pub(super) fn doubt(&mut self, now: Time) {
        (self.is_doubted, self.at) = (true, now);
    }

    /// Until when the number is doubted, if nothing more is said: for `silence` after the last reason.
    pub(super) fn doubted_until(&self, silence: Duration) -> Time {
        if self.is_doubted || self.late != 0 { after(self.at, silence) } else { Time(0) }
    }
}

fn bit(line: usize) -> u64 {
    1 << (line % 64)
}
