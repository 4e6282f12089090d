//! Books and positions derived anew from the journals.
//!
//! The inputs are taken in the order that the journal `risk` recorded, and in the canonical order (publish time, then
//! input, then sequence) where nothing was recorded: before any engine ran, or beyond the last recorded message.
//! Limits and fees enter where `risk` journals them. The effects that `risk` holds must be those that follow here again.
//!
//! A derivation begins at the first message of each journal; where that is removed by retention, or damaged, with the
//! newest snapshot of the engine that the journals still reach. Without one it begins with what is left, which is told as
//! incomplete: books lack orders until a session begins, positions executions, and the limits and fees may be others. What
//! is damaged is told in both cases.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::path::PathBuf;

use bus::event::market::{MarketEvent, MarketEventRef};
use bus::event::risk::{RiskEvent, RiskEventRef};
use bus::event::trade::TradeEvent;
use bus::event::{Cause, Code, Message as _, Schema};
use bus::{Bus, BusError, Gate, Start, TOPIC_GONE};
use engine::{Cut, Effect, Effects, Head, INPUTS, MergeError, MergeReplay, State, Turn};

use crate::aside::cut_of;
use crate::feed::Feed;
use crate::late_mark::comes;
use crate::snapshots::{self, Snapshot};
use crate::{Damage, Findings, MARKET_DATA, NotThere, RISK, Show, TRADES, WhyNot};

/// The topics of the inputs, in the order of `Cause::input`.
const TOPICS: [&str; INPUTS] = [MARKET_DATA, TRADES];
/// Messages between two looks at the clock for the progress line.
const BETWEEN: u64 = 1 << 16;

/// Where a derivation ends: behind this message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At {
    /// `market-data` or `trades`.
    pub topic: String,
    /// Sequence of the last message that is applied.
    pub sequence: u64,
}

/// The order that a derivation took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// As the engine recorded it, all the way.
    Recorded,
    /// As no engine has taken it: by publish time, input and sequence.
    Canonical,
    /// As recorded, then canonical.
    RecordedThenCanonical,
}

impl Order {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Recorded => "recorded",
            Self::Canonical => "canonical",
            Self::RecordedThenCanonical => "recorded+canonical",
        }
    }
}

/// What was derived.
pub struct Derived {
    /// Books and positions.
    pub state: State,
    /// How far each input was applied, or gone over as lost.
    pub cut: Cut,
    /// Where each input begins, by its first message or a snapshot; not 0 where what came before was removed by
    /// retention or is damaged.
    pub from: Cut,
    /// The topics of which retention has removed what came first, with the oldest sequence that it has left.
    pub retired: Vec<(String, u64)>,
    /// The topics whose beginning is neither there nor covered by a snapshot, with the first sequence that was taken.
    pub missing: Vec<(&'static str, u64)>,
    /// The order of the inputs.
    pub order: Order,
    /// What could not be read, with its topic.
    pub damage: Vec<(String, Damage)>,
    /// Where the journals contradict each other, each in one line.
    pub divergence: Findings<String>,
    /// Messages of the market were gone over as lost, and no session has begun since.
    lacks_market: bool,
}

impl fmt::Debug for Derived {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Derived").field("cut", &self.cut).field("order", &self.order).finish_non_exhaustive()
    }
}

impl Derived {
    /// BLAKE3-256 of the state at the cut.
    pub fn state_hash(&self) -> [u8; 32] {
        self.state.state_hash(self.cut)
    }

    /// Whether a book may differ from the venue's: messages of the session are missing, in the market or in its journal.
    pub fn is_stale(&self) -> bool {
        self.lacks_market
            || self.state.is_stale()
            || self.missing.iter().any(|(topic, _)| *topic == MARKET_DATA)
    }

    /// The inputs of which the state lacks lost messages, and how many. What was lost before it begins is not among these.
    pub fn lost(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let count = |topic, begin: u64| {
            let damage = self.damage.iter().filter(|(of, _)| of == topic);
            damage.map(|(_, damage)| damage.to.saturating_sub(damage.from.max(begin))).sum()
        };
        let Cut { market_data, trades } = self.from;
        let lost =
            [(MARKET_DATA, market_data), (TRADES, trades)].map(|(topic, begin)| (topic, count(topic, begin)));
        lost.into_iter().filter(|(_, count)| *count > 0)
    }

    /// Whether nothing is missing, damaged or contradictory, no position lacks what could not be applied to it, and no
    /// execution was withheld from all of them.
    pub fn is_ok(&self) -> bool {
        let are_whole = self.state.positions().all(|position| !position.overflowed && !position.unamended);
        let is_whole = are_whole && self.state.withheld() == 0 && !self.is_stale() && self.missing.is_empty();
        is_whole && self.damage.is_empty() && self.divergence.is_empty()
    }
}

/// Why nothing could be derived.
#[derive(Debug)]
pub enum StateError {
    /// A topic cannot be opened.
    Bus(BusError),
    /// The bus has neither of the inputs.
    Empty {
        /// The bus directory.
        bus: String,
    },
    /// The bus has neither of the inputs any more.
    Gone {
        /// The first that it has had.
        topic: String,
    },
    /// A topic is there, but not its journal.
    Lost {
        /// The topic.
        topic: String,
        /// Where the journal should be.
        path: PathBuf,
    },
    /// A cut in a topic that is no input.
    NoInput {
        /// The topic.
        topic: String,
    },
    /// The message that the cut names is not there.
    NotThere(NotThere),
}

impl fmt::Display for StateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bus(error) => error.fmt(f),
            Self::Empty { bus } => {
                write!(
                    f,
                    "neither '{MARKET_DATA}' nor '{TRADES}': {bus}; start a gateway or name another --bus"
                )
            }
            Self::Gone { topic } => write!(f, "topic '{topic}': {TOPIC_GONE}"),
            Self::Lost { topic, path } => {
                write!(f, "topic '{topic}' lost its journal: {}; restore it from a copy", path.display())
            }
            Self::NoInput { topic } => {
                write!(f, "not an input of the state: '{topic}'; use '{MARKET_DATA}' or '{TRADES}'")
            }
            Self::NotThere(what) => what.fmt(f),
        }
    }
}

impl std::error::Error for StateError {}

impl From<BusError> for StateError {
    fn from(error: BusError) -> Self {
        Self::Bus(error)
    }
}

/// Derives the state of a bus, of all that is published now or up to a message. A recorded message is waited for, a second
/// at most, where the shared memory of its topic's live writer is not seen and the mark that proves it may be on its way.
///
/// # Errors
/// [`StateError`]. What is wrong inside the journals is in the result.
pub fn derive(bus: &Bus, at: Option<&At>, progress: &mut impl Show) -> Result<Derived, StateError> {
    let mut derivation = Derivation::open(bus, at)?;
    match at {
        None => while derivation.step(progress).is_some() {},
        Some(at) => derivation.run_to(at, progress)?,
    }
    Ok(derivation.finish(at))
}

struct Derivation {
    state: State,
    inputs: [Option<Feed>; INPUTS],
    next: [u64; INPUTS],
    from: [u64; INPUTS],
    risk: Option<Feed>,
    /// Of [`TOPICS`] and [`RISK`]: where it begins, if what came before counts and is not covered by a snapshot.
    missing: [Option<u64>; INPUTS + 1],
    merge: MergeReplay,
    /// Messages taken in recorded order, and in canonical order.
    recorded: u64,
    canonical: u64,
    effects: Effects,
    expected: Expected,
    /// The recorded order contradicts the inputs and is no longer followed.
    is_order_lost: bool,
    divergence: Findings<String>,
    /// See [`Derived`].
    lacks_market: bool,
    /// What was cut of `risk`.
    cuts: Vec<Damage>,
    /// Which topics are not the bus's own, or gone.
    astray: Vec<(String, Damage)>,
}

/// Effects that `risk` must hold next, because they follow from what was applied.
struct Expected {
    effects: VecDeque<Effect>,
    /// Whether the state begins where the engine's began, so that its effects must be the same.
    is_known: bool,
}

impl Expected {
    /// Whether `found` is the effect that follows next.
    fn meets(&mut self, found: &Effect) -> bool {
        let expected = self.effects.pop_front();
        !self.is_known || expected.as_ref() == Some(found)
    }
}

impl Derivation {
    fn open(bus: &Bus, at: Option<&At>) -> Result<Self, StateError> {
        // The end of `risk` is settled before those of its inputs: then all its causes are below these, seen or not.
        let mut risk = open(bus, RISK, Start::Oldest, Schema::of::<RiskEvent>(&TOPICS))?;
        let market = open(bus, MARKET_DATA, Start::Oldest, Schema::of::<MarketEvent>(&[]))?;
        let trades = open(bus, TRADES, Start::Oldest, Schema::of::<TradeEvent>(&[]))?;
        if market.is_none() && trades.is_none() {
            return Err(nothing(bus));
        }
        let mut inputs = [market, trades];
        let mut from = inputs.each_ref().map(|feed| feed.as_ref().map_or(0, Feed::first));
        let is_whole = from == [0; INPUTS] && risk.as_ref().is_none_or(|risk| risk.first() == 0);
        let snapshot = if is_whole { None } else { snapshot(bus, &risk, &inputs, at) };
        let is_known = is_whole || snapshot.is_some();
        let begins = [from[0], from[1], risk.as_ref().map_or(0, Feed::first)];
        let missing = begins.map(|first| Some(first).filter(|first| *first > 0 && snapshot.is_none()));
        if let Some(Snapshot { risk: sequence, restored }) = &snapshot {
            let Cut { market_data, trades } = restored.positions.cut();
            from = [market_data, trades];
            for (feed, next) in inputs.iter_mut().zip(from) {
                begin_at(bus, feed, next)?;
            }
            begin_at(bus, &mut risk, *sequence)?;
        }
        Ok(Self {
            state: snapshot.map_or_else(State::new, |snapshot| snapshot.restored.state),
            inputs,
            next: from,
            from,
            risk,
            missing,
            merge: MergeReplay::new(from),
            recorded: 0,
            canonical: 0,
            effects: Effects::new(),
            expected: Expected { effects: VecDeque::new(), is_known },
            is_order_lost: false,
            divergence: Findings::default(),
            lacks_market: false,
            cuts: cut_of(bus, RISK),
            astray: astray(bus),
        })
    }

    fn run_to(&mut self, at: &At, progress: &mut impl Show) -> Result<(), StateError> {
        let input = TOPICS
            .iter()
            .position(|topic| *topic == at.topic)
            .ok_or_else(|| StateError::NoInput { topic: at.topic.clone() })?;
        while at.sequence >= self.from[input]
            && let Some(turn) = self.step(progress)
        {
            if usize::from(turn.input) == input && turn.sequence >= at.sequence {
                // What comes behind a lost one is not the state that was asked for.
                if turn.sequence == at.sequence {
                    return Ok(());
                }
                break;
            }
        }
        Err(StateError::NotThere(self.not_there(input, at.sequence)))
    }

    fn not_there(&mut self, input: usize, sequence: u64) -> NotThere {
        let feed = self.inputs[input].as_mut();
        let (end, why) = feed.map_or((0, WhyNot::NotYet), |feed| (feed.end(), feed.why_not(sequence)));
        NotThere { topic: TOPICS[input].into(), sequence, range: (self.from[input], end), why }
    }

    /// Applies the next message.
    fn step(&mut self, progress: &mut impl Show) -> Option<Turn> {
        loop {
            self.read_risk();
            let heads = self.inputs.each_mut().map(|feed| head(feed.as_mut()?));
            match self.merge.next(heads) {
                Ok(turn) => {
                    let turn = turn?;
                    self.apply(turn);
                    self.count(turn, progress);
                    return Some(turn);
                }
                Err(error) if self.comes(error, progress) => {}
                Err(error) => self.lose_order(&error),
            }
        }
    }

    /// Reads `risk` up to the next run of messages.
    fn read_risk(&mut self) {
        while !self.merge.has_recorded() {
            let Some(risk) = &mut self.risk else { return };
            let message = risk.peek();
            let event = message.map(|message| RiskEvent::decode(message.info.kind, message.body()));
            // The configuration before this point is whole: its alerts must come next.
            if !event.as_ref().is_some_and(|event| event.as_ref().is_some_and(RiskEventRef::is_setting)) {
                self.expected.effects.extend(self.state.settle());
            }
            let (Some(message), Some(event)) = (message, event) else { return };
            let sequence = message.info.sequence;
            let (mut problem, mut found) = (None, None);
            match event {
                Some(RiskEventRef::MergeRun(_)) if self.is_order_lost => {}
                Some(RiskEventRef::MergeRun(run)) => {
                    self.expected.effects.clear();
                    problem = self.merge.push(run).err();
                }
                Some(RiskEventRef::PositionUpdate(update)) => found = Some(Effect::Position(*update)),
                Some(RiskEventRef::LimitAlert(alert)) => found = Some(Effect::Limit(*alert)),
                Some(configuration) => self.state.apply_config(configuration),
                None => self.divergence.push(undescribed(RISK, sequence)),
            }
            risk.advance();
            if found.is_some_and(|effect| !self.expected.meets(&effect)) {
                let what =
                    format!("effect {sequence} of '{RISK}' is not the one that follows from its cause");
                self.divergence.push(what);
            }
            if let Some(error) = problem {
                self.lose_order(&error);
            }
        }
    }

    fn apply(&mut self, turn: Turn) {
        let input = usize::from(turn.input);
        let Some(feed) = &mut self.inputs[input] else { return };
        let Some(message) = feed.peek() else { return };
        let (kind, sequence) = (message.info.kind, message.info.sequence);
        let is_applied = if turn.input == engine::MARKET_DATA {
            let event = MarketEvent::decode(kind, message.body());
            self.lacks_market |= sequence > self.next[input];
            // Its books begin empty.
            if matches!(event, Some(MarketEventRef::Session(session)) if session.state == Code(b'S')) {
                (self.missing[input], self.lacks_market) = (None, false);
            }
            event.map(|event| self.state.apply_market(event)).is_some()
        } else {
            let cause = Cause { sequence, epoch: message.info.epoch, input: turn.input, index: 0 };
            let trade = TradeEvent::decode(kind, message.body());
            trade.map(|event| self.state.apply_trade(event, cause, &mut self.effects)).is_some()
        };
        if !is_applied {
            self.divergence.push(undescribed(TOPICS[input], sequence));
        } else if turn.input == engine::TRADES && turn.recorded {
            self.expected.effects.extend(self.effects.iter().copied());
        }
        feed.advance();
        self.next[input] = sequence + 1;
    }

    fn count(&mut self, turn: Turn, progress: &mut impl Show) {
        let taken = if turn.recorded { &mut self.recorded } else { &mut self.canonical };
        *taken += 1;
        if (self.recorded + self.canonical).is_multiple_of(BETWEEN) {
            let ends = self.inputs.each_ref().map(|feed| feed.as_ref().map_or(0, Feed::end));
            progress.show(|| format!("{MARKET_DATA}: {} of {}", self.next[0], ends[0]));
        }
    }

    /// Whether a message that the recorded order lacks is behind the end of its input only as that was told late. The input
    /// is then read on.
    fn comes(&mut self, error: MergeError, progress: &mut impl Show) -> bool {
        let MergeError::Missing { input, sequence } = error else { return false };
        let Some(feed) = &mut self.inputs[usize::from(input)] else { return false };
        if sequence < feed.end() {
            return false;
        }
        let topic = feed.topic().to_owned();
        let on_pause = || {
            progress.show(|| format!("{topic}: waiting for its mark"));
            Ok::<_, Infallible>(())
        };
        let Ok(is_there) = comes(feed, Feed::is_blind, |feed| sequence < feed.extend(), on_pause);
        is_there
    }

    /// Goes on in canonical order where the recorded one contradicts the inputs.
    fn lose_order(&mut self, error: &engine::MergeError) {
        self.divergence.push(error.to_string());
        self.merge = MergeReplay::new(self.next);
        (self.is_order_lost, self.expected.is_known) = (true, false);
    }

    /// Goes over lost messages behind the last one of an input, as the engine does.
    fn go_over(&mut self) {
        for (next, feed) in self.next.iter_mut().zip(&self.inputs) {
            *next = feed.as_ref().map_or(0, Feed::reached).max(*next);
        }
    }

    /// Ends behind the message asked for, whose topic's end is then no concern.
    fn finish(mut self, at: Option<&At>) -> Derived {
        let [applied, _] = self.next;
        self.go_over();
        self.lacks_market |= self.next[0] > applied;
        for (missing, (feed, from)) in self.missing.iter_mut().zip(self.inputs.iter().zip(self.from)) {
            // Retention overtook the reading.
            let first = feed.as_ref().map(Feed::first).filter(|first| *first > from);
            *missing = first.or(*missing);
        }
        let feeds = self.inputs.iter().chain([&self.risk]).flatten();
        let damage = feeds.flat_map(|feed| {
            let is_to_its_end = feed.is_at_end() && at.is_none_or(|at| at.topic != feed.topic());
            let doubt = if is_to_its_end { feed.doubt() } else { None };
            let damage = feed.damage().listed().iter().cloned().chain(doubt);
            damage.map(|damage| (feed.topic().to_owned(), damage))
        });
        // The inputs lack what these followed from, so a state from there on lacks it too.
        let reached = self.risk.as_ref().map_or(0, Feed::next);
        let cuts = self.cuts.into_iter().filter(|cut| cut.from <= reached);
        let damage = damage.chain(cuts.map(|cut| (RISK.to_owned(), cut))).chain(self.astray);
        let feeds = self.inputs.iter().chain([&self.risk]).flatten().filter(|feed| feed.begins() > 0);
        let retired = feeds.map(|feed| (feed.topic().to_owned(), feed.begins())).collect();
        let topics = TOPICS.into_iter().chain([RISK]);
        let missing = topics.zip(self.missing).filter_map(|(topic, first)| Some((topic, first?)));
        let cut = |[market_data, trades]: [u64; INPUTS]| Cut { market_data, trades };
        Derived {
            damage: damage.collect(),
            cut: cut(self.next),
            from: cut(self.from),
            retired,
            missing: missing.collect(),
            order: match (self.recorded, self.canonical) {
                (0, _) => Order::Canonical,
                (_, 0) => Order::Recorded,
                _ => Order::RecordedThenCanonical,
            },
            state: self.state,
            divergence: self.divergence,
            lacks_market: self.lacks_market,
        }
    }
}

/// The newest snapshot from which the journals go on, and which does not lie beyond the message asked for.
fn snapshot(
    bus: &Bus,
    risk: &Option<Feed>,
    inputs: &[Option<Feed>; INPUTS],
    at: Option<&At>,
) -> Option<Snapshot> {
    let reaches = |feed: &Option<Feed>, next| match feed {
        Some(feed) => feed.first() <= next && next <= feed.end(),
        None => next == 0,
    };
    snapshots::newest(bus, |sequence, positions| {
        let Cut { market_data, trades } = positions.cut();
        let next = [market_data, trades];
        let is_early =
            |at: &At| TOPICS.iter().zip(next).all(|(topic, next)| *topic != at.topic || next <= at.sequence);
        let goes_on = inputs.iter().zip(next).all(|(feed, next)| reaches(feed, next));
        reaches(risk, sequence) && goes_on && at.is_none_or(is_early)
    })
}

/// What is not told by reading: a topic that the bus has had may be gone, or another's in its place.
fn astray(bus: &Bus) -> Vec<(String, Damage)> {
    let gone = bus.topics_gone().unwrap_or_default();
    let of = |topic: &str| {
        let is_gone = gone.iter().any(|gone| gone == topic);
        let damage = is_gone.then(|| Damage::unreadable(TOPIC_GONE));
        Some((topic.to_owned(), damage.or_else(|| bus.is_replaced(topic).then(Damage::replaced))?))
    };
    let doubt = bus.topics_doubt().map(|doubt| ("bus.topics".to_owned(), Damage::unreadable(doubt)));
    TOPICS.into_iter().chain([RISK]).filter_map(of).chain(doubt).collect()
}

/// Reads a feed from this message on, to the same end. A beginning that is damaged stays noted.
fn begin_at(bus: &Bus, feed: &mut Option<Feed>, next: u64) -> Result<(), BusError> {
    let Some(old) = feed else { return Ok(()) };
    let mut new = Feed::bounded(bus, old.topic(), Start::Sequence(next), Gate::Published)?;
    new.stop_at(old.end());
    if old.begins() < old.first() {
        old.peek();
        new.inherit_damage(old);
    }
    *old = new;
    Ok(())
}

fn open(
    bus: &Bus,
    topic: &str,
    start: Start,
    wanted: Result<Schema, bus::event::SchemaError>,
) -> Result<Option<Feed>, StateError> {
    let feed = match Feed::bounded(bus, topic, start, Gate::Published) {
        Ok(feed) => feed,
        Err(error) if error.is_missing() => return lost(bus, topic)?.map_or(Ok(None), Err),
        Err(error) => return Err(error.into()),
    };
    let fits = wanted.and_then(|wanted| {
        feed.schema().serves(&wanted)?;
        feed.schema().same_inputs(&wanted)
    });
    fits.map_err(|source| BusError::Schema { topic: topic.into(), source })?;
    Ok(Some(feed))
}

/// The error that a bus with none of the inputs is.
fn nothing(bus: &Bus) -> StateError {
    let gone = bus.topics_gone().unwrap_or_default();
    let empty = || StateError::Empty { bus: bus.directory().display().to_string() };
    gone.into_iter()
        .find(|topic| TOPICS.contains(&&**topic))
        .map_or_else(empty, |topic| StateError::Gone { topic })
}

/// The error that a topic without its journal is; `None` where it never was.
fn lost(bus: &Bus, topic: &str) -> Result<Option<StateError>, BusError> {
    let is_there = bus.topics()?.iter().any(|known| known == topic);
    let path = bus.directory().join(topic).join("0");
    Ok(is_there.then(|| StateError::Lost { topic: topic.into(), path }))
}

fn head(feed: &mut Feed) -> Option<Head> {
    let info = feed.peek()?.info;
    Some(Head { sequence: info.sequence, publish_time: info.publish_time })
}

fn undescribed(topic: &str, sequence: u64) -> String {
    format!("message {sequence} of '{topic}' is of a kind that its schema does not describe")
}
