//! A bus in a temporary directory, and processes that publish to it and read from it: the test binary itself, started
//! again for one test with its orders in the environment.
//!
//! While a process is being started it shares all descriptors of the one that starts it, locks among them. So where a
//! test binary starts processes, publishers that end within a test live in such processes.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::{
    io::{BufRead, BufReader, Lines},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
};

use bus::{
    Bus,
    event::{Event, Price, Quantity, Symbol},
};

/// The directory of the bus, for a process that was started by a test.
const DIRECTORY: &str = "BUS_TEST_DIRECTORY";
/// Its orders.
const ORDERS: &str = "BUS_TEST_ORDERS";

#[derive(Event, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Quote {
    pub instrument: Symbol,
    pub bid: Price,
    pub ask: Price,
    pub size: Quantity,
}

pub fn quote(n: u64) -> Quote {
    let n = n.cast_signed();
    Quote { bid: Price(n), ask: Price(n + 1), size: Quantity(n * 2), ..Quote::default() }
}

pub fn ground() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let bus = directory.path().join("bus");
    (directory, bus)
}

/// The orders of this process, if a test started it.
pub fn orders() -> Option<(Bus, Vec<String>)> {
    let bus = Bus::open(std::env::var_os(DIRECTORY)?).unwrap();
    let orders = std::env::var(ORDERS).unwrap();
    Some((bus, orders.split(' ').map(str::to_owned).collect()))
}

/// A process that runs the test `entry` of this binary with its orders. It is killed when dropped.
pub struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    pub fn start(entry: &str, bus: &Path, orders: &str) -> Self {
        Self::start_by(Command::new(std::env::current_exe().unwrap()), entry, bus, orders)
    }

    /// Starts it by a command that ends with the path of this binary.
    pub fn start_by(mut command: Command, entry: &str, bus: &Path, orders: &str) -> Self {
        let mut child = command
            .args(["--exact", entry, "--nocapture"])
            .env(DIRECTORY, bus)
            .env(ORDERS, orders)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The number in the next line `WORD NUMBER` with this word.
    pub fn told(&mut self, word: &str) -> u64 {
        loop {
            let line = self.lines.next().and_then(Result::ok);
            let line = line.unwrap_or_else(|| panic!("it ended without saying '{word}'"));
            // On one core the test's name stands before the first line.
            let line = line.strip_prefix("test process ... ").unwrap_or(&line);
            if let Some(number) = line.strip_prefix(word) {
                return number.trim().parse().unwrap();
            }
        }
    }

    pub fn kill(mut self) {
        self.child.kill().unwrap();
    }

    pub fn end(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
