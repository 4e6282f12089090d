//! The compliance consumer as an agent: it reads all that becomes durable, as `replay blotter` does, and keeps the
//! count. Its lines can be had from the journals at any time, so they are not written a second time.

use std::io::{self, Sink};
use std::sync::{Arc, Mutex, PoisonError};

use bus::Bus;
use bus::agent::{Agent, AgentError};
use replay::blotter::{Blotter, Summary};

/// Where the consumer leaves how it ended.
pub(crate) type Verdict = Arc<Mutex<Option<Summary>>>;

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

    fn on_close(&mut self) -> Result<(), AgentError> {
        self.blotter.on_close()?;
        *self.verdict.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.blotter.summary());
        Ok(())
    }
}
