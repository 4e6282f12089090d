//! Given a publisher that was killed, before anyone has recovered its journal, expect that all of it is read; and after
//! its memory is gone, that what was durable is.
#![allow(missing_docs)]

mod common;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use bus::event::market::MarketEvent;
use bus::{Bus, Owner};
use common::{Ran, add, contents, program};

/// Names the bus directory to the process that is killed.
const DIRECTORY: &str = "REPLAY_TEST_PUBLISHER";
const COUNT: u64 = 20_000;

/// Not a test of its own: what the process does that the tests kill.
#[test]
fn publisher() {
    let Some(directory) = std::env::var_os(DIRECTORY) else { return };
    let mut market = Bus::open(directory).unwrap().publisher::<MarketEvent>("market-data").unwrap();
    for n in 0..COUNT {
        market.publish(&add(n)).unwrap();
        if n == COUNT / 2 {
            market.flush().unwrap();
        }
    }
    println!("\nready");
    loop {
        std::thread::park();
    }
}

struct Killed {
    _root: tempfile::TempDir,
    bus: PathBuf,
    memory: PathBuf,
}

impl Killed {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let (bus, memory) = (root.path().join("bus"), root.path().join("memory"));
        fs::create_dir(&memory).unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["publisher", "--exact", "--nocapture"])
            .env(DIRECTORY, &bus)
            .env("BUSBAR_SHM", &memory)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.map(Result::unwrap).any(|line| line == "ready"), "it publishes");
        child.kill().unwrap();
        child.wait().unwrap();
        Self { _root: root, bus, memory }
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(program(&self.bus).args(arguments).env("BUSBAR_SHM", &self.memory).output().unwrap())
    }

    /// As power loss does, which no process outlives: the system takes the killed one apart for a while.
    fn lose_memory(&self) {
        let owner = || Bus::open(&self.bus).unwrap().survey("market-data").unwrap().owner;
        while owner() != Owner::Nobody {
            std::thread::yield_now();
        }
        for entry in fs::read_dir(&self.memory).unwrap() {
            fs::remove_dir_all(entry.unwrap().path()).unwrap();
        }
    }
}

#[test]
fn everything_published_is_there_and_after_power_loss_everything_durable() {
    let killed = Killed::new();
    let before = contents(&killed.bus);
    let verified = killed.run(&["verify", "--json"]);
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.error);
    let market = verified.json()["topics"][0].clone();
    assert_eq!(market["messages"], COUNT);
    let durable = market["durable"].as_u64().unwrap();
    assert!((COUNT / 2..=COUNT).contains(&durable), "{durable}");
    let lines = killed.run(&["dump", "--topic", "market-data"]).out;
    assert_eq!(lines.lines().count() as u64, COUNT);
    let state = killed.run(&["state", "--json"]).json();
    assert_eq!(state["cut"]["market-data"], COUNT);
    assert_eq!(contents(&killed.bus), before, "nothing was written");

    killed.lose_memory();
    let verified = killed.run(&["verify", "--json"]);
    assert_eq!(verified.code, 0, "{}{}", verified.out, verified.error);
    let left = verified.json()["topics"][0]["messages"].as_u64().unwrap();
    assert!((durable..=COUNT).contains(&left), "{left} of {durable}");
    let rest = killed.run(&["dump", "--topic", "market-data"]).out;
    assert!(lines.starts_with(&rest) && rest.lines().count() as u64 == left);
}
