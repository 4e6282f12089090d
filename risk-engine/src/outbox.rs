//! What the engine has concluded and not published yet: one batch, which goes as a whole or not at all.

use bus::event::risk::{EngineConfigured, FeeSet, LimitSet, RiskEvent};
use bus::program::note;
use bus::{Batch, PublishError, Publisher};
use engine::{Effect, Effects, MergeRecorder};

/// The batch to be published next.
#[derive(Default)]
pub(crate) struct Outbox {
    events: Vec<RiskEvent>,
    /// It was said that there is no room.
    complained: bool,
}

impl Outbox {
    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Adds the order since the last batch, and then the effects that follow from its last message.
    pub(crate) fn add(&mut self, order: &mut MergeRecorder, effects: &Effects) {
        self.add_order(order);
        self.events.extend(effects.iter().map(|effect| match effect {
            Effect::Position(update) => RiskEvent::PositionUpdate(*update),
            Effect::Limit(alert) => RiskEvent::LimitAlert(*alert),
        }));
    }

    /// Adds the order since the last batch.
    pub(crate) fn add_order(&mut self, order: &mut MergeRecorder) {
        self.events.extend(order.drain().map(RiskEvent::MergeRun));
    }

    /// Adds a configuration.
    pub(crate) fn add_configuration(
        &mut self,
        configured: EngineConfigured,
        limits: &[LimitSet],
        fees: &[FeeSet],
    ) {
        self.events.push(RiskEvent::EngineConfigured(configured));
        self.events.extend(limits.iter().copied().map(RiskEvent::LimitSet));
        self.events.extend(fees.iter().copied().map(RiskEvent::FeeSet));
    }

    /// Forgets it: it will be concluded again.
    pub(crate) fn clear(&mut self) {
        self.events.clear();
    }

    /// Publishes it; false where there is no room at the moment.
    pub(crate) fn publish(&mut self, publisher: &mut Publisher<RiskEvent>) -> Result<bool, PublishError> {
        if self.events.is_empty() {
            return Ok(true);
        }
        let mut batch = publisher.batch();
        for event in &self.events {
            match push(&mut batch, event) {
                Ok(()) => {}
                Err(PublishError::Full) => return Ok(false),
                Err(error @ PublishError::NoRoom(_)) => {
                    self.complain(&error);
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        batch.commit();
        self.events.clear();
        self.complained = false;
        Ok(true)
    }

    #[cold]
    fn complain(&mut self, error: &PublishError) {
        if !std::mem::replace(&mut self.complained, true) {
            note(&format!("the engine waits: {error}"));
        }
    }
}

fn push(batch: &mut Batch<'_, RiskEvent>, event: &RiskEvent) -> Result<(), PublishError> {
    match event {
        RiskEvent::EngineConfigured(event) => batch.try_push(event),
        RiskEvent::LimitSet(event) => batch.try_push(event),
        RiskEvent::FeeSet(event) => batch.try_push(event),
        RiskEvent::MergeRun(event) => batch.try_push(event),
        RiskEvent::PositionUpdate(event) => batch.try_push(event),
        RiskEvent::LimitAlert(event) => batch.try_push(event),
    }
}
