//! Proves what a topic holds: reads all of it, checks every sum, and hashes the contents.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::fmt::Display;

use bus::event::{Cause, Schema};
use bus::program::counted;
use bus::{Bus, BusError, Gate, Reader, SCHEMA_GONE, Start};

use crate::aside::cut_of;
use crate::cause::{OrphanRuns, cause_of};
use crate::feed::{Feed, Message};
use crate::gaps::Gaps;
use crate::late_mark::comes;
use crate::{Damage, DamageKind, Findings, OpenGap, Orphans, Show};

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
    /// Effects whose cause is in no journal, those that follow each other joined.
    pub orphans: Findings<Orphans>,
    /// How many effects these are.
    pub orphans_count: u64,
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
        damage.push(Damage::unreadable(why));
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
            orphans_count: 0,
            absent: BTreeMap::new(),
            hash: ContentHash::new().finish(),
        }
    }

    /// Whether nothing is lost, damaged or without its cause.
    pub fn is_ok(&self) -> bool {
        self.gaps.is_empty() && self.damage.is_empty() && self.orphans.is_empty()
    }
}

/// Reads a topic from its oldest message to what is published now. A cause is waited for, a second at most, where the shared
/// memory of its topic's live writer is not seen and the mark that proves it may be on its way.
///
/// # Errors
/// The topic cannot be opened. Whatever is wrong inside is in the report.
pub fn verify(bus: &Bus, topic: &str, progress: &mut impl Show) -> Result<TopicReport, BusError> {
    let marks = bus.watermarks(topic)?;
    let mut feed = Feed::bounded(bus, topic, Start::Oldest, Gate::Published)?;
    // Asked after the end of the effects was settled, so each of them has its cause by now, seen or not.
    let inputs = feed.schema().inputs().iter().map(|input| Input::ask(bus, input)).collect();
    let mut contents = Contents::new(&feed, inputs);
    while let Some(message) = feed.peek() {
        contents.add(message, progress);
        if contents.messages.is_multiple_of(BETWEEN) {
            let (at, end) = (message.info.sequence + 1, feed.end());
            progress.show(|| format!("{topic}: {at} of {end}"));
        }
        feed.advance();
    }
    let mut damage = feed.damage().clone();
    contents.inputs.iter().filter_map(Input::unknown).for_each(|unknown| damage.push(unknown));
    contents.undescribed().into_iter().for_each(|undescribed| damage.push(undescribed));
    feed.doubt().into_iter().chain(cut_of(bus, topic)).for_each(|found| damage.push(found));
    if bus.is_replaced(topic) {
        damage.push(Damage::replaced());
    }
    let (orphans, orphans_count) = contents.orphans.finish();
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
        orphans,
        orphans_count,
        absent: contents.absent,
        hash: contents.hash.finish(),
    })
}

/// An input of a derived topic, asked for the causes of what it holds.
struct Input {
    topic: String,
    reader: Option<Reader>,
    /// Where its epochs end, as far as that was asked and is known.
    ends: HashMap<u32, u64>,
    /// Why it cannot be asked: whether it has a cause, nobody can say. A journal that is not there has none.
    unknown: Option<String>,
    /// Whether a cause was waited for in vain, so that none is told late any more: all effects were there before.
    is_settled: bool,
}

impl Input {
    fn ask(bus: &Bus, topic: &str) -> Self {
        let (mut reader, mut unknown) = (None, None);
        match bus.reader(topic, Start::Newest, Gate::Published) {
            Ok(opened) => reader = Some(opened),
            Err(BusError::Missing { .. } | BusError::SchemaGone { .. })
                if bus.directory().join(topic).join("0").is_dir() =>
            {
                unknown = Some(SCHEMA_GONE.into());
            }
            Err(error) if error.is_missing() => {}
            Err(error) => unknown = Some(error.to_string()),
        }
        Self { topic: topic.into(), reader, ends: HashMap::new(), unknown, is_settled: false }
    }

    fn is_absent(&self) -> bool {
        self.reader.is_none() && self.unknown.is_none()
    }

    fn unknown(&self) -> Option<Damage> {
        let why = self.unknown.as_ref()?;
        Some(Damage::unreadable(format_args!("causes in '{}' are not proven: {why}", self.topic)))
    }

    fn is_blind(&self) -> bool {
        self.reader.as_ref().is_some_and(Reader::is_blind)
    }

    /// Whether the cause of an effect is there, or nobody can say.
    fn has(&mut self, cause: Cause, progress: &mut impl Show) -> bool {
        if cause.sequence < self.end_of(cause) {
            return true;
        }
        if self.is_settled {
            return false;
        }
        let topic = self.topic.clone();
        let on_pause = || {
            progress.show(|| format!("{topic}: waiting for its mark"));
            Ok::<_, Infallible>(())
        };
        let Ok(is_there) = comes(self, Self::is_blind, |input| input.has_by_now(cause), on_pause);
        self.is_settled = !is_there;
        is_there
    }

    fn has_by_now(&mut self, cause: Cause) -> bool {
        self.ends.clear();
        cause.sequence < self.end_of(cause)
    }

    /// The sequence behind the last message of the epoch of a cause; of any where the cause tells none.
    fn end_of(&mut self, cause: Cause) -> u64 {
        let Some(reader) = &mut self.reader else { return if self.unknown.is_some() { u64::MAX } else { 0 } };
        *self.ends.entry(cause.epoch).or_insert_with(|| {
            let published = reader.watermarks().published;
            let end = if cause.epoch == 0 { None } else { reader.end_of(cause.epoch) };
            end.map_or(published, |end| end.min(published))
        })
    }
}

/// What was read so far.
struct Contents {
    schema: Schema,
    inputs: Vec<Input>,
    messages: u64,
    first: Option<u64>,
    last: Option<u64>,
    /// Of messages of a kind, or a size, that the schema does not describe: the first, the one behind the last, how many.
    undescribed: Option<(u64, u64, u64)>,
    gaps: Option<Gaps>,
    orphans: OrphanRuns,
    absent: BTreeMap<String, AbsentInput>,
    hash: ContentHash,
}

impl Contents {
    fn new(feed: &Feed, inputs: Vec<Input>) -> Self {
        let schema = feed.schema().clone();
        Self {
            gaps: Gaps::of(&schema),
            schema,
            inputs,
            messages: 0,
            first: None,
            last: None,
            undescribed: None,
            orphans: OrphanRuns::default(),
            absent: BTreeMap::new(),
            hash: ContentHash::new(),
        }
    }

    fn add(&mut self, message: &Message, progress: &mut impl Show) {
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
            gaps.apply(info.kind, body);
        }
        if let Some(cause) = cause_of(&self.schema, info.kind, body) {
            self.check_cause(info.sequence, cause, progress);
        }
    }

    fn check_cause(&mut self, sequence: u64, cause: Cause, progress: &mut impl Show) {
        let mut input = self.inputs.get_mut(usize::from(cause.input));
        if input.as_mut().is_some_and(|input| input.has(cause, progress)) {
            return self.orphans.meet(cause);
        }
        if let Some(Input { topic, .. }) = input.as_ref().filter(|input| input.is_absent()) {
            let none = AbsentInput { first: sequence, last: sequence, effects: 0 };
            let absent = self.absent.entry(topic.clone()).or_insert(none);
            (absent.last, absent.effects) = (sequence, absent.effects + 1);
        }
        self.orphans.push(sequence, cause, input.map(|input| &*input.topic));
    }

    /// What a schema that was lost, and written anew from other types, leaves without a meaning.
    fn undescribed(&self) -> Option<Damage> {
        let (from, to, count) = self.undescribed?;
        let detail =
            format!("schema.json does not describe {}; restore it from a copy", counted(count, "message"));
        let (kind, detail) = (DamageKind::Undescribed, Some(detail));
        Some(Damage { kind, from, to, positions: None, detail })
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
