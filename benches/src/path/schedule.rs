//! When each message is to be sent: an open loop, which goes on whether or not anybody keeps up with it.

use std::time::Duration;

use bus::event::Time;
use bus::program::Date;
use market_gateway::mold::{SessionId, session_id};

/// Longest warm-up.
const LONGEST_WARM_UP: Duration = Duration::from_secs(1);
/// From the making of a schedule to its first message.
const LEAD: Duration = Duration::from_millis(50);
/// What a sender may need longer before the rest stays unsent.
const GRACE: Duration = Duration::from_secs(2);

/// A fixed rate of messages, numbered from 1. The first tenth, at most a second, warms up and is not counted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    start: Time,
    date: Date,
    rate: u64,
    warm_up: u64,
    /// All messages, the warm-up included.
    pub(super) messages: u64,
}

impl Schedule {
    /// `rate` messages a second (from 1) for `length` after the warm-up, beginning soon after `now`, in the session
    /// of `date`.
    pub(super) fn new(rate: u64, length: Duration, date: Date, now: Time) -> Self {
        let within = |length: Duration| {
            u64::try_from(u128::from(rate) * length.as_nanos() / 1_000_000_000).unwrap_or(u64::MAX)
        };
        let warm_up = within((length / 10).min(LONGEST_WARM_UP));
        let messages = warm_up.saturating_add(within(length).max(1));
        Self { start: Time(now.0 + LEAD.as_nanos() as u64), date, rate, warm_up, messages }
    }

    /// When message `sequence` is to be sent.
    pub(super) fn intended(&self, sequence: u64) -> Time {
        let after = u128::from(sequence - 1) * 1_000_000_000 / u128::from(self.rate);
        Time(self.start.0.saturating_add(u64::try_from(after).unwrap_or(u64::MAX)))
    }

    /// When the sender gives up.
    pub(super) fn sending_ends(&self) -> Time {
        Time(self.intended(self.messages).0.saturating_add(GRACE.as_nanos() as u64))
    }

    /// When a receiver gives up.
    pub(super) fn receiving_ends(&self) -> Time {
        Time(self.sending_ends().0.saturating_add(GRACE.as_nanos() as u64))
    }

    /// Whether message `sequence` is beyond the warm-up.
    pub(super) fn counts(&self, sequence: u64) -> bool {
        sequence > self.warm_up
    }

    /// Messages sent a second, if there were `sent` and the last left at `last`.
    pub(super) fn achieved(&self, sent: u64, last: Time) -> f64 {
        let taken = last.0.saturating_sub(self.start.0).max(1);
        sent.saturating_sub(1).max(1) as f64 * 1e9 / taken as f64
    }

    /// Nanoseconds since the midnight of its session's date, ITCH's way to tell a time.
    pub(super) fn since_midnight(&self, time: Time) -> u64 {
        time.0.saturating_sub(self.date.midnight().0)
    }

    /// The venue's session.
    pub(super) fn session() -> SessionId {
        session_id(*b"BENCHES   ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(rate: u64, seconds: u64) -> Schedule {
        Schedule::new(rate, Duration::from_secs(seconds), Date::of(Time(0)), Time(0))
    }

    #[test]
    fn intervals_are_exact_over_any_length() {
        let schedule = schedule(30_000, 10);
        assert_eq!(schedule.messages, 330_000, "a tenth, at most a second, warms up");
        let second = |n: u64| schedule.intended(1 + 30_000 * n).0 - schedule.intended(1).0;
        assert_eq!((second(1), second(9)), (1_000_000_000, 9_000_000_000));
        assert!(!schedule.counts(30_000) && schedule.counts(30_001));
    }

    #[test]
    fn the_rate_achieved_follows_from_the_last_message() {
        let schedule = schedule(1_000, 1);
        let last = schedule.intended(schedule.messages);
        let on_time = schedule.achieved(schedule.messages, last);
        let late = schedule.achieved(schedule.messages, Time(2 * last.0));
        assert!((on_time - 1_000.0).abs() < 1.0 && late < 600.0, "{on_time} {late}");
    }
}
