//! Given a publisher of its own process whose topics expire, expect that the engine can always go on, or says why not.
#![allow(missing_docs)]

mod common;

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use bus::config::{BusConfig, TopicConfig, WhenFull};
use bus::event::market::MarketEvent;
use bus::event::trade::TradeEvent;
use bus::program::Size;
use bus::{Bus, Publisher};
use common::{Ground, conclusions, feed};
use engine::Cut;
use replay::snapshots;
use risk_engine::Settings;
use serde_json::Value;

const SEGMENT: u64 = 1 << 20;
const RETENTION: u64 = 4 * SEGMENT;
/// Messages of about half the retention.
const HALF: u64 = 20_000;

/// The topics' publisher, as a gateway with a retention is one.
fn publisher(ground: &Ground) -> Bus {
    let topic = TopicConfig { retention: Some(Size(RETENTION)), when_full: Some(WhenFull::Expire) };
    let topics = ["market-data", "trades"].map(|name| (name.into(), topic)).into();
    let config = BusConfig { segment: Some(Size(SEGMENT)), topics, ..BusConfig::default() };
    Bus::with_config(ground.path(), config).unwrap()
}

fn command(bus: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_risk-engine"));
    command.args(["run", "--json", "--bus"]).arg(bus);
    command
}

/// Runs the engine until it has applied what there is.
fn run(bus: &Path) -> Output {
    command(bus).args(["--for", "0s"]).output().unwrap()
}

fn first(bus: &Bus) -> u64 {
    bus.watermarks("market-data").unwrap().first
}

/// The oldest message that the engine needs, once it has said so.
fn needed(bus: &Bus) -> Option<u64> {
    bus.survey("market-data").unwrap().keepers.first()?.sequence
}

/// Feeds a running engine until what came first is gone: as much of the retention at a time as calls for a snapshot.
fn feed_until_cut(
    bus: &Bus,
    engine: &mut Child,
    market_data: &mut Publisher<MarketEvent>,
    trades: &mut Publisher<TradeEvent>,
) {
    let newest = || snapshots::sequences(&snapshots::directory(bus)).last().copied();
    while first(bus) == 0 {
        let before = newest();
        feed(market_data, trades, HALF / 3);
        while newest() == before {
            assert_eq!(engine.try_wait().unwrap(), None, "it ended by itself");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    }
}

fn cut(market_data: &Publisher<MarketEvent>, trades: &Publisher<TradeEvent>) -> Cut {
    Cut { market_data: market_data.next_sequence(), trades: trades.next_sequence() }
}

#[test]
fn an_engine_of_another_process_is_kept_for_while_it_is_down_and_told_what_is_gone_beyond_that() {
    let ground = Ground::new();
    let bus = publisher(&ground);
    let mut market_data = bus.publisher::<MarketEvent>("market-data").unwrap();
    let mut trades = bus.publisher::<TradeEvent>("trades").unwrap();
    let mut engine = command(&ground.path()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    feed_until_cut(&bus, &mut engine, &mut market_data, &mut trades);
    engine.kill().unwrap();
    engine.wait().unwrap();
    assert!(needed(&bus) >= Some(first(&bus)), "it is kept for");

    feed(&mut market_data, &mut trades, HALF);
    let done = run(&ground.path());
    assert_eq!(done.status.code(), Some(0), "{}", String::from_utf8_lossy(&done.stderr));
    let summary: Value = serde_json::from_slice(&done.stdout).unwrap();
    let cut = cut(&market_data, &trades);
    let (_, hash) = conclusions(&Settings::default(), cut);
    let hash: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(
        (&summary["cut"]["market-data"], &summary["state_hash"]),
        (&cut.market_data.into(), &hash.into())
    );

    let needed = needed(&bus).unwrap();
    feed(&mut market_data, &mut trades, 6 * HALF);
    assert!(first(&bus) > needed, "the disk is the user's");
    let failed = run(&ground.path());
    let why = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert_eq!(failed.status.code(), Some(1), "{why}");
    assert!(why.contains("'market-data' begins at ") && why.contains(" and the state needs "), "{why}");
}
