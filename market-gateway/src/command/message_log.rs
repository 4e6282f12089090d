//! A FIX message log as a source of `market-gateway replay`.

use std::path::{Path, PathBuf};

use bus::event::trade::TradeEvent;
use bus::program::{self, Failure, Stop};
use bus::{Bus, Publisher};
use market_gateway::fix::executions::{Trades, TradesError};
use market_gateway::fix::log::{Log, LogError, LogReplay, LogSummary, Step};
use market_gateway::fix::topics;
use market_gateway::net::capture::{Input, contents};
use serde::Serialize;

/// A log that holds messages.
pub(super) struct MessageLog {
    path: PathBuf,
    log: Log<Input>,
}

impl MessageLog {
    /// Opens a log, plain or compressed.
    pub(super) fn open(path: PathBuf) -> Result<Self, Failure> {
        let log = Log::open(contents(&path)?).map_err(|error| refused(&path, error))?;
        Ok(Self { path, log })
    }

    /// Journals its executions, and tells what keeps them from being all.
    pub(super) fn play(self, bus: &Bus, stop: &Stop) -> Result<FixReport, Failure> {
        let publisher = bus.publisher::<TradeEvent>(topics::TRADES)?;
        let resume = topics::resume(bus, &publisher)?;
        let (mut trades, mut replay) = (Patient(publisher), LogReplay::new(self.log, resume));
        let mut unreadable = false;
        while !stop.requested() {
            match replay.step(&mut trades) {
                Ok(Step::End) => break,
                Ok(Step::Begins) => replay.session().map_or(Ok(()), |session| topics::claim(bus, session))?,
                Ok(Step::Message | Step::Waiting) => {}
                Err(LogError::Read(error)) => {
                    unreadable = true;
                    tell(&self.path, &format!("cannot be read to its end ({error}); what is whole was used"));
                    break;
                }
                Err(error) => return Err(refused(&self.path, error)),
            }
        }
        trades.0.close()?;
        let report = FixReport::new(&replay.summary(), unreadable);
        tell_summary(&self.path, &replay.summary());
        Ok(report)
    }
}

fn refused(path: &Path, error: LogError) -> Failure {
    match error {
        LogError::Read(error) => {
            Failure::new("cannot read", format_args!("{} ({error})", path.display()), "name a readable file")
        }
        LogError::Empty => Failure::new(
            "no FIX message",
            path.display(),
            "name a message log whose fields end with SOH or '|', plain or .gz",
        ),
        LogError::Trades(error) => error.into(),
    }
}

/// A publisher that waits where its next segment is not ready, but not for room.
struct Patient(Publisher<TradeEvent>);

impl Trades for Patient {
    fn publish(&mut self, event: &TradeEvent) -> Result<(), TradesError> {
        let published = match event {
            TradeEvent::Fill(event) => self.0.publish(event),
            TradeEvent::OrderUpdate(event) => self.0.publish(event),
            TradeEvent::FillCorrection(event) => self.0.publish(event),
            TradeEvent::FillBust(event) => self.0.publish(event),
            TradeEvent::Withheld(event) => self.0.publish(event),
        };
        published.map(drop).map_err(|error| TradesError::Broken(error.to_string()))
    }
}

fn tell(path: &Path, what: &str) {
    program::note(&format!("{} {what}", path.display()));
}

/// Says what of a log was not used, and why.
fn tell_summary(path: &Path, log: &LogSummary) {
    if log.truncated > 0 {
        tell(path, &format!("is truncated: {} bytes are no whole message", log.truncated));
    }
    if log.garbled_at_end > 0 {
        tell(path, &format!("ends with {} garbled messages", log.garbled_at_end));
    }
    if log.other_versions > 0 {
        tell(
            path,
            &format!("holds {} messages that are not FIX.4.4; they were not used", log.other_versions),
        );
    }
    if log.other_sessions > 0 {
        let count = log.other_sessions;
        tell(path, &format!("holds {count} execution reports of another session; they were not used"));
    }
    if let Some(withheld) = log.executions.tell_withheld() {
        tell(path, &withheld);
    }
    if let Some((number, defect)) = log.executions.last_refused {
        let count = log.executions.refused;
        tell(
            path,
            &format!("holds {count} execution reports that cannot be kept; the last is {number}: {defect}"),
        );
    }
}

/// What became of a log.
#[derive(Debug, Serialize)]
pub(super) struct FixReport {
    messages: u64,
    published: u64,
    duplicates: u64,
    refused: u64,
    withheld: u64,
    garbled: u64,
    other_sessions: u64,
    other_versions: u64,
    missing: u64,
    truncated: bool,
    #[serde(skip)]
    garbled_at_end: bool,
}

impl FixReport {
    fn new(log: &LogSummary, unreadable: bool) -> Self {
        let executions = &log.executions;
        let listed = log.missing.ranges.iter().map(|range| range.end - range.start);
        Self {
            messages: log.messages,
            published: executions.published,
            duplicates: executions.repeated + executions.repeated_unmarked,
            refused: executions.refused,
            withheld: executions.withheld,
            garbled: log.garbled.messages(),
            other_sessions: log.other_sessions,
            other_versions: log.other_versions,
            missing: log.missing.unlisted.saturating_add(listed.sum()),
            truncated: log.truncated > 0 || unreadable,
            garbled_at_end: log.garbled_at_end > 0,
        }
    }

    /// Whether executions that the log reports, or should report, are not journalled.
    pub(super) fn is_incomplete(&self) -> bool {
        let unused = self.refused + self.withheld + self.other_sessions + self.other_versions;
        unused > 0 || self.missing > 0 || self.truncated || self.garbled_at_end
    }

    /// One line for a person.
    pub(super) fn describe(&self) -> String {
        let Self { messages, published, duplicates, missing, .. } = self;
        format!(
            "message log: {messages} messages, {published} executions published, {duplicates} known, {missing} missing"
        )
    }
}
