//! The compliance consumer as an agent: it reads all that becomes durable, as `replay blotter` does, and keeps the
//! count. Its lines can be had from the journals at any time, so they are not written a second time.

use std::io::{self, Sink};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bus::Bus;
use bus::agent::{Agent, AgentError};
use replay::blotter::{Blotter, Summary};

/// Longest time for reading what is left at the end: a market at full speed may be far ahead of it.
const CATCHING_UP: Duration = Duration::from_secs(30);

/// Where the consumer leaves how it ended, and whether it has read everything.
pub(crate) type Verdict = Arc<Mutex<Option<(Summary, bool)>>>;

/// Drives the blotter.
pub(crate) struct Compliance {
    blotter: Blotter<Sink>,
    verdict: Verdict,
}

impl Compliance {
    pub(crate) fn new(bus: &Bus, verdict: Verdict) -> Self {
        Self { blotter: Blotter::new(bus, io::sink()), verdict }
    }
}

impl Agent for Compliance {
    fn name(&self) -> &str {
        "compliance"
    }

    fn do_work(&mut self) -> Result<usize, AgentError> {
        Agent::do_work(&mut self.blotter)
    }

    /// Reads what is durable by now, as far as the time allows.
    fn on_close(&mut self) -> Result<(), AgentError> {
        let until = Instant::now() + CATCHING_UP;
        self.blotter.release();
        let mut has_all = false;
        while !has_all && Instant::now() < until {
            has_all = self.do_work()? == 0;
        }
        let verdict = (self.blotter.summary(), has_all);
        *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) = Some(verdict);
        Ok(())
    }
}
