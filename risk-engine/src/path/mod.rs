//! `risk-engine` without a command: the whole path in one process.
//!
//! ```text
//! exchange ─▶ two lines, re-requests ─▶ gateway ─▶ market-data ─▶ engine ─▶ risk
//!          └▶ drop copy ──────────────┘         └▶ trades ─────┘
//!                                                   all three, once durable ─▶ compliance, Kafka listener
//! ```
//! The parts end in the order of this picture: each once the one before it has nothing more to say, or after a deadline.

mod compliance;
mod ending;
mod exchange;
mod gateway;
mod parts;
mod view;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use archive::{ServeError, Server};
use bus::Bus;
use bus::config::{BusConfig, TopicConfig, WhenFull};
use bus::plan::{Plan, Role, WRITE_OUT, available_cores};
use bus::program::{Arguments, Exit, Failure, Size, Stop, Value, note};
use market_gateway::simulate::MessageRate;
use risk_engine::{MARKET_DATA, Measures, RISK, TRADES};

use crate::run::complain;
use crate::summary::{Input, Summary};
use crate::{GATEWAY, RISK_ROLE};
use ending::Ended;
use parts::Parts;
use view::View;

/// Disk of each topic.
const RETENTION: Size = Size(1 << 30);
/// What is waited for at the end has so long.
const DEADLINE: Duration = Duration::from_secs(5);
/// Between two looks at the parts.
const LOOK_EVERY: Duration = Duration::from_millis(20);

const EXCHANGE: Role = Role::cold("exchange");
const COMPLIANCE: Role = Role::cold("compliance");

/// Where the Kafka listener is.
enum Kafka {
    Off,
    At(SocketAddr),
}

impl Value for Kafka {
    const EXPECTED: &'static str = "an address such as 127.0.0.1:9092, or off";
    fn parse(text: &str) -> Option<Self> {
        if text == "off" { Some(Self::Off) } else { SocketAddr::parse(text).map(Self::At) }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let began = Instant::now();
    let length: Option<Duration> = arguments.find("for")?;
    let MessageRate(rate) = arguments.get("rate")?;
    let kafka = arguments.get("kafka")?;
    let was_asked_for = arguments.has("kafka");
    if was_asked_for {
        can_listen(&kafka)?;
    }
    let plan = Plan::automatic(&[RISK_ROLE, GATEWAY, WRITE_OUT, EXCHANGE, COMPLIANCE], available_cores());
    let mut config = config();
    plan.place_write_out(&mut config.cores);
    let bus = Bus::with_config(arguments.bus(), config)?;
    let stop = Stop::on_signals();
    let parts = Parts::open(&bus, &plan, rate, arguments.find("seed")?)?;
    let server = listen(&bus, &kafka, was_asked_for)?;
    note(&plan.describe());
    plan.make_way().into_iter().for_each(note);
    bus.scanty_memory().iter().for_each(|line| note(line));
    let mut view = View::new(&bus, server.as_ref().map(Server::address), arguments.json());
    let mut measures = Measures::default();
    let mut shown = view.greet();
    while shown.is_ok() && !parts.has_failed() && !stop.sleep(LOOK_EVERY) {
        parts.watch.take_measures(&mut measures);
        shown = view.show(&parts, &measures);
        if length.is_some_and(|length| began.elapsed() >= length) {
            break;
        }
    }
    view.leave();
    // Where nobody can be shown anything more, as once a terminal was closed, the parts end in their order all the same.
    let ended = parts.end()?;
    let kafka = server.as_ref().map_or_else(|| "off".into(), |server| server.address().to_string());
    drop(server);
    ended.watch.take_measures(&mut measures);
    complain(&ended.incomplete);
    let Some(outcome) = &ended.outcome else { return Ok(Exit::Fault) };
    let mut summary = Summary::new(&bus, began.elapsed(), measures.summary(), outcome, &ended.incomplete)?;
    summary.io.network = Some(ended.gateway.io.into());
    summary.input = Some(input(&ended));
    summary.kafka = Some(kafka);
    shown?;
    let exit = summary.print(arguments.json())?;
    if !arguments.json() {
        view::farewell(&bus)?;
    }
    Ok(exit)
}

/// Every topic keeps within its retention; what the last snapshots need is never removed.
fn config() -> BusConfig {
    let topic = TopicConfig { retention: Some(RETENTION), when_full: Some(WhenFull::Expire) };
    BusConfig {
        topics: [MARKET_DATA, TRADES, RISK].map(|name| (name.into(), topic)).into(),
        ..BusConfig::default()
    }
}

/// Refuses an address that cannot be had before there is a bus to serve.
fn can_listen(kafka: &Kafka) -> Result<(), Failure> {
    let &Kafka::At(address) = kafka else { return Ok(()) };
    TcpListener::bind(address).map_err(|source| ServeError::Bind { address, source })?;
    Ok(())
}

/// The listener. If the address is taken that nobody asked for, a free port serves.
fn listen(bus: &Bus, kafka: &Kafka, was_asked_for: bool) -> Result<Option<Server>, Failure> {
    let &Kafka::At(address) = kafka else { return Ok(None) };
    match Server::start(bus.clone(), address) {
        Err(ServeError::Bind { source, .. })
            if source.kind() == io::ErrorKind::AddrInUse && !was_asked_for =>
        {
            let server = Server::start(bus.clone(), SocketAddr::new(address.ip(), 0))?;
            note(&format!("{address} is taken: Kafka consumers are served at {}", server.address()));
            Ok(Some(server))
        }
        server => Ok(Some(server?)),
    }
}

/// What the gateway took from the lines.
fn input(ended: &Ended) -> Input {
    let feed = &ended.gateway.feed;
    let lost = |line: usize| feed.lines.get(line).map_or(0, |line| line.lost);
    Input {
        packets: feed.packets,
        messages: feed.messages,
        behind: ended.venue.behind(),
        lost_on_a: lost(0),
        lost_on_b: lost(1),
        recovered: feed.recovered,
        gaps: ended.lost,
    }
}
