//! One topic, message by message, as JSON.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use bus::event::json;
use bus::event::schema::Schema;
use bus::{Bus, BusError, Gate, Start};

use crate::feed::Feed;
use crate::{Damage, Findings, NotThere};

/// Prints a range of a topic.
#[derive(Debug)]
pub struct Dump {
    feed: Feed,
    schema: Schema,
    line: String,
    asked: u64,
    last: u64,
    end: Option<u64>,
}

/// Why nothing can be printed.
#[derive(Debug)]
pub enum DumpError {
    /// The topic cannot be opened.
    Bus(BusError),
    /// The first message that was asked for is not there, and nothing is waited for.
    NotThere(NotThere),
}

impl fmt::Display for DumpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bus(error) => error.fmt(f),
            Self::NotThere(what) => what.fmt(f),
        }
    }
}

impl std::error::Error for DumpError {}

impl From<BusError> for DumpError {
    fn from(error: BusError) -> Self {
        Self::Bus(error)
    }
}

impl Dump {
    /// The messages with these sequences that are at the gate now; with `follow` also those that come.
    ///
    /// # Errors
    /// [`DumpError`]. An empty topic has no first message, and from 0 on nothing is printed of it.
    pub fn open(
        bus: &Bus,
        topic: &str,
        sequences: RangeInclusive<u64>,
        gate: Gate,
        follow: bool,
    ) -> Result<Self, DumpError> {
        let (asked, last) = sequences.into_inner();
        let published = bus.watermarks(topic)?.published;
        // Who follows may ask for what comes only later.
        let start = if asked == 0 { Start::Oldest } else { Start::Sequence(asked.min(published)) };
        let mut feed = match follow {
            true => Feed::following(bus, topic, start, gate)?,
            false => Feed::bounded(bus, topic, start, gate)?,
        };
        if !follow && asked > 0 && asked >= feed.end() {
            let (range, why) = ((feed.begins(), feed.end()), feed.why_not(asked));
            return Err(DumpError::NotThere(NotThere { topic: topic.into(), sequence: asked, range, why }));
        }
        let end = if follow { None } else { Some(feed.end()) };
        feed.stop_at(last.saturating_add(1));
        Ok(Self { schema: feed.schema().clone(), feed, line: String::new(), asked, last, end })
    }

    /// The next message as one JSON object without a line end, if there is one now.
    pub fn next_line(&mut self) -> Option<&str> {
        while self.feed.peek()?.info.sequence < self.asked {
            self.feed.advance();
        }
        let message = self.feed.peek()?;
        self.line.clear();
        json::write_object(&mut self.line, &self.schema, &message.frame(), message.body());
        self.feed.advance();
        Some(&self.line)
    }

    /// The sequence behind the last message at the gate, where nothing is waited for.
    pub fn end(&self) -> Option<u64> {
        self.end
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

    /// What is missing where messages up to the end or beyond were asked for and no evidence proves that end.
    pub fn doubt(&self) -> Option<Damage> {
        self.end.filter(|end| self.last >= *end).and_then(|_| self.feed.doubt())
    }

    /// The oldest sequence that is retained, if messages that were asked for are older.
    pub fn begins_later(&self) -> Option<u64> {
        Some(self.feed.begins()).filter(|begins| *begins > self.asked)
    }
}
