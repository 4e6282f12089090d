//! The live gateway as an agent.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bus::agent::{Agent, AgentError};
use market_gateway::feed::Reached;
use market_gateway::live::{LiveGateway, LiveSummary};
use market_gateway::normalise::Itch;

/// What the kernel counts of a socket's receive queue for the smallest packet, at most, in bytes.
const PACKET: u64 = 1_024;
/// Messages that the exchange may be ahead of the first one that is missing: half of what the gateway holds.
const AHEAD: u64 = 32_768;

/// Shared between the gateway and whoever watches it.
#[derive(Debug)]
pub(crate) struct Desk {
    // ORDERING: all Relaxed: each value stands for itself and orders nothing.
    is_ended: AtomicBool,
    is_asked: AtomicBool,
    /// Messages that may be under way: they fit the receive queues, however they are packed.
    window: u64,
    limit: AtomicU64,
    next: AtomicU64,
    missing: AtomicU64,
    published: AtomicU64,
    fills: AtomicU64,
    /// The last answer, and why the drop copy was interrupted last, until that was told.
    told: Mutex<(Option<LiveSummary>, Option<String>)>,
}

impl Desk {
    /// The desk of a gateway whose exchange goes on after `sent` messages.
    pub(crate) fn new(gateway: &LiveGateway<Itch>, sent: u64) -> Self {
        let window = gateway.source().queue() as u64 / PACKET;
        Self {
            is_ended: AtomicBool::default(),
            is_asked: AtomicBool::default(),
            window,
            limit: AtomicU64::new(sent + window),
            next: AtomicU64::default(),
            missing: AtomicU64::default(),
            published: AtomicU64::default(),
            fills: AtomicU64::default(),
            told: Mutex::default(),
        }
    }

    /// The last message for which there is room.
    pub(crate) fn limit(&self) -> u64 {
        self.limit.load(Ordering::Relaxed)
    }

    /// Number of the venue's message that is to be journalled next; 0 before the first one came.
    pub(crate) fn next(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }

    /// Messages that are asked for.
    pub(crate) fn missing(&self) -> u64 {
        self.missing.load(Ordering::Relaxed)
    }

    /// Messages of `market-data`.
    pub(crate) fn published(&self) -> u64 {
        self.published.load(Ordering::Relaxed)
    }

    /// Messages of `trades`, each a fill.
    pub(crate) fn fills(&self) -> u64 {
        self.fills.load(Ordering::Relaxed)
    }

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

    /// How far the gateway is.
    #[inline]
    fn show(&self, gateway: &mut LiveGateway<Itch>) {
        self.published.store(gateway.published(), Ordering::Relaxed);
        self.fills.store(gateway.executions().unwrap_or(0), Ordering::Relaxed);
        let Some(Reached { next, end }) = gateway.reached() else { return };
        self.next.store(next, Ordering::Relaxed);
        let limit = (end + self.window).min(next + AHEAD) - 1;
        self.limit.fetch_max(limit, Ordering::Relaxed);
    }

    /// What costs more to find out.
    fn tell(&self, gateway: &mut LiveGateway<Itch>) {
        self.is_ended.store(gateway.is_ended(), Ordering::Relaxed);
        self.missing.store(gateway.missing(), Ordering::Relaxed);
        if let Some(reason) = gateway.take_ended() {
            self.told().1 = Some(reason.to_string());
        }
        if self.is_asked.swap(false, Ordering::Relaxed) {
            self.told().0 = Some(gateway.summary());
        }
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
        self.desk.show(gateway);
        if work == 0 || self.desk.is_asked.load(Ordering::Relaxed) {
            self.desk.tell(gateway);
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
