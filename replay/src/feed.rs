//! A topic read message by message, with the next one at hand and what could not be read noted.

use std::fmt::{self, Display};

use bus::event::Time;
use bus::event::json::FrameInfo;
use bus::event::schema::Schema;
use bus::{Bus, BusError, Frame, Gate, ReadError, Reader, Start, TOPIC_REPLACED};
use zerocopy::IntoBytes;

use crate::{Findings, WhyNot};

/// Looks at a journal that has nothing more, although it was said to have more, after which the rest is missing.
const PATIENCE: u32 = 1024;

/// A range of a topic that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// What is wrong with it.
    pub kind: DamageKind,
    /// First sequence of the range.
    pub from: u64,
    /// The sequence behind its last; equal to `from` where no evidence says that a message was lost.
    pub to: u64,
    /// First position of the range and the one behind it, where they are known.
    pub positions: Option<(u64, u64)>,
    /// What the system said, where it refused.
    pub detail: Option<String>,
}

impl Damage {
    /// Something that cannot be read, or not be told, and nobody knows how many messages that concerns.
    pub(crate) fn unreadable(why: impl Display) -> Self {
        let (kind, detail) = (DamageKind::Unreadable, Some(why.to_string()));
        Self { kind, from: 0, to: 0, positions: None, detail }
    }

    /// A topic whose journal is not the one that the bus has had.
    pub(crate) fn replaced() -> Self {
        Self { kind: DamageKind::Replaced, ..Self::unreadable(TOPIC_REPLACED) }
    }
}

/// For people: how it fails, which sequences and positions, and what more is known.
impl Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, from, to, positions, detail } = self;
        f.write_str(kind.name())?;
        if from < to || positions.is_some() {
            write!(f, ": sequences {from} to before {to}")?;
        }
        if let Some((from, to)) = positions {
            write!(f, ", positions {from} to before {to}")?;
        }
        detail.as_ref().map_or(Ok(()), |detail| write!(f, " ({detail})"))
    }
}

/// How a range fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DamageKind {
    /// Its bytes contradict their checksums.
    Damage,
    /// It is not there although evidence says that it was.
    Missing,
    /// It was read once and then lost with the memory of a machine that went down.
    Regressed,
    /// The system or an unknown format refuses to give it.
    Unreadable,
    /// It had been durable and was cut, as an input lacked what it follows from. Other messages may have its sequences.
    Cut,
    /// It can be read, and the topic's schema does not say what it is.
    Undescribed,
    /// It can be read, and is not the journal that the bus has had.
    Replaced,
}

impl DamageKind {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Damage => "damage",
            Self::Missing => "missing",
            Self::Regressed => "regressed",
            Self::Unreadable => "unreadable",
            Self::Cut => "cut",
            Self::Undescribed => "undescribed",
            Self::Replaced => "replaced",
        }
    }
}

/// A message, copied.
#[derive(Debug, Default)]
pub(crate) struct Message {
    pub(crate) info: Info,
    /// The body, in units that keep it aligned.
    words: Vec<u128>,
    length: usize,
}

/// Where a message stands and of which kind it is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Info {
    pub(crate) sequence: u64,
    pub(crate) kind: u16,
    pub(crate) publish_time: Time,
    pub(crate) epoch: u32,
}

impl Message {
    /// Its bytes, 16-aligned.
    pub(crate) fn body(&self) -> &[u8] {
        &self.words.as_bytes()[..self.length]
    }

    pub(crate) fn frame(&self) -> FrameInfo {
        let Info { sequence, kind, publish_time, epoch } = self.info;
        FrameInfo { sequence, kind, publish_time, epoch }
    }

    fn copy(&mut self, frame: &Frame<'_>) {
        let Frame { sequence, kind, publish_time, epoch, body, .. } = *frame;
        self.info = Info { sequence, kind, publish_time, epoch };
        self.length = body.len();
        let words = body.len().div_ceil(size_of::<u128>());
        if words > self.words.len() {
            self.words.resize(words, 0);
        }
        self.words.as_mut_bytes()[..body.len()].copy_from_slice(body);
    }
}

/// Reads one topic.
#[derive(Debug)]
pub(crate) struct Feed {
    topic: String,
    reader: Reader,
    gate: Gate,
    /// Whether what is not there yet may still come.
    follows: bool,
    /// Sequence behind the last message to read.
    end: u64,
    message: Message,
    is_at_hand: bool,
    /// Nothing more can be read.
    is_done: bool,
    /// Where the topic begins, or began again when retention overtook the reading.
    begins: u64,
    /// The oldest message that can be read; later than that where the beginning is damaged.
    first: u64,
    damage: Findings<Damage>,
}

impl Feed {
    /// Reads what a topic holds now.
    pub(crate) fn bounded(bus: &Bus, topic: &str, start: Start, gate: Gate) -> Result<Self, BusError> {
        let mut feed = Self::following(bus, topic, start, gate)?;
        (feed.end, feed.follows) = (feed.available(), false);
        // Of a topic of which all is lost the reader is at the end already, and tells that when it is asked.
        if feed.next() >= feed.end
            && let Err(error) = feed.reader.has_next()
        {
            feed.note(error);
        }
        Ok(feed)
    }

    /// Reads what a topic holds and whatever comes.
    pub(crate) fn following(bus: &Bus, topic: &str, start: Start, gate: Gate) -> Result<Self, BusError> {
        let mut reader = bus.reader(topic, start, gate)?;
        let (begins, first) = (reader.begins(), reader.watermarks().first);
        Ok(Self {
            topic: topic.into(),
            reader,
            gate,
            follows: true,
            end: u64::MAX,
            message: Message::default(),
            is_at_hand: false,
            is_done: false,
            begins,
            first,
            damage: Findings::default(),
        })
    }

    pub(crate) fn topic(&self) -> &str {
        &self.topic
    }

    pub(crate) fn schema(&self) -> &Schema {
        self.reader.schema()
    }

    /// Oldest sequence that retention has left.
    pub(crate) fn begins(&self) -> u64 {
        self.begins
    }

    /// What is missing where no evidence proves that the topic ends where the reading is.
    pub(crate) fn doubt(&self) -> Option<Damage> {
        let end = self.reader.next_sequence().min(self.end);
        if self.reader.is_end_proven() {
            let (epoch, began) = self.reader.began_unmarked()?;
            let detail =
                format!("the mark before epoch {epoch}, and with it the proof that nothing was lost there");
            let (kind, detail) = (DamageKind::Missing, Some(detail));
            return Some(Damage { kind, from: began, to: began, positions: None, detail });
        }
        let proof = "and with it the proof that nothing follows";
        let detail = Some(match self.reader.foreign_mark() {
            Some(journal) => format!(
                "the mark, {proof}: {}/0/mark is of another journal, {journal}; restore it from a copy, else remove it",
                self.topic
            ),
            None => format!("the mark, {proof}"),
        });
        Some(Damage { kind: DamageKind::Missing, from: end, to: end, positions: None, detail })
    }

    /// Oldest sequence that can be read.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// Sequence behind the last message that will be read.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// The sequence to be read next.
    pub(crate) fn next(&self) -> u64 {
        self.reader.next_sequence()
    }

    /// The sequence before which every message was taken or is lost.
    pub(crate) fn reached(&self) -> u64 {
        if self.is_at_hand { self.message.info.sequence } else { self.next().min(self.end) }
    }

    /// Why a message was not given that was asked for and read up to.
    pub(crate) fn why_not(&mut self, sequence: u64) -> WhyNot {
        // A beginning that is damaged is met by reading only.
        self.peek();
        let holds = |damage: &&Damage| (damage.from..damage.to).contains(&sequence);
        let lost = self.damage.listed().iter().find(holds).cloned();
        let doubt = || self.doubt().filter(|_| sequence >= self.end && !self.reader.is_end_proven());
        match lost.or_else(doubt) {
            Some(damage) => WhyNot::Lost(damage),
            None if sequence < self.begins => WhyNot::Removed,
            None => WhyNot::NotYet,
        }
    }

    /// Reads on to what is at the gate by now; the sequence behind that.
    pub(crate) fn extend(&mut self) -> u64 {
        self.end = self.end.max(self.available());
        self.end
    }

    /// Reads no message of this sequence or a later one.
    pub(crate) fn stop_at(&mut self, end: u64) {
        self.end = self.end.min(end);
    }

    pub(crate) fn damage(&self) -> &Findings<Damage> {
        &self.damage
    }

    /// Adds the damage that another feed of the topic has met, before this one meets any.
    pub(crate) fn inherit_damage(&mut self, other: &Self) {
        self.damage.append(&other.damage, Damage::clone);
    }

    /// The next sequence at the gate now.
    pub(crate) fn available(&mut self) -> u64 {
        let marks = self.reader.watermarks();
        match self.gate {
            Gate::Published => marks.published,
            Gate::Durable => marks.durable,
        }
    }

    /// The next sequence to become durable, and of all that is durable of a topic at rest; cheap while it has a
    /// publisher.
    pub(crate) fn durable(&mut self, at_rest: &mut Option<u64>) -> u64 {
        match self.reader.control() {
            Some(control) => control.durable_sequence(),
            None => *at_rest.get_or_insert_with(|| self.reader.watermarks().durable),
        }
    }

    /// Whether what is durable is told some milliseconds later, as [`Reader::is_blind`] says.
    pub(crate) fn is_blind(&self) -> bool {
        self.reader.is_blind()
    }

    /// Epoch of the topic's newest publisher.
    pub(crate) fn newest_epoch(&mut self) -> u32 {
        self.reader.watermarks().epoch
    }

    /// The sequence behind the last message of an epoch, as [`Reader::end_of`] says.
    pub(crate) fn end_of(&mut self, epoch: u32) -> Option<u64> {
        self.reader.end_of(epoch)
    }

    /// The next message, if there is one now; it stays the next until [`Feed::advance`].
    pub(crate) fn peek(&mut self) -> Option<&Message> {
        self.is_at_hand = self.is_at_hand || self.fetch();
        self.is_at_hand.then_some(&self.message)
    }

    /// Whether a message was found by [`Feed::peek`] and not passed over.
    pub(crate) fn is_at_hand(&self) -> bool {
        self.is_at_hand
    }

    /// Whether the topic was closed by its publisher, and has none now.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.reader.is_closed()
    }

    /// Whether no message will come any more.
    pub(crate) fn is_at_end(&self) -> bool {
        self.is_done || (!self.is_at_hand && self.reader.next_sequence() >= self.end)
    }

    /// Passes over the message at hand.
    pub(crate) fn advance(&mut self) {
        self.is_at_hand = false;
    }

    fn fetch(&mut self) -> bool {
        let mut looks = 0;
        while !self.is_done && self.reader.next_sequence() < self.end {
            match self.reader.has_next() {
                Ok(true) => return self.take(),
                Ok(false) if self.follows => return false,
                Ok(false) if looks < PATIENCE => looks += 1,
                Ok(false) => self.give_up(DamageKind::Missing, None),
                Err(error) => self.note(error),
            }
        }
        false
    }

    /// Copies the message that the reader has found.
    fn take(&mut self) -> bool {
        match self.reader.poll() {
            Ok(Some(frame)) if frame.sequence < self.end => {
                self.message.copy(&frame);
                true
            }
            Ok(_) => false,
            Err(error) => {
                self.note(error);
                false
            }
        }
    }

    fn note(&mut self, error: ReadError) {
        let next = self.reader.next_sequence();
        let damage = |kind, from, to, positions| Damage { kind, from, to, positions, detail: None };
        match error {
            ReadError::Retired { first } => (self.begins, self.first) = (first, first),
            ReadError::Damage { from, to, sequences: (first, next), refused } => {
                // Frames begin behind a segment's header, so a range from a segment's start is a segment that is gone.
                let is_whole = from.is_multiple_of(self.reader.segment_size());
                let kind = match &refused {
                    Some(_) => DamageKind::Unreadable,
                    None if is_whole => DamageKind::Missing,
                    None => DamageKind::Damage,
                };
                self.damage.push(Damage { detail: refused, ..damage(kind, first, next, Some((from, to))) });
            }
            ReadError::Regressed { to } => {
                self.damage.push(damage(DamageKind::Regressed, to, next.max(to), None));
            }
            ReadError::Failed(why) => self.give_up(DamageKind::Unreadable, Some(why)),
        }
    }

    /// The rest cannot be read.
    fn give_up(&mut self, kind: DamageKind, detail: Option<String>) {
        let from = self.reader.next_sequence();
        let to = if self.follows { from } else { self.end };
        self.damage.push(Damage { kind, from, to, positions: None, detail });
        self.is_done = true;
    }

    /// Sleeps until something may have come, at most `limit`.
    pub(crate) fn sleep(&mut self, limit: std::time::Duration) {
        self.reader.sleep(limit);
    }
}
