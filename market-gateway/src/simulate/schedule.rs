//! When the messages of the simulated exchange are due.

use std::time::Instant;

/// Messages that are made up for after a pause: about what the smallest receive queue of a socket holds.
pub(super) const CATCH_UP: u64 = 512;

/// A steady rate. No exchange sends what a pause has taken from it in one burst, so no more than [`CATCH_UP`] messages
/// are made up for: by the rest the schedule falls behind.
#[derive(Debug)]
pub(super) struct Schedule {
    /// Messages a second.
    rate: u64,
    began: Instant,
    /// Messages that were due at `began`.
    before: u64,
    /// Messages by which the schedule has fallen behind.
    behind: u64,
}

impl Schedule {
    /// A schedule that begins now, after `sent` messages.
    pub(super) fn new(rate: u64, now: Instant, sent: u64) -> Self {
        Self { rate, began: now, before: sent, behind: 0 }
    }

    /// How many messages are due after those that are `sent`.
    pub(super) fn due(&mut self, now: Instant, sent: u64) -> u64 {
        let elapsed = now.saturating_duration_since(self.began).as_nanos();
        let made = u64::try_from(elapsed * u128::from(self.rate) / 1_000_000_000).unwrap_or(u64::MAX);
        let due = self.before.saturating_add(made - self.behind.min(made)).saturating_sub(sent);
        self.behind += due.saturating_sub(CATCH_UP);
        due.min(CATCH_UP)
    }

    /// How many more messages the rate alone would have sent.
    pub(super) fn behind(&self) -> u64 {
        self.behind
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_steady_caller_gets_the_rate() {
        let now = Instant::now();
        let (mut schedule, mut sent) = (Schedule::new(100_000, now, 7), 7);
        for millisecond in 1..=1_000 {
            sent += schedule.due(now + Duration::from_millis(millisecond), sent);
        }
        assert_eq!((sent, schedule.behind()), (100_007, 0));
    }

    #[test]
    fn a_pause_is_made_up_for_to_a_limit_and_the_rest_is_counted() {
        let now = Instant::now();
        let mut schedule = Schedule::new(100_000, now, 0);
        let after = |milliseconds| now + Duration::from_millis(milliseconds);
        assert_eq!(schedule.due(after(100), 0), CATCH_UP);
        assert_eq!(schedule.due(after(100), CATCH_UP), 0);
        assert_eq!(schedule.behind(), 10_000 - CATCH_UP);
        assert_eq!(schedule.due(after(101), CATCH_UP), 100, "and goes on at the rate");
    }

    #[test]
    fn what_is_held_back_stays_due_to_the_limit() {
        let now = Instant::now();
        let mut schedule = Schedule::new(100_000, now, 0);
        for millisecond in 1..=10 {
            schedule.due(now + Duration::from_millis(millisecond), 0);
        }
        assert_eq!(schedule.due(now + Duration::from_millis(10), 0), CATCH_UP);
        assert_eq!(schedule.behind(), 1_000 - CATCH_UP);
    }
}
