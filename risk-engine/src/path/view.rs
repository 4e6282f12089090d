//! What is shown while the path runs: a picture that is redrawn on a terminal, a line a second elsewhere.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, IsTerminal, Write};
use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use bus::event::risk::{PositionUpdate, RiskEvent, RiskEventRef};
use bus::event::{Money, Symbol, Text};
use bus::program::{self, Failure, LatencySummary, Tone, counted, decimal, note};
use bus::{Bus, Gate, Reader, Room, Start, Subscriber};
use market_gateway::live::LiveSummary;
use risk_engine::{MARKET_DATA, Measures, RISK, TRADES};

use super::parts::Parts;
use crate::summary::Marks;

const REDRAW_EVERY: Duration = Duration::from_millis(500);
const LINE_EVERY: Duration = Duration::from_secs(1);
/// Positions that are shown.
const POSITIONS: usize = 8;
/// Messages of `risk` that are taken for one picture.
const UPDATES: usize = 100_000;
/// An engine that is so many messages behind is shown to be.
const LAG: u64 = 10_000;
/// An exchange that is so far behind its rate is shown to be.
const SLOW: Duration = Duration::from_millis(100);
/// Money is shown in hundredths.
const HUNDREDTH: i128 = 10_000_000;

/// How far a topic is, and how fast.
struct Topic {
    name: &'static str,
    reader: Option<Reader>,
    marks: Marks,
    /// Messages a second.
    rate: f64,
}

impl Topic {
    fn new(bus: &Bus, name: &'static str) -> Self {
        let reader = bus.reader(name, Start::Newest, Gate::Published).ok();
        let marks = bus.watermarks(name).map_or_else(
            |_| Marks::default(),
            |marks| Marks { published: marks.published, durable: marks.durable },
        );
        Self { name, reader, marks, rate: 0.0 }
    }

    /// Looks at the topic's control page, which costs next to nothing and lags behind what others have `known`.
    fn look(&mut self, since: Duration, known: u64) {
        let Some(control) = self.reader.as_ref().and_then(Reader::control) else { return };
        let published = control.published().1.max(known);
        let marks = Marks { published, durable: control.durable_sequence() };
        self.rate = marks.published.saturating_sub(self.marks.published) as f64 / since.as_secs_f64();
        self.marks = marks;
    }
}

/// Where the picture goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Drawn over the last one; that many lines of it.
    Terminal(usize),
    Lines,
    Notes,
}

/// Shows how the path is.
pub(crate) struct View {
    bus: Bus,
    kafka: Option<SocketAddr>,
    place: Place,
    began: Instant,
    shown: Instant,
    topics: [Topic; 3],
    /// What the exchange had left out at the last look.
    behind: u64,
    risk: Option<Subscriber<RiskEvent>>,
    positions: BTreeMap<(Text<16>, Symbol), PositionUpdate>,
}

impl View {
    pub(crate) fn new(bus: &Bus, kafka: Option<SocketAddr>, is_json: bool) -> Self {
        let place = match (is_json, io::stdout().is_terminal()) {
            (true, _) => Place::Notes,
            (false, true) => Place::Terminal(0),
            (false, false) => Place::Lines,
        };
        let now = Instant::now();
        let topics = [MARKET_DATA, TRADES, RISK].map(|name| Topic::new(bus, name));
        // Positions are shown as they change.
        let risk = bus.subscriber(RISK, Start::Newest, Gate::Published).ok();
        Self {
            bus: bus.clone(),
            kafka,
            place,
            began: now,
            shown: now,
            topics,
            behind: 0,
            risk,
            positions: BTreeMap::new(),
        }
    }

    /// Where the lines go to a file or a pipe, says first how the market is read; a picture shows it all the time.
    pub(crate) fn greet(&self) -> Result<(), Failure> {
        match self.kafka {
            Some(address) if self.place == Place::Lines => {
                program::print_line(&format!("read the market, in another terminal: {}", kcat(address)))
            }
            _ => Ok(()),
        }
    }

    /// Shows it, if it is time to.
    pub(crate) fn show(&mut self, parts: &Parts, measures: &Measures) -> Result<(), Failure> {
        if let Some(reason) = parts.desk.take_interruption() {
            self.leave();
            note(&format!("drop copy: {reason}"));
        }
        let every = if matches!(self.place, Place::Terminal(_)) { REDRAW_EVERY } else { LINE_EVERY };
        let since = self.shown.elapsed();
        if since < every {
            return Ok(());
        }
        self.shown = Instant::now();
        let cut = parts.watch.cut();
        for (topic, known) in self.topics.iter_mut().zip([parts.desk.published(), cut.trades, 0]) {
            topic.look(since, known);
        }
        let gateway = parts.desk.ask();
        let waits = self.waits(parts, gateway.as_ref());
        match self.place {
            Place::Notes => note(&self.line(measures, &waits)),
            Place::Lines => program::print_line(&self.line(measures, &waits))?,
            Place::Terminal(above) => {
                self.take_positions();
                let picture = self.picture(gateway.as_ref(), measures, &waits);
                self.draw(above, &picture)?;
            }
        }
        Ok(())
    }

    /// Leaves the picture where it is; what follows stands below.
    pub(crate) fn leave(&mut self) {
        if let Place::Terminal(_) = self.place {
            self.place = Place::Terminal(0);
        }
    }

    /// Takes over the positions that changed. What cannot be read is shown nowhere, and is the engine's to report.
    fn take_positions(&mut self) {
        let Some(risk) = &mut self.risk else { return };
        for _ in 0..UPDATES {
            let Ok(Some(event)) = risk.poll() else { return };
            if let RiskEventRef::PositionUpdate(update) = event {
                self.positions.insert((update.account, update.instrument), *update);
            }
        }
    }

    fn draw(&mut self, above: usize, picture: &str) -> Result<(), Failure> {
        let up = if above > 0 { format!("\x1b[{above}A") } else { String::new() };
        // Without line wrap, a narrow terminal cuts lines instead of breaking them: their number stays known.
        let drawn = format!("\x1b[?7l{up}\x1b[J{picture}\x1b[?7h");
        io::stdout().lock().write_all(drawn.as_bytes())?;
        io::stdout().flush()?;
        self.place = Place::Terminal(picture.lines().count());
        Ok(())
    }

    /// What is slower than it should be, and what is waited for.
    fn waits(&mut self, parts: &Parts, gateway: Option<&LiveSummary>) -> Vec<String> {
        let mut waits = Vec::new();
        let behind = parts.venue.behind();
        if behind > std::mem::replace(&mut self.behind, behind) {
            waits.extend(slow(parts.venue.behind_for()));
        }
        let missing = parts.desk.missing();
        if missing > 0 {
            waits.push(format!("the gateway waits for {}", counted(missing, "missing message")));
        }
        if let Some(room) = gateway.and_then(|gateway| gateway.short_of) {
            waits.push(waits_for_room(room));
        }
        let lag = parts.desk.published().saturating_sub(parts.watch.cut().market_data);
        if lag > LAG {
            waits.push(format!("the engine has {} to go", counted(lag, "message")));
        }
        waits
    }

    fn picture(&self, gateway: Option<&LiveSummary>, measures: &Measures, waits: &[String]) -> String {
        let mut text = self.heading();
        let _ = writeln!(text, "  {:<22}{:>12}{:>16}{:>16}", "topic", "a second", "published", "durable");
        for Topic { name, marks: Marks { published, durable }, rate, .. } in &self.topics {
            let _ = writeln!(text, "  {name:<22}{rate:>12.0}{published:>16}{durable:>16}");
        }
        if let Some(gateway) = gateway {
            text += &input(gateway);
        }
        let _ = writeln!(text, "\n  {:<22}{:>12}{:>16}{:>16}", "latency", "p50", "p99", "p99.9");
        let summary = measures.summary();
        latency(&mut text, "receive → published", &summary.receive_to_published);
        latency(&mut text, "receive → risk", &summary.receive_to_risk);
        latency(&mut text, "published → durable", &summary.published_to_durable);
        text += &self.portfolio();
        for wait in waits {
            let _ = writeln!(text, "  {}", Tone::Warning.paint(wait));
        }
        text += &self.next_steps();
        text
    }

    /// The whole path in one line.
    fn line(&self, measures: &Measures, waits: &[String]) -> String {
        let topic =
            |Topic { name, marks, rate, .. }: &Topic| format!("{name} {} (+{rate:.0}/s)", marks.published);
        let median = |summary: LatencySummary| time(summary.known(summary.p50));
        let summary = measures.summary();
        let waits: String = waits.iter().map(|wait| format!("; {wait}")).collect();
        format!(
            "{}; p50 receive to published {}, to risk {}, published to durable {}{waits}",
            self.topics.iter().map(topic).collect::<Vec<_>>().join(", "),
            median(summary.receive_to_published),
            median(summary.receive_to_risk),
            median(summary.published_to_durable)
        )
    }

    fn heading(&self) -> String {
        let disk = disk_in_use(self.bus.directory()) >> 20;
        format!(
            "Busbar: the whole path in one process for {:.0} s; Ctrl-C ends it\n  {}: {disk} MiB on disk\n\n",
            self.began.elapsed().as_secs_f64(),
            self.bus.directory().display()
        )
    }

    fn portfolio(&self) -> String {
        let mut text = format!(
            "\n  {:<22}{:>12}{:>16}{:>16}{:>12}\n",
            "position", "quantity", "cost", "realised", "fees"
        );
        for update in self.positions.values().take(POSITIONS) {
            let name = format!("{} {}", update.account, update.instrument);
            let [cost, realised, fees] = [update.cost, update.realised, update.fees].map(money);
            let _ = writeln!(text, "  {name:<22}{:>12}{cost:>16}{realised:>16}{fees:>12}", update.quantity.0);
        }
        text
    }

    /// What to type next, elsewhere.
    fn next_steps(&self) -> String {
        let mut text = format!("\n  {}\n", Tone::Aside.paint("to type next, in another terminal:"));
        for line in self.kafka.map(kcat).into_iter().chain([verify(&self.bus)]) {
            let _ = writeln!(text, "  {line}");
        }
        text
    }
}

/// Says how the journals are read once the path has ended.
pub(super) fn farewell(bus: &Bus) -> Result<(), Failure> {
    program::print_line(&format!("prove the journals: {}", verify(bus)))?;
    let serve = command("archive", "serve", bus);
    program::print_line(&format!("the Kafka listener has ended; serve the journals to kcat again: {serve}"))
}

fn kcat(address: SocketAddr) -> String {
    format!("kcat -b {address} -C -t market-data.json -o -5")
}

fn verify(bus: &Bus) -> String {
    command("replay", "verify", bus)
}

/// A command of another program on this bus: of the one that was built beside this, else how to build and run it.
fn command(program: &str, command: &str, bus: &Bus) -> String {
    let beside = std::env::current_exe().ok().map(|path| path.with_file_name(program));
    let program = beside
        .filter(|path| path.exists())
        .map_or_else(|| format!("cargo run --release --bin {program} --"), |path| path.display().to_string());
    format!("{program} {command} --bus {}", bus.directory().display())
}

/// What the gateway waits for, and what helps.
pub(super) fn waits_for_room(room: Room) -> String {
    format!("market-data waits for room: {room}: {}", room.remedy())
}

/// That the exchange is held up, where it is by more than a moment.
fn slow(behind: Duration) -> Option<String> {
    (behind >= SLOW).then(|| {
        let seconds = behind.as_secs_f64();
        format!("this machine takes less than --rate: the exchange is {seconds:.1} s behind it")
    })
}

fn input(gateway: &LiveSummary) -> String {
    let feed = &gateway.feed;
    let lost: Vec<_> = feed.lines.iter().take(2).map(|line| line.lost.to_string()).collect();
    format!(
        "  {} packets by {}; the lines lost {} messages; {} were asked for again\n",
        feed.packets,
        gateway.io,
        lost.join(" and "),
        feed.recovered
    )
}

fn latency(text: &mut String, name: &str, summary: &LatencySummary) {
    let [p50, p99, p99_9] = [summary.p50, summary.p99, summary.p99_9].map(|ns| time(summary.known(ns)));
    let _ = writeln!(text, "  {name:<22}{p50:>12}{p99:>16}{p99_9:>16}");
}

/// A latency with three digits; a dash where there is none yet.
fn time(nanoseconds: Option<u64>) -> String {
    match nanoseconds {
        None => "–".into(),
        Some(ns @ 0..10_000) => format!("{ns} ns"),
        Some(ns @ 10_000..10_000_000) => format!("{} µs", ns / 1_000),
        Some(ns) => format!("{} ms", ns / 1_000_000),
    }
}

/// An amount in whole hundredths.
fn money(Money(amount): Money) -> String {
    decimal(amount / HUNDREDTH * HUNDREDTH)
}

/// Bytes that a directory takes on disk, as far as it can be read.
fn disk_in_use(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let bytes = |entry: fs::DirEntry| match entry.metadata() {
        Ok(status) if status.is_dir() => disk_in_use(&entry.path()),
        Ok(status) => status.blocks() * 512,
        Err(_) => 0,
    };
    entries.map(bytes).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exchange_is_behind_when_that_can_be_seen() {
        assert_eq!(slow(Duration::from_micros(99_999)), None);
        let told = slow(Duration::from_millis(100)).unwrap();
        assert!(told.contains("is 0.1 s behind"), "{told}");
    }

    #[test]
    fn a_latency_that_was_not_measured_is_none_and_not_a_fast_one() {
        let mut text = String::new();
        latency(&mut text, "receive → risk", &LatencySummary::default());
        assert_eq!(text.matches('–').count(), 3, "{text}");
        assert!(!text.contains(" ns"), "{text}");
        assert_eq!(
            [0, 9_999, 10_000, 10_000_000].map(|ns| time(Some(ns))),
            ["0 ns", "9999 ns", "10 µs", "10 ms"]
        );
    }
}
