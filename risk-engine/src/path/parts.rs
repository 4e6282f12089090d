//! The parts of the path: started together, ended one after the other.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use bus::Bus;
use bus::agent::{self, Agent, AgentFailure, Running};
use bus::event::Price;
use bus::plan::{Placement, Plan};
use bus::program::{Failure, Stop, note};
use bus::wait::WaitStrategy;
use engine::Cut;
use market_gateway::fix::session::SessionConfig;
use market_gateway::live::{DropCopyConfig, LiveConfig, LiveGateway, LiveSummary};
use market_gateway::net::UdpConfig;
use market_gateway::normalise::Itch;
use market_gateway::simulate::{Exchange, ExchangeConfig};
use risk_engine::{
    FeeConfig, LimitConfig, MARKET_DATA, Outcome, RiskConfig, Runner, Settings, TRADES, Watch,
};

use super::compliance::{Compliance, Verdict};
use super::exchange::{ExchangeAgent, Venue};
use super::gateway::{Desk, GatewayAgent};
use crate::run::{backend, says_why};

/// The exchange tells the gateway where it is at least so often.
const VENUE_HEARTBEAT: Duration = Duration::from_millis(200);
/// Interval of heartbeats on the drop copy.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// The exchange leaves when nobody has asked for anything for so long.
const QUIET: Duration = Duration::from_millis(100);
/// Between two looks whether a part has everything.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// A part that gets nothing more to do for so long will not finish.
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
    bus: Bus,
    pub(crate) venue: Arc<Venue>,
    pub(crate) desk: Arc<Desk>,
    pub(crate) watch: Arc<Watch>,
    verdict: Verdict,
    exchange: Part,
    gateway: Part,
    engine: Part,
    compliance: Part,
}

/// How the path ended.
pub(crate) struct Ended {
    pub(crate) watch: Arc<Watch>,
    pub(crate) gateway: LiveSummary,
    pub(crate) outcome: Outcome,
    pub(crate) disk: String,
    pub(crate) is_complete: bool,
}

/// A running agent with its own stop.
struct Part {
    running: Running,
    stop: Stop,
}

impl Part {
    fn start(placement: &Placement, agent: impl Agent + 'static) -> Result<Self, Failure> {
        let stop = Stop::new();
        let running = agent::start(placement, &stop, agent)
            .map_err(|error| Failure::new("cannot start a thread", placement.role, error))?;
        Ok(Self { running, stop })
    }

    fn end(self) -> Result<(), AgentFailure> {
        self.stop.request();
        self.running.join()
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
        let (venue, desk, verdict) = (Arc::default(), Arc::default(), Verdict::default());
        // Where the plan parks the gateway, its sockets wait in the kernel, and no packet has to wait for a nap.
        let waits = if placement.wait == WaitStrategy::Park { WaitStrategy::Spin } else { placement.wait };
        let placement = Placement { wait: waits, ..placement.clone() };
        let engine = Part::start(plan.place("risk"), runner)?;
        let compliance = Compliance::new(bus, Arc::clone(&verdict));
        let compliance = Part::start(plan.place("compliance"), compliance)?;
        let gateway = Part::start(&placement, GatewayAgent::new(gateway, Arc::clone(&desk)))?;
        let exchange = ExchangeAgent::new(exchange, Arc::clone(&venue));
        let exchange = Part::start(plan.place("exchange"), exchange)?;
        Ok(Self { bus: bus.clone(), venue, desk, watch, verdict, exchange, gateway, engine, compliance })
    }

    /// Whether a part has ended before its time.
    pub(crate) fn has_failed(&self) -> bool {
        [&self.exchange, &self.gateway, &self.engine, &self.compliance]
            .iter()
            .any(|part| part.running.is_finished())
    }

    /// Ends the venue's session and then one part after the other, each once it has everything.
    pub(crate) fn end(self) -> Result<Ended, Failure> {
        let mut is_complete = true;
        self.venue.close();
        if !self.has_failed() {
            is_complete &= self.wait_until("the gateway has everything", || self.has_delivered());
        }
        let disk = backend(&self.bus);
        let Self { bus, desk, watch, verdict, exchange, gateway, engine, compliance, .. } = self;
        let mut failures = vec![exchange.end(), gateway.end()];
        let cut = cut(&bus);
        let is_caught_up = || watch.has_reached(cut) || engine.running.is_finished();
        is_complete &= wait_until("the engine has everything", || watch.cut(), is_caught_up);
        failures.push(engine.end());
        failures.push(compliance.end());
        for failure in failures {
            is_complete &= says_why(failure)?;
        }
        let summary = verdict.lock().unwrap_or_else(PoisonError::into_inner).take();
        let missing = summary.map_or(0, |summary| summary.incomplete.count());
        if missing > 0 {
            note(&format!(
                "compliance misses {missing} things; `replay blotter` names them in its last line"
            ));
        }
        let gateway = desk.ask().ok_or_else(|| unfinished("gateway"))?;
        let outcome = watch.outcome().ok_or_else(|| unfinished("engine"))?;
        is_complete &= outcome.complete && missing == 0 && !gateway.is_incomplete();
        Ok(Ended { watch, gateway, outcome, disk, is_complete })
    }

    /// Whether the gateway has journalled all that the exchange has to say.
    fn has_delivered(&self) -> bool {
        let trades = self.bus.watermarks(TRADES).map_or(0, |marks| marks.published);
        self.desk.is_ended() && self.venue.quiet() >= QUIET && trades >= self.venue.fills()
    }

    fn wait_until(&self, what: &str, is_over: impl Fn() -> bool) -> bool {
        wait_until(what, || cut(&self.bus), || self.has_failed() || is_over())
    }
}

/// Waits until `is_over`; false, and said, if `progress` stands still for too long before.
fn wait_until<P: PartialEq>(what: &str, progress: impl Fn() -> P, is_over: impl Fn() -> bool) -> bool {
    let (mut last, mut since) = (progress(), Instant::now());
    while !is_over() {
        std::thread::sleep(LOOK_EVERY);
        let now = progress();
        if now != last {
            (last, since) = (now, Instant::now());
        } else if since.elapsed() > PATIENCE {
            note(&format!("not waited for any longer: that {what}; start again to complete it"));
            return false;
        }
    }
    true
}

/// How far the inputs of the engine are published.
fn cut(bus: &Bus) -> Cut {
    let published = |topic| bus.watermarks(topic).map_or(0, |marks| marks.published);
    Cut { market_data: published(MARKET_DATA), trades: published(TRADES) }
}

fn unfinished(part: &str) -> Failure {
    Failure::new("ended without a summary", part, "start again")
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
        ..LiveConfig::default()
    })
}
