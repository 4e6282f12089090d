//! Buses with known contents, and the program run on them.
#![allow(dead_code, missing_docs, unreachable_pub)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bus::config::{BusConfig, TopicConfig, WhenFull};
use bus::event::market::{AddOrder, DeleteOrder, ExecuteOrder, Gap, Instrument, MarketEvent, Session};
use bus::event::trade::{Fill, TradeEvent};
use bus::event::{Code, Price, Quantity, Side, Symbol, Text, Time};
use bus::program::{Progress, Size};
use bus::{Bus, Publisher};
use serde_json::Value;

/// A bus in a directory that goes away.
pub struct Ground {
    root: tempfile::TempDir,
    pub bus: Bus,
}

impl Ground {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        // Small segments, so that a few megabytes are several.
        let config = BusConfig { segment: Some(Size(1 << 20)), ..BusConfig::default() };
        let bus = Bus::with_config(root.path().join("bus"), config).unwrap();
        Self { root, bus }
    }

    /// A bus of which `market-data` and `trades` keep a few segments.
    pub fn expiring() -> Self {
        let mut ground = Self::new();
        let topic = TopicConfig { retention: Some(Size(4 << 20)), when_full: Some(WhenFull::Expire) };
        let topics = ["market-data", "trades"].map(|name| (name.into(), topic)).into();
        let config = BusConfig { topics, ..ground.bus.config().clone() };
        ground.bus = Bus::with_config(ground.path("bus"), config).unwrap();
        ground
    }

    /// Publishes orders from `n` on until retention has removed the first ones, and closes; the oldest sequence that is left.
    pub fn add_until_first_is_gone(&self, mut market: Publisher<MarketEvent>, mut n: u64) -> u64 {
        while self.bus.watermarks("market-data").unwrap().first == 0 {
            assert!(n < 1_000_000, "retention removes nothing");
            (n..n + 1_000).for_each(|n| assert!(market.publish(&add(n)).is_ok()));
            market.flush().unwrap();
            n += 1_000;
        }
        market.close().unwrap();
        self.bus.watermarks("market-data").unwrap().first
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub fn market(&self) -> Publisher<MarketEvent> {
        self.bus.publisher("market-data").unwrap()
    }

    pub fn trades(&self) -> Publisher<TradeEvent> {
        self.bus.publisher("trades").unwrap()
    }

    pub fn segment(&self, topic: &str, number: u64) -> PathBuf {
        self.bus.directory().join(topic).join("0").join(format!("{number:016x}.segment"))
    }

    /// Flips a bit of a segment on disk.
    pub fn spoil(&self, topic: &str, segment: u64, offset: usize) {
        let path = self.segment(topic, segment);
        let mut bytes = fs::read(&path).unwrap();
        bytes[offset] ^= 1;
        fs::write(&path, bytes).unwrap();
    }

    /// Cuts the file of a segment.
    pub fn shorten(&self, topic: &str, segment: u64, length: u64) {
        let file = fs::File::options().write(true).open(self.segment(topic, segment)).unwrap();
        assert!(file.metadata().unwrap().len() > length, "the fault fires");
        file.set_len(length).unwrap();
    }

    /// A copy of the bus directory that nobody may write.
    pub fn read_only_copy(&self) -> PathBuf {
        let copy = self.path("copy");
        copy_tree(self.bus.directory(), &copy);
        copy
    }
}

/// Copies a directory, to be changed.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
            read_only(&target);
        }
    }
    read_only(to);
}

fn read_only(path: &Path) {
    let mut permissions = fs::metadata(path).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(path, permissions).unwrap();
}

/// All names, lengths and times of change below a directory.
pub fn contents(directory: &Path) -> Vec<(PathBuf, u64, std::time::SystemTime)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        let status = entry.metadata().unwrap();
        if status.is_dir() {
            found.extend(contents(&entry.path()));
        }
        found.push((entry.path(), status.len(), status.modified().unwrap()));
    }
    found.sort();
    found
}

/// What a run of the program gave.
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub error: String,
}

impl Ran {
    pub fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self {
            code: output.status.code().unwrap_or(-1),
            out: text(output.stdout),
            error: text(output.stderr),
        }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}{}", self.out, self.error))
    }

    pub fn lines(&self) -> Vec<Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

pub fn program(bus: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_replay"));
    command.env("BUSBAR_DIR", bus);
    command
}

pub fn replay(bus: &Path, arguments: &[&str]) -> Ran {
    Ran::of(program(bus).args(arguments).output().unwrap())
}

pub fn silent() -> Progress {
    Progress::new()
}

pub fn text<const N: usize>(text: &str) -> Text<N> {
    Text::new(text).unwrap()
}

pub fn symbol() -> Symbol {
    text("ACME")
}

pub fn session(name: &str, state: u8) -> Session {
    Session { session: text(name), date: 20_260_102, state: Code(state), ..Session::default() }
}

pub fn instrument(name: &str) -> Instrument {
    Instrument { instrument: text(name), locate: 1, ..Instrument::default() }
}

pub fn gap(state: u8, first: u64, count: u64) -> Gap {
    Gap { venue_sequence: first, count, state: Code(state), cause: text("network"), ..Gap::default() }
}

/// Order `n` of a market of its own: bids below 100, asks above.
pub fn add(n: u64) -> AddOrder {
    let side = if n.is_multiple_of(2) { Side::BUY } else { Side::SELL };
    let away = (n % 50 + 1) as i64;
    let price = Price((100 - side.sign() * away) * Price::SCALE);
    let exchange_time = Time(1_000 + n);
    let venue_sequence = n + 1;
    let (instrument, quantity) = (symbol(), Quantity(10));
    AddOrder {
        exchange_time,
        venue_sequence,
        instrument,
        order: n,
        price,
        quantity,
        side,
        ..AddOrder::default()
    }
}

pub fn delete(order: u64) -> DeleteOrder {
    DeleteOrder { instrument: symbol(), order, ..DeleteOrder::default() }
}

pub fn execute(order: u64, quantity: i64) -> ExecuteOrder {
    ExecuteOrder { instrument: symbol(), order, quantity: Quantity(quantity), ..ExecuteOrder::default() }
}

pub fn fill(n: u64, side: Side, price: i64, quantity: i64) -> Fill {
    Fill {
        exchange_time: Time(5_000 + n),
        venue_sequence: n,
        instrument: symbol(),
        price: Price(price * Price::SCALE),
        quantity: Quantity(quantity),
        side,
        account: text("MAIN"),
        execution: text(&format!("E{n}")),
        ..Fill::default()
    }
}
