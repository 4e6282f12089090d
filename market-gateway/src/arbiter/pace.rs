//! How many requests may wait for their answers at once.

use std::time::Duration;

use bus::event::Time;

use super::machine::after;

/// Most requests that wait for their answers: as many datagrams fit any socket's receive queue.
pub(super) const OUTSTANDING: usize = 16;

/// Counts the requests that wait.
#[derive(Debug)]
pub(super) struct Pace {
    waiting: usize,
    /// When something was asked or answered last.
    moved: Time,
    /// After so long without an answer all that wait are lost.
    timeout: Duration,
}

impl Pace {
    pub(super) fn new(timeout: Duration) -> Self {
        Self { waiting: 0, moved: Time(0), timeout }
    }

    /// Whether one more request may be made.
    pub(super) fn may_ask(&mut self, now: Time) -> bool {
        if now >= after(self.moved, self.timeout) {
            self.waiting = 0;
        }
        self.waiting < OUTSTANDING
    }

    pub(super) fn asked(&mut self, now: Time) {
        self.waiting += 1;
        self.moved = now;
    }

    pub(super) fn answered(&mut self, now: Time) {
        self.waiting = self.waiting.saturating_sub(1);
        self.moved = now;
    }
}

/// The pause after `tries` requests without an answer: twice as long each time, to 64 times the first.
pub(super) fn pause(first: Duration, tries: u8) -> Duration {
    first.saturating_mul(1 << tries.saturating_sub(1).min(6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_wait_until_one_is_answered_or_all_are_lost() {
        let mut pace = Pace::new(Duration::from_nanos(20));
        let ask = |pace: &mut Pace, now| {
            let may = pace.may_ask(Time(now));
            if may {
                pace.asked(Time(now));
            }
            may
        };
        assert_eq!((0..100).filter(|_| ask(&mut pace, 100)).count(), OUTSTANDING);
        pace.answered(Time(110));
        assert_eq!((0..100).filter(|_| ask(&mut pace, 111)).count(), 1);
        assert!(!ask(&mut pace, 130));
        assert_eq!((0..100).filter(|_| ask(&mut pace, 131)).count(), OUTSTANDING);
    }

    #[test]
    fn pauses_grow_to_a_limit() {
        let pauses = [1, 2, 3, 7, 8, 255].map(|tries| pause(Duration::from_millis(20), tries).as_millis());
        assert_eq!(pauses, [20, 40, 80, 1_280, 1_280, 1_280]);
    }
}
