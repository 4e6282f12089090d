//! What `risk` follows from is not there, or does not fit: what is waited for, and what is derived anew.
//!
//! Whoever operates the engine decides whether it goes on without messages that are lost for good: the state lacks them
//! from then on. What `risk` holds from there on cannot follow any more; it is cut and kept beside, and told for good, as
//! are the lost messages by their own topic. What follows instead is journalled with an order that goes over them, so that
//! a restart, and whoever derives the state, does the same.

use bus::program::note;

use super::{PATIENCE, Runner};
use crate::error::EngineError;
use crate::inputs::{self, Input};
use crate::snapshots::Saver;
use crate::{MARKET_DATA, RISK, TRADES};
use bus::event::Message;

impl Runner {
    /// Has it go on without messages that are lost now, and derive anew what of `risk` does not fit for that. To be called
    /// before it is started. What is lost later nobody has agreed to do without, nor what the system refuses to give: that
    /// ends the engine as it does one without this.
    ///
    /// # Errors
    /// As [`Runner::open`].
    pub fn derive_anew(mut self) -> Result<Self, EngineError> {
        self.derives_anew = true;
        for (input, topic) in [(engine::MARKET_DATA, MARKET_DATA), (engine::TRADES, TRADES)] {
            let end = self.bus.watermarks(topic).map_or(0, |marks| marks.published);
            self.goes_on_below[usize::from(input)] = end;
        }
        self.begin()?;
        Ok(self)
    }

    /// Whether what is lost is not needed: a snapshot covers it that did not fit at the start, since an input may show how
    /// far it was only once its publisher has started.
    pub(super) fn is_covered(&self) -> bool {
        self.follow.is_some() && self.newest_snapshot(self.from + 1).is_some()
    }

    /// Cuts `risk` where it does not fit, and begins again; the error, if there is nothing to cut.
    pub(super) fn cut(&mut self, error: EngineError) -> Result<(), EngineError> {
        let Some((follow, publisher)) = self.follow.take().zip(self.publisher.take()) else {
            return Err(error);
        };
        let (from, end) = (follow.taken(), publisher.next_sequence());
        note(&format!("{error}; doing so"));
        publisher.abandon();
        // What the old one still writes is awaited.
        self.saver = Saver::start(&self.bus).map_err(EngineError::Thread)?;
        self.absent = inputs::absent(&self.bus);
        let publisher = self.bus.derived_publisher_cut(RISK, &[MARKET_DATA, TRADES], from)?;
        let is_cut = publisher.next_sequence() < end;
        self.publisher = Some(publisher);
        if is_cut { self.begin() } else { Err(error) }
    }

    /// What was gone over, each with what to do.
    pub(super) fn passed(&self) -> impl Iterator<Item = String> {
        let inputs = [(MARKET_DATA, self.market_data.passed()), (TRADES, self.trades.passed())];
        let all = inputs.into_iter().chain([(RISK, self.passed.as_ref())]);
        let told: Vec<_> = all.filter_map(|(topic, lost)| Some(lost?.told(topic))).collect();
        told.into_iter()
    }

    /// Why the order asks for a message that its input does not give: it may be lost.
    pub(super) fn explain(&self, error: EngineError) -> EngineError {
        let EngineError::Merge(engine::MergeError::Missing { input, sequence }) = error else { return error };
        self.lost(input, sequence).unwrap_or(error)
    }

    fn lost(&self, input: u16, sequence: u64) -> Option<EngineError> {
        match input {
            engine::TRADES => self.trades.lost(sequence),
            _ => self.market_data.lost(sequence),
        }
    }

    /// An input that was not there when `risk` was opened could not be asked for the causes of what that holds.
    pub(super) fn look_for_arrivals(&mut self) -> Result<(), EngineError> {
        let come = [(MARKET_DATA, self.market_data.has_come()), (TRADES, self.trades.has_come())];
        match come.into_iter().find(|(_, has_come)| *has_come) {
            Some((topic, _)) => Err(EngineError::Regressed { topic, to: 0 }),
            None => Ok(()),
        }
    }

    #[cold]
    pub(super) fn wait_for(&mut self, input: u16, sequence: u64) -> Result<(), EngineError> {
        if let Some(lost) = self.lost(input, sequence) {
            return Err(lost);
        }
        let (topic, is_absent) = match input {
            engine::TRADES => place(&self.trades),
            _ => place(&self.market_data),
        };
        let now = self.clock.now();
        let (since, said) = self.waiting.get_or_insert((now, None));
        if said.is_some() || now.0.saturating_sub(since.0) < PATIENCE.as_nanos() as u64 {
            return Ok(());
        }
        if is_absent {
            return Err(EngineError::Gone { topic, next: sequence });
        }
        note(&format!("waiting for message {sequence} of '{topic}', from which 'risk' already follows"));
        *said = Some(format!(
            "messages are missing from which 'risk' follows: topic '{topic}': from {sequence} on; restore its newest copy; \
             where there is none start its publisher, which says what is lost, and then `risk-engine run --derive-anew` \
             goes on without"
        ));
        self.gauge.watch.set_stuck(true);
        Ok(())
    }
}

fn place<M: Message>(input: &Input<M>) -> (&'static str, bool) {
    (input.topic(), input.is_absent())
}
