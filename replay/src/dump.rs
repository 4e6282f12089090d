//! One topic, message by message, as JSON.

use std::ops::RangeInclusive;
use std::time::Duration;

use bus::event::json;
use bus::event::schema::Schema;
use bus::{Bus, BusError, Gate, Start};

use crate::feed::Feed;
use crate::{Damage, Findings};

/// Prints a range of a topic.
#[derive(Debug)]
pub struct Dump {
    feed: Feed,
    schema: Schema,
    line: String,
    asked: u64,
}

impl Dump {
    /// The messages with these sequences that are at the gate now; with `follow` also those that come.
    ///
    /// # Errors
    /// As [`Bus::reader`].
    pub fn open(
        bus: &Bus,
        topic: &str,
        sequences: RangeInclusive<u64>,
        gate: Gate,
        follow: bool,
    ) -> Result<Self, BusError> {
        let (asked, last) = sequences.into_inner();
        let start = if asked == 0 { Start::Oldest } else { Start::Sequence(asked) };
        let mut feed = match follow {
            true => Feed::following(bus, topic, start, gate)?,
            false => Feed::bounded(bus, topic, start, gate)?,
        };
        feed.stop_at(last.saturating_add(1));
        Ok(Self { schema: feed.schema().clone(), feed, line: String::new(), asked })
    }

    /// The next message as one JSON object without a line end, if there is one now.
    pub fn next_line(&mut self) -> Option<&str> {
        let message = self.feed.peek()?;
        self.line.clear();
        json::write_object(&mut self.line, &self.schema, &message.frame(), message.body());
        self.feed.advance();
        Some(&self.line)
    }

    /// Whether the last message of the range was printed, or nothing more can be read.
    pub fn is_done(&self) -> bool {
        self.feed.is_at_end()
    }

    /// Sleeps until something may have come, at most `limit`.
    pub fn sleep(&mut self, limit: Duration) {
        self.feed.sleep(limit);
    }

    /// What could not be read.
    pub fn damage(&self) -> &Findings<Damage> {
        self.feed.damage()
    }

    /// The oldest sequence that is retained, if messages that were asked for are older.
    pub fn begins_later(&self) -> Option<u64> {
        Some(self.feed.first()).filter(|first| *first > self.asked)
    }
}
