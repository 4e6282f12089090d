//! Lets each execution through once, whatever the session repeats.
//!
//! Within one count of the venue's numbers the session sees to that: what has a lower number than expected is a repetition.
//! Where the numbers began again, or came from a message log, only identities tell, and memory of them is bounded. Of what
//! left it the latest exchange time is kept: an execution of before that, which is not remembered and which the numbers do
//! not prove to be new, may be a repetition. It is withheld, counted and said, since a second one would double a position.
//!
//! What is withheld for that, and what cannot be kept, is journalled as [`Withheld`]: once, and not as the execution, which
//! the venue may send anew.

use std::{
    collections::{HashSet, VecDeque},
    fmt,
};

use bus::event::{
    Text, Time,
    trade::{TradeEvent, TradeEventRef, Withheld},
};

use super::{
    execution_report::{self, Identity},
    message::{Defect, Message},
    traces::Traces,
};

/// Executions whose identity is remembered; the oldest leave first.
pub const REMEMBERED: usize = 1 << 18;
/// Executions before those that a new life looks at as well, for the latest exchange time of what it does not remember.
/// Whatever came before these is taken to be no later: executions are reported in order, but for far fewer.
const LOOKED_AT: usize = REMEMBERED / 4;
/// Message types that are named when they were none of ours; the rest is only counted.
const NAMED_KINDS: usize = 16;

/// Where executions are journalled: the publisher of the topic `trades`.
pub trait Trades {
    /// Journals `event`, or refuses without waiting.
    ///
    /// # Errors
    /// No room now, or none ever again.
    fn publish(&mut self, event: &TradeEvent) -> Result<(), TradesError>;
}

/// Why an execution was not journalled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TradesError {
    /// There is no room now. Nothing is lost: the session does not move on, and its socket is not read.
    NoRoom,
    /// The journal takes nothing any more.
    Broken(String),
}

impl fmt::Display for TradesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRoom => f.write_str("trades: no room; free space and it goes on"),
            Self::Broken(error) => write!(f, "trades: {error}"),
        }
    }
}

impl std::error::Error for TradesError {}

/// What became of messages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExecutionCounters {
    /// Application messages taken.
    pub messages: u64,
    /// Executions journalled.
    pub published: u64,
    /// Executions already journalled that came again marked PossDup or PossResend.
    pub repeated: u64,
    /// Executions already journalled that came again without being marked.
    pub repeated_unmarked: u64,
    /// Executions that are not remembered but may be journalled: the venue's numbers began again since, and they are not
    /// later than some that left memory. Journalled as [`Withheld`], the first time.
    pub withheld: u64,
    /// Number and ExecID of the execution withheld last.
    pub last_withheld: Option<(u64, Text<32>)>,
    /// Status reports, which change nothing.
    pub status_reports: u64,
    /// Execution reports that lack a field or hold a value that cannot be kept. Journalled as [`Withheld`].
    pub refused: u64,
    /// Number of the message refused last, and why.
    pub last_refused: Option<(u64, Defect)>,
    /// Executions journalled without instrument, since their symbol is longer than eight bytes.
    pub symbols_too_long: u64,
    /// Application messages of other types, by type; types beyond the sixteenth are under an empty name.
    pub other_messages: Vec<(String, u64)>,
    /// How often `trades` had no room and a report had to wait.
    pub waited: u64,
}

impl ExecutionCounters {
    /// Says what was withheld, and what to do about it; `None` where nothing was.
    pub fn tell_withheld(&self) -> Option<String> {
        let (number, execution) = self.last_withheld?;
        let count = self.withheld;
        Some(format!(
            "{count} execution reports were withheld, the last is {number} with ExecID {execution}: the numbers began again, \
             and whether they are journalled already is beyond memory; reconcile positions with the venue"
        ))
    }
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is dealt with: journalled, known already, or nothing to journal.
    Done,
    /// It cannot be kept.
    Refused(Defect),
    /// `trades` has no room: offer it again.
    Later,
}

/// Identities of the executions journalled so far, and the way to journal the next one.
#[derive(Debug)]
pub struct Executions {
    /// So many are remembered at most.
    bound: usize,
    /// The session sees to it that each number comes once.
    has_session: bool,
    known: HashSet<Identity>,
    order: VecDeque<Remembered>,
    /// Latest exchange time of the forgotten executions of this count of numbers.
    forgotten: Option<Time>,
    /// Latest exchange time of the forgotten executions of earlier counts, which the venue may send under new numbers.
    lost_sight_of: Option<Time>,
    /// What is withheld already.
    traces: Traces,
    /// The report that is waiting for room was counted.
    waiting: bool,
    counters: ExecutionCounters,
}

/// An execution that the journal holds.
#[derive(Debug, Clone, Copy)]
struct Remembered {
    identity: Identity,
    exchange_time: Time,
    /// The venue's numbers began again since.
    is_earlier: bool,
}

impl Executions {
    fn remembering(bound: usize) -> Self {
        Self {
            bound,
            has_session: true,
            known: HashSet::with_capacity(bound),
            order: VecDeque::with_capacity(bound),
            forgotten: None,
            lost_sight_of: None,
            traces: Traces::default(),
            waiting: false,
            counters: ExecutionCounters::default(),
        }
    }

    /// The venue's numbers begin again: from now on they prove nothing about the executions so far.
    pub fn begin_count(&mut self) {
        self.lost_sight_of = self.lost_sight_of.max(self.forgotten.take());
        self.order.iter_mut().for_each(|remembered| remembered.is_earlier = true);
    }

    /// Journals the execution that `message` reports, or that it is withheld, unless that is journalled already.
    ///
    /// # Errors
    /// `trades` takes nothing any more.
    pub fn take(
        &mut self,
        message: &Message<'_>,
        receive_time: Time,
        trades: &mut impl Trades,
    ) -> Result<Taken, TradesError> {
        if message.kind != b"8" {
            self.count_other(message.kind);
            return Ok(self.done());
        }
        let event = match execution_report::event(message, receive_time) {
            Ok(Some(event)) => event,
            Ok(None) => {
                self.counters.status_reports += 1;
                return Ok(self.done());
            }
            Err(defect) => return self.refuse(message, defect, receive_time, trades),
        };
        let identity = Identity::of(&event);
        if self.known.contains(&identity) {
            if message.possible_duplicate || message.possible_resend {
                self.counters.repeated += 1;
            } else {
                self.counters.repeated_unmarked += 1;
            }
            return Ok(self.done());
        }
        if self.may_be_journalled(&event, message) {
            if !self.withhold(&execution_report::repetition(message, receive_time), trades)? {
                return Ok(Taken::Later);
            }
            self.counters.withheld += 1;
            self.counters.last_withheld = Some((message.number.unwrap_or(0), identity.execution));
            return Ok(self.done());
        }
        if !self.journal(&event, trades)? {
            return Ok(Taken::Later);
        }
        let is_earlier = !self.has_session;
        self.remember(Remembered { identity, exchange_time: exchange_time(&event), is_earlier });
        self.counters.published += 1;
        self.counters.symbols_too_long += u64::from(instrument_is_blank(&event));
        Ok(self.done())
    }

    /// Withholds a report that cannot be kept.
    fn refuse(
        &mut self,
        message: &Message<'_>,
        defect: Defect,
        receive_time: Time,
        trades: &mut impl Trades,
    ) -> Result<Taken, TradesError> {
        if !self.withhold(&execution_report::refused(message, defect, receive_time), trades)? {
            return Ok(Taken::Later);
        }
        self.counters.refused += 1;
        self.counters.last_refused = Some((message.number.unwrap_or(0), defect));
        self.done();
        Ok(Taken::Refused(defect))
    }

    /// Journals that a report is withheld, unless that is journalled already; `false` if it has to wait for room.
    fn withhold(&mut self, report: &Withheld, trades: &mut impl Trades) -> Result<bool, TradesError> {
        if self.traces.holds(report) {
            return Ok(true);
        }
        let is_journalled = self.journal(&TradeEvent::Withheld(*report), trades)?;
        if is_journalled {
            self.traces.remember(report);
        }
        Ok(is_journalled)
    }

    /// Journals an event; `false` if it has to wait for room.
    fn journal(&mut self, event: &TradeEvent, trades: &mut impl Trades) -> Result<bool, TradesError> {
        match trades.publish(event) {
            Ok(()) => Ok(true),
            Err(TradesError::NoRoom) => {
                self.counters.waited += u64::from(!self.waiting);
                self.waiting = true;
                Ok(false)
            }
            Err(broken) => Err(broken),
        }
    }

    /// There is no session: numbers prove nothing, neither so far nor from now on.
    pub(super) fn distrust_numbers(&mut self) {
        self.has_session = false;
        self.begin_count();
    }

    fn remember(&mut self, execution: Remembered) {
        if !self.known.insert(execution.identity) {
            return;
        }
        if self.order.len() == self.bound
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest.identity);
            let latest = if oldest.is_earlier { &mut self.lost_sight_of } else { &mut self.forgotten };
            *latest = (*latest).max(Some(oldest.exchange_time));
        }
        self.order.push_back(execution);
    }

    /// Whether an execution that is not remembered may be one of an earlier count that left memory. Where it says no time,
    /// its mark as a repetition decides.
    fn may_be_journalled(&self, event: &TradeEvent, message: &Message<'_>) -> bool {
        let Some(latest) = self.lost_sight_of else { return false };
        match exchange_time(event) {
            Time(0) => message.possible_duplicate || message.possible_resend,
            time => time <= latest,
        }
    }

    /// What happened so far.
    pub fn counters(&self) -> &ExecutionCounters {
        &self.counters
    }

    fn done(&mut self) -> Taken {
        self.counters.messages += 1;
        self.waiting = false;
        Taken::Done
    }

    fn count_other(&mut self, kind: &[u8]) {
        let name = String::from_utf8_lossy(&kind[..kind.len().min(8)]);
        let others = &mut self.counters.other_messages;
        let room = others.len() < NAMED_KINDS;
        let name = if room || others.iter().any(|(known, _)| *known == name) { &*name } else { "" };
        match others.iter_mut().find(|(known, _)| known == name) {
            Some((_, count)) => *count += 1,
            None => others.push((name.to_owned(), 1)),
        }
    }
}

fn instrument_is_blank(event: &TradeEvent) -> bool {
    match event {
        TradeEvent::Fill(e) => e.instrument.is_blank(),
        TradeEvent::OrderUpdate(e) => e.instrument.is_blank(),
        TradeEvent::FillCorrection(e) => e.instrument.is_blank(),
        TradeEvent::FillBust(e) => e.instrument.is_blank(),
        TradeEvent::Withheld(e) => e.instrument.is_blank(),
    }
}

fn exchange_time(event: &TradeEvent) -> Time {
    match event {
        TradeEvent::Fill(e) => e.exchange_time,
        TradeEvent::OrderUpdate(e) => e.exchange_time,
        TradeEvent::FillCorrection(e) => e.exchange_time,
        TradeEvent::FillBust(e) => e.exchange_time,
        TradeEvent::Withheld(e) => e.exchange_time,
    }
}

/// What a journal tells its next writer: which executions it holds and where the venue is to go on.
#[derive(Debug)]
pub struct Resume {
    bound: usize,
    tail: VecDeque<Observed>,
    traces: Traces,
    /// Number and receive time of the last one.
    last: Option<(u64, Time)>,
}

#[derive(Debug, Clone, Copy)]
struct Observed {
    identity: Identity,
    exchange_time: Time,
    receive_time: Time,
}

impl Default for Resume {
    fn default() -> Self {
        Self::remembering(REMEMBERED)
    }
}

impl Resume {
    /// How many of the journal's last executions are to be [observed](Self::observe), with what is between them: those
    /// that are remembered, and some before them.
    pub const TAIL: usize = REMEMBERED + LOOKED_AT;

    /// For a memory of `bound` executions instead of [`REMEMBERED`].
    pub fn remembering(bound: usize) -> Self {
        Self { bound, tail: VecDeque::new(), traces: Traces::default(), last: None }
    }

    /// Takes the next event of the journal's tail, in order.
    pub fn observe(&mut self, event: TradeEventRef<'_>) {
        macro_rules! parts {
            ($e:expr) => {{
                let identity = Identity { trade_date: $e.trade_date, execution: $e.execution };
                (identity, $e.exchange_time, $e.receive_time, $e.venue_sequence)
            }};
        }
        let (identity, exchange_time, receive_time, sequence) = match event {
            TradeEventRef::Fill(e) => parts!(e),
            TradeEventRef::OrderUpdate(e) => parts!(e),
            TradeEventRef::FillCorrection(e) => parts!(e),
            TradeEventRef::FillBust(e) => parts!(e),
            TradeEventRef::Withheld(e) => {
                self.traces.remember(e);
                self.last = Some((e.venue_sequence, e.receive_time));
                return;
            }
        };
        if self.tail.len() == Self::TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(Observed { identity, exchange_time, receive_time });
        self.last = Some((sequence, receive_time));
    }

    /// How many executions before those observed are to be observed as well, if there are so many.
    pub fn lacks(&self) -> usize {
        Self::TAIL.saturating_sub(self.tail.len())
    }

    /// Adds what was observed of later events.
    pub fn append(&mut self, later: Self) {
        self.tail.extend(later.tail);
        self.traces.append(later.traces);
        self.last = later.last.or(self.last);
    }

    /// The number to expect next from the venue: after the last report, or 1 where there is none or where both sides
    /// began again after it. Too low a number is harmless, since known executions are dropped.
    pub fn next_inbound(&self, restarted: Time) -> u64 {
        match self.last {
            Some((sequence, time)) if time > restarted => sequence.saturating_add(1),
            _ => 1,
        }
    }

    /// The executions that the journal holds. Those that were received up to `restarted`, when the venue's numbers last
    /// began again, and those that no session received, are not what its numbers speak of.
    pub fn into_executions(self, restarted: Time) -> Executions {
        let mut executions = Executions::remembering(self.bound);
        executions.traces = self.traces;
        for Observed { identity, exchange_time, receive_time } in self.tail {
            let is_earlier = receive_time <= restarted;
            executions.remember(Remembered { identity, exchange_time, is_earlier });
        }
        executions
    }
}
