//! Taking the journalled order again: from a snapshot, or from the beginning, to where the topic `risk` ends.

use std::collections::VecDeque;

use bus::event::risk::{RiskEvent, RiskEventRef};
use bus::{Bus, Gate, Start, Subscriber};
use engine::{Effect, Effects, Head, INPUTS, MergeError, MergeReplay, State, Turn};

use crate::RISK;
use crate::error::EngineError;
use crate::lost::Lost;

/// What is to be done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Apply this message.
    Apply(Turn),
    /// An event of the journal was taken.
    Taken,
    /// The message is not there yet.
    Wait { input: u16, sequence: u64 },
    /// The journal was followed to its end.
    Done,
}

/// Where in the journal the engine is.
pub(crate) struct Follow {
    journal: Subscriber<RiskEvent>,
    end: u64,
    /// The journal was asked: where all of it is lost it is at its end before it says so.
    has_begun: bool,
    order: MergeReplay,
    /// Effects of the last message or configuration, which the journal must hold next.
    due: VecDeque<Effect>,
    /// They are those of a configuration, which need not go with it in one batch.
    of_configuration: bool,
    /// The last event that was taken, or the first that will be.
    taken: u64,
    /// Whether lost events are gone over, as far as those behind them fit.
    goes_on: bool,
    lost: Option<Lost>,
}

impl Follow {
    /// Begins at message `from` of `risk`, to go to before `end`, with a state that needs `next` of each input.
    pub(crate) fn new(
        bus: &Bus,
        (from, end): (u64, u64),
        next: [u64; INPUTS],
        goes_on: bool,
    ) -> Result<Self, EngineError> {
        let journal = bus.subscriber(RISK, Start::Sequence(from), Gate::Published)?;
        Ok(Self {
            journal,
            end,
            has_begun: false,
            order: MergeReplay::new(next),
            due: VecDeque::new(),
            of_configuration: false,
            taken: from,
            goes_on,
            lost: None,
        })
    }

    /// Goes one step. A configuration that the journal holds is applied to `state`.
    pub(crate) fn step(
        &mut self,
        heads: [Option<Head>; INPUTS],
        state: &mut State,
    ) -> Result<Next, EngineError> {
        if self.order.has_recorded() {
            return match self.order.next(heads) {
                Ok(turn) => Ok(turn.map_or(Next::Done, Next::Apply)),
                Err(MergeError::Missing { input, sequence }) if heads[usize::from(input)].is_none() => {
                    Ok(Next::Wait { input, sequence })
                }
                Err(error) => Err(error.into()),
            };
        }
        if self.has_begun && self.journal.next_sequence() >= self.end {
            self.of_configuration |= conclude(&mut self.due, state);
            let is_whole = self.due.is_empty() || self.of_configuration;
            return if is_whole { Ok(Next::Done) } else { Err(self.lacks_effect()) };
        }
        self.take(state)
    }

    /// Notes what the message that was just applied led to.
    pub(crate) fn applied(&mut self, effects: &Effects) -> Result<(), EngineError> {
        if !self.due.is_empty() {
            return Err(self.lacks_effect());
        }
        self.due.extend(effects.iter().copied());
        self.of_configuration = false;
        Ok(())
    }

    /// Sequence of the last event that was taken, or of the first that will be.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// The lost events that were gone over.
    pub(crate) fn take_lost(&mut self) -> Option<Lost> {
        self.lost.take()
    }

    /// Alerts that the last configuration leads to and the journal lacks: their engine ended between two batches.
    pub(crate) fn take_unsaid(&mut self) -> impl Iterator<Item = Effect> + '_ {
        self.due.drain(..)
    }

    fn take(&mut self, state: &mut State) -> Result<Next, EngineError> {
        self.has_begun = true;
        let Self { journal, order, due, of_configuration, .. } = self;
        let delivery = match journal.poll_delivery() {
            Ok(Some(delivery)) => delivery,
            Ok(None) => return Ok(Next::Taken),
            Err(source) => {
                let lost = Lost::of(source).map_err(EngineError::Journal)?;
                if !self.goes_on || !lost.is_for_good() {
                    return Err(lost.error(RISK));
                }
                // What they held cannot be compared.
                state.settle();
                due.clear();
                *of_configuration = false;
                match &mut self.lost {
                    Some(before) => before.join(lost),
                    None => self.lost = Some(lost),
                }
                return Ok(Next::Taken);
            }
        };
        let (sequence, event) = (delivery.sequence, delivery.message);
        self.taken = sequence;
        let diverged = |what| Err(EngineError::Diverged { sequence, what });
        if !event.is_setting() {
            *of_configuration |= conclude(due, state);
        }
        match event {
            RiskEventRef::MergeRun(_) | RiskEventRef::EngineConfigured(_) if !due.is_empty() => {
                return diverged("an effect is missing before it");
            }
            RiskEventRef::MergeRun(run) => order.push(run)?,
            RiskEventRef::PositionUpdate(update) => {
                if due.pop_front() != Some(Effect::Position(*update)) {
                    return diverged("its cause leads to another position update");
                }
            }
            RiskEventRef::LimitAlert(alert) => {
                if due.pop_front() != Some(Effect::Limit(*alert)) {
                    return diverged("its cause leads to another limit alert");
                }
            }
            configuration => state.apply_config(configuration),
        }
        Ok(Next::Taken)
    }

    fn lacks_effect(&self) -> EngineError {
        EngineError::Diverged {
            sequence: self.journal.next_sequence(),
            what: "an effect of an earlier message is not journalled",
        }
    }
}

/// The configuration before this point, if there is one, is whole: what follows from it is due. False if nothing does.
fn conclude(due: &mut VecDeque<Effect>, state: &mut State) -> bool {
    let alerts = state.settle();
    due.extend(alerts.iter().copied());
    !alerts.is_empty()
}
