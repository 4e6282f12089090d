//! What a run says at its end.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use bus::event::Bytes;
use bus::program::{self, Exit, Failure, counted};
use bus::{Bus, BusError};
use engine::{Cut, Oddities};
use risk_engine::{MARKET_DATA, MeasuresSummary, Outcome, RISK, TRADES};
use serde::Serialize;

/// The summary of `risk-engine run`, and of the whole path, which has more to say.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    /// Whether nothing is lost, damaged, divergent or incomplete.
    ok: bool,
    /// What is.
    incomplete: Vec<String>,
    pub(crate) bus: PathBuf,
    pub(crate) seconds: f64,
    pub(crate) io: Io,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) input: Option<Input>,
    pub(crate) topics: BTreeMap<String, Marks>,
    pub(crate) latency_ns: MeasuresSummary,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) kafka: Option<String>,
    pub(crate) oddities: BTreeMap<&'static str, u64>,
    pub(crate) cut: CutSummary,
    pub(crate) state_hash: String,
}

/// Which interfaces of the system were used.
#[derive(Debug, Serialize)]
pub(crate) struct Io {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) network: Option<String>,
    pub(crate) disk: String,
}

/// What the gateway took from the lines.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Input {
    pub(crate) packets: u64,
    pub(crate) messages: u64,
    /// Messages that the exchange left out, since the machine did not take them at its rate.
    pub(crate) behind: u64,
    pub(crate) lost_on_a: u64,
    pub(crate) lost_on_b: u64,
    pub(crate) recovered: u64,
    /// Messages that were never recovered.
    pub(crate) gaps: u64,
}

/// Watermarks of a topic, each the next sequence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Marks {
    pub(crate) published: u64,
    pub(crate) durable: u64,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct CutSummary {
    market_data: u64,
    trades: u64,
}

impl From<Cut> for CutSummary {
    fn from(cut: Cut) -> Self {
        Self { market_data: cut.market_data, trades: cut.trades }
    }
}

impl Summary {
    /// What an engine and its bus say.
    pub(crate) fn new(
        bus: &Bus,
        ran: Duration,
        latency_ns: MeasuresSummary,
        outcome: &Outcome,
        incomplete: &[String],
    ) -> Result<Self, BusError> {
        Ok(Self {
            ok: incomplete.is_empty(),
            incomplete: incomplete.to_vec(),
            bus: bus.directory().to_owned(),
            seconds: (ran.as_secs_f64() * 1e3).round() / 1e3,
            io: Io { network: None, disk: bus.disk_engine().unwrap_or("none").into() },
            input: None,
            topics: marks(bus)?,
            latency_ns,
            kafka: None,
            oddities: oddities(&outcome.oddities),
            cut: outcome.cut.into(),
            state_hash: hexadecimal(outcome.state_hash),
        })
    }

    /// Prints it, and says how the program ends.
    pub(crate) fn print(&self, is_json: bool) -> Result<Exit, Failure> {
        if is_json {
            program::print_json(self)?;
        } else {
            program::print_line(&self.line())?;
        }
        Ok(if self.ok { Exit::Good } else { Exit::Fault })
    }

    /// The same in one line for people.
    fn line(&self) -> String {
        let topics: Vec<_> = self
            .topics
            .iter()
            .map(|(topic, marks)| format!("{topic} {} ({} durable)", marks.published, marks.durable))
            .collect();
        let behind = self.input.map_or(0, |input| input.behind);
        let slow = match behind {
            0 => String::new(),
            _ => {
                format!("; this machine takes less than --rate, which is {} more", counted(behind, "message"))
            }
        };
        format!("{:.1} s; {}{slow}; state hash {}…", self.seconds, topics.join(", "), &self.state_hash[..16])
    }
}

/// How far the topics are that exist.
pub(crate) fn marks(bus: &Bus) -> Result<BTreeMap<String, Marks>, BusError> {
    let mut found = BTreeMap::new();
    for topic in [MARKET_DATA, TRADES, RISK] {
        match bus.watermarks(topic) {
            Ok(marks) => {
                found.insert(topic.into(), Marks { published: marks.published, durable: marks.durable });
            }
            Err(error) if error.is_missing() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

fn oddities(oddities: &Oddities) -> BTreeMap<&'static str, u64> {
    oddities.met().map(|(oddity, count)| (oddity.name(), count)).collect()
}

fn hexadecimal(Bytes(bytes): Bytes<32>) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
