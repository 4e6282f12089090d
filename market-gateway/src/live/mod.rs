//! A live gateway: sockets, feed and drop copy tied together, driven by one duty cycle.
//!
//! ```no_run
//! use market_gateway::live::{LiveConfig, LiveGateway};
//! use market_gateway::normalise::Itch;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut config = LiveConfig::default();
//! config.udp.lines = vec!["239.1.1.1:31001".parse()?, "239.1.1.2:31001".parse()?];
//! let mut gateway = LiveGateway::open(&bus::Bus::open("busbar-data")?, &config, Itch::new())?;
//! while !gateway.is_ended() {
//!     gateway.do_work()?;
//! }
//! gateway.close()?;
//! # Ok(())
//! # }
//! ```
//!
//! It writes the topic [`MARKET_DATA`] and, with a drop copy, `trades` and `session`. It keeps nothing of its own: it goes on where its topics end. When it is stopped, what is missing at that moment is
//! not given up, since the next run asks for it again.

mod config;

use std::fmt::{self, Display, Formatter};
use std::io;
use std::time::{Duration, Instant};

use bus::clock::Clock;
use bus::event::market::{Gap, Session};
use bus::event::trade::TradeEvent;
use bus::event::{Message, PartOf, Time};
use bus::{Bus, BusError, PublishError, Publisher, ReadError, Room};
use zerocopy::IntoBytes;

use crate::arbiter::Source;
use crate::feed::{Feed, FeedConfig, FeedSummary, Reached};
use crate::fix::drop_copy::{DropCopy, DropCopyCounters};
use crate::fix::executions::TradesError;
use crate::fix::reason::Reason;
use crate::fix::topics::{SessionTopic, TopicError};
use crate::net::{self, Counters, OpenError, PacketSource, UdpConfig, UdpSource};
use crate::resume::History;
use crate::snapshot::{self, Snapshots};
use crate::{Normalise, Output};

pub use config::{DropCopyConfig, GatewayConfig, LiveConfig, OutOfRange};

/// Topic of what the market says.
pub const MARKET_DATA: &str = "market-data";

/// Requests sent in one duty cycle.
const REQUESTS: usize = 16;
/// How long a line's address may be in use by a process that is ending.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long a drop copy may take to log out.
const FAREWELL: Duration = Duration::from_secs(2);
/// At the end a topic is given up of which nothing becomes durable for so long.
const DURABLE_WITHIN: Duration = Duration::from_secs(5);

/// Why a live gateway could not open, or cannot go on. That there is no room is no reason.
#[derive(Debug)]
pub enum LiveError {
    /// The topic refuses.
    Bus(BusError),
    /// The topic's past cannot be read.
    Past(ReadError),
    /// The lines cannot be opened.
    Open(OpenError),
    /// The lines cannot be received any more.
    Network(io::Error),
    /// The topic takes nothing any more.
    Journal(PublishError),
    /// The topics of the drop copy refuse.
    DropCopy(TopicError),
    /// The topic of the drop copy takes nothing any more.
    Trades(TradesError),
}

impl Display for LiveError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bus(error) => error.fmt(f),
            Self::Past(error) => write!(f, "cannot resume: topic '{MARKET_DATA}': {error}"),
            Self::Open(error) => error.fmt(f),
            Self::Network(error) => {
                write!(f, "cannot receive any more: {error}; mend the network and start again")
            }
            Self::Journal(error) => write!(f, "topic '{MARKET_DATA}': {error}"),
            Self::DropCopy(error) => error.fmt(f),
            Self::Trades(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for LiveError {}

/// What a live gateway has done so far.
#[derive(Debug, Clone)]
pub struct LiveSummary {
    /// What the feed did.
    pub feed: FeedSummary,
    /// What happened to packets before it.
    pub network: Counters,
    /// What packets are received with.
    pub io: &'static str,
    /// How often the topic refused an event for lack of room; each was offered again.
    pub refused: u64,
    /// What there was no room in, if the topic refused events when this was asked for.
    pub short_of: Option<Room>,
    /// Requests that could not be sent.
    pub unsent: u64,
    /// What the drop copy did.
    pub drop_copy: Option<DropCopyCounters>,
    /// Messages that were not durable at the end, since the disk took nothing. They wait in shared memory for the next
    /// publisher.
    pub undurable: u64,
}

impl LiveSummary {
    /// Whether something is lost for good, as far as this run knows: messages that never came, executions that cannot
    /// be kept, that were withheld, or that the venue's reset of its numbers jumped over.
    pub fn is_incomplete(&self) -> bool {
        let lost = |DropCopyCounters { session, executions, .. }: &DropCopyCounters| {
            executions.refused + executions.withheld + session.lost_by_reset
        };
        self.feed.is_incomplete() || self.drop_copy.as_ref().map_or(0, lost) > 0 || self.undurable > 0
    }

    /// Whether there is a drop copy that was never logged on: whatever was executed meanwhile is not known here.
    pub fn never_logged_on(&self) -> bool {
        self.drop_copy.as_ref().is_some_and(|counters| counters.session.logons == 0)
    }
}

/// Receives redundant lines into the topic [`MARKET_DATA`] of a bus, and a drop copy into `trades` and `session`.
#[derive(Debug)]
pub struct LiveGateway<N: Normalise> {
    source: UdpSource,
    feed: Feed<N, Journal<N::Event>>,
    /// Index of the line on which answers to requests arrive.
    answers: usize,
    drop_copy: Option<DropCopy<SessionTopic, Publisher<TradeEvent>>>,
    snapshots: Snapshots,
    clock: Clock,
    refused: u64,
    /// What there was no room in during the last duty cycle.
    short_of: Option<Room>,
    unsent: u64,
}

impl<N> LiveGateway<N>
where
    N: Normalise,
    Session: PartOf<N::Event>,
    Gap: PartOf<N::Event>,
{
    /// Opens the lines, then the topics as their one publisher, and reads where they end. Lines come first since a line
    /// that cannot be opened is to leave nothing behind; what arrives meanwhile waits in the kernel.
    ///
    /// # Errors
    /// See [`LiveError`].
    pub fn open(bus: &Bus, config: &LiveConfig, mut normaliser: N) -> Result<Self, LiveError> {
        let source = open_lines(&config.udp).map_err(LiveError::Open)?;
        let publisher = bus.publisher(MARKET_DATA).map_err(LiveError::Bus)?;
        let history = History::read(bus, MARKET_DATA, &mut normaliser).map_err(LiveError::Past)?;
        let drop_copy = config.drop_copy.as_ref().map(|DropCopyConfig { address, session }| {
            DropCopy::open(bus, address.clone(), session.clone()).map_err(LiveError::DropCopy)
        });
        let mut feed = FeedConfig { date: config.date, ..FeedConfig::new(config.udp.rerequest.is_some()) };
        feed.limits.patience = config.patience.unwrap_or(feed.limits.patience);
        Ok(Self {
            drop_copy: drop_copy.transpose()?,
            snapshots: Snapshots::new(bus, MARKET_DATA, snapshot::EVERY),
            feed: Feed::new(normaliser, Journal(publisher), history, feed),
            answers: config.udp.lines.len(),
            clock: Clock::new(),
            refused: 0,
            short_of: None,
            unsent: 0,
            source,
        })
    }

    /// One duty cycle: receives, journals, asks for what is missing. Returns how much there was to do. It waits only
    /// where the lines are [set up to](net::Wait).
    ///
    /// # Errors
    /// What was received cannot be journalled any more, or nothing can be received.
    pub fn do_work(&mut self) -> Result<usize, LiveError> {
        self.short_of = None;
        let packets = self.receive()?;
        if packets == 0 {
            self.clock.resync();
        }
        let now = self.clock.now();
        let settled = self.feed.poll(now);
        self.refusal(settled)?;
        let Journal(publisher) = self.feed.output();
        let (sequence, durable) = (publisher.next_sequence(), publisher.durable());
        self.snapshots.keep(&self.feed, sequence, durable);
        let requests = self.ask(now);
        let messages = match &mut self.drop_copy {
            Some(drop_copy) => drop_copy.do_work(now).map_err(LiveError::Trades)?,
            None => 0,
        };
        Ok(packets + requests + messages)
    }

    fn receive(&mut self) -> Result<usize, LiveError> {
        let Self { source, feed, answers, refused, short_of, .. } = self;
        let mut failure = None;
        let received = source.poll(&mut |packet| {
            let from = if packet.line == *answers { Source::Rerequest } else { Source::Line(packet.line) };
            // No message of a packet waits for subscribers to be woken by the one before.
            feed.output().0.hold_wakes();
            let taken = feed.packet(from, packet.receive_time, packet.bytes);
            feed.output().0.wake();
            match taken {
                Ok(()) => {}
                Err(error) if is_for_lack_of_room(&error) => {
                    *refused += 1;
                    *short_of = room(&error).or(*short_of);
                }
                Err(error) => failure = Some(error),
            }
        });
        match failure {
            Some(error) => Err(LiveError::Journal(error)),
            None => received.map_err(LiveError::Network),
        }
    }

    fn refusal(&mut self, result: Result<(), PublishError>) -> Result<(), LiveError> {
        match result {
            Err(error) if is_for_lack_of_room(&error) => {
                self.refused += 1;
                self.short_of = room(&error).or(self.short_of);
                Ok(())
            }
            result => result.map_err(LiveError::Journal),
        }
    }

    fn ask(&mut self, now: Time) -> usize {
        for sent in 0..REQUESTS {
            let Some((session, request)) = self.feed.request(now) else { return sent };
            let sent = self.source.request(request.datagram(&session).as_bytes());
            self.unsent += u64::from(!sent.unwrap_or(false));
        }
        REQUESTS
    }

    /// Whether the venue ended the session and every message of it is journalled or given up.
    pub fn is_ended(&self) -> bool {
        self.feed.is_ended()
    }

    /// Sequence of the next event in [`MARKET_DATA`].
    pub fn published(&mut self) -> u64 {
        self.feed.output().0.next_sequence()
    }

    /// Sequence of the next event in the topic of the drop copy, if there is one.
    pub fn executions(&mut self) -> Option<u64> {
        self.drop_copy.as_mut().map(|drop_copy| drop_copy.trades().next_sequence())
    }

    /// How far the current session is.
    pub fn reached(&self) -> Option<Reached> {
        self.feed.reached()
    }

    /// Messages of the current session that are missing, given up or not, and are asked for.
    pub fn missing(&self) -> u64 {
        self.feed.missing()
    }

    /// Why packets are not received through io_uring although they should be.
    pub fn fallback(&self) -> Option<&net::RingRefused> {
        self.source.fallback()
    }

    /// The sockets.
    pub fn source(&self) -> &UdpSource {
        &self.source
    }

    /// What turns messages into events.
    pub fn normaliser(&self) -> &N {
        self.feed.normaliser()
    }

    /// Why the drop copy's connection ended last, told once.
    pub fn take_ended(&mut self) -> Option<Reason> {
        self.drop_copy.as_mut().and_then(DropCopy::take_ended)
    }

    /// What happened so far.
    pub fn summary(&mut self) -> LiveSummary {
        LiveSummary {
            feed: self.feed.summary(),
            network: self.source.counters(),
            io: self.source.backend(),
            refused: self.refused,
            short_of: self.short_of,
            unsent: self.unsent,
            drop_copy: self.drop_copy.as_mut().map(DropCopy::counters),
            undurable: 0,
        }
    }

    /// Stops: logs out, makes everything durable and ends the topics. Where the disk takes nothing for some seconds, what
    /// is left is [counted](LiveSummary::undurable). Returns the last summary and the normaliser.
    ///
    /// # Errors
    /// What was published can never be made durable.
    pub fn close(mut self) -> Result<(LiveSummary, N), LiveError> {
        self.log_out()?;
        let mut summary = self.summary();
        if let Some(drop_copy) = &mut self.drop_copy {
            summary.undurable += flush(drop_copy.trades())?;
        }
        let (normaliser, Journal(mut publisher)) = self.feed.into_parts();
        match flush(&mut publisher)? {
            0 => publisher.close().map_err(LiveError::Journal)?,
            left => {
                summary.undurable += left;
                publisher.abandon();
            }
        }
        Ok((summary, normaliser))
    }

    fn log_out(&mut self) -> Result<(), LiveError> {
        let Some(drop_copy) = &mut self.drop_copy else { return Ok(()) };
        drop_copy.finish();
        let began = Instant::now();
        while !drop_copy.is_finished() && began.elapsed() < FAREWELL {
            if drop_copy.do_work(self.clock.now()).map_err(LiveError::Trades)? == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(())
    }
}

/// Makes a topic durable; returns the messages of which that is given up.
fn flush<M: Message>(publisher: &mut Publisher<M>) -> Result<u64, LiveError> {
    let is_durable = publisher.flush_within(DURABLE_WITHIN).map_err(LiveError::Journal)?;
    Ok(if is_durable { 0 } else { publisher.next_sequence() - publisher.durable() })
}

/// Opens the lines. A process that was just killed has its sockets until the kernel has taken its rings apart, so an
/// address in use is waited for a little.
fn open_lines(config: &UdpConfig) -> Result<UdpSource, OpenError> {
    let began = Instant::now();
    loop {
        match UdpSource::open(config) {
            Err(OpenError::Socket { error, .. })
                if error.kind() == io::ErrorKind::AddrInUse && began.elapsed() < PATIENCE =>
            {
                std::thread::sleep(Duration::from_millis(5));
            }
            opened => return opened,
        }
    }
}

/// Whether the topic will take the event later.
fn is_for_lack_of_room(error: &PublishError) -> bool {
    matches!(error, PublishError::Full | PublishError::NoRoom(_))
}

/// What there is no room in, where that is more than a moment's want.
fn room(error: &PublishError) -> Option<Room> {
    if let PublishError::NoRoom(room) = error { Some(*room) } else { None }
}

/// The topic, which a live source never waits for: what is refused is held and offered again, and the lines are
/// received meanwhile.
#[derive(Debug)]
struct Journal<M: Message>(Publisher<M>);

impl<M: Message> Output<M> for Journal<M> {
    type Error = PublishError;

    #[inline]
    fn publish<E: PartOf<M>>(&mut self, event: &E) -> Result<(), PublishError> {
        self.0.try_publish(event).map(drop)
    }
}
