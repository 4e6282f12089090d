//! Given inputs and a journal, the engine's agent concludes that, once.
#![allow(missing_docs)]

mod common;

use std::sync::Arc;

use bus::Bus;
use bus::agent::{self, Running};
use bus::config::{BusConfig, TopicConfig, WhenFull};
use bus::event::market::MarketEvent;
use bus::event::risk::{EngineConfigured, FeeSet, LimitSet, PositionUpdate, RiskEvent};
use bus::event::trade::{Fill, FillBust, TradeEvent, Withheld};
use bus::event::{Cause, Price, Quantity, Side, Text};
use bus::plan::Placement;
use bus::program::{Progress, Size, Stop};
use bus::wait::WaitStrategy;
use common::{Ground, Journalled, conclusions, feed, fill};
use engine::{Cut, Effect, RETAINED_FILLS};
use replay::snapshots;
use risk_engine::{EngineError, Outcome, Runner, Settings, Watch};

const ANYWHERE: Placement = Placement { role: "risk", core: None, wait: WaitStrategy::Park };
/// No snapshots.
const NEVER: u64 = u64::MAX;

fn settings(limit: i64) -> Settings {
    let cause = Cause { input: Cause::NONE, ..Cause::default() };
    Settings {
        limits: vec![LimitSet {
            cause,
            limit: Text::new("position").unwrap(),
            value: Quantity(limit),
            ..LimitSet::default()
        }],
        fees: vec![FeeSet { cause, per_unit: Price(7), of_notional: Price(11), ..FeeSet::default() }],
    }
}

struct Engine {
    running: Running,
    watch: Arc<Watch>,
    stop: Stop,
}

impl Engine {
    fn start(bus: &Bus, settings: Option<Settings>, snapshot_every: u64) -> Self {
        let (watch, stop) = (Arc::new(Watch::default()), Stop::new());
        let runner = Runner::open(bus, settings, snapshot_every, Arc::clone(&watch)).unwrap();
        let running = agent::start(&ANYWHERE, &stop, runner).unwrap();
        Self { running, watch, stop }
    }

    /// Waits until it takes what is new.
    fn wait_until_live(&self) {
        while !self.watch.is_live() {
            std::thread::yield_now();
        }
    }

    fn wait_for(&self, cut: Cut) {
        while !self.watch.has_reached(cut) && !self.running.is_finished() {
            std::thread::yield_now();
        }
    }

    /// Ends once everything before the cut is applied.
    fn end_at(self, cut: Cut) -> Outcome {
        self.wait_for(cut);
        self.stop.request();
        self.running.join().unwrap();
        self.watch.outcome().unwrap()
    }

    fn fails_with(self) -> EngineError {
        *self.running.join().unwrap_err().source.downcast().unwrap()
    }
}

#[test]
fn it_concludes_from_both_inputs_and_journals_the_order() {
    let ground = Ground::new();
    let engine = Engine::start(&ground.bus, Some(settings(3)), NEVER);
    engine.wait_until_live();
    let mut market_data = ground.bus.publisher::<MarketEvent>("market-data").unwrap();
    let mut trades = ground.bus.publisher::<TradeEvent>("trades").unwrap();
    feed(&mut market_data, &mut trades, 10_000);
    let cut = Cut { market_data: 10_000, trades: 500 };
    let watch = Arc::clone(&engine.watch);
    let outcome = engine.end_at(cut);
    let (effects, hash) = conclusions(&settings(3), cut);
    assert_eq!((outcome.cut, outcome.state_hash.0, &outcome.incomplete[..]), (cut, hash, &[][..]));
    let journalled = Journalled::read(&ground.bus);
    assert_eq!(journalled.effects, effects);
    assert!(effects.len() > 500, "some limits are exceeded");
    journalled.assert_order_to(cut);
    let mut measures = risk_engine::Measures::default();
    assert!(watch.take_measures(&mut measures));
    assert_eq!(measures.receive_to_risk.count(), 10_000);
}

#[test]
fn a_restart_goes_on_where_the_journal_ends() {
    let ground = Ground::new();
    let mut market_data = ground.bus.publisher::<MarketEvent>("market-data").unwrap();
    let mut trades = ground.bus.publisher::<TradeEvent>("trades").unwrap();
    let mut cut = Cut::default();
    for life in 1..=4 {
        feed(&mut market_data, &mut trades, 3_000);
        cut = Cut { market_data: 3_000 * life, trades: 150 * life };
        let given = (life == 1).then(|| settings(5));
        assert_eq!(Engine::start(&ground.bus, given, NEVER).end_at(cut).cut, cut);
    }
    let (effects, hash) = conclusions(&settings(5), cut);
    let journalled = Journalled::read(&ground.bus);
    assert_eq!((journalled.effects, journalled.configurations), (effects, 1));
    let again = Engine::start(&ground.bus, Some(settings(5)), NEVER).end_at(cut);
    assert_eq!(again.state_hash.0, hash);
    assert_eq!(Journalled::read(&ground.bus).configurations, 1, "nothing has changed");
    Engine::start(&ground.bus, Some(settings(6)), NEVER).end_at(cut);
    let journalled = Journalled::read(&ground.bus);
    journalled.assert_order_to(cut);
    assert_eq!(journalled.configurations, 2, "another limit is another configuration");
}

#[test]
fn snapshots_shorten_a_restart_and_change_nothing() {
    let ground = Ground::new();
    let mut market_data = ground.bus.publisher::<MarketEvent>("market-data").unwrap();
    let mut trades = ground.bus.publisher::<TradeEvent>("trades").unwrap();
    let mut cut = Cut::default();
    for life in 1..=4 {
        feed(&mut market_data, &mut trades, 2_000);
        cut = Cut { market_data: 2_000 * life, trades: 100 * life };
        Engine::start(&ground.bus, None, 1_000).end_at(cut);
    }
    let directory = snapshots::directory(&ground.bus);
    let mut files: Vec<_> = std::fs::read_dir(&directory).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort_unstable();
    assert_eq!(files.len(), 2, "older ones go");
    let (effects, hash) = conclusions(&Settings::default(), cut);
    assert_eq!(Journalled::read(&ground.bus).effects, effects);
    for damaged in [0, 1, 2] {
        for file in &files[2 - damaged..] {
            std::fs::write(file, "not a snapshot").unwrap();
        }
        assert_eq!(Engine::start(&ground.bus, None, NEVER).end_at(cut).state_hash.0, hash);
    }
}

#[test]
fn an_effect_that_does_not_follow_is_a_fault() {
    let ground = Ground::new();
    let mut market_data = ground.bus.publisher::<MarketEvent>("market-data").unwrap();
    let mut trades = ground.bus.publisher::<TradeEvent>("trades").unwrap();
    feed(&mut market_data, &mut trades, 40);
    Engine::start(&ground.bus, None, NEVER).end_at(Cut { market_data: 40, trades: 2 });
    let mut risk = ground.bus.derived_publisher::<RiskEvent>("risk", &["market-data", "trades"]).unwrap();
    let cause = Cause { epoch: 1, ..Cause::default() };
    let sequence = risk.publish(&PositionUpdate { cause, ..PositionUpdate::default() }).unwrap();
    risk.close().unwrap();
    let error = Engine::start(&ground.bus, None, NEVER).fails_with();
    assert!(error.is_fault());
    assert!(matches!(error, EngineError::Diverged { sequence: found, .. } if found == sequence), "{error}");
}

#[test]
fn a_run_of_messages_that_are_not_there_is_waited_for() {
    let ground = Ground::new();
    let mut risk = ground.bus.derived_publisher::<RiskEvent>("risk", &["market-data", "trades"]).unwrap();
    risk.publish(&EngineConfigured {
        cause: Cause { input: Cause::NONE, ..Cause::default() },
        ..settings(1).configured()
    })
    .unwrap();
    risk.close().unwrap();
    let engine = Engine::start(&ground.bus, None, NEVER);
    let mut market_data = ground.bus.publisher::<MarketEvent>("market-data").unwrap();
    let mut trades = ground.bus.publisher::<TradeEvent>("trades").unwrap();
    feed(&mut market_data, &mut trades, 100);
    let outcome = engine.end_at(Cut { market_data: 100, trades: 5 });
    assert_eq!(outcome.incomplete, [""; 0]);
}

#[test]
fn a_mark_that_is_lost_leaves_a_run_incomplete() {
    let ground = Ground::new();
    let mut market_data = ground.bus.publisher::<MarketEvent>("market-data").unwrap();
    let mut trades = ground.bus.publisher::<TradeEvent>("trades").unwrap();
    feed(&mut market_data, &mut trades, 100);
    market_data.close().unwrap();
    trades.close().unwrap();
    let cut = Cut { market_data: 100, trades: 5 };
    Engine::start(&ground.bus, None, NEVER).end_at(cut);
    for (topic, later) in [("market-data", 1), ("risk", 0)] {
        std::fs::remove_file(ground.path().join(topic).join("0/mark")).unwrap();
        let run = || Engine::start(&Bus::open(ground.path()).unwrap(), None, NEVER).end_at(cut).incomplete;
        let [told] = &run()[..] else { panic!("one loss") };
        assert!(told.starts_with("the mark of ") && told.contains(topic), "{told}");
        assert_eq!(run().len(), later, "{topic}: its own publisher makes it anew");
        ground.bus.publisher::<MarketEvent>("market-data").unwrap().close().unwrap();
        assert_eq!(run(), [""; 0]);
    }
}

/// Live, after a restart with and without its snapshot, and in `replay state` alike.
#[test]
fn a_bust_that_comes_too_late_is_told_and_not_applied() {
    let ground = Ground::new();
    let mut trades = ground.bus.publisher::<TradeEvent>("trades").unwrap();
    let fills = RETAINED_FILLS as u64 + 1;
    for n in 0..fills {
        trades.publish(&fill(n)).unwrap();
    }
    let filled = Cut { market_data: 0, trades: fills };
    Engine::start(&ground.bus, None, fills / 2).end_at(filled);
    let (account, instrument, reference) = (fill(0).account, fill(0).instrument, fill(0).execution);
    trades.publish(&FillBust { account, instrument, reference, ..FillBust::default() }).unwrap();
    let cut = Cut { trades: fills + 1, ..filled };
    let outcome = Engine::start(&ground.bus, None, NEVER).end_at(cut);
    assert!(outcome.incomplete[0].starts_with("1 message of 'trades' bust"), "{:?}", outcome.incomplete);
    let (mut effects, _) = conclusions(&Settings::default(), filled);
    let journalled = Journalled::read(&ground.bus).effects;
    let Some(Effect::Limit(alert)) = journalled.last() else { panic!("no alert") };
    assert_eq!(
        (alert.cause.sequence, alert.account, alert.limit),
        (fills, account, Text::new("retained fills").unwrap())
    );
    effects.push(Effect::Limit(*alert));
    assert!(journalled == effects, "the alert and nothing else");

    let derived = replay::state::derive(&ground.bus, None, &mut Progress::new()).unwrap();
    assert_eq!(derived.state_hash(), outcome.state_hash.0);
    assert!(derived.state.positions().next().unwrap().unamended);
    let directory = snapshots::directory(&ground.bus);
    assert!(std::fs::read_dir(&directory).unwrap().count() > 0, "the restart began at a snapshot");
    std::fs::remove_dir_all(directory).unwrap();
    let again = Engine::start(&ground.bus, None, NEVER).end_at(cut);
    assert_eq!((again.state_hash, again.incomplete), (outcome.state_hash, outcome.incomplete));
}

#[test]
fn a_position_whose_sums_left_their_range_is_told_at_every_end() {
    let ground = Ground::new();
    let mut trades = ground.bus.publisher::<TradeEvent>("trades").unwrap();
    for n in 0..2 {
        let (price, quantity) = (Price(1), Quantity(i64::MAX));
        trades
            .publish(&Fill { price, quantity, account: fill(0).account, side: Side::BUY, ..fill(n) })
            .unwrap();
    }
    let cut = Cut { market_data: 0, trades: 2 };
    for _ in 0..2 {
        let outcome = Engine::start(&ground.bus, None, 1).end_at(cut);
        let told = outcome.incomplete.iter().any(|what| what.starts_with("1 position lack executions"));
        assert!(told, "{:?}", outcome.incomplete);
    }
    let derived = replay::state::derive(&ground.bus, None, &mut Progress::new()).unwrap();
    assert!(!derived.is_ok());
}

#[test]
fn given_a_withheld_execution_expect_every_end_to_tell_it_and_a_replay_to_agree() {
    let ground = Ground::new();
    let mut trades = ground.bus.publisher::<TradeEvent>("trades").unwrap();
    trades.publish(&fill(0)).unwrap();
    trades.publish(&Withheld { cause: Withheld::MISSING, ..Withheld::default() }).unwrap();
    let cut = Cut { market_data: 0, trades: 2 };
    let mut hashes = Vec::new();
    for _ in 0..2 {
        let outcome = Engine::start(&ground.bus, None, 1).end_at(cut);
        let told = |what: &String| what.starts_with("positions may lack 1 execution report that the gateway");
        assert!(outcome.incomplete.iter().any(told), "{:?}", outcome.incomplete);
        hashes.push(outcome.state_hash.0);
    }
    let derived = replay::state::derive(&ground.bus, None, &mut Progress::new()).unwrap();
    assert!(!derived.is_ok() && derived.divergence.is_empty());
    hashes.push(derived.state_hash());
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "live, from a snapshot, and in replay");
}

#[test]
fn retention_removes_only_what_no_snapshot_needs() {
    let ground = Ground::new();
    let topic = TopicConfig { retention: Some(Size(8 << 20)), when_full: Some(WhenFull::Expire) };
    let topics = ["market-data", "trades", "risk"].map(|name| (name.into(), topic)).into();
    let config = BusConfig { segment: Some(Size(1 << 20)), topics, ..BusConfig::default() };
    let bus = Bus::with_config(ground.path(), config).unwrap();
    let engine = Engine::start(&bus, None, 10_000);
    let mut market_data = bus.publisher::<MarketEvent>("market-data").unwrap();
    let mut trades = bus.publisher::<TradeEvent>("trades").unwrap();
    let mut cut = Cut::default();
    while bus.watermarks("market-data").unwrap().first == 0 {
        feed(&mut market_data, &mut trades, 1_000);
        cut = Cut { market_data: cut.market_data + 1_000, trades: cut.trades + 50 };
        assert!(cut.market_data < 1_000_000, "nothing was ever removed");
        // An engine that retention outruns is overruled.
        engine.wait_for(cut);
    }
    engine.end_at(cut);
    let first = bus.watermarks("market-data").unwrap().first;
    assert!(first > 0 && first < cut.market_data);
    let (_, hash) = conclusions(&Settings::default(), cut);
    assert_eq!(Engine::start(&bus, None, NEVER).end_at(cut).state_hash.0, hash);
    let derived = replay::state::derive(&bus, None, &mut Progress::new()).unwrap();
    assert_eq!(derived.state_hash(), hash);
    assert!(derived.from.market_data >= first && derived.is_ok(), "{:?}", derived.divergence);
    for file in std::fs::read_dir(snapshots::directory(&bus)).unwrap() {
        std::fs::remove_file(file.unwrap().path()).unwrap();
    }
    let error = Engine::start(&bus, None, NEVER).fails_with();
    assert!(error.is_fault(), "{error}");
}
