//! The two inputs of the engine, which may not exist yet.

use std::time::{Duration, Instant};

use bus::event::Message;
use bus::{Bus, Delivery, Gate, ReadError, Start, Subscriber};
use engine::{Head, InputPosition};

use crate::error::EngineError;
use crate::lost::Lost;
use crate::snapshots::hold_retention;
use crate::{MARKET_DATA, TRADES};

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
    /// It was looked for and was not there.
    is_absent: bool,
    /// It was not there and has come.
    has_come: bool,
    /// Messages below this sequence that are lost are gone over.
    goes_on_below: u64,
    /// Lost messages before the next one, which nobody has agreed to do without yet.
    lost: Option<Lost>,
    /// Those that were gone over.
    passed: Option<Lost>,
    /// Some were, and no journalled order says so.
    is_decided: bool,
}

impl<M: Message> Input<M> {
    /// Begins at a position; opens nothing yet.
    pub(crate) fn new(bus: &Bus, topic: &'static str, position: InputPosition) -> Self {
        Self {
            topic,
            bus: bus.clone(),
            position,
            subscriber: None,
            look_at: Instant::now(),
            is_absent: false,
            has_come: false,
            goes_on_below: 0,
            lost: None,
            passed: None,
            is_decided: false,
        }
    }

    /// Says whether it `is_absent` as far as is known, and below which sequence it goes on where messages are lost and no
    /// journalled order goes over them.
    pub(crate) fn expect(&mut self, is_absent: bool, goes_on_below: u64) {
        (self.is_absent, self.goes_on_below) = (is_absent, goes_on_below);
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

    /// Whether it is not there.
    pub(crate) fn is_absent(&self) -> bool {
        self.is_absent
    }

    /// Whether it was not there and has come since this was asked last.
    pub(crate) fn has_come(&mut self) -> bool {
        std::mem::take(&mut self.has_come)
    }

    /// The error that a message is, if it is among the lost ones before the next one.
    pub(crate) fn lost(&self, sequence: u64) -> Option<EngineError> {
        let lost = self.lost.as_ref().filter(|lost| lost.holds(sequence))?;
        Some(lost.error(self.topic))
    }

    /// Goes over the lost messages before the next one, if there are any.
    pub(crate) fn pass(&mut self) -> bool {
        let Some(lost) = self.lost.take() else { return false };
        match &mut self.passed {
            Some(passed) => passed.join(lost),
            None => self.passed = Some(lost),
        }
        true
    }

    /// Whether lost messages were gone over of which no journalled order says so, since this was asked last.
    pub(crate) fn has_decided(&mut self) -> bool {
        std::mem::take(&mut self.is_decided)
    }

    /// The lost messages that were gone over.
    pub(crate) fn passed(&self) -> Option<&Lost> {
        self.passed.as_ref()
    }

    /// The next message, if it is there; lost ones before it are left out.
    pub(crate) fn head(&mut self) -> Result<Option<Head>, EngineError> {
        if self.subscriber.is_none() && !self.open()? {
            return Ok(None);
        }
        let Some(subscriber) = &mut self.subscriber else { return Ok(None) };
        loop {
            match subscriber.reader().has_next() {
                // A recorded order asks for sequences only.
                Ok(true) => {
                    let publish_time = bus::event::Time(0);
                    return Ok(Some(Head { sequence: self.position.next, publish_time }));
                }
                Ok(false) => return Ok(None),
                Err(source) => lose(self.topic, &mut self.position, &mut self.lost, source)?,
            }
        }
    }

    /// Takes the next message.
    #[inline]
    pub(crate) fn poll(&mut self) -> Result<Option<Delivery<'_, M>>, EngineError> {
        if self.subscriber.is_none() && !self.open()? {
            return Ok(None);
        }
        if self.lost.is_some() {
            self.pass_or_fail()?;
        }
        let (topic, next) = (self.topic, self.position.next);
        let Some(subscriber) = &mut self.subscriber else { return Ok(None) };
        let delivery = match subscriber.poll_delivery() {
            Ok(delivery) => delivery,
            Err(source) => {
                lose(topic, &mut self.position, &mut self.lost, source)?;
                return Ok(None);
            }
        };
        if let Some(delivery) = &delivery {
            if delivery.sequence != next {
                return Err(EngineError::Skipped { topic, expected: next, found: delivery.sequence });
            }
            self.position = InputPosition { next: next + 1, epoch: delivery.epoch };
        }
        Ok(delivery)
    }

    #[cold]
    fn pass_or_fail(&mut self) -> Result<(), EngineError> {
        let is_agreed = |lost: &Lost| lost.is_for_good() && lost.next() <= self.goes_on_below;
        match self.lost.as_ref().filter(|lost| !is_agreed(lost)) {
            Some(lost) => Err(lost.error(self.topic)),
            None => {
                self.is_decided |= self.pass();
                Ok(())
            }
        }
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
                self.has_come = std::mem::take(&mut self.is_absent);
            }
            Err(error) if error.is_missing() => {
                self.is_absent = true;
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(true)
    }
}

/// The inputs that are not there.
pub(crate) fn absent(bus: &Bus) -> Vec<&'static str> {
    let is_missing = |topic: &&str| bus.schema(topic).is_err_and(|error| error.is_missing());
    [MARKET_DATA, TRADES].into_iter().filter(is_missing).collect()
}

/// Whether the mark of an input is lost, and no publisher has begun to write without it.
pub(crate) fn is_unmarked(bus: &Bus, topic: &str) -> bool {
    bus.reader(topic, Start::Newest, Gate::Published).is_ok_and(|reader| !reader.is_end_proven())
}

/// Notes messages that the reader goes on behind; any other error is one.
#[cold]
fn lose(
    topic: &'static str,
    position: &mut InputPosition,
    lost: &mut Option<Lost>,
    source: ReadError,
) -> Result<(), EngineError> {
    let next = position.next;
    let found = Lost::of(source).map_err(|source| input_error(topic, next, source))?;
    position.next = next.max(found.next());
    match lost {
        Some(lost) => lost.join(found),
        None => *lost = Some(found),
    }
    Ok(())
}

fn input_error(topic: &'static str, next: u64, source: ReadError) -> EngineError {
    match source {
        ReadError::Regressed { to } => EngineError::Regressed { topic, to },
        ReadError::Retired { first } => EngineError::Retired { topic, next, first },
        source => EngineError::Input { topic, source },
    }
}
