//! What a gateway learns from its own journal before it starts.
//!
//! A gateway keeps no books of its own progress: the messages in the journal are the progress. So a run that was
//! disturbed ends with the same journal as one that was not, and a capture given twice publishes nothing.

use std::collections::HashMap;
use std::ops::Range;

use bus::event::market::{Gap, Session};
use bus::event::{Code, Text, Time};
use bus::{Bus, BusError, Gate, ReadError, Start};

use crate::arbiter::{self, Ahead, GapCause, OpenGap};
use crate::mold::SessionId;
use crate::{Normalise, Recall, snapshot};

/// Most open gaps of a session that are remembered, as by the arbiter: a further one takes the place of the last that lacks
/// anything, and late messages of that one stay out.
const OPEN_GAPS: usize = 1_024;

/// How far the journal has one session.
#[derive(Debug, Clone, Default)]
pub struct Past {
    /// Date of the session as the number YYYYMMDD.
    pub date: u32,
    /// All messages below this number are journalled, but for the open gaps.
    pub next: u64,
    /// Open gaps, in ascending order.
    pub open: Vec<OpenGap>,
    /// What is journalled behind `next`, of jumps that the lines refuted.
    pub ahead: Ahead,
    /// When the last gap was told.
    pub told: Time,
    /// Where the session has ended, if it has.
    pub ended: Option<u64>,
}

impl Past {
    /// A session of which nothing is journalled.
    pub fn new(date: u32) -> Self {
        Self { date, next: 1, ..Self::default() }
    }

    fn message(&mut self, sequence: u64) {
        if sequence >= self.next {
            self.goes_on_at(sequence.saturating_add(1));
        } else if let Some(gap) = self.open.iter_mut().find(|gap| gap.holds(sequence)) {
            gap.arrived(sequence);
        }
    }

    fn gap(&mut self, gap: &Gap) {
        self.told = self.told.max(gap.receive_time);
        if gap.state == Code(b'C') {
            self.open.retain(|open| open.from != gap.venue_sequence);
        } else if gap.state == Code(b'W') {
            self.withdrawn(gap.venue_sequence);
        } else if gap.venue_sequence >= self.next {
            self.goes_on_at(gap.venue_sequence.saturating_add(gap.count));
            if self.open.len() >= OPEN_GAPS {
                let last = self.open.iter().rposition(|open| !open.is_complete());
                self.open.remove(last.unwrap_or(OPEN_GAPS - 1));
            }
            let local = gap.cause == Text::new("local").expect("five letters");
            let cause = if local { GapCause::Local } else { GapCause::Network };
            self.open.push(OpenGap::new(gap.venue_sequence, gap.count, cause));
        }
    }

    /// Its last gap ends at `from`, and behind that nothing of it was sent.
    fn withdrawn(&mut self, from: u64) {
        let Some(index) = self.open.iter().rposition(|gap| gap.holds(from)) else { return };
        self.ahead.withdraw(&mut self.open[index], from, self.next);
        self.open.retain(|gap| gap.count > 0);
        self.next = self.next.min(from);
    }

    fn goes_on_at(&mut self, next: u64) {
        self.next = next;
        self.ahead.pass(next);
    }

    /// Where to take the session up, whose first packet begins with the message `first`. Captures begin anew, and what
    /// they repeat is recognised; a live session goes on where the journal ends.
    pub(crate) fn start(&self, first: u64, window: u64) -> arbiter::Start {
        let next = if first < self.next && first <= window { 1 } else { first.min(self.next) };
        let Self { next: journalled, told, ended, .. } = *self;
        let (open, ahead) = (self.open.clone(), self.ahead.clone());
        arbiter::Start { next, journalled, open, ahead, told, ended }
    }
}

/// The sessions of a journal.
#[derive(Debug, Default, Clone)]
pub struct History {
    sessions: HashMap<SessionId, Past>,
    current: Option<SessionId>,
    unread: Option<Range<u64>>,
}

impl History {
    /// Reads a topic, from its beginning or from its [snapshot] to its present end, and lets
    /// `normaliser` learn from it. To be called by the topic's publisher, before it publishes. Damaged ranges are passed
    /// over: they are for `replay verify` to report. What retention removed before a snapshot told it stays
    /// [unread](Self::unread).
    ///
    /// # Errors
    /// The topic cannot be read; or retention has removed what named the session of the messages that are left.
    pub fn read<N: Normalise>(bus: &Bus, topic: &str, normaliser: &mut N) -> Result<Self, ReadError> {
        let failed = |error: BusError| ReadError::Failed(error.to_string());
        let watermarks = bus.watermarks(topic).map_err(failed)?;
        let (first, end) = (watermarks.first, watermarks.published);
        let (mut history, start) = snapshot::load(bus, topic)
            .filter(|snapshot| snapshot.sequence <= end && normaliser.restore(&snapshot.learned))
            .map_or_else(|| (Self::default(), 0), |snapshot| (snapshot.history, snapshot.sequence));
        if start >= end {
            return Ok(history);
        }
        let mut at = start.max(first);
        let mut is_named = history.skip(start..at);
        let mut events =
            bus.subscriber::<N::Event>(topic, Start::Sequence(at), Gate::Published).map_err(failed)?;
        while events.next_sequence() < end {
            match events.wait() {
                Ok(Some(event)) => {
                    let told = normaliser.recall(event);
                    is_named = is_named || history.names(&told).ok_or_else(|| unnamed(topic))?;
                    history.observe(told);
                }
                Ok(None) => break,
                Err(error @ ReadError::Failed(_)) => return Err(error),
                Err(ReadError::Retired { first }) => is_named &= history.skip(at..first),
                Err(ReadError::Damage { .. } | ReadError::Regressed { .. }) => {}
            }
            at = events.next_sequence();
        }
        Ok(history)
    }

    /// Notes that a range of the journal cannot be read back; true if it is empty. What is known of gaps is void then:
    /// one that closed there would be asked for again, and its messages journalled twice.
    fn skip(&mut self, range: Range<u64>) -> bool {
        if range.is_empty() {
            return true;
        }
        let from = self.unread.as_ref().map_or(range.start, |unread| unread.start);
        self.unread = Some(from..range.end);
        self.sessions.values_mut().for_each(|past| past.open.clear());
        false
    }

    /// After an unread range: whether an event tells which session the journal is in. `None` if it may be a message of a
    /// session that began in the range: one that does not go on where the known session was, or whose number is not
    /// beyond what the range had events for.
    fn names(&self, told: &Recall) -> Option<bool> {
        match *told {
            Recall::Session(_) => Some(true),
            Recall::Message(sequence) => {
                let past = self.past(&self.current?)?;
                let begun = self.unread.as_ref().map_or(0, |unread| unread.end - unread.start);
                (past.ended.is_none() && sequence >= past.next && sequence > begun).then_some(true)
            }
            Recall::Gap(_) | Recall::Nothing => Some(false),
        }
    }

    pub(crate) fn new(
        sessions: HashMap<SessionId, Past>,
        current: Option<SessionId>,
        unread: Option<Range<u64>>,
    ) -> Self {
        Self { sessions, current, unread }
    }

    /// Events of the topic that retention removed before a [snapshot] told them, though the gateway had declared that it
    /// needs them. Gaps that opened or closed there, and those known before, are not asked for any more: books that they
    /// made stale stay so. Remembered until the next session begins.
    pub fn unread(&self) -> Option<Range<u64>> {
        self.unread.clone()
    }

    pub(crate) fn sessions(&self) -> impl Iterator<Item = (&SessionId, &Past)> {
        self.sessions.iter()
    }

    /// Takes what the next event of the journal tells.
    pub fn observe(&mut self, told: Recall) {
        match told {
            Recall::Session(session) => self.session(&session),
            Recall::Gap(gap) => self.current_past(|past| past.gap(&gap)),
            Recall::Message(sequence) => self.current_past(|past| past.message(sequence)),
            Recall::Nothing => {}
        }
    }

    fn session(&mut self, session: &Session) {
        self.current = Some(session.session);
        let past = self.sessions.entry(session.session).or_insert_with(|| Past::new(session.date));
        if session.state == Code(b'E') {
            past.ended = Some(session.venue_sequence);
        }
    }

    fn current_past(&mut self, change: impl FnOnce(&mut Past)) {
        if let Some(past) = self.current.and_then(|session| self.sessions.get_mut(&session)) {
            change(past);
        }
    }

    /// The session that the journal is in.
    pub fn current(&self) -> Option<SessionId> {
        self.current
    }

    /// How far the journal has a session; `None` if it has nothing of it.
    pub fn past(&self, session: &SessionId) -> Option<&Past> {
        self.sessions.get(session)
    }

    /// The session is left for another one.
    pub(crate) fn leave(&mut self, session: SessionId, past: Past) {
        self.sessions.insert(session, past);
    }

    /// The journal is in this session from now on.
    pub(crate) fn enter(&mut self, session: SessionId) {
        if self.current != Some(session) {
            self.unread = None;
        }
        self.current = Some(session);
    }
}

fn unnamed(topic: &str) -> ReadError {
    ReadError::Failed(format!(
        "retention removed what named the session, and no snapshot tells it: {topic}; publish to another bus"
    ))
}
