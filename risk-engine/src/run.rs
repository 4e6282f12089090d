//! `risk-engine run`: the engine alone, on a bus that others feed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bus::Bus;
use bus::agent::{self, AgentFailure};
use bus::config::RiskConfig;
use bus::plan::{Plan, WRITE_OUT, available_cores};
use bus::program::{Arguments, Exit, Failure, Progress, Stop, counted, error, note};
use engine::Cut;
use risk_engine::{Config, EngineError, MARKET_DATA, Measures, RISK, Runner, Settings, TRADES, Watch};

use crate::summary::Summary;
use crate::{GATEWAY, RISK_ROLE};

/// Between two looks whether the run is over.
const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let began = Instant::now();
    let length: Option<Duration> = arguments.find("for")?;
    let mut config = load(arguments)?;
    let settings = Settings::new(&config.risk)?;
    let withdrawn = withdrawn(&config.risk);
    // A gateway has its place on this machine too, though in another process, which takes the last core and says itself
    // how it waits there.
    let plan = Plan::configured(&[RISK_ROLE, GATEWAY, WRITE_OUT], available_cores(), &config.bus.cores)?;
    let plan = plan.only(&[RISK_ROLE, WRITE_OUT]);
    plan.place_write_out(&mut config.bus.cores);
    let of_others = Vec::from_iter(config.bus.notes_of_others(&[RISK]));
    let bus = Bus::with_config(arguments.bus(), config.bus)?;
    // Before it is opened, which may cut it again, and says that itself.
    let cut_before = cut_before(&bus);
    let stop = Stop::on_signals();
    let watch = Arc::new(Watch::default());
    let mut runner = Runner::open(&bus, settings, config.risk.snapshot_every, Arc::clone(&watch))?;
    if arguments.has("derive-anew") {
        runner = runner.derive_anew()?;
    }
    note(&plan.describe());
    plan.make_way().into_iter().for_each(note);
    withdrawn.into_iter().for_each(note);
    cut_before.iter().for_each(|line| note(line));
    of_others.iter().for_each(|line| note(line));
    bus.scanty_memory().iter().for_each(|line| note(line));
    // Of `risk` its publisher has said it.
    [MARKET_DATA, TRADES].iter().filter_map(|topic| bus.astray(topic)).for_each(|line| note(&line));
    let there = there(&bus)?;
    let running = agent::start(plan.place("risk"), &stop, runner)?;
    let mut progress = Progress::new();
    let mut measures = Measures::default();
    while !stop.sleep(LOOK_EVERY) && !running.is_finished() {
        watch.take_measures(&mut measures);
        let is_time = length.is_some_and(|length| began.elapsed() >= length);
        if is_time && (watch.has_reached(there) || watch.is_stuck()) {
            stop.request();
        }
        progress.show(|| describe(&watch));
    }
    drop(progress);
    let mut incomplete = Vec::from_iter(fault(running.join())?);
    watch.take_measures(&mut measures);
    let outcome = watch.outcome();
    incomplete.extend(outcome.iter().flat_map(|outcome| outcome.incomplete.clone()));
    complain(&incomplete);
    let Some(outcome) = &outcome else { return Ok(Exit::Fault) };
    Summary::new(&bus, began.elapsed(), measures.summary(), outcome, &incomplete)?.print(arguments.json())
}

/// What a file withdraws by its silence, where it gives only one of the two.
fn withdrawn(RiskConfig { limits, fees, .. }: &RiskConfig) -> Option<&'static str> {
    match (limits, fees) {
        (Some(_), None) => Some("[risk] gives limits and no fees: no fee is in force"),
        (None, Some(_)) => Some("[risk] gives fees and no limits: no limit is in force"),
        _ => None,
    }
}

/// What an earlier engine had to give up of `risk`, which is no fault of this one and not forgotten.
fn cut_before(bus: &Bus) -> Option<String> {
    let cuts = bus.set_aside(RISK).unwrap_or_default();
    let effects: u64 = cuts.iter().map(|cut| cut.sequences.1.saturating_sub(cut.sequences.0)).sum();
    (effects > 0).then(|| {
        format!(
            "cut at an earlier start, as an input lacked their causes: {} of '{RISK}'; `replay verify` says what is lost; \
             move {RISK}/0/torn-* away once that is settled",
            counted(effects, "message")
        )
    })
}

/// The configuration file that was named, if any.
pub(crate) fn load(arguments: &Arguments) -> Result<Config, Failure> {
    let path: Option<std::path::PathBuf> = arguments.find("config")?;
    Ok(path.map(|path| bus::config::load(&path)).transpose()?.unwrap_or_default())
}

/// What the inputs hold now. What is not there yet is waited for and said.
fn there(bus: &Bus) -> Result<Cut, Failure> {
    let published = |topic| match bus.watermarks(topic) {
        Ok(marks) => Ok(marks.published),
        Err(error) if error.is_missing() => {
            note(&format!("waiting for the topic '{topic}', which nobody publishes yet"));
            Ok(0)
        }
        Err(error) => Err(error),
    };
    Ok(Cut { market_data: published(MARKET_DATA)?, trades: published(TRADES)? })
}

fn describe(watch: &Watch) -> String {
    let cut = watch.cut();
    let what = if watch.is_live() { "applied" } else { "applied again" };
    format!("{what}: {} of market-data, {} of trades", cut.market_data, cut.trades)
}

/// What is wrong with the data, where that ended an agent; what kept it from running is the failure.
pub(crate) fn fault(ended: Result<(), AgentFailure>) -> Result<Option<String>, Failure> {
    let Err(failure) = ended else { return Ok(None) };
    if !failure.source.downcast_ref::<EngineError>().is_some_and(EngineError::is_fault) {
        return Err(failure.into());
    }
    Ok(Some(failure.to_string()))
}

/// Says what is incomplete.
pub(crate) fn complain(incomplete: &[String]) {
    incomplete.iter().for_each(|what| error("risk-engine", what));
}
