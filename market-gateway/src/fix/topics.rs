//! The drop copy on a bus: executions into the topic `trades`, our numbers into the topic `session`.

use std::{fmt, ops::Range};

use bus::{
    Bus, BusError, Gate, PublishError, Publisher, ReadError, Start,
    event::{Message, trade::TradeEvent},
};

use super::{
    drop_copy::DropCopy,
    executions::{Resume, Trades, TradesError},
    numbers::{Names, Numbers, NumbersReserved, ReserveError, Reserved},
    session::SessionConfig,
};

/// Topic of the executions.
pub const TRADES: &str = "trades";
/// Topic of the reserved outbound numbers.
pub const SESSION: &str = "session";
/// Messages that are read at once in search of more executions, to begin with.
const READ_AT_LEAST: usize = 4_096;

/// Why a drop copy cannot go on where its journals end.
#[derive(Debug)]
pub enum TopicError {
    /// A topic cannot be opened.
    Open(BusError),
    /// The tail of a topic cannot be read.
    Read {
        /// The topic.
        topic: &'static str,
        /// Why.
        error: ReadError,
    },
    /// The session could not be noted.
    Claim(ReserveError),
    /// The bus holds the executions of another session; with those of this one, an ExecID could mean two things.
    OtherSession {
        /// The session whose executions it holds.
        held: String,
        /// The one that was to be journalled.
        wanted: String,
    },
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(error) => error.fmt(f),
            Self::Read { topic, error } => write!(f, "topic '{topic}': {error}"),
            Self::Claim(error) => write!(f, "topic '{SESSION}': {error}"),
            Self::OtherSession { held, wanted } => {
                write!(
                    f,
                    "another FIX session: this bus has the executions of {held}, not of {wanted}; use another bus"
                )
            }
        }
    }
}

impl std::error::Error for TopicError {}

impl From<BusError> for TopicError {
    fn from(error: BusError) -> Self {
        Self::Open(error)
    }
}

impl Trades for Publisher<TradeEvent> {
    fn publish(&mut self, event: &TradeEvent) -> Result<(), TradesError> {
        let published = match event {
            TradeEvent::Fill(event) => self.try_publish(event),
            TradeEvent::OrderUpdate(event) => self.try_publish(event),
            TradeEvent::FillCorrection(event) => self.try_publish(event),
            TradeEvent::FillBust(event) => self.try_publish(event),
            TradeEvent::Withheld(event) => self.try_publish(event),
        };
        match published {
            Ok(_) => Ok(()),
            Err(PublishError::Full | PublishError::NoRoom(_)) => Err(TradesError::NoRoom),
            Err(error) => Err(TradesError::Broken(error.to_string())),
        }
    }
}

/// The numbers of the topic `session`.
#[derive(Debug)]
pub struct SessionTopic {
    publisher: Publisher<NumbersReserved>,
    reserved: Reserved,
    names: Names,
}

impl SessionTopic {
    /// Opens the topic, as its one publisher, and reads the latest reservation.
    ///
    /// # Errors
    /// The topic has another publisher, cannot be read, or is of another session.
    pub fn open(bus: &Bus, names: Names) -> Result<Self, TopicError> {
        let publisher = bus.publisher(SESSION)?;
        let (mut reserved, mut held) = (Reserved::default(), names);
        let end = publisher.next_sequence();
        let start = end.saturating_sub(1).max(bus.watermarks(SESSION)?.first);
        read::<NumbersReserved>(bus, SESSION, start..end, |latest| {
            reserved = Reserved { next: latest.next, restarted: latest.restarted };
            held = Names { ours: latest.ours, venue: latest.venue };
        })?;
        if held != names {
            let (held, wanted) = (held.to_string(), names.to_string());
            return Err(TopicError::OtherSession { held, wanted });
        }
        Ok(Self { publisher, reserved, names })
    }
}

impl Numbers for SessionTopic {
    fn reserved(&self) -> Reserved {
        self.reserved
    }

    fn reserve(&mut self, reserved: Reserved) -> Result<(), ReserveError> {
        let Names { ours, venue } = self.names;
        let event = NumbersReserved { next: reserved.next, restarted: reserved.restarted, ours, venue };
        let durable = self.publisher.publish(&event).and_then(|_| self.publisher.flush());
        durable.map_err(|error| ReserveError(error.to_string()))?;
        self.reserved = reserved;
        Ok(())
    }
}

/// Makes the bus that of a session, for who journals its executions without speaking it.
///
/// # Errors
/// The topic `session` has another publisher, cannot be read or written, or is of another session.
pub fn claim(bus: &Bus, names: Names) -> Result<(), TopicError> {
    let mut topic = SessionTopic::open(bus, names)?;
    if topic.publisher.next_sequence() == 0 {
        topic.reserve(Reserved::default()).map_err(TopicError::Claim)?;
    }
    Ok(())
}

/// What the tail of `trades` tells its publisher.
///
/// # Errors
/// The topic cannot be read.
pub fn resume(bus: &Bus, trades: &Publisher<TradeEvent>) -> Result<Resume, TopicError> {
    let mut resume = Resume::default();
    let first = bus.watermarks(TRADES)?.first;
    let (mut end, mut least) = (trades.next_sequence(), READ_AT_LEAST);
    // What was withheld takes no execution's place in memory, so it is not known how far back these begin.
    while end > first && resume.lacks() > 0 {
        let start = end.saturating_sub(resume.lacks().max(least) as u64).max(first);
        let mut earlier = Resume::default();
        read::<TradeEvent>(bus, TRADES, start..end, |event| earlier.observe(event))?;
        earlier.append(resume);
        (resume, end, least) = (earlier, start, 2 * least);
    }
    Ok(resume)
}

/// Hands over the messages of a range that ends where the topic does or earlier. What is damaged is passed over: it is
/// the business of `replay verify`, and the venue is asked for what follows the last message in any case.
fn read<M: Message>(
    bus: &Bus,
    topic: &'static str,
    Range { start, end }: Range<u64>,
    mut observe: impl FnMut(M::Ref<'_>),
) -> Result<(), TopicError> {
    if start >= end {
        return Ok(());
    }
    let mut tail = bus.subscriber::<M>(topic, Start::Sequence(start), Gate::Published)?;
    while tail.next_sequence() < end {
        match tail.wait() {
            Ok(Some(event)) => observe(event),
            Ok(None) => break,
            Err(error @ ReadError::Failed(_)) => return Err(TopicError::Read { topic, error }),
            Err(ReadError::Retired { .. } | ReadError::Damage { .. } | ReadError::Regressed { .. }) => {}
        }
    }
    Ok(())
}

impl DropCopy<SessionTopic, Publisher<TradeEvent>> {
    /// A drop copy from `address` (`HOST:PORT`) into the topics `trades` and `session` of `bus`, going on where they
    /// end.
    ///
    /// # Errors
    /// A topic has another publisher, cannot be read, or is of another session.
    pub fn open(bus: &Bus, address: String, config: SessionConfig) -> Result<Self, TopicError> {
        let trades = bus.publisher(TRADES)?;
        let resume = resume(bus, &trades)?;
        let names = Names::new(config.sender.as_bytes(), config.target.as_bytes());
        Ok(Self::new(address, config, resume, SessionTopic::open(bus, names)?, trades))
    }
}
