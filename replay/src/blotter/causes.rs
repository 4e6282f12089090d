//! Whether the effects of a bus have their causes.
//!
//! An effect is durable only after its cause is. But topics are asked one after the other how far they are, and of one whose
//! writer's memory is not seen only the mark tells it, which follows milliseconds later: a cause may be there without being
//! seen. So none is called missing before its topic was asked after the effect was known to be durable, and was given the
//! time that a mark takes.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bus::event::Cause;
use bus::program::Failure;

use super::{Blotter, Carries, Source};
use crate::cause::cause_of;

/// How long a mark is waited for, and the first pause of that; each one behind it is twice as long. A mark follows within
/// 10 ms and the time of a write.
const PATIENCE: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(4);

/// How far a topic is, as far as that was asked.
#[derive(Debug, Default)]
pub(super) struct Extent {
    /// What was durable when it was found without a publisher.
    pub(super) at_rest: Option<u64>,
    /// Epoch of the newest publisher.
    epoch: Option<u32>,
    /// Where epochs before it end.
    ends: HashMap<u32, u64>,
}

impl Source {
    /// Whether the cause of a durable effect is durable here, as far as that was asked.
    fn has(&mut self, cause: Cause) -> bool {
        let Self { feed, next, extent: Extent { at_rest, epoch, ends }, .. } = self;
        let is_of_the_past =
            cause.epoch > 0 && cause.epoch < *epoch.get_or_insert_with(|| feed.newest_epoch());
        let mut end_of = |epoch| *ends.entry(epoch).or_insert_with(|| feed.end_of(epoch).unwrap_or(u64::MAX));
        let is_in_its_epoch = !is_of_the_past || cause.sequence < end_of(cause.epoch);
        is_in_its_epoch && (cause.sequence < *next || cause.sequence < feed.durable(at_rest))
    }
}

impl<W: Write + Send> Blotter<W> {
    /// Notes which trade the effect at hand judges, and the effect if its cause is not durable, although it is.
    pub(super) fn check_cause(&mut self, at: usize) -> Result<(), Failure> {
        let Source { feed, schema, .. } = &mut self.sources[at];
        let Some(message) = feed.peek() else { return Ok(()) };
        let sequence = message.info.sequence;
        let Some(cause) = cause_of(schema, message.info.kind, message.body()) else { return Ok(()) };
        let schema = Arc::clone(schema);
        let input = schema.inputs().get(usize::from(cause.input));
        let has_cause = match input {
            Some(input) => self.has_cause(at, sequence, cause, input)?,
            None => false,
        };
        let orphans = &mut self.sources[at].orphans;
        if has_cause {
            orphans.meet(cause);
        } else {
            orphans.push(sequence, cause, input.map(String::as_str));
        }
        Ok(())
    }

    /// Whether an input has the cause of an effect, or nobody can say. Notes what that effect judges.
    fn has_cause(&mut self, at: usize, sequence: u64, cause: Cause, input: &String) -> Result<bool, Failure> {
        let Some(from) = self.sources.iter().position(|source| *source.topic == **input) else {
            return Ok(self.refused.contains_key(input) || self.undescribed.contains(input));
        };
        if self.sources[at].carries == Carries::Risk {
            let judged = &mut self.sources[from].judged;
            *judged = (*judged).max(cause.sequence.saturating_add(1));
        }
        if self.sources[from].has(cause) {
            return Ok(true);
        }
        if self.sources[at].settled.get(&cause.input).is_some_and(|settled| sequence < *settled) {
            return Ok(false);
        }
        // All that are durable by now have their causes before the input is asked.
        let durable = self.sources[at].feed.available().max(sequence.saturating_add(1));
        let is_there = self.comes(from, cause)?;
        if !is_there {
            self.sources[at].settled.insert(cause.input, durable);
        }
        Ok(is_there)
    }

    /// Whether a source is found to have a cause when it is asked anew, after its mark was waited for where only that tells.
    fn comes(&mut self, from: usize, cause: Cause) -> Result<bool, Failure> {
        let (mut pause, mut left) = (FIRST_PAUSE, PATIENCE);
        loop {
            let source = &mut self.sources[from];
            source.extent = Extent::default();
            if source.has(cause) {
                return Ok(true);
            }
            if left.is_zero() || !source.feed.is_blind() {
                return Ok(false);
            }
            // Nobody waits for what is written already.
            self.out.flush()?;
            thread::sleep(pause.min(left));
            (pause, left) = (2 * pause, left.saturating_sub(pause));
        }
    }
}
