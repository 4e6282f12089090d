//! The whole path, open loop, in one process: a venue sends ITCH over UDP on loopback, the live gateway receives and
//! journals it, and subscribers take it at both gates.
//!
//! A message carries the time at which it was *intended* to be sent, which goes on also while the sender is behind
//! (after Aeron's LoadTestRig): what stalls anywhere is seen in all later messages and not forgiven.

mod schedule;
mod sender;
mod watch;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bus::clock::Clock;
use bus::plan::{self, Placement, Plan, Role, available_cores};
use bus::program::{Arguments, Date, Exit, Failure, Latencies, Rate, note};
use bus::wait::{Idle, WaitStrategy};
use bus::{Bus, Gate, Start};
use market_gateway::live::{LiveConfig, LiveGateway, LiveSummary, MARKET_DATA};
use market_gateway::mold::{Body, Packet};
use market_gateway::net::{PacketSource, Stamps, UdpConfig, UdpSource};
use market_gateway::normalise::Itch;

use crate::figure::{LatencyFigure, ratio_of_medians};
use crate::{conditions, scratch};
use schedule::Schedule;
use sender::Sent;
use watch::Stages;

const GATEWAY: &str = "gateway";
const VENUE: &str = "venue";
const PUBLISHED: &str = "subscriber";
const DURABLE: &str = "durable subscriber";
const WRITE_OUT: &str = "write-out";

/// Share of the rate below which it counts as missed.
const MISSED: f64 = 0.99;
/// Nanoseconds between the bus's clock and the system's that no stage would notice.
const AGREED: i64 = 200;
/// Time between two comparisons of them, somewhat more than the bus's clock wants.
const INTERVAL: Duration = Duration::from_millis(1_050);
/// Comparisons after which the figures are taken all the same; what the clocks differ by is said.
const COMPARISONS: u32 = 6;

/// Prints the percentiles of each stage.
pub(crate) fn path(arguments: &Arguments) -> Result<Exit, Failure> {
    let (Rate(rate), length): (Rate, Duration) = (arguments.get("rate")?, arguments.get("for")?);
    if rate == 0 {
        return Err(Failure::new("bad argument", "--rate 0", "one message a second is the least"));
    }
    let plan = core_plan();
    let how = format!(
        "{rate} messages a second for {} s after a warm-up, one line on loopback, kernel stamps, {}",
        length.as_secs_f64(),
        plan.describe()
    );
    conditions::print(arguments.json(), "ITCH from its intended send to each stage, open loop", &how)?;
    plan.make_way().into_iter().for_each(note);
    agree_with_the_kernel();
    let mut bare = bare_receive(rate, length / 4, &plan)?;
    let run = Run::new(rate, length, &plan)?;
    bare.add(&bare_receive(rate, length / 4, &plan)?);
    run.print(&bare, arguments.json())?;
    Ok(if run.warn(rate) { Exit::Fault } else { Exit::Good })
}

/// The gateway has a core of its own where there are two; the venue and the first subscriber where there are five.
fn core_plan() -> Plan {
    let cores = available_cores();
    let role = |name| if cores.len() > 4 { Role::hot(name) } else { Role::cold(name) };
    let roles =
        [Role::hot(GATEWAY), role(VENUE), role(PUBLISHED), Role::cold(DURABLE), Role::cold(WRITE_OUT)];
    Plan::automatic(&roles, cores)
}

/// Moves the calling thread to its core, if it has one; threads that it starts inherit it.
fn take_place(placement: &Placement) {
    if let Some(core) = placement.core.filter(|core| !plan::pin(*core)) {
        note(&format!("WARNING: core {core} is not available to the {}", placement.role));
    }
}

fn line() -> UdpConfig {
    UdpConfig {
        lines: vec![SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)],
        stamps: Stamps::Kernel,
        ..UdpConfig::default()
    }
}

fn address(source: &UdpSource) -> Result<SocketAddrV4, Failure> {
    let first = source.addresses()?.first().copied();
    first.ok_or_else(|| Failure::new("no line", "loopback", "report it"))
}

/// The gateway's turns; where it parks, its sockets wait in the kernel.
fn turns(placement: &Placement) -> Idle {
    Idle::new(match placement.wait {
        WaitStrategy::Park => WaitStrategy::Spin,
        other => other,
    })
}

/// From the kernel's stamp to a handler that does nothing: what any receiver on this machine pays, through the same
/// sockets, right now.
fn bare_receive(rate: u64, length: Duration, plan: &Plan) -> Result<Latencies, Failure> {
    let placement = plan.place(GATEWAY);
    let mut source = UdpSource::open(&UdpConfig { wait: placement.wait.into(), ..line() })?;
    let to = address(&source)?;
    let clock = Clock::new();
    let now = clock.now();
    let schedule = Schedule::new(rate, length, Date::of(now), now);
    let mut taken = Latencies::new();
    std::thread::scope(|scope| {
        let venue = scope.spawn(|| sender::send(&schedule, to, plan.place(VENUE)));
        take_place(placement);
        let (mut idle, mut ended) = (turns(placement), false);
        while !ended && clock.now() < schedule.receiving_ends() {
            let work = source.poll(&mut |packet| match Packet::parse(packet.bytes) {
                Ok(Packet { sequence, body: Body::Messages(blocks), .. }) => {
                    let took = clock.now().0.saturating_sub(packet.receive_time.0);
                    let counted = (sequence..).take(blocks.len()).filter(|n| schedule.counts(*n));
                    counted.for_each(|_| taken.record(took));
                }
                Ok(Packet { body: Body::End, .. }) => ended = true,
                _ => {}
            })?;
            idle.idle(work);
        }
        join(venue)??;
        Ok(taken)
    })
}

fn join<T>(thread: ScopedJoinHandle<'_, T>) -> Result<T, Failure> {
    thread.join().map_err(|_| Failure::new("a thread ended", "a panic", "report it"))
}

/// One schedule on the whole path.
struct Run {
    schedule: Schedule,
    sent: Sent,
    published: Stages,
    durable: Stages,
    summary: LiveSummary,
    /// How far the system's clock, which the kernel stamps with, is ahead of the bus's, in nanoseconds: at the
    /// beginning and at the end.
    ahead: [i64; 2],
}

impl Run {
    fn new(rate: u64, length: Duration, plan: &Plan) -> Result<Self, Failure> {
        let clock = Clock::new();
        let directory = scratch::directory()?;
        let bus = Bus::open(directory.path())?;
        let (placement, date) = (plan.place(GATEWAY), Date::of(clock.now()));
        take_place(plan.place(WRITE_OUT));
        let config = LiveConfig {
            udp: UdpConfig { wait: placement.wait.into(), ..line() },
            date: Some(date),
            ..LiveConfig::default()
        };
        let mut gateway = LiveGateway::open(&bus, &config, Itch::new())?;
        if let Some(refused) = gateway.fallback() {
            note(&format!("WARNING: packets are received with recvmmsg: {refused}"));
        }
        let to = address(gateway.source())?;
        let published = bus.reader(MARKET_DATA, Start::Oldest, Gate::Published)?;
        let durable = bus.reader(MARKET_DATA, Start::Oldest, Gate::Durable)?;
        let schedule = Schedule::new(rate, length, date, clock.now());
        let before = ahead(&clock);
        std::thread::scope(|scope| {
            let published = scope.spawn(|| watch::watch(published, &schedule, plan.place(PUBLISHED)));
            let durable = scope.spawn(|| watch::watch(durable, &schedule, plan.place(DURABLE)));
            let venue = scope.spawn(|| sender::send(&schedule, to, plan.place(VENUE)));
            take_place(placement);
            let mut idle = turns(placement);
            while !gateway.is_ended() && clock.now() < schedule.receiving_ends() {
                idle.idle(gateway.do_work()?);
            }
            let after = ahead(&clock);
            let (summary, _) = gateway.close()?;
            Ok(Self {
                schedule,
                sent: join(venue)??,
                published: join(published)??,
                durable: join(durable)??,
                summary,
                ahead: [before, after],
            })
        })
    }

    fn print(&self, bare: &Latencies, as_json: bool) -> Result<(), Failure> {
        let bare = bare.summary();
        let through = self.published.through.summary();
        let rows = [
            ("intended to sent", "venue", self.sent.late.summary(), None),
            ("intended to kernel stamp", "busbar", self.published.received.summary(), None),
            ("intended to published", "busbar", self.published.published.summary(), None),
            ("intended to seen at published", "busbar", self.published.seen.summary(), None),
            ("intended to seen at durable", "busbar", self.durable.seen.summary(), None),
            ("kernel stamp to handler", "bare receive", bare, None),
            (
                "kernel stamp to published",
                "busbar",
                through,
                ratio_of_medians(&through, "bare receive", &bare),
            ),
        ];
        LatencyFigure::print_head(as_json)?;
        for (figure, system, latency, ratio) in rows {
            LatencyFigure { figure, system, latency, ratio }.print(as_json)?;
        }
        Ok(())
    }

    /// Says what makes the figures worth less. Returns whether messages are lost.
    fn warn(&self, rate: u64) -> bool {
        let Self { schedule, summary, ahead, .. } = self;
        note(&format!(
            "received with {}; the kernel's clock is ahead of the bus's by {} ns at the beginning, {} ns at the end",
            summary.io, ahead[0], ahead[1]
        ));
        let achieved = schedule.achieved(self.sent.messages, self.sent.last);
        let unsent = schedule.messages - self.sent.messages;
        if unsent > 0 {
            note(&format!("WARNING: {unsent} MESSAGES UNSENT: the sender was too far behind"));
        }
        if achieved < rate as f64 * MISSED {
            note(&format!(
                "WARNING: TARGET RATE MISSED: {achieved:.0} messages a second were sent of {rate}"
            ));
        }
        let seen = [("published", &self.published), ("durable", &self.durable)];
        let mut is_lost = false;
        for (gate, stages) in seen {
            let lost = self.sent.late.count().saturating_sub(stages.seen.count());
            is_lost |= lost > 0;
            if lost > 0 {
                let dropped = summary.network.dropped;
                note(&format!(
                    "WARNING: {lost} MESSAGES LOST before the gate {gate}; the kernel dropped {dropped} packets"
                ));
            }
        }
        if summary.refused > 0 {
            note(&format!("WARNING: the journal refused {} times for lack of room", summary.refused));
        }
        is_lost
    }
}

/// Waits until the bus's clock has learned its rate from the system's, which the kernel stamps with: in its first
/// seconds the two may differ by more than what a stage takes.
fn agree_with_the_kernel() {
    let clock = Clock::new();
    for _ in 0..COMPARISONS {
        std::thread::sleep(INTERVAL);
        let has_agreed = ahead(&clock).abs() < AGREED;
        clock.resync();
        if has_agreed {
            break;
        }
    }
}

/// How far the system's clock is ahead of the bus's, by the quickest of some comparisons.
fn ahead(clock: &Clock) -> i64 {
    let compare = || {
        let before = clock.now().0;
        let system = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as i64;
        let after = clock.now().0;
        (after - before, system - u64::midpoint(before, after) as i64)
    };
    (0..16).map(|_| compare()).min().map_or(0, |(_, ahead)| ahead)
}
