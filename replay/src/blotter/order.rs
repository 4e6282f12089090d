//! The order of a blotter that follows: the same that a later blotter of the same topics has.
//!
//! A later one has all topics before it and merges them by publish time, then name, then sequence. One that follows meets a
//! message while another topic has nothing durable yet, and could still get one that was published before: its write-out may
//! be behind, or an effect waits there for its cause. So a message has its turn once each other topic
//!
//! - has one at hand, which comes later in the order; or
//! - was closed by its publisher after the message had become durable; or
//! - has nothing, although the message was durable for as long as the blotter holds.
//!
//! The last is a guess that no slow disk may belie for ever, since a topic that fails must not hold up all others. What came
//! too late for it is counted: a blotter that ends with no late line has its lines in the order of any later one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bus::event::Time;

use super::Source;

/// How long a message is held for what may have been published before it and is not durable yet.
pub(super) const HOLD: Duration = Duration::from_secs(1);
/// Between two looks at how far topics are and whether they are closed.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Where a message stands in the order, but for its sequence.
type Key = (Time, Arc<str>);

/// Of a topic: what its messages wait for, and what did not wait for them.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// What was durable at the last look.
    seen: u64,
    /// Whether it was closed then, which was asked afterwards.
    is_closed: bool,
    /// What was durable when the last hold began.
    held: u64,
    /// What has been durable for a whole hold.
    settled: u64,
    /// The last message of others that was taken while this topic had none at hand.
    passed: Option<Key>,
}

/// Of a blotter that follows.
#[derive(Debug)]
pub(super) struct Order {
    /// `None`: nothing is held any more.
    pub(super) hold: Option<Duration>,
    looked: Option<Instant>,
    began: Option<Instant>,
    /// The last message taken, in the order.
    newest: Option<Key>,
    /// Messages that a later blotter would have before some that were taken before them.
    pub(super) late: u64,
}

impl Order {
    pub(super) fn new(hold: Option<Duration>) -> Self {
        Self { hold, looked: None, began: None, newest: None, late: 0 }
    }

    /// Of a topic that is new here.
    pub(super) fn pace(&self) -> Pace {
        Pace { passed: self.newest.clone(), ..Pace::default() }
    }

    /// Looks how far the topics are, now and then. To be called before their next messages are asked for.
    pub(super) fn look(&mut self, sources: &mut [Source]) {
        let (Some(hold), now) = (self.hold, Instant::now()) else { return };
        if self.looked.is_some_and(|looked| now - looked < LOOK_EVERY.min(hold)) {
            return;
        }
        self.looked = Some(now);
        let is_over = self.began.is_none_or(|began| now - began >= hold);
        self.began = self.began.filter(|_| !is_over).or(Some(now));
        for Source { feed, pace, extent, .. } in &mut *sources {
            pace.seen = feed.durable(&mut extent.at_rest);
            if is_over {
                (pace.settled, pace.held) = (pace.held, pace.seen);
            }
        }
        // Whatever a closed topic gets from here on is published after what was seen.
        sources.iter_mut().for_each(|source| source.pace.is_closed = source.feed.is_closed());
    }

    /// Whether the message at hand of a source, the first of those at hand, has its turn.
    pub(super) fn is_next(&self, sources: &[Source], at: usize, sequence: u64) -> bool {
        let Pace { seen, settled, .. } = sources[at].pace;
        self.hold.is_none()
            || sequence < settled
            || sources.iter().all(|source| {
                let is_over = source.pace.is_closed && sequence < seen;
                source.feed.is_at_hand() || source.feed.is_at_end() || is_over
            })
    }

    /// Notes that the message at hand of a source is taken.
    pub(super) fn take(&mut self, sources: &mut [Source], at: usize, time: Time) {
        let key = (time, Arc::clone(&sources[at].topic));
        for (other, Source { feed, pace, .. }) in sources.iter_mut().enumerate() {
            if other == at {
                match &pace.passed {
                    Some(passed) if *passed > key => self.late += 1,
                    _ => pace.passed = None,
                }
            } else if !feed.is_at_hand() {
                pace.passed = Some(key.clone()).max(pace.passed.take());
            }
        }
        self.newest = Some(key).max(self.newest.take());
    }
}
