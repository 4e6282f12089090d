//! Given open positions and a configuration that changes, expect that every position beyond its limit is told at once, and
//! once, wherever the engine ends.
#![allow(missing_docs)]

mod common;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use bus::agent;
use bus::config::BusConfig;
use bus::event::risk::{LimitAlert, LimitSet, RiskEvent};
use bus::event::trade::{Fill, TradeEvent};
use bus::event::{Cause, Quantity, Side, Text};
use bus::plan::Placement;
use bus::program::{Progress, Size, Stop};
use bus::wait::WaitStrategy;
use bus::{Bus, Gate, Start};
use common::{Ground, Journalled};
use engine::{Cut, Effect};
use risk_engine::{Outcome, Runner, Settings, Watch};

const ANYWHERE: Placement = Placement { role: "risk", core: None, wait: WaitStrategy::Park };
const SEGMENT: u64 = 1 << 20;
/// Alerts that no batch holds: each takes 112 bytes of a quarter of a segment.
const MANY: u64 = 5_000;

fn limit(value: i64) -> Settings {
    let cause = Cause { input: Cause::NONE, ..Cause::default() };
    let limit = Text::new("position").unwrap();
    let limits = vec![LimitSet { cause, limit, value: Quantity(value), ..LimitSet::default() }];
    Settings { limits, fees: Vec::new() }
}

fn account(n: u64) -> Text<16> {
    Text::new(&format!("A{n:05}")).unwrap()
}

/// A bus on which account n holds n + 1.
fn with_positions(ground: &Ground, accounts: u64) -> Bus {
    let config = BusConfig { segment: Some(Size(SEGMENT)), ..BusConfig::default() };
    let bus = Bus::with_config(ground.path(), config).unwrap();
    let mut trades = bus.publisher::<TradeEvent>("trades").unwrap();
    // The last account comes first: alerts are in another order than executions.
    for n in (0..accounts).rev() {
        let (instrument, execution) = (Text::new("AAPL").unwrap(), Text::new(&format!("E{n}")).unwrap());
        let quantity = Quantity(n as i64 + 1);
        let fill =
            Fill { account: account(n), instrument, execution, quantity, side: Side::BUY, ..Fill::default() };
        trades.publish(&fill).unwrap();
    }
    trades.close().unwrap();
    bus
}

/// Runs an engine until it has applied the trades.
fn run(bus: &Bus, settings: Option<Settings>, trades: u64) -> Outcome {
    let (watch, stop) = (Arc::new(Watch::default()), Stop::new());
    let runner = Runner::open(bus, settings, u64::MAX, Arc::clone(&watch)).unwrap();
    let running = agent::start(&ANYWHERE, &stop, runner).unwrap();
    let cut = Cut { market_data: 0, trades };
    while !(running.is_finished() || watch.has_reached(cut) && watch.is_live()) {
        std::thread::yield_now();
    }
    stop.request();
    running.join().unwrap();
    watch.outcome().unwrap()
}

/// The alerts that `risk` holds.
fn alerts(bus: &Bus) -> Vec<LimitAlert> {
    let effects = Journalled::read(bus).effects.into_iter();
    effects.filter_map(|effect| if let Effect::Limit(alert) = effect { Some(alert) } else { None }).collect()
}

/// What must be told where `allowed` takes effect and account n holds n + 1.
fn expected(accounts: u64, allowed: i64) -> Vec<(Text<16>, i64, i64)> {
    (0..accounts)
        .map(|n| (account(n), n as i64 + 1, allowed))
        .filter(|&(_, held, allowed)| held > allowed)
        .collect()
}

fn told(alerts: &[LimitAlert]) -> Vec<(Text<16>, i64, i64)> {
    alerts
        .iter()
        .map(|alert| {
            assert_eq!((alert.cause.input, alert.state), (Cause::NONE, Text::new("breach").unwrap()));
            (alert.account, alert.value.0, alert.allowed.0)
        })
        .collect()
}

/// What is derived from the journals is what the engine had.
fn assert_derived(bus: &Bus, outcome: &Outcome) {
    let derived = replay::state::derive(bus, None, &mut Progress::new()).unwrap();
    assert!(derived.is_ok(), "{:?}", derived.divergence);
    assert_eq!(derived.state_hash(), outcome.state_hash.0);
    let breached = derived.state.positions().filter(|position| position.is_breached).count();
    assert_eq!(breached, alerts(bus).len(), "each was told once");
}

#[test]
fn a_tightened_limit_is_told_before_the_next_execution() {
    let ground = Ground::new();
    let bus = with_positions(&ground, 10);
    run(&bus, Some(limit(100)), 10);
    assert_eq!(alerts(&bus), []);
    let outcome = run(&bus, Some(limit(7)), 10);
    assert_eq!(told(&alerts(&bus)), expected(10, 7));
    assert_derived(&bus, &outcome);
    let again = run(&bus, Some(limit(7)), 10);
    assert_eq!((again.state_hash, alerts(&bus).len()), (outcome.state_hash, 3), "nothing has changed");
    run(&bus, None, 10);
    assert_eq!(alerts(&bus).len(), 3);
    assert_derived(&bus, &again);
}

#[test]
fn more_alerts_than_a_batch_holds_are_all_told() {
    let ground = Ground::new();
    let bus = with_positions(&ground, MANY);
    run(&bus, None, MANY);
    let outcome = run(&bus, Some(limit(0)), MANY);
    assert_eq!(told(&alerts(&bus)), expected(MANY, 0));
    assert_derived(&bus, &outcome);
    let again = run(&bus, None, MANY);
    assert_eq!((again.state_hash, alerts(&bus).len() as u64), (outcome.state_hash, MANY));
}

/// An engine that was killed between two batches of alerts: the journal ends behind some of them.
#[test]
fn alerts_that_a_killed_engine_left_unsaid_are_added_once() {
    for (said, next) in [(0, None), (1, None), (5, Some(limit(3))), (4, Some(limit(8))), (9, None)] {
        let ground = Ground::new();
        let bus = with_positions(&ground, 10);
        run(&bus, None, 10);
        let all = {
            let other = Ground::new();
            let bus = with_positions(&other, 10);
            run(&bus, None, 10);
            run(&bus, Some(limit(1)), 10);
            alerts(&bus)
        };
        assert_eq!(told(&all), expected(10, 1));
        let mut risk = bus.derived_publisher::<RiskEvent>("risk", &["market-data", "trades"]).unwrap();
        let mut batch = risk.batch();
        batch.push(&limit(1).configured()).unwrap();
        batch.push(&limit(1).limits[0]).unwrap();
        all[..said].iter().for_each(|alert| batch.push(alert).unwrap());
        batch.commit();
        risk.close().unwrap();

        let outcome = run(&bus, next.clone(), 10);
        let found = alerts(&bus);
        assert_eq!(&found[..all.len()], &all[..], "{said} were said");
        let rest = &found[all.len()..];
        match next {
            // Who is beyond the other limit too is told of it, who is not, that its limit is kept.
            Some(next) => {
                let allowed = next.limits[0].value.0;
                let states: Vec<_> = rest.iter().map(|alert| alert.state.to_string()).collect();
                let of = |n: usize| if n as i64 + 1 > allowed { "breach" } else { "clear" };
                assert_eq!(states, (1..10).map(of).collect::<Vec<_>>());
            }
            None => {
                assert!(rest.is_empty());
                assert_derived(&bus, &outcome);
            }
        }
        let derived = replay::state::derive(&bus, None, &mut Progress::new()).unwrap();
        assert!(derived.is_ok(), "{:?}", derived.divergence);
        assert_eq!(derived.state_hash(), outcome.state_hash.0);
        assert_eq!(run(&bus, None, 10).state_hash, outcome.state_hash);
        assert_eq!(alerts(&bus).len(), found.len());
    }
}

/// Runs the program until it has applied what there is.
fn program(bus: &Path, limit: i64) {
    let file = bus.join("busbar.toml");
    std::fs::write(&file, format!("[[risk.limits]]\nposition = {limit}\n")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_risk-engine"));
    command.args(["run", "--for", "0s", "--json", "--config"]).arg(&file).arg("--bus").arg(bus);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_program_tells_with_a_changed_file_on_the_same_bus() {
    let ground = Ground::new();
    let bus = with_positions(&ground, 10);
    program(&ground.path(), 100);
    assert_eq!(alerts(&bus), []);
    program(&ground.path(), 7);
    assert_eq!(told(&alerts(&bus)), expected(10, 7));
    program(&ground.path(), 7);
    assert_eq!(alerts(&bus).len(), 3);
    let mut risk = bus.subscriber::<RiskEvent>("risk", Start::Oldest, Gate::Durable).unwrap();
    let mut epochs = Vec::new();
    while let Some(delivery) = risk.poll_delivery().unwrap() {
        if delivery.message.is_setting()
            || matches!(delivery.message, bus::event::risk::RiskEventRef::LimitAlert(_))
        {
            epochs.push(delivery.epoch);
        }
    }
    assert_eq!(epochs.len(), 2 + 2 + 3, "two configurations of one limit, and the alerts of the second");
    assert_eq!(epochs[2], epochs[6], "told by the engine that took the limit");
}
