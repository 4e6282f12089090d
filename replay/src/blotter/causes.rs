//! Whether the effects of a bus have their causes.

use std::collections::HashMap;
use std::io::Write;
use std::sync::Arc;

use bus::event::Cause;
use bus::program::Failure;

use super::{Blotter, Carries, Source};
use crate::cause::cause_of;
use crate::late_mark::comes;

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

    /// The same, asked anew.
    fn has_by_now(&mut self, cause: Cause) -> bool {
        self.extent = Extent::default();
        self.has(cause)
    }

    fn is_blind(&self) -> bool {
        self.feed.is_blind()
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
        let (input, out) = (&mut self.sources[from], &mut self.out);
        // Nobody waits for what is written already.
        let is_there = comes(input, Source::is_blind, |input| input.has_by_now(cause), || out.flush())?;
        if !is_there {
            self.sources[at].settled.insert(cause.input, durable);
        }
        Ok(is_there)
    }
}
