//! The two inputs of the engine, which may not exist yet.

use std::time::{Duration, Instant};

use bus::event::Message;
use bus::{Bus, Delivery, Gate, ReadError, Start, Subscriber};
use engine::{Head, InputPosition};

use crate::error::EngineError;
use crate::snapshots::hold_retention;

/// Between two looks whether a topic that does not exist yet has come.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// One input, from the next message on that the state lacks.
#[derive(Debug)]
pub(crate) struct Input<M: Message> {
    topic: &'static str,
    bus: Bus,
    position: InputPosition,
    subscriber: Option<Subscriber<M>>,
    look_at: Instant,
}

impl<M: Message> Input<M> {
    /// Begins at a position; opens nothing yet.
    pub(crate) fn new(bus: &Bus, topic: &'static str, position: InputPosition) -> Self {
        Self { topic, bus: bus.clone(), position, subscriber: None, look_at: Instant::now() }
    }

    pub(crate) fn topic(&self) -> &'static str {
        self.topic
    }

    /// Where it stands.
    pub(crate) fn position(&self) -> InputPosition {
        self.position
    }

    /// The next sequence that its publisher will have made durable, while it has one.
    pub(crate) fn durable(&mut self) -> Option<u64> {
        let control = self.subscriber.as_mut()?.reader().control();
        control.map(|control| control.durable_sequence())
    }

    /// About how many messages its publisher lets it hold, if that has a limit.
    pub(crate) fn room(&mut self) -> Option<u64> {
        let control = self.subscriber.as_mut()?.reader().control()?;
        let (bytes, messages) = control.published();
        Some(control.retention()? / (bytes / messages.max(1)).max(1))
    }

    /// The next message, if it is there.
    pub(crate) fn head(&mut self) -> Result<Option<Head>, EngineError> {
        if self.subscriber.is_none() && !self.open()? {
            return Ok(None);
        }
        let (topic, next) = (self.topic, self.position.next);
        let Some(subscriber) = &mut self.subscriber else { return Ok(None) };
        let is_there = subscriber.reader().has_next().map_err(|source| input_error(topic, next, source))?;
        // A recorded order asks for sequences only.
        Ok(is_there.then_some(Head { sequence: next, publish_time: bus::event::Time(0) }))
    }

    /// Takes the next message.
    #[inline]
    pub(crate) fn poll(&mut self) -> Result<Option<Delivery<'_, M>>, EngineError> {
        if self.subscriber.is_none() && !self.open()? {
            return Ok(None);
        }
        let (topic, next) = (self.topic, self.position.next);
        let Some(subscriber) = &mut self.subscriber else { return Ok(None) };
        let delivery = subscriber.poll_delivery().map_err(|source| input_error(topic, next, source))?;
        if let Some(delivery) = &delivery {
            if delivery.sequence != next {
                return Err(EngineError::Skipped { topic, expected: next, found: delivery.sequence });
            }
            self.position = InputPosition { next: next + 1, epoch: delivery.epoch };
        }
        Ok(delivery)
    }

    #[cold]
    fn open(&mut self) -> Result<bool, EngineError> {
        let now = Instant::now();
        if now < self.look_at {
            return Ok(false);
        }
        self.look_at = now + LOOK_EVERY;
        match self.bus.subscriber(self.topic, Start::Sequence(self.position.next), Gate::Published) {
            Ok(subscriber) => {
                hold_retention(&self.bus);
                self.subscriber = Some(subscriber);
            }
            Err(error) if error.is_missing() => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        Ok(true)
    }
}

/// Whether the mark of an input is lost, and no publisher has begun to write without it.
pub(crate) fn is_unmarked(bus: &Bus, topic: &str) -> bool {
    bus.reader(topic, Start::Newest, Gate::Published).is_ok_and(|reader| !reader.is_end_proven())
}

fn input_error(topic: &'static str, next: u64, source: ReadError) -> EngineError {
    match source {
        ReadError::Regressed { to } => EngineError::Regressed { topic, to },
        ReadError::Retired { first } => EngineError::Retired { topic, next, first },
        source => EngineError::Input { topic, source },
    }
}
