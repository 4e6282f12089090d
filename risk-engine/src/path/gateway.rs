//! The live gateway as an agent.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bus::agent::{Agent, AgentError};
use market_gateway::live::{LiveGateway, LiveSummary};
use market_gateway::normalise::Itch;

/// Shared between the gateway and whoever watches it.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    // ORDERING: all Relaxed: each flag stands for itself and orders nothing.
    is_ended: AtomicBool,
    is_asked: AtomicBool,
    /// The last answer, and why the drop copy was interrupted last, until that was told.
    told: Mutex<(Option<LiveSummary>, Option<String>)>,
}

impl Desk {
    /// Whether the venue's session is over and every message of it journalled or given up.
    pub(crate) fn is_ended(&self) -> bool {
        self.is_ended.load(Ordering::Relaxed)
    }

    /// What the gateway answered last, and asks it again.
    pub(crate) fn ask(&self) -> Option<LiveSummary> {
        self.is_asked.store(true, Ordering::Relaxed);
        self.told().0.clone()
    }

    /// Why the drop copy was interrupted, told once.
    pub(crate) fn take_interruption(&self) -> Option<String> {
        self.told().1.take()
    }

    fn told(&self) -> MutexGuard<'_, (Option<LiveSummary>, Option<String>)> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Drives the gateway.
pub(crate) struct GatewayAgent {
    gateway: Option<LiveGateway<Itch>>,
    desk: Arc<Desk>,
}

impl GatewayAgent {
    pub(crate) fn new(gateway: LiveGateway<Itch>, desk: Arc<Desk>) -> Self {
        Self { gateway: Some(gateway), desk }
    }
}

impl Agent for GatewayAgent {
    fn name(&self) -> &str {
        "gateway"
    }

    #[inline]
    fn do_work(&mut self) -> Result<usize, AgentError> {
        let Some(gateway) = &mut self.gateway else { return Ok(0) };
        let work = gateway.do_work()?;
        if work == 0 {
            self.desk.is_ended.store(gateway.is_ended(), Ordering::Relaxed);
            if let Some(reason) = gateway.take_ended() {
                self.desk.told().1 = Some(reason.to_string());
            }
            if self.desk.is_asked.swap(false, Ordering::Relaxed) {
                self.desk.told().0 = Some(gateway.summary());
            }
        }
        Ok(work)
    }

    fn on_close(&mut self) -> Result<(), AgentError> {
        if let Some(gateway) = self.gateway.take() {
            let (summary, _) = gateway.close()?;
            self.desk.told().0 = Some(summary);
        }
        Ok(())
    }
}
