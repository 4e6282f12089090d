//! What the engine has concluded and not published yet: one batch, which goes as a whole or not at all.
//!
//! Only the alerts that a configuration leads to may be more than a batch holds. They go in as many as it takes; a restart
//! in between adds those that the journal lacks.

use bus::event::risk::{EngineConfigured, FeeSet, LimitSet, RiskEvent};
use bus::program::note;
use bus::{Batch, PublishError, Publisher, Room};
use engine::{Effect, Effects, MergeRecorder};

/// The batch to be published next.
#[derive(Default)]
pub(crate) struct Outbox {
    events: Vec<RiskEvent>,
    /// So many of them go together; what is behind may go later.
    together: usize,
    /// What there is no room in, which was said.
    short_of: Option<Room>,
}

impl Outbox {
    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Adds the order since the last batch, and then the effects that follow from its last message.
    pub(crate) fn add(&mut self, order: &mut MergeRecorder, effects: &Effects) {
        self.add_order(order);
        self.extend(effects.iter().copied().map(event));
    }

    /// Adds the order since the last batch.
    pub(crate) fn add_order(&mut self, order: &mut MergeRecorder) {
        self.extend(order.drain().map(RiskEvent::MergeRun));
    }

    fn extend(&mut self, events: impl Iterator<Item = RiskEvent>) {
        let is_whole = self.together == self.events.len();
        self.events.extend(events);
        if is_whole {
            self.together = self.events.len();
        }
    }

    /// Adds a configuration.
    pub(crate) fn add_configuration(
        &mut self,
        configured: EngineConfigured,
        limits: &[LimitSet],
        fees: &[FeeSet],
    ) {
        self.extend([RiskEvent::EngineConfigured(configured)].into_iter());
        self.extend(limits.iter().copied().map(RiskEvent::LimitSet));
        self.extend(fees.iter().copied().map(RiskEvent::FeeSet));
    }

    /// Adds the alerts that the configuration leads to.
    pub(crate) fn add_alerts(&mut self, alerts: impl Iterator<Item = Effect>) {
        self.events.extend(alerts.map(event));
    }

    /// Forgets it: it will be concluded again.
    pub(crate) fn clear(&mut self) {
        self.events.clear();
        self.together = 0;
    }

    /// Publishes it; false where there is no room at the moment.
    pub(crate) fn publish(&mut self, publisher: &mut Publisher<RiskEvent>) -> Result<bool, PublishError> {
        while !self.events.is_empty() {
            if !self.publish_batch(publisher)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Publishes what one batch holds, which is everything but for very many alerts.
    fn publish_batch(&mut self, publisher: &mut Publisher<RiskEvent>) -> Result<bool, PublishError> {
        let mut batch = publisher.batch();
        let mut count = 0;
        for event in &self.events {
            match push(&mut batch, event) {
                Ok(()) => count += 1,
                Err(PublishError::TooLarge { .. }) if count >= self.together.max(1) => break,
                Err(PublishError::Full) => return Ok(false),
                Err(PublishError::NoRoom(room)) => {
                    self.complain(room);
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
        batch.commit();
        self.events.drain(..count);
        (self.together, self.short_of) = (0, None);
        Ok(true)
    }

    #[cold]
    fn complain(&mut self, room: Room) {
        if self.short_of.replace(room).is_none() {
            note(&format!("the engine waits: {}", PublishError::NoRoom(room)));
        }
    }

    /// Why what is left could not be published, and what to do.
    pub(crate) fn unsent(&self) -> String {
        match self.short_of {
            Some(room) => {
                format!("conclusions found no room: topic 'risk': {room}; {} and start again", room.remedy())
            }
            None => "conclusions found no room for the moment: topic 'risk'; start again".into(),
        }
    }
}

fn event(effect: Effect) -> RiskEvent {
    match effect {
        Effect::Position(update) => RiskEvent::PositionUpdate(update),
        Effect::Limit(alert) => RiskEvent::LimitAlert(alert),
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
