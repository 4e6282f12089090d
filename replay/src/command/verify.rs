//! `replay verify`: proves order and integrity.

use bus::program::{self, Arguments, Exit, Failure, Progress, Tone};
use bus::{Bus, BusError, SCHEMA_GONE, TOPIC_GONE};
use replay::verify::{AbsentInput, TopicReport, verify};
use replay::{DamageKind, OpenGap, Orphans};
use serde::Serialize;

use super::{DamageEntry, hexadecimal, table::table};

pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let bus = super::open(arguments, false)?;
    let (reports, error) = reports(&bus, arguments.find("topic")?)?;
    let ok = error.is_none() && reports.iter().all(TopicReport::is_ok);
    let error = error.map(|error| error.to_string());
    for TopicReport { topic, begins, .. } in reports.iter().filter(|report| report.begins > 0) {
        program::note(&format!(
            "{topic}: begins at sequence {begins}; what came before was removed by retention"
        ));
    }
    if arguments.json() {
        let topics = reports.iter().map(TopicEntry::from).collect();
        program::print_json(&Answer { ok, error: error.as_deref(), topics })?;
    } else {
        program::print_line(&describe(&reports, error.as_deref(), ok))?;
    }
    Ok(if ok { Exit::Good } else { Exit::Fault })
}

/// One topic's report, or all topics'. What cannot be opened is a fault of that topic and hides no other; where this user
/// may read none of them, nothing is proven. Beside them, what keeps those from being missed that are gone.
fn reports(bus: &Bus, only: Option<String>) -> Result<(Vec<TopicReport>, Option<BusError>), Failure> {
    let without_schema = bus.topics_without_schema()?;
    let mut topics = if only.is_none() { super::topics(bus)? } else { bus.topics()? };
    let (gone, mut error) = (bus.topics_gone().unwrap_or_default(), bus.topics_doubt());
    topics.extend(without_schema.iter().chain(&gone).cloned());
    topics.sort_unstable();
    if let Some(topic) = only {
        if !topics.contains(&topic) {
            let missing = BusError::Missing { topic, bus: bus.directory().into() };
            return Err(error.unwrap_or(missing).into());
        }
        (topics, error) = (vec![topic], None);
    }
    let mut progress = Progress::new();
    let (mut reports, mut refused, mut is_any_read) = (Vec::new(), None, false);
    for topic in topics {
        let verified = verify(bus, &topic, &mut progress);
        is_any_read |= !verified.as_ref().is_err_and(BusError::is_refused);
        reports.push(match verified {
            Ok(report) => report,
            Err(_) if gone.contains(&topic) => TopicReport::unreadable(&topic, TOPIC_GONE),
            Err(_) if without_schema.contains(&topic) => TopicReport::unreadable(&topic, SCHEMA_GONE),
            Err(error) => {
                let report = TopicReport::unreadable(&topic, &error);
                refused = refused.or(Some(error));
                report
            }
        });
    }
    refused.filter(|_| !is_any_read).map_or(Ok((reports, error)), |error| Err(error.into()))
}

#[derive(Serialize)]
struct Answer<'a> {
    ok: bool,
    /// What keeps the bus as a whole from being proven.
    error: Option<&'a str>,
    topics: Vec<TopicEntry<'a>>,
}

#[derive(Serialize)]
struct TopicEntry<'a> {
    topic: &'a str,
    ok: bool,
    messages: u64,
    first: Option<u64>,
    last: Option<u64>,
    durable: u64,
    epoch: u32,
    gaps: Vec<GapEntry>,
    gaps_count: u64,
    damage: Vec<DamageEntry<'a>>,
    damage_count: u64,
    effects_without_cause: &'a [Orphans],
    effects_without_cause_count: u64,
    absent_inputs: Vec<AbsentEntry<'a>>,
    hash: String,
}

#[derive(Serialize)]
struct AbsentEntry<'a> {
    topic: &'a str,
    first: u64,
    last: u64,
    effects: u64,
}

#[derive(Serialize)]
struct GapEntry {
    session: String,
    from: u64,
    count: u64,
}

impl<'a> From<&'a TopicReport> for TopicEntry<'a> {
    fn from(report: &'a TopicReport) -> Self {
        Self {
            topic: &report.topic,
            ok: report.is_ok(),
            messages: report.messages,
            first: report.first,
            last: report.last,
            durable: report.durable,
            epoch: report.epoch,
            gaps: report.gaps.listed().iter().map(GapEntry::from).collect(),
            gaps_count: report.gaps.count(),
            damage: report.damage.listed().iter().map(DamageEntry::from).collect(),
            damage_count: report.damage.count(),
            effects_without_cause: report.orphans.listed(),
            effects_without_cause_count: report.orphans_count,
            absent_inputs: report.absent.iter().map(AbsentEntry::from).collect(),
            hash: hexadecimal(&report.hash),
        }
    }
}

impl<'a> From<(&'a String, &AbsentInput)> for AbsentEntry<'a> {
    fn from((topic, absent): (&'a String, &AbsentInput)) -> Self {
        let AbsentInput { first, last, effects } = *absent;
        Self { topic, first, last, effects }
    }
}

impl From<&OpenGap> for GapEntry {
    fn from(gap: &OpenGap) -> Self {
        Self { session: gap.session.to_string(), from: gap.from, count: gap.count }
    }
}

fn describe(reports: &[TopicReport], error: Option<&str>, ok: bool) -> String {
    let head = ["topic", "messages", "first", "last", "durable", "epoch", "hash", ""];
    let mut rows = vec![head.map(String::from).to_vec()];
    rows.extend(reports.iter().map(row));
    let mut lines = vec![table(&rows)];
    lines.extend(error.map(str::to_owned));
    lines.extend(reports.iter().flat_map(faults));
    lines.push(match ok {
        true => Tone::Good.paint("whole: nothing is lost, damaged or without its cause"),
        false => Tone::Bad.paint("not whole"),
    });
    lines.join("\n")
}

fn row(report: &TopicReport) -> Vec<String> {
    let sequence = |sequence: Option<u64>| sequence.map_or("-".into(), |sequence| sequence.to_string());
    vec![
        report.topic.clone(),
        report.messages.to_string(),
        sequence(report.first),
        sequence(report.last),
        report.durable.to_string(),
        report.epoch.to_string(),
        // In full with --json.
        hexadecimal(&report.hash[..8]),
        if report.is_ok() { "ok".into() } else { "FAULT".into() },
    ]
}

fn faults(report: &TopicReport) -> Vec<String> {
    let topic = &report.topic;
    let mut lines = Vec::new();
    for gap in report.gaps.listed() {
        let (session, from, count) = (gap.session, gap.from, gap.count);
        lines.push(format!("{topic}: open gap: {count} messages of session {session} from {from}"));
    }
    for damage in report.damage.listed() {
        lines.push(format!("{topic}: {damage}"));
    }
    if report
        .damage
        .listed()
        .iter()
        .any(|damage| damage.kind == DamageKind::Damage && damage.from < damage.to)
    {
        lines.push(format!(
            "{topic}: damage reaches from the frame that fails to the next frame of evidence, up to 64 KiB on: where the \
             frames between begin, and which messages they are, is not certain any more"
        ));
    }
    for (input, AbsentInput { first, last, effects }) in &report.absent {
        lines.push(format!(
            "{topic}: {effects} effects from {first} to {last} without their cause: the journal of '{input}' is not there; \
             restore it from a copy"
        ));
    }
    let is_told = |orphans: &&Orphans| {
        orphans.causes.topic.as_ref().is_some_and(|input| report.absent.contains_key(input))
    };
    let orphans = report.orphans.listed().iter().filter(|orphans| !is_told(orphans));
    lines.extend(orphans.map(|orphans| format!("{topic}: {orphans}")));
    let untold = report.orphans.count() - report.orphans.listed().len() as u64;
    if untold > 0 {
        lines.push(format!("{topic}: {untold} more ranges of effects without their causes"));
    }
    lines
}
