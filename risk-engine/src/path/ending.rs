//! How the path ends: one part after the other, each once it has everything. What takes too long is said, and left for the
//! next start.

use std::fmt::Display;
use std::ops::Range;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use bus::Bus;
use bus::agent::AgentFailure;
use bus::program::{Failure, Progress, counted};
use engine::Cut;
use market_gateway::fix::drop_copy::DropCopyCounters;
use market_gateway::live::LiveSummary;
use risk_engine::{MARKET_DATA, Outcome, TRADES, Watch};

use super::DEADLINE;
use super::compliance::Verdict;
use super::exchange::Venue;
use super::parts::{Part, Parts};
use super::view::waits_for_room;
use crate::run::fault;

/// The exchange leaves when nobody has asked for anything for so long.
const QUIET: Duration = Duration::from_millis(100);
/// Findings of compliance that are told one by one.
const FINDINGS: usize = 8;
/// Between two looks whether a part has everything.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// How the path ended.
pub(crate) struct Ended {
    pub(crate) venue: Arc<Venue>,
    pub(crate) watch: Arc<Watch>,
    pub(crate) gateway: LiveSummary,
    /// Messages of the exchange that are not journalled.
    pub(crate) lost: u64,
    /// None if the engine failed.
    pub(crate) outcome: Option<Outcome>,
    /// What is incomplete, each with what to do.
    pub(crate) incomplete: Vec<String>,
}

impl Parts {
    /// Ends the venue's session and then one part after the other.
    pub(crate) fn end(self) -> Result<Ended, Failure> {
        let mut incomplete = Vec::new();
        if !self.has_failed() {
            self.drain(&mut incomplete);
        }
        let unread = (self.venue.sent() + 1).saturating_sub(self.desk.next().max(1));
        let Self { bus, venue, desk, watch, verdict, exchange, gateway, engine, compliance } = self;
        let mut ended = vec![exchange.end("the exchange to leave")];
        ended.push(gateway.end("market-data and trades to become durable"));
        let cut = cut(&bus);
        let what = || format!("the engine, which has {} to go", left(cut, watch.cut()));
        if !wait(what, || watch.has_reached(cut) || engine.running.is_finished()) {
            let left = left(cut, watch.cut());
            incomplete
                .push(format!("the engine did not get to the end: {left} are left; start again, it goes on"));
        }
        ended.push(engine.end("risk to become durable"));
        ended.push(compliance.end("compliance to read what is durable"));
        for ended in ended {
            incomplete.extend(fault(ended)?);
        }
        let gateway = desk.ask().ok_or_else(|| unfinished("gateway"))?;
        let lost = unread + note_gateway(&gateway, &mut incomplete);
        let outcome = watch.outcome();
        incomplete.extend(outcome.iter().flat_map(|outcome| outcome.incomplete.clone()));
        note_compliance(&verdict, &mut incomplete);
        Ok(Ended { venue, watch, gateway, lost, outcome, incomplete })
    }

    /// Waits until the gateway has all that the exchange has sent, and then for the end of the session. Where it does not
    /// get everything, the session stays open, so that the next start asks for the rest.
    fn drain(&self, incomplete: &mut Vec<String>) {
        let Self { venue, desk, .. } = self;
        let messages = || (venue.sent() + 1).saturating_sub(desk.next().max(1)).max(desk.missing());
        let fills = || venue.fills().saturating_sub(desk.fills());
        let missing = || format!("{} and {}", counted(messages(), "message"), counted(fills(), "fill"));
        venue.pause();
        let has_all = || venue.is_paused() && messages() == 0 && fills() == 0;
        if !wait(|| format!("the gateway, which has {} to go", missing()), || self.has_failed() || has_all())
        {
            let short = desk.ask().and_then(|gateway| gateway.short_of).map(waits_for_room);
            incomplete.push(format!(
                "the gateway did not get all that the exchange sent: {} are missing; {}start again on this directory, it \
                 asks for them",
                missing(),
                short.map_or_else(String::new, |short| format!("{short}; then "))
            ));
            return;
        }
        venue.close();
        let is_over = || desk.is_ended() && venue.quiet() >= QUIET;
        if !wait(|| "the end of the session".into(), || self.has_failed() || is_over()) {
            incomplete.push("the end of the session did not arrive: market-data; start again".into());
        }
    }
}

impl Part {
    /// Stops the part, which ends within a time of its own, and says for `what` that is waited.
    fn end(self, what: &str) -> Result<(), AgentFailure> {
        self.stop.request();
        let mut progress = Progress::new();
        while !self.running.is_finished() {
            progress.show(|| format!("waiting for {what}"));
            std::thread::sleep(LOOK_EVERY);
        }
        drop(progress);
        self.running.join()
    }
}

/// Waits until `is_over` and says meanwhile for what; false if that takes too long.
fn wait(what: impl Fn() -> String, is_over: impl Fn() -> bool) -> bool {
    let began = Instant::now();
    let mut progress = Progress::new();
    while !is_over() {
        if began.elapsed() >= DEADLINE {
            return false;
        }
        progress.show(|| format!("waiting for {}", what()));
        std::thread::sleep(LOOK_EVERY);
    }
    true
}

/// How far the inputs of the engine are published.
fn cut(bus: &Bus) -> Cut {
    let published = |topic| bus.watermarks(topic).map_or(0, |marks| marks.published);
    Cut { market_data: published(MARKET_DATA), trades: published(TRADES) }
}

fn left(to: Cut, at: Cut) -> impl Display {
    let messages = to.market_data.saturating_sub(at.market_data) + to.trades.saturating_sub(at.trades);
    counted(messages, "message")
}

/// What the gateway did not get or could not keep; returns the messages that were given up.
fn note_gateway(gateway: &LiveSummary, incomplete: &mut Vec<String>) -> u64 {
    let open = gateway.feed.gaps.iter().filter(|(_, is_recovered)| !is_recovered);
    let lost = open.map(|(range, _)| range.end - range.start).sum::<u64>() + gateway.feed.unlisted_gaps;
    if lost > 0 {
        incomplete.push(format!(
            "{} given up: market-data; `replay blotter` names the gaps",
            counted(lost, "message")
        ));
    }
    if let Some(Range { start, end }) = gateway.feed.unread {
        incomplete.push(format!(
            "retention removed events {start} to {end} of market-data before the gateway's snapshot told them: which \
             messages are missing is not known until the next session"
        ));
    }
    if gateway.undurable > 0 {
        let count = counted(gateway.undurable, "message");
        incomplete
            .push(format!("{count} not durable: market-data, trades; make room on the disk and start again"));
    }
    if let Some(DropCopyCounters { session, executions, .. }) = &gateway.drop_copy {
        let refused = executions.refused + session.lost_by_reset;
        if refused > 0 {
            let count = counted(refused, "message");
            incomplete
                .push(format!("{count} of the drop copy not kept: trades; ask the venue what they were"));
        }
    }
    lost
}

/// Names what compliance found itself: its consumer has seen what retention may have removed since, so that no later
/// reading of the journals need find all of it.
fn note_compliance(verdict: &Verdict, incomplete: &mut Vec<String>) {
    let verdict = verdict.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some((summary, has_all)) = verdict else { return };
    // What it has not read yet would be among the findings.
    if !has_all {
        incomplete.push(
            "compliance did not get to the end: the journals; `replay blotter` reads all of them".into(),
        );
        return;
    }
    let findings = summary.incomplete.listed().iter().take(FINDINGS);
    incomplete.extend(findings.map(|finding| format!("compliance: {finding}")));
    let others = summary.incomplete.count().saturating_sub(FINDINGS as u64);
    if others > 0 {
        incomplete.push(format!("compliance: {} more", counted(others, "finding")));
    }
}

fn unfinished(part: &str) -> Failure {
    Failure::new("ended without a summary", part, "start again")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use replay::Findings;
    use replay::blotter::{Incomplete, Summary};

    use super::*;

    fn told(gaps: u64, has_all: bool) -> Vec<String> {
        let (mut incomplete, mut told) = (Findings::default(), Vec::new());
        for from in 0..gaps {
            let (topic, session) = (MARKET_DATA.into(), "0000000001".into());
            incomplete.push(Incomplete::Gap { topic, session, from, count: 1 });
        }
        let summary = Summary { lines: BTreeMap::new(), late: 0, incomplete };
        note_compliance(&Verdict::new(Some((summary, has_all)).into()), &mut told);
        told
    }

    #[test]
    fn what_compliance_found_is_named_where_it_was_found() {
        assert_eq!(told(0, true), Vec::<String>::new());
        let gap = |from| {
            format!("compliance: open gap of 'market-data': 1 messages of session 0000000001 from {from}")
        };
        assert_eq!(told(2, true), [gap(0), gap(1)]);
        let many = told(1_234, true);
        assert_eq!((many.len(), &*many[8]), (9, "compliance: 1226 findings more"));
    }

    #[test]
    fn a_consumer_that_has_not_read_all_has_no_findings_yet() {
        let told = told(2, false);
        assert_eq!(told.len(), 1);
        assert!(told[0].starts_with("compliance did not get to the end"), "{told:?}");
    }
}
