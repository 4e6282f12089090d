//! The simulated exchange as an agent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bus::agent::{Agent, AgentError};
use market_gateway::simulate::Exchange;

use super::gateway::Desk;

/// Shared between the exchange and whoever watches and ends it.
#[derive(Debug)]
pub(crate) struct Venue {
    /// Messages a second that it is to send.
    rate: u64,
    pausing: AtomicBool,
    closing: AtomicBool,
    /// Messages of the session.
    sent: AtomicU64,
    behind: AtomicU64,
    fills: AtomicU64,
    /// Nanoseconds since anybody asked for anything; 0 before the end of the session.
    quiet: AtomicU64,
    /// Whether it has sent its last message.
    is_paused: AtomicBool,
}

impl Venue {
    pub(crate) fn new(rate: u64) -> Self {
        Self {
            rate,
            pausing: AtomicBool::default(),
            closing: AtomicBool::default(),
            sent: AtomicU64::default(),
            behind: AtomicU64::default(),
            fills: AtomicU64::default(),
            quiet: AtomicU64::default(),
            is_paused: AtomicBool::default(),
        }
    }

    // ORDERING: all Relaxed: each value stands for itself and orders nothing; but for `is_paused`.

    /// Asks it to send nothing new. It goes on to answer.
    pub(crate) fn pause(&self) {
        self.pausing.store(true, Ordering::Relaxed);
    }

    /// Whether it sends nothing new: messages and fills are the last ones.
    pub(crate) fn is_paused(&self) -> bool {
        // ORDERING: Acquire pairs with the Release in `tell`: the numbers told before are seen.
        self.is_paused.load(Ordering::Acquire)
    }

    /// Asks it to end its session. It goes on to answer.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    /// Messages of the session, which are numbered from 1.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Messages that are missing to its rate.
    pub(crate) fn behind(&self) -> u64 {
        self.behind.load(Ordering::Relaxed)
    }

    /// How far it is behind its rate.
    pub(crate) fn behind_for(&self) -> Duration {
        Duration::from_secs_f64(self.behind() as f64 / self.rate as f64)
    }

    /// Fills of ours over all sessions.
    pub(crate) fn fills(&self) -> u64 {
        self.fills.load(Ordering::Relaxed)
    }

    /// How long nobody has asked for anything since the session ended.
    pub(crate) fn quiet(&self) -> Duration {
        Duration::from_nanos(self.quiet.load(Ordering::Relaxed))
    }

    fn tell(&self, exchange: &Exchange, now: Instant, is_paused: bool) {
        let quiet = exchange.quiet_for(now).unwrap_or_default();
        self.quiet.store(u64::try_from(quiet.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.sent.store(exchange.sent(), Ordering::Relaxed);
        self.behind.store(exchange.behind(), Ordering::Relaxed);
        self.fills.store(exchange.executions(), Ordering::Relaxed);
        // ORDERING: Release pairs with the Acquire in `is_paused`.
        self.is_paused.store(is_paused, Ordering::Release);
    }
}

/// Drives the exchange. Another exchange does not care who can follow; this one waits for its one listener, so that a
/// machine which takes less than the rate shows how far it is behind, and not what its sockets lost.
pub(crate) struct ExchangeAgent {
    exchange: Exchange,
    venue: Arc<Venue>,
    desk: Arc<Desk>,
}

impl ExchangeAgent {
    pub(crate) fn new(exchange: Exchange, venue: Arc<Venue>, desk: Arc<Desk>) -> Self {
        Self { exchange, venue, desk }
    }
}

impl Agent for ExchangeAgent {
    fn name(&self) -> &str {
        "exchange"
    }

    fn do_work(&mut self) -> Result<usize, AgentError> {
        let Self { exchange, venue, desk } = self;
        let now = Instant::now();
        let pauses = venue.pausing.load(Ordering::Relaxed);
        exchange.hold_at(if pauses { exchange.sent() } else { desk.limit() });
        let work = exchange.do_work(now)?;
        if venue.closing.load(Ordering::Relaxed) {
            exchange.end(now)?;
        }
        venue.tell(exchange, now, pauses);
        Ok(work)
    }
}
