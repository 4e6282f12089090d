//! Finds offsets by time.
//!
//! Event times may fall from message to message, so halving would be wrong: Kafka's answer is the first offset whose
//! timestamp is at or above the one asked for. The index keeps the largest timestamp of each block of messages. It is
//! built by one pass over the journal, in pieces of bounded time, when times are first asked for, and continued later;
//! a lookup then reads only the blocks that can hold the answer, as a rule one.

use crate::topics::{Topic, leader_epoch, next_readable, offset};
use bus::program::Stop;
use kafka_protocol::ResponseError;
use std::time::{Duration, Instant};

/// Messages of a block.
const BLOCK: i64 = 4096;
/// The longest that one request goes on building; the client asks again, and the next one continues.
const LONGEST_PASS: Duration = Duration::from_secs(10);

/// The index of one topic: 24 bytes for each 4096 messages.
#[derive(Debug, Default)]
pub(crate) struct Times {
    /// In order; the last one may grow.
    blocks: Vec<Block>,
}

/// The messages from `first` to before `end`.
#[derive(Debug, Clone, Copy)]
struct Block {
    first: i64,
    end: i64,
    latest: i64,
}

/// A message found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) epoch: i32,
}

impl Times {
    /// Takes in what has become durable since.
    ///
    /// # Errors
    /// `REQUEST_TIMED_OUT`, upon which clients ask again, if that takes too long or the listener stops.
    pub(crate) fn catch_up(&mut self, topic: &Topic, stop: &Stop) -> Result<(), ResponseError> {
        let first = topic.marks().first;
        self.blocks.retain(|block| block.end > first);
        let next = self.blocks.last().map_or(first, |block| block.end.max(first));
        let mut reader = topic.reader(next)?;
        let deadline = Instant::now() + LONGEST_PASS;
        while let Some(frame) = next_readable(&mut reader)? {
            let begins_block = self.take(offset(frame.sequence), topic.view(frame.epoch).timestamp(&frame));
            if begins_block && (stop.requested() || Instant::now() > deadline) {
                return Err(ResponseError::RequestTimedOut);
            }
        }
        Ok(())
    }

    /// Takes in one message; says whether a block began with it.
    fn take(&mut self, offset: i64, timestamp: i64) -> bool {
        if let Some(block) = self.blocks.last_mut().filter(|block| offset < block.first + BLOCK) {
            block.end = offset + 1;
            block.latest = block.latest.max(timestamp);
            return false;
        }
        self.blocks.push(Block { first: offset, end: offset + 1, latest: timestamp });
        true
    }

    /// The first message whose timestamp is at or above `timestamp`, if there is one.
    pub(crate) fn first_at_or_after(
        &self,
        topic: &Topic,
        timestamp: i64,
    ) -> Result<Option<At>, ResponseError> {
        for block in self.blocks.iter().filter(|block| block.latest >= timestamp) {
            // Nothing is found where the message has retired since.
            if let Some(at) = block.search(topic, timestamp)? {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    /// The first message with the largest timestamp, if there is a message.
    pub(crate) fn largest(&self, topic: &Topic) -> Result<Option<At>, ResponseError> {
        match self.blocks.iter().map(|block| block.latest).max() {
            Some(latest) => self.first_at_or_after(topic, latest),
            None => Ok(None),
        }
    }
}

impl Block {
    fn search(&self, topic: &Topic, timestamp: i64) -> Result<Option<At>, ResponseError> {
        let mut reader = topic.reader(self.first)?;
        while let Some(frame) = next_readable(&mut reader)? {
            let at = At {
                offset: offset(frame.sequence),
                timestamp: topic.view(frame.epoch).timestamp(&frame),
                epoch: leader_epoch(frame.epoch),
            };
            if at.offset >= self.end {
                break;
            }
            if at.timestamp >= timestamp {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }
}
