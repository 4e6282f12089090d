//! Given a bus in which something else lies where a file should, expect that the engine neither waits for it nor reads
//! without end, and goes on or says what it is.
#![allow(missing_docs)]

mod common;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use bus::event::market::MarketEvent;
use bus::event::trade::TradeEvent;
use common::{Ground, feed};

fn pipe(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

/// Runs the engine to where the inputs end; it is ended by force where it takes a minute.
fn run(bus: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = Command::new("timeout")
        .args(["-s", "KILL", "60", env!("CARGO_BIN_EXE_risk-engine"), "run", "--for", "0s", "--bus"])
        .arg(bus)
        .args(arguments)
        .output()
        .unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

/// A bus with inputs, which an engine has read to their end.
fn given() -> Ground {
    let ground = Ground::new();
    let mut market_data = ground.bus.publisher::<MarketEvent>("market-data").unwrap();
    let mut trades = ground.bus.publisher::<TradeEvent>("trades").unwrap();
    feed(&mut market_data, &mut trades, 500);
    market_data.close().unwrap();
    trades.close().unwrap();
    let (code, told) = run(&ground.path(), &[]);
    assert_eq!(code, Some(0), "{told}");
    ground
}

#[test]
fn a_snapshot_that_is_a_pipe_is_passed_over() {
    let ground = given();
    let snapshots = ground.path().join("risk/snapshots");
    fs::create_dir_all(&snapshots).unwrap();
    pipe(&snapshots.join("00000000000000000001.snapshot"));
    let (code, told) = run(&ground.path(), &[]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("00000000000000000001.snapshot: it is no regular file"), "{told}");
}

#[test]
fn a_schema_or_configuration_that_is_a_pipe_is_refused() {
    let ground = given();
    let config = ground.path().join("busbar.toml");
    pipe(&config);
    let (code, told) = run(&ground.path(), &["--config", config.to_str().unwrap()]);
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("busbar.toml: it is no regular file"), "{told}");
    let schema = ground.path().join("risk/schema.json");
    fs::remove_file(&schema).unwrap();
    pipe(&schema);
    let (code, told) = run(&ground.path(), &[]);
    assert_eq!(code, Some(2), "{told}");
    assert!(told.contains("risk/schema.json: it is no regular file"), "{told}");
}
