//! The publisher of the inputs dies and its memory is lost, while the engine lives.
#![allow(missing_docs)]

mod common;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use bus::Bus;
use bus::agent;
use bus::event::market::MarketEvent;
use bus::event::trade::TradeEvent;
use bus::plan::Placement;
use bus::program::Stop;
use bus::wait::WaitStrategy;
use common::{Ground, Journalled, conclusions, feed};
use engine::Cut;
use risk_engine::{Runner, Settings, Watch};

/// Tells a process of this test binary to publish on that bus.
const BUS: &str = "RISK_ENGINE_TEST_BUS";
const TOPICS: [&str; 2] = ["market-data", "trades"];

/// Not a test: publishes until it is killed, if it is told to.
#[test]
#[ignore = "a process that the other test starts and kills"]
fn publisher() {
    let Some(directory) = std::env::var_os(BUS) else { return };
    let bus = Bus::open(directory).unwrap();
    let mut market_data = bus.publisher::<MarketEvent>("market-data").unwrap();
    let mut trades = bus.publisher::<TradeEvent>("trades").unwrap();
    loop {
        feed(&mut market_data, &mut trades, 100);
    }
}

fn start_publisher(bus: &Bus) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "publisher"])
        .env(BUS, bus.directory())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// Removes the shared memory of both inputs, as the end of their machine would.
fn lose_memory(publisher: &Child) {
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", publisher.id())).unwrap();
    let mapped = maps.lines().filter_map(|line| line.split_whitespace().nth(5)).map(PathBuf::from);
    let is_input = |path: &PathBuf| TOPICS.iter().any(|topic| path.iter().any(|part| part == *topic));
    let files = mapped.filter(|path| path.starts_with("/dev/shm")).filter(is_input);
    let directories: BTreeSet<PathBuf> = files.filter_map(|path| Some(path.parent()?.to_owned())).collect();
    assert_eq!(directories.len(), TOPICS.len());
    for directory in directories {
        for file in std::fs::read_dir(directory).unwrap() {
            std::fs::remove_file(file.unwrap().path()).unwrap();
        }
    }
}

fn stop_at_once(publisher: &Child) {
    let status = Command::new("kill").args(["-STOP", &publisher.id().to_string()]).status().unwrap();
    assert!(status.success());
}

#[test]
fn an_engine_outlives_the_loss_of_its_inputs_memory() {
    let ground = Ground::new();
    let mut publisher = start_publisher(&ground.bus);
    let (watch, stop) = (Arc::new(Watch::default()), Stop::new());
    let runner = Runner::open(&ground.bus, None, 5_000, Arc::clone(&watch)).unwrap();
    let placement = Placement { role: "risk", core: None, wait: WaitStrategy::Yield };
    let running = agent::start(&placement, &stop, runner).unwrap();
    while !watch.has_reached(Cut { market_data: 20_000, trades: 1_000 }) {
        std::thread::yield_now();
    }
    stop_at_once(&publisher);
    let lost = ground.bus.watermarks("market-data").unwrap().published;
    lose_memory(&publisher);
    publisher.kill().unwrap();
    publisher.wait().unwrap();
    let mut market_data = ground.bus.publisher::<MarketEvent>("market-data").unwrap();
    let mut trades = ground.bus.publisher::<TradeEvent>("trades").unwrap();
    let cut = Cut { market_data: lost + 20_000, trades: lost / common::MARKET_PER_TRADE + 1_000 };
    while trades.next_sequence() < cut.trades {
        trades.publish(&common::fill(trades.next_sequence())).unwrap();
    }
    while market_data.next_sequence() < cut.market_data {
        market_data.publish(&common::order(market_data.next_sequence())).unwrap();
    }
    while !watch.has_reached(cut) && !running.is_finished() {
        std::thread::yield_now();
    }
    stop.request();
    running.join().unwrap();
    let (effects, hash) = conclusions(&Settings::default(), watch.cut());
    let outcome = watch.outcome().unwrap();
    assert_eq!(outcome.state_hash.0, hash, "{outcome:?}, wanted {cut:?}");
    let journalled = Journalled::read(&ground.bus);
    assert_eq!(journalled.effects, effects);
    journalled.assert_order_to(watch.cut());
    let (again, stop) = (Arc::new(Watch::default()), Stop::new());
    let runner = Runner::open(&ground.bus, None, u64::MAX, Arc::clone(&again)).unwrap();
    let running = agent::start(&placement, &stop, runner).unwrap();
    while !again.has_reached(watch.cut()) && !running.is_finished() {
        std::thread::yield_now();
    }
    stop.request();
    running.join().unwrap();
    assert_eq!(again.outcome().unwrap().state_hash.0, hash);
    assert_eq!(Journalled::read(&ground.bus).effects.len(), journalled.effects.len());
}
