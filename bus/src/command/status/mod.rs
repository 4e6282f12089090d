//! `bus status`: what there is of a bus and how it does, found out from outside and changing nothing.

mod health;
mod text;

use std::{collections::BTreeMap, io, path::Path};

use bus::{
    Bus, BusError, Gate, Keeper, Owner, ReaderStatus, SCHEMA_GONE, Survey, TOPIC_GONE, TOPIC_REPLACED,
    program::{Arguments, Exit, Failure, print_json},
};
use journal::{instance, storage::space};
use serde::Serialize;

/// Everything that is told.
#[derive(Debug, Serialize)]
struct Report {
    bus: String,
    health: Health,
    /// Why the health is not `ok`.
    reasons: Vec<String>,
    /// What keeps the bus as a whole from being told.
    error: Option<String>,
    shared_memory: Option<Room>,
    disk: Option<Room>,
    topics: Vec<Topic>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Health {
    Ok,
    Attention,
}

/// A file system, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Room {
    directory: String,
    total: u64,
    free: u64,
}

/// One topic.
#[derive(Debug, Serialize)]
struct Topic {
    topic: String,
    state: State,
    /// What a poisoned, damaged or unreadable topic suffers from.
    error: Option<String>,
    #[serde(flatten)]
    details: Option<Details>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// It has a publisher.
    Open,
    /// Its publisher ended well.
    Closed,
    /// Its publisher died and left shared memory, from which its next one goes on.
    Dead,
    /// Nobody publishes it, its last publisher did not end well, and its shared memory is gone: after a power loss, or in a
    /// copy of a bus in use. Its next publisher recovers it.
    Unclean,
    /// Whether it has a publisher is for another user to ask.
    Unknown,
    /// Writing to disk failed.
    Poisoned,
    /// Something is missing or destroyed.
    Damaged,
    /// This user may not read it, or this version cannot.
    Unreadable,
}

/// What a journal that can be read tells.
#[derive(Debug, Serialize)]
struct Details {
    holder: Option<Process>,
    epoch: u32,
    /// Retained epochs with their first retained sequence.
    epochs: BTreeMap<u32, u64>,
    first: u64,
    published: u64,
    durable: u64,
    /// Messages that are published and not durable.
    lag: u64,
    segment_size: u32,
    /// Bytes that the topic may take on disk, as its publisher was told; none if it keeps all, or has no shared memory
    /// (`counters` neither) to say so.
    retention: Option<u64>,
    segments: Segments,
    io: Option<String>,
    counters: Option<Counters>,
    mark: Mark,
    readers: Vec<Follower>,
    keepers: Vec<Holder>,
}

#[derive(Debug, Serialize)]
struct Process {
    process: u32,
    program: String,
}

/// Segments with messages, and the bytes of all files.
#[derive(Debug, Serialize)]
struct Segments {
    /// Number of the first that is retained.
    floor: u64,
    memory: usize,
    memory_bytes: u64,
    disk: usize,
    disk_bytes: u64,
}

/// What the write-out counted in this epoch.
#[derive(Debug, Serialize)]
struct Counters {
    writes: u64,
    bytes: u64,
    marks: u64,
    refusals: u64,
    /// Segments that retention removed although a keeper needed them.
    overruled: u64,
}

/// The newest evidence on disk.
#[derive(Debug, Serialize)]
struct Mark {
    epoch: u32,
    clean: bool,
    durable_position: u64,
    sequence: u64,
    newest_segment: u64,
    /// The epoch before which the mark was lost, where messages from before it are retained.
    lost_before: Option<u32>,
}

/// A reader with its lag behind its gate.
#[derive(Debug, Serialize)]
struct Follower {
    reader: String,
    process: u32,
    gate: &'static str,
    sequence: u64,
    lag: u64,
    /// Segments behind its own that begin below its gate's watermark.
    segments_behind: usize,
    /// Messages that it had not read when retention removed them. Of these it still has those of the segment that it holds.
    removed: u64,
}

/// Who needs the topic's past, and retention holds it for.
#[derive(Debug, Serialize)]
struct Holder {
    keeper: String,
    /// The oldest message that it needs; none if its file cannot be read, which counts as needing all.
    sequence: Option<u64>,
    /// How many of the messages that it needs were removed by retention.
    lost: u64,
    /// Segments that stay for its sake, should retention reach them.
    segments: usize,
}

/// Runs the command. A bus that needs attention is an answer; a journal that is poisoned, damaged or unreadable is a fault.
/// Where no topic can be read, there is nothing to tell.
pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let bus = Bus::open(arguments.existing_bus()?)?;
    bus.must_exist()?;
    let report = report(&bus)?;
    if arguments.json() {
        print_json(&report)?;
    } else {
        text::print(&report)?;
    }
    let is_fault =
        |topic: &Topic| matches!(topic.state, State::Poisoned | State::Damaged | State::Unreadable);
    Ok(if report.error.is_some() || report.topics.iter().any(is_fault) { Exit::Fault } else { Exit::Good })
}

fn report(bus: &Bus) -> Result<Report, BusError> {
    let (mut topics, mut refused, mut is_any_read) = (Vec::new(), None, false);
    for topic in bus.topics()? {
        match bus.survey(&topic) {
            Err(error) if error.is_refused() => {
                topics.push(unopened(topic, State::Unreadable, &error));
                refused = refused.or(Some(error));
                continue;
            }
            Err(error) => topics.push(unopened(topic, State::Damaged, &error)),
            Ok(survey) => {
                let is_replaced = bus.is_replaced(&topic);
                topics.push(surveyed(topic, survey, is_replaced));
            }
        }
        is_any_read = true;
    }
    let without = bus.topics_without_schema()?;
    if let Some(error) = refused.filter(|_| !is_any_read && without.is_empty()) {
        return Err(error);
    }
    topics.extend(without.into_iter().map(without_schema));
    // What keeps it from being told is told as such.
    topics.extend(bus.topics_gone().unwrap_or_default().into_iter().map(gone));
    let error = match bus.topics_doubt() {
        Some(error) if topics.is_empty() => return Err(error),
        error => error.map(|error| error.to_string()),
    };
    topics.sort_by(|one, other| one.topic.cmp(&other.topic));
    let mut report = Report {
        bus: bus.directory().display().to_string(),
        health: Health::Ok,
        reasons: Vec::new(),
        error,
        shared_memory: room(&instance::root()),
        disk: room(bus.directory()),
        topics,
    };
    report.reasons = health::reasons(&report);
    if !report.reasons.is_empty() {
        report.health = Health::Attention;
    }
    Ok(report)
}

fn room(directory: &Path) -> Option<Room> {
    let found = space(directory).ok()?;
    Some(Room { directory: directory.display().to_string(), total: found.total, free: found.free })
}

fn without_schema(topic: String) -> Topic {
    let error = Some(SCHEMA_GONE.into());
    Topic { topic, state: State::Damaged, error, details: None }
}

fn gone(topic: String) -> Topic {
    Topic { topic, state: State::Damaged, error: Some(TOPIC_GONE.into()), details: None }
}

fn surveyed(topic: String, survey: Survey, is_replaced: bool) -> Topic {
    let (state, error) = match state(&survey) {
        (_, None) if is_replaced => (State::Damaged, Some(TOPIC_REPLACED.into())),
        told => told,
    };
    Topic { topic, state, error, details: Some(details(survey)) }
}

/// A topic that cannot be looked at, and what keeps it from that, without its name.
fn unopened(topic: String, state: State, error: &BusError) -> Topic {
    let error = match error {
        BusError::Journal { source, .. } => source.to_string(),
        BusError::JournalGone { .. } => TOPIC_GONE.into(),
        BusError::Schema { source, .. } => source.to_string(),
        other => other.to_string(),
    };
    Topic { topic, state, error: Some(error), details: None }
}

/// What it means that something cannot be read.
fn of_read(error: &io::Error) -> State {
    if error.kind() == io::ErrorKind::PermissionDenied { State::Unreadable } else { State::Damaged }
}

fn state(survey: &Survey) -> (State, Option<String>) {
    if let Some(code) = survey.control.as_ref().and_then(journal::Control::poison) {
        return (State::Poisoned, Some(journal::PublishError::Poisoned(code).to_string()));
    }
    if let Some((number, error)) = survey.refused.first() {
        let what = format!("segment {number} cannot be read: {error}; mend that and look again");
        return (of_read(error), Some(what));
    }
    if let Some(number) = survey.headless.first() {
        let what = format!("the header of segment {number} is destroyed; restore the segment from a copy");
        return (State::Damaged, Some(what));
    }
    if let Some((from, to)) = survey.missing.first() {
        let what = match to - from {
            1 => format!("segment {from} is missing; restore it from a copy"),
            _ => format!("segments {from} to {} are missing; restore them from a copy", to - 1),
        };
        return (State::Damaged, Some(what));
    }
    if let Some(number) = survey.shortened.first() {
        let what = format!("segment {number} is shorter than what was written; restore it from a copy");
        return (State::Damaged, Some(what));
    }
    if let Some(journal) = &survey.foreign_mark {
        let what =
            format!("its mark is of another journal, {journal}; restore 0/mark from a copy, else remove it");
        return (State::Damaged, Some(what));
    }
    // One that was ever written has turned.
    if survey.mark.turn == 0 {
        let what = "its mark is lost, and with it the proof of its end; run `replay verify`";
        return (State::Damaged, Some(what.into()));
    }
    let state = match survey.owner {
        Owner::Live(_) => State::Open,
        _ if survey.mark.clean == 1 => State::Closed,
        Owner::Unknown => State::Unknown,
        Owner::Nobody if survey.control.is_some() => State::Dead,
        Owner::Nobody => State::Unclean,
    };
    (state, None)
}

fn details(survey: Survey) -> Details {
    let Survey {
        owner, mark, began_unmarked, control, watermarks, begins, segments, readers, keepers, ..
    } = survey;
    let holder = match owner {
        Owner::Live(Some(holder)) => Some(Process { process: holder.process, program: holder.program }),
        _ => None,
    };
    let mut epochs = BTreeMap::new();
    for segment in &segments {
        epochs.entry(segment.epoch).or_insert(segment.sequence);
    }
    let starts: Vec<u64> = segments.iter().map(|segment| segment.sequence).collect();
    let follower = |reader: ReaderStatus| {
        let (gate, mark) = match reader.gate {
            Gate::Published => ("published", watermarks.published),
            Gate::Durable => ("durable", watermarks.durable),
        };
        Follower {
            reader: reader.program,
            process: reader.process,
            gate,
            sequence: reader.sequence,
            lag: mark.saturating_sub(reader.sequence),
            segments_behind: starts
                .iter()
                .filter(|start| (reader.sequence.saturating_add(1)..mark).contains(start))
                .count(),
            removed: begins.saturating_sub(reader.sequence),
        }
    };
    let holds = |keeper: Keeper| {
        let needs = keeper.sequence.unwrap_or(watermarks.first);
        // The segment in which it begins, and those behind.
        let begun = starts.partition_point(|start| *start <= needs).saturating_sub(1);
        let lost = begins.saturating_sub(needs);
        let segments = if lost > 0 { 0 } else { starts.len() - begun };
        Holder { keeper: keeper.name, sequence: keeper.sequence, lost, segments }
    };
    Details {
        holder,
        epoch: watermarks.epoch,
        epochs,
        first: watermarks.first,
        published: watermarks.published,
        durable: watermarks.durable,
        lag: watermarks.published.saturating_sub(watermarks.durable),
        segment_size: mark.segment_size,
        retention: control.as_ref().and_then(journal::Control::retention),
        segments: Segments {
            floor: mark.floor,
            memory: segments.iter().filter(|segment| segment.in_memory).count(),
            memory_bytes: survey.memory_bytes,
            disk: segments.iter().filter(|segment| segment.on_disk).count(),
            disk_bytes: survey.disk_bytes,
        },
        io: control.as_ref().map(journal::Control::backend).filter(|backend| !backend.is_empty()),
        counters: control.as_ref().map(|control| {
            let [writes, bytes, marks, refusals, overruled] = control.counters();
            Counters { writes, bytes, marks, refusals, overruled }
        }),
        mark: Mark {
            epoch: mark.epoch,
            clean: mark.clean == 1,
            durable_position: mark.durable,
            sequence: mark.sequence,
            newest_segment: mark.newest,
            lost_before: began_unmarked.map(|(epoch, _)| epoch),
        },
        keepers: keepers.into_iter().map(holds).collect(),
        readers: readers.into_iter().map(follower).collect(),
    }
}
