//! The parts of the path, started together.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

use bus::Bus;
use bus::agent::{self, Agent, Running};
use bus::config::{FeeConfig, LimitConfig, RiskConfig};
use bus::event::Price;
use bus::plan::{Placement, Plan};
use bus::program::{Failure, Stop, note};
use bus::wait::WaitStrategy;
use market_gateway::fix::session::SessionConfig;
use market_gateway::live::{DropCopyConfig, LiveConfig, LiveGateway};
use market_gateway::net::UdpConfig;
use market_gateway::normalise::Itch;
use market_gateway::simulate::{Exchange, ExchangeConfig};
use risk_engine::{Runner, Settings, Watch};

use super::compliance::{Compliance, Verdict};
use super::exchange::{ExchangeAgent, Venue};
use super::gateway::{Desk, GatewayAgent};

/// The exchange tells the gateway where it is at least so often.
const VENUE_HEARTBEAT: Duration = Duration::from_millis(50);
/// Interval of heartbeats on the drop copy.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// How long the gateway waits for a missing message before it goes on without. Here somebody answers, sooner or later.
const PATIENCE: Duration = Duration::from_secs(10);
/// The position limit of the demonstration, in shares of one account in one instrument.
const LIMIT: i64 = 20_000;
/// The fee of the demonstration, for each share.
const FEE: Price = Price(2_000_000);
/// Redundant lines.
const LINES: usize = 2;
/// A port of the loopback interface that the system chooses.
const ANY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);

/// All parts while they run.
pub(crate) struct Parts {
    pub(super) bus: Bus,
    pub(crate) venue: Arc<Venue>,
    pub(crate) desk: Arc<Desk>,
    pub(crate) watch: Arc<Watch>,
    pub(super) verdict: Verdict,
    pub(super) exchange: Part,
    pub(super) gateway: Part,
    pub(super) engine: Part,
    pub(super) compliance: Part,
}

/// A running agent with its own stop.
pub(super) struct Part {
    pub(super) running: Running,
    pub(super) stop: Stop,
}

impl Part {
    fn start(placement: &Placement, agent: impl Agent + 'static) -> Result<Self, Failure> {
        let stop = Stop::new();
        let running = agent::start(placement, &stop, agent)
            .map_err(|error| Failure::new("cannot start a thread", placement.role, error))?;
        Ok(Self { running, stop })
    }
}

impl Parts {
    /// Opens everything and starts it. The engine comes first: it refuses where another one runs.
    pub(crate) fn open(bus: &Bus, plan: &Plan, rate: u64, seed: Option<u64>) -> Result<Self, Failure> {
        let watch = Arc::new(Watch::default());
        let settings = settings()?;
        let every = RiskConfig::default().snapshot_every;
        let runner = Runner::open(bus, Some(settings), every, Arc::clone(&watch))?;
        let mut exchange = Exchange::open(&ExchangeConfig {
            directory: bus.directory().to_owned(),
            seed,
            rate,
            rerequest: Some(ANY),
            fix: Some(ANY),
            heartbeat: VENUE_HEARTBEAT,
            ..ExchangeConfig::default()
        })?;
        let placement = plan.place("gateway");
        let gateway = LiveGateway::open(bus, &live_config(&exchange, placement)?, Itch::new())?;
        for address in gateway.source().addresses()?.into_iter().take(LINES) {
            exchange.add_line(address)?;
        }
        if let Some(refused) = gateway.fallback() {
            note(&format!("packets are received with recvmmsg: {refused}"));
        }
        if exchange.sent() > 0 {
            note(&format!("session {} goes on after message {}", exchange.session(), exchange.sent()));
        }
        let desk = Arc::new(Desk::new(&gateway, exchange.sent()));
        let (venue, verdict) = (Arc::new(Venue::new(rate)), Verdict::default());
        // Where the plan parks the gateway, its sockets wait in the kernel, and no packet has to wait for a nap.
        let waits = if placement.wait == WaitStrategy::Park { WaitStrategy::Spin } else { placement.wait };
        let placement = Placement { wait: waits, ..placement.clone() };
        let engine = Part::start(plan.place("risk"), runner)?;
        let compliance = Compliance::new(bus, Arc::clone(&verdict));
        let compliance = Part::start(plan.place("compliance"), compliance)?;
        let gateway = Part::start(&placement, GatewayAgent::new(gateway, Arc::clone(&desk)))?;
        let exchange = ExchangeAgent::new(exchange, Arc::clone(&venue), Arc::clone(&desk));
        let exchange = Part::start(plan.place("exchange"), exchange)?;
        Ok(Self { bus: bus.clone(), venue, desk, watch, verdict, exchange, gateway, engine, compliance })
    }

    /// Whether a part has ended before its time.
    pub(crate) fn has_failed(&self) -> bool {
        [&self.exchange, &self.gateway, &self.engine, &self.compliance]
            .iter()
            .any(|part| part.running.is_finished())
    }
}

/// Fees and a limit, so that there is something to see.
fn settings() -> Result<Settings, Failure> {
    let config = RiskConfig {
        limits: Some(vec![LimitConfig { account: None, instrument: None, position: LIMIT }]),
        fees: Some(vec![FeeConfig { account: None, instrument: None, per_unit: FEE, of_notional: Price(0) }]),
        ..RiskConfig::default()
    };
    Ok(Settings::new(&config)?.unwrap_or_default())
}

fn live_config(exchange: &Exchange, placement: &Placement) -> Result<LiveConfig, Failure> {
    let unopened = || Failure::new("the exchange did not open", "its addresses", "start again");
    let rerequest = exchange.rerequest().ok_or_else(unopened)?;
    let address = exchange.fix().ok_or_else(unopened)?.to_string();
    let session = SessionConfig {
        sender: "BUSBAR".into(),
        target: ExchangeConfig::default().comp_id,
        heartbeat: HEARTBEAT,
        reset_on_logon: false,
    };
    Ok(LiveConfig {
        udp: UdpConfig {
            lines: vec![ANY; LINES],
            rerequest: Some(rerequest),
            wait: placement.wait.into(),
            ..UdpConfig::default()
        },
        drop_copy: Some(DropCopyConfig { address, session }),
        patience: Some(PATIENCE),
        ..LiveConfig::default()
    })
}
