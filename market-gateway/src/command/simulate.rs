//! `market-gateway simulate`: the simulated exchange as a process of its own.

use bus::event::Time;
use bus::program::{self, Arguments, Date, Exit, Failure, Progress, Stop};
use bus::wait::{Idle, WaitStrategy};
use market_gateway::simulate::{Exchange, ExchangeConfig, Faults, LineCounters, MessageRate};
use serde::Serialize;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The exchange leaves when nobody has asked for anything for so long after the end.
const QUIET: Duration = Duration::from_secs(2);

#[derive(Serialize)]
struct Summary {
    session: String,
    seed: u64,
    messages: u64,
    executions: u64,
    behind: u64,
    lost_everywhere: u64,
    lines: Vec<LineCounters>,
    rerequests: Rerequests,
    fix: Fix,
}

#[derive(Serialize)]
struct Fix {
    sent: u64,
    resent: u64,
}

#[derive(Serialize)]
struct Rerequests {
    answered: u64,
    postponed: u64,
    senseless: u64,
}

pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let length: Option<Duration> = arguments.find("for")?;
    let config = config(arguments)?;
    let mut exchange = Exchange::open(&config)?;
    program::note(&format!("session {} with seed {}", exchange.session(), exchange.seed()));
    if let Some(truth) = &config.truth {
        program::note(&replay_of(truth, &exchange.session().to_string()));
    }
    if exchange.sent() > 0 {
        program::note(&format!("continues after message {}", exchange.sent()));
    }
    trade(&mut exchange, length)?;
    let summary = summary(&exchange);
    if arguments.json() {
        program::print_json(&summary)?;
    } else {
        program::print_line(&describe(&summary))?;
    }
    Ok(Exit::Good)
}

/// What journals the truth as a gateway does that receives its first packet today.
fn replay_of(truth: &Path, session: &str) -> String {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let date = Date::of(Time(u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX)));
    format!(
        "to journal the truth: market-gateway replay {} --session {session} --date {date} --bus truth",
        truth.display()
    )
}

fn config(arguments: &Arguments) -> Result<ExchangeConfig, Failure> {
    let MessageRate(rate) = arguments.get("rate")?;
    let (lines, rerequest) =
        (super::addresses(arguments, "mold")?, super::addresses(arguments, "rerequest")?);
    if let Some(address) = rerequest.iter().find(|address| lines.contains(address)) {
        let place = format_args!("--mold {address} --rerequest {address}");
        return Err(Failure::new(
            "a line that is also the re-request server",
            place,
            "give each its own address",
        ));
    }
    Ok(ExchangeConfig {
        directory: arguments.bus(),
        seed: arguments.find("seed")?,
        rate,
        interface: super::interface(arguments, &lines)?,
        lines,
        rerequest: rerequest.first().copied(),
        fix: super::addresses(arguments, "fix")?.first().copied(),
        faults: if arguments.has("perfect") { Faults::NONE } else { Faults::BAD_DAY },
        truth: arguments.find("truth")?,
        ..ExchangeConfig::default()
    })
}

/// Works until the time is over or a signal comes, ends the session, and stays until nobody asks any more.
fn trade(exchange: &mut Exchange, length: Option<Duration>) -> Result<(), Failure> {
    let stop = Stop::on_signals();
    let mut idle = Idle::new(WaitStrategy::Park);
    let mut progress = Progress::new();
    let began = Instant::now();
    loop {
        let now = Instant::now();
        let work = exchange.do_work(now)?;
        match exchange.quiet_for(now) {
            None if stop.requested() || length.is_some_and(|length| now - began >= length) => {
                exchange.end(now)?
            }
            Some(quiet) if quiet >= QUIET => return Ok(()),
            _ => {}
        }
        progress.show(|| format!("{} messages sent", exchange.sent()));
        idle.idle(work);
    }
}

fn summary(exchange: &Exchange) -> Summary {
    let counters = exchange.counters();
    Summary {
        session: exchange.session().to_string(),
        seed: exchange.seed(),
        messages: counters.messages,
        executions: exchange.executions(),
        behind: counters.behind,
        lost_everywhere: counters.lost_everywhere,
        lines: counters.lines,
        rerequests: Rerequests {
            answered: counters.answered,
            postponed: counters.postponed,
            senseless: counters.senseless,
        },
        fix: Fix { sent: counters.drop_copy.sent, resent: counters.drop_copy.resent },
    }
}

fn describe(summary: &Summary) -> String {
    let lost: Vec<_> =
        summary.lines.iter().map(|line| format!("{} of {}", line.lost, line.packets)).collect();
    format!(
        "session {}: {} messages sent, {} fewer than --rate gives; packets lost on the lines on purpose: {}; {} re-requests answered",
        summary.session,
        summary.messages,
        summary.behind,
        lost.join(" and "),
        summary.rerequests.answered
    )
}
