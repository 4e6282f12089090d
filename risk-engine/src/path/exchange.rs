//! The simulated exchange as an agent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bus::agent::{Agent, AgentError};
use market_gateway::simulate::Exchange;

/// Shared between the exchange and whoever ends it.
#[derive(Debug, Default)]
pub(crate) struct Venue {
    // ORDERING: all Relaxed: each value stands for itself and orders nothing.
    closing: AtomicBool,
    fills: AtomicU64,
    /// Nanoseconds since anybody asked for anything; 0 before the end of the session.
    quiet: AtomicU64,
}

impl Venue {
    /// Asks it to end its session. It goes on to answer.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    /// Fills of ours over all sessions.
    pub(crate) fn fills(&self) -> u64 {
        self.fills.load(Ordering::Relaxed)
    }

    /// How long nobody has asked for anything since the session ended.
    pub(crate) fn quiet(&self) -> Duration {
        Duration::from_nanos(self.quiet.load(Ordering::Relaxed))
    }
}

/// Drives the exchange.
pub(crate) struct ExchangeAgent {
    exchange: Exchange,
    venue: Arc<Venue>,
}

impl ExchangeAgent {
    pub(crate) fn new(exchange: Exchange, venue: Arc<Venue>) -> Self {
        Self { exchange, venue }
    }
}

impl Agent for ExchangeAgent {
    fn name(&self) -> &str {
        "exchange"
    }

    fn do_work(&mut self) -> Result<usize, AgentError> {
        let now = Instant::now();
        let work = self.exchange.do_work(now)?;
        if self.venue.closing.load(Ordering::Relaxed) {
            self.exchange.end(now)?;
        }
        let quiet = self.exchange.quiet_for(now).unwrap_or_default();
        self.venue.quiet.store(u64::try_from(quiet.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.venue.fills.store(self.exchange.executions(), Ordering::Relaxed);
        Ok(work)
    }
}
