//! Proves what a topic holds: reads all of it, checks every sum, and hashes the contents.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;

use bus::event::Schema;
use bus::program::{Progress, counted};
use bus::{Bus, BusError, Gate, Start};

use crate::cause::{cause_of, orphan};
use crate::feed::{Feed, Message};
use crate::gaps::Gaps;
use crate::{Damage, DamageKind, Findings, OpenGap, Orphan};

/// Bytes gathered before they are hashed: the hash works on many blocks at once.
const GATHERED: usize = 64 << 10;
/// Messages between two looks at the clock for the progress line.
const BETWEEN: u64 = 1 << 16;

/// What a topic holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicReport {
    /// The topic.
    pub topic: String,
    /// Messages that can be read now, also those that are not durable yet.
    pub messages: u64,
    /// The oldest sequence that retention has left.
    pub begins: u64,
    /// Sequence of the first of them.
    pub first: Option<u64>,
    /// Sequence of the last of them.
    pub last: Option<u64>,
    /// The next sequence to become durable.
    pub durable: u64,
    /// Newest epoch.
    pub epoch: u32,
    /// Messages of the venue that never came.
    pub gaps: Findings<OpenGap>,
    /// What cannot be read.
    pub damage: Findings<Damage>,
    /// Effects whose cause is in no journal.
    pub orphans: Findings<Orphan>,
    /// Inputs whose journal is not there although effects follow from them; these are among the orphans.
    pub absent: BTreeMap<String, AbsentInput>,
    /// BLAKE3-256 of the contents; see [`ContentHash`].
    pub hash: [u8; 32],
}

/// What follows from an input whose journal is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbsentInput {
    /// Sequence of the first effect.
    pub first: u64,
    /// Sequence of the last effect.
    pub last: u64,
    /// How many effects follow from it.
    pub effects: u64,
}

impl TopicReport {
    /// Of a topic that cannot be opened.
    pub fn unreadable(topic: &str, why: impl Display) -> Self {
        let mut damage = Findings::default();
        damage.push(unreadable(why));
        Self {
            topic: topic.into(),
            messages: 0,
            begins: 0,
            first: None,
            last: None,
            durable: 0,
            epoch: 0,
            gaps: Findings::default(),
            damage,
            orphans: Findings::default(),
            absent: BTreeMap::new(),
            hash: ContentHash::new().finish(),
        }
    }

    /// Whether nothing is lost, damaged or without its cause.
    pub fn is_ok(&self) -> bool {
        self.gaps.is_empty() && self.damage.is_empty() && self.orphans.is_empty()
    }
}

/// Reads a topic from its oldest message to what is published now.
///
/// # Errors
/// The topic cannot be opened. Whatever is wrong inside is in the report.
pub fn verify(bus: &Bus, topic: &str, progress: &mut Progress) -> Result<TopicReport, BusError> {
    let marks = bus.watermarks(topic)?;
    let mut feed = Feed::bounded(bus, topic, Start::Oldest, Gate::Published)?;
    let mut inputs = Findings::default();
    // Asked for after the end of the effects was settled, so each of them must have its cause by now.
    let ends = ends_of_inputs(bus, feed.schema(), &mut inputs);
    let mut contents = Contents::new(&feed, ends);
    while let Some(message) = feed.peek() {
        contents.add(topic, message);
        if contents.messages.is_multiple_of(BETWEEN) {
            let (at, end) = (message.info.sequence + 1, feed.end());
            progress.show(|| format!("{topic}: {at} of {end}"));
        }
        feed.advance();
    }
    let mut damage = feed.damage().clone();
    damage.append(&inputs, Damage::clone);
    contents.undescribed().into_iter().for_each(|undescribed| damage.push(undescribed));
    feed.doubt().into_iter().for_each(|doubt| damage.push(doubt));
    Ok(TopicReport {
        topic: topic.into(),
        messages: contents.messages,
        begins: feed.begins(),
        first: contents.first,
        last: contents.last,
        durable: marks.durable,
        epoch: marks.epoch,
        gaps: contents.gaps.map(|gaps| gaps.open()).unwrap_or_default(),
        damage,
        orphans: contents.orphans,
        absent: contents.absent,
        hash: contents.hash.finish(),
    })
}

/// The ends of the inputs, none of one that is not there. One that cannot be opened is noted: whether it has a cause,
/// nobody can say.
fn ends_of_inputs(
    bus: &Bus,
    schema: &Schema,
    unknown: &mut Findings<Damage>,
) -> HashMap<String, Option<u64>> {
    let mut ends = HashMap::new();
    for input in schema.inputs() {
        let end = match bus.watermarks(input) {
            Ok(marks) => Some(marks.published),
            Err(error) if error.is_missing() => None,
            Err(error) => {
                unknown.push(unreadable(format_args!("causes in '{input}' are not proven: {error}")));
                Some(u64::MAX)
            }
        };
        ends.insert(input.clone(), end);
    }
    ends
}

fn unreadable(why: impl Display) -> Damage {
    Damage { kind: DamageKind::Unreadable, from: 0, to: 0, positions: None, detail: Some(why.to_string()) }
}

/// What was read so far.
struct Contents {
    schema: Schema,
    ends: HashMap<String, Option<u64>>,
    messages: u64,
    first: Option<u64>,
    last: Option<u64>,
    /// Of messages of a kind, or a size, that the schema does not describe: the first, the one behind the last, how many.
    undescribed: Option<(u64, u64, u64)>,
    gaps: Option<Gaps>,
    orphans: Findings<Orphan>,
    absent: BTreeMap<String, AbsentInput>,
    hash: ContentHash,
}

impl Contents {
    fn new(feed: &Feed, ends: HashMap<String, Option<u64>>) -> Self {
        let schema = feed.schema().clone();
        Self {
            gaps: Gaps::of(&schema),
            schema,
            ends,
            messages: 0,
            first: None,
            last: None,
            undescribed: None,
            orphans: Findings::default(),
            absent: BTreeMap::new(),
            hash: ContentHash::new(),
        }
    }

    fn add(&mut self, topic: &str, message: &Message) {
        let (info, body) = (message.info, message.body());
        self.messages += 1;
        self.first = self.first.or(Some(info.sequence));
        self.last = Some(info.sequence);
        self.hash.add(info.sequence, info.kind, body);
        if self.schema.kind(info.kind).is_none_or(|kind| kind.size != body.len()) {
            let (first, _, count) = self.undescribed.unwrap_or((info.sequence, 0, 0));
            self.undescribed = Some((first, info.sequence + 1, count + 1));
        }
        if let Some(gaps) = &mut self.gaps {
            gaps.apply_body(info.kind, body);
        }
        if let Some(cause) = cause_of(&self.schema, info.kind, body) {
            let end_of = |input: &str| self.ends.get(input).copied().flatten().unwrap_or(0);
            if let Some(orphan) = orphan(topic, &self.schema, info.sequence, cause, end_of) {
                self.note_absent(&orphan);
                self.orphans.push(orphan);
            }
        }
    }

    /// What a schema that was lost, and written anew from other types, leaves without a meaning.
    fn undescribed(&self) -> Option<Damage> {
        let (from, to, count) = self.undescribed?;
        let detail =
            format!("schema.json does not describe {}; restore it from a copy", counted(count, "message"));
        let (kind, detail) = (DamageKind::Undescribed, Some(detail));
        Some(Damage { kind, from, to, positions: None, detail })
    }

    fn note_absent(&mut self, orphan: &Orphan) {
        let Some(input) = orphan.input.as_ref().filter(|input| self.ends.get(*input) == Some(&None)) else {
            return;
        };
        let (first, last) = (orphan.sequence, orphan.sequence);
        let absent = self.absent.entry(input.clone()).or_insert(AbsentInput { first, last, effects: 0 });
        (absent.last, absent.effects) = (last, absent.effects + 1);
    }
}

/// BLAKE3-256 over the contents of a topic: for each message its sequence (u64), kind (u16), length (u32) and body,
/// little-endian, after the text `busbar contents 1`.
///
/// Publish times and epochs are left out: they tell how the messages came into this journal, not what they are. So the
/// hash stays the same when a journal is copied, restored or continued after a crash.
#[derive(Debug)]
pub struct ContentHash {
    hasher: blake3::Hasher,
    gathered: Vec<u8>,
}

impl ContentHash {
    /// Of no message.
    pub fn new() -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"busbar contents 1");
        Self { hasher, gathered: Vec::with_capacity(2 * GATHERED) }
    }

    /// Adds the next message.
    pub fn add(&mut self, sequence: u64, kind: u16, body: &[u8]) {
        self.gathered.extend_from_slice(&sequence.to_le_bytes());
        self.gathered.extend_from_slice(&kind.to_le_bytes());
        self.gathered.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.gathered.extend_from_slice(body);
        if self.gathered.len() >= GATHERED {
            self.hasher.update(&self.gathered);
            self.gathered.clear();
        }
    }

    /// The hash of what was added.
    pub fn finish(mut self) -> [u8; 32] {
        self.hasher.update(&self.gathered);
        self.hasher.finalize().into()
    }
}

impl Default for ContentHash {
    fn default() -> Self {
        Self::new()
    }
}
