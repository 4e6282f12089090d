//! `market-gateway run`: live lines onto a bus.

use bus::Bus;
use bus::config::{self, BusConfig, RiskConfig};
use bus::plan::{self, Placement, Plan, Role, WRITE_OUT, available_cores};
use bus::program::{self, Arguments, Exit, Failure, Progress, Stop, Value};
use bus::wait::{Idle, WaitStrategy};
use market_gateway::fix::drop_copy::DropCopyCounters;
use market_gateway::fix::reason::Reason;
use market_gateway::fix::session::SessionConfig;
use market_gateway::fix::topics::TRADES;
use market_gateway::live::{
    DropCopyConfig, GatewayConfig, LiveConfig, LiveGateway, LiveSummary, MARKET_DATA,
};
use market_gateway::net::{Stamps, UdpConfig};
use market_gateway::normalise::Itch;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::summary::{Summary, tell_unread};

const GATEWAY: &str = "gateway";
/// Most redundant lines of a feed: venues send two.
const LINES: usize = 2;
/// Interval of heartbeats on the drop copy.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// The flag that begins the drop copy's numbers again.
const RESET: &str = "reset-numbers";

/// A configuration file as the gateway reads it; `[risk]` is for the engine, and only has to be right.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    bus: BusConfig,
    gateway: GatewayConfig,
    #[serde(rename = "risk")]
    _risk: RiskConfig,
}

type Gateway = LiveGateway<Itch>;

pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let path: Option<PathBuf> = arguments.find("config")?;
    let mut file: File = path.map(|path| config::load(&path)).transpose()?.unwrap_or_default();
    let plan = core_plan(&file.bus)?;
    plan.place_write_out(&mut file.bus.cores);
    let placement = plan.place(GATEWAY);
    let config = live_config(arguments, &file.gateway, placement)?;
    let length: Option<Duration> = arguments.find("for")?;
    let of_others = Vec::from_iter(file.bus.notes_of_others(&[MARKET_DATA, TRADES]));
    let bus = Bus::with_config(arguments.bus(), file.bus)?;
    let mut gateway = Gateway::open(&bus, &config, Itch::new())?;
    of_others.iter().for_each(|line| program::note(line));
    tell(&gateway, &config, &plan);
    tell_unread(&gateway.summary().feed);
    bus.scanty_memory().iter().for_each(|line| program::note(line));
    let is_refusal_told = receive(&mut gateway, placement, length, arguments.has("until-end"))?;
    let (summary, itch) = gateway.close()?;
    tell_drop_copy(&summary, is_refusal_told);
    if let Some(source) = config.udp.source {
        tell_filtered(&summary, source);
    }
    let market = Summary::of_live(&summary, &itch);
    let report = Report { market, fix: summary.drop_copy.as_ref().map(DropCopyReport::new) };
    if arguments.json() {
        program::print_json(&report)?;
    } else {
        program::print_line(&report.describe())?;
    }
    if summary.undurable > 0 {
        program::note(&format!(
            "{} not durable, since the disk takes nothing: make room and start again",
            program::counted(summary.undurable, "message")
        ));
    }
    let is_unproven = !bus.lost_marks().is_empty() || !bus.lost_schemas().is_empty();
    Ok(if is_unproven || summary.is_incomplete() || summary.never_logged_on() {
        Exit::Fault
    } else {
        Exit::Good
    })
}

/// Says where the filter left nothing.
fn tell_filtered(summary: &LiveSummary, source: Ipv4Addr) {
    let strangers = summary.network.strangers;
    if summary.feed.packets == 0 && strangers > 0 {
        program::note(&format!(
            "all {strangers} packets came from other addresses than --source {source}; name the venue's"
        ));
    }
}

/// Says what of the drop copy is missing, but for a refused Logon that was told.
fn tell_drop_copy(summary: &LiveSummary, is_refusal_told: bool) {
    let Some(DropCopyCounters { session, executions, .. }) = &summary.drop_copy else { return };
    if summary.never_logged_on() && !is_refusal_told {
        program::note(
            "drop copy: never logged on: no execution was received; check --fix, --sender and --target",
        );
    }
    if session.lost_by_reset > 0 {
        let lost = session.lost_by_reset;
        program::note(&format!(
            "drop copy: the venue's reset jumped over {lost} messages: ask it what they were"
        ));
    }
    if let Some(withheld) = executions.tell_withheld() {
        program::note(&format!("drop copy: {withheld}"));
    }
    if let Some((number, defect)) = executions.last_refused {
        let refused = executions.refused;
        program::note(&format!(
            "drop copy: {refused} execution reports cannot be kept; the last is {number}: {defect}"
        ));
    }
}

/// What is said at the end.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    market: Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<DropCopyReport>,
}

impl Report {
    /// A line for a person, and another for the drop copy.
    fn describe(&self) -> String {
        let Some(DropCopyReport { logons, messages, published, duplicates, .. }) = &self.fix else {
            return self.market.describe();
        };
        format!(
            "{}\ndrop copy: {logons} logons, {messages} messages, {published} executions published, {duplicates} known",
            self.market.describe()
        )
    }
}

#[derive(Serialize)]
struct DropCopyReport {
    logons: u64,
    disconnects: u64,
    messages: u64,
    published: u64,
    duplicates: u64,
    refused: u64,
    withheld: u64,
    garbled: u64,
    lost_by_reset: u64,
}

impl DropCopyReport {
    fn new(DropCopyCounters { session, executions, garbled }: &DropCopyCounters) -> Self {
        Self {
            logons: session.logons,
            disconnects: session.disconnects,
            messages: executions.messages,
            published: executions.published,
            duplicates: session.duplicates + executions.repeated + executions.repeated_unmarked,
            refused: executions.refused,
            withheld: executions.withheld,
            garbled: garbled.messages(),
            lost_by_reset: session.lost_by_reset,
        }
    }
}

/// Where the gateway and the write-out run. A file may also place the roles of other programs.
fn core_plan(bus: &BusConfig) -> Result<Plan, Failure> {
    let roles = [Role::hot(GATEWAY), WRITE_OUT];
    let is_ours = |name: &String| roles.iter().any(|role| role.name() == name);
    let (ours, others): (Vec<_>, Vec<_>) = bus.cores.iter().partition(|(name, _)| is_ours(name));
    for (role, _) in others {
        program::note(&format!("the role {role} of the core plan is not one of this program"));
    }
    let ours = ours.into_iter().map(|(role, placement)| (role.clone(), *placement)).collect();
    Ok(Plan::configured(&roles, available_cores(), &ours)?)
}

fn live_config(
    arguments: &Arguments,
    file: &GatewayConfig,
    placement: &Placement,
) -> Result<LiveConfig, Failure> {
    let lines = super::addresses(arguments, "mold")?;
    let udp = UdpConfig {
        interface: super::interface(arguments, &lines)?,
        lines,
        rerequest: super::addresses(arguments, "rerequest")?.first().copied(),
        wait: placement.wait.into(),
        ..UdpConfig::default()
    };
    if udp.lines.len() > LINES {
        let place = format_args!("--mold is given {} times", udp.lines.len());
        return Err(Failure::new(
            "too many lines",
            place,
            format_args!("give the one or {LINES} lines of one feed; another feed needs another gateway"),
        ));
    }
    let mut net = file.clone();
    net.source = arguments.find("source")?.or(net.source);
    net.stamps = arguments.find("stamps")?.map(|Who(stamps)| stamps).or(net.stamps);
    let udp = net.apply(udp)?;
    Ok(LiveConfig { udp, date: None, patience: net.patience, drop_copy: drop_copy(arguments)? })
}

/// Who stamps packets.
struct Who(Stamps);

impl Value for Who {
    const EXPECTED: &'static str = "process or kernel";
    fn parse(text: &str) -> Option<Self> {
        match text {
            "process" => Some(Self(Stamps::Process)),
            "kernel" => Some(Self(Stamps::Kernel)),
            _ => None,
        }
    }
}

/// `HOST:PORT`; a name is looked up with each attempt to connect.
struct Venue(String);

impl Value for Venue {
    const EXPECTED: &'static str = "HOST:PORT such as 127.0.0.1:9880";
    fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let is_port =
            port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0);
        (!host.is_empty() && is_port).then(|| Self(text.to_owned()))
    }
}

/// What each side calls itself in a FIX session.
struct CompId(String);

impl Value for CompId {
    const EXPECTED: &'static str = "a name of 1 to 64 printable ASCII characters";
    fn parse(text: &str) -> Option<Self> {
        super::is_name(text, 64).then(|| Self(text.to_owned()))
    }
}

fn drop_copy(arguments: &Arguments) -> Result<Option<DropCopyConfig>, Failure> {
    match (arguments.find("fix")?, arguments.find("sender")?, arguments.find("target")?) {
        (Some(Venue(address)), Some(CompId(sender)), Some(CompId(target))) => {
            let reset_on_logon = arguments.has(RESET);
            let session = SessionConfig { sender, target, heartbeat: HEARTBEAT, reset_on_logon };
            Ok(Some(DropCopyConfig { address, session }))
        }
        (None, None, None) if arguments.has(RESET) => {
            Err(Failure::new("missing flag", "--reset-numbers", "give --fix, --sender and --target with it"))
        }
        (None, None, None) => Ok(None),
        _ => Err(Failure::new("missing flag", "--fix, --sender, --target", "give all three or none")),
    }
}

/// Says what runs where and with what.
fn tell(gateway: &Gateway, config: &LiveConfig, plan: &Plan) {
    program::note(&plan.describe());
    plan.make_way().into_iter().for_each(program::note);
    if let Some(refused) = gateway.fallback() {
        program::note(&format!("packets are received with recvmmsg: {refused}"));
    }
    let (granted, wanted) = (gateway.source().queue(), config.udp.queue);
    if granted < wanted {
        program::note(&format!(
            "the kernel queues {granted} bytes a socket, not {wanted}: longer bursts are lost; raise net.core.rmem_max"
        ));
    }
}

/// Works until it is to stop, or the time is over, or the venue ended the session. Whether it was told why the last Logon
/// was refused.
fn receive(
    gateway: &mut Gateway,
    placement: &Placement,
    length: Option<Duration>,
    until_end: bool,
) -> Result<bool, Failure> {
    let stop = Stop::on_signals();
    if let Some(core) = placement.core.filter(|core| !plan::pin(*core)) {
        program::note(&format!("cannot run on core {core}: it is not available; the system chooses"));
    }
    // Where the plan parks the gateway, its sockets wait in the kernel, and no packet has to wait for a nap.
    let mut idle = Idle::new(match placement.wait {
        WaitStrategy::Park => WaitStrategy::Spin,
        other => other,
    });
    let mut progress = Progress::new();
    let (mut told, mut refused, mut is_refusal) = (String::new(), 0, false);
    let began = Instant::now();
    while !stop.requested() && length.is_none_or(|length| began.elapsed() < length) {
        let work = gateway.do_work()?;
        if until_end && gateway.is_ended() {
            break;
        }
        if let Some(ended) = gateway.take_ended() {
            is_refusal = is_said_by_a_peer(&ended);
            let reason = interruption(&ended);
            if reason != told {
                program::note(&format!("drop copy: {reason}"));
                told = reason;
            }
        }
        progress.show(|| describe(gateway, &mut refused));
        idle.idle(work);
    }
    Ok(is_refusal)
}

/// Whether there was a peer whose words, or ours to it, say why a connection ended.
fn is_said_by_a_peer(reason: &Reason) -> bool {
    !matches!(reason, Reason::Io(_) | Reason::PeerClosed | Reason::LogonTimeout | Reason::Numbers(_))
}

/// Why the drop copy was interrupted, with what an operator can do about it.
fn interruption(reason: &Reason) -> String {
    match reason {
        Reason::TooLow { .. } => format!(
            "{reason}; if the venue began again at 1, ask it what it sent meanwhile and start once with --{RESET}"
        ),
        reason => reason.to_string(),
    }
}

/// How it goes; `refused` is how often the topic had refused an event when this was said last.
fn describe(gateway: &mut Gateway, refused: &mut u64) -> String {
    let summary = gateway.summary();
    let is_full = summary.refused > std::mem::replace(refused, summary.refused);
    let full = match summary.short_of {
        Some(room) if is_full => format!(", refused for lack of room: {room}: {}", room.remedy()),
        _ => String::new(),
    };
    let dropped = summary.network.dropped;
    format!("{} messages, {dropped} packets dropped by the kernel{full}", summary.feed.messages)
}
