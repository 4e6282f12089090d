//! Lets each execution through once, whatever the session repeats.

use std::{
    collections::{HashSet, VecDeque},
    fmt,
};

use bus::event::{
    Time,
    trade::{TradeEvent, TradeEventRef},
};

use super::{
    execution_report::{self, Identity},
    message::{Defect, Message},
};

/// Executions whose identity is remembered; the oldest leave first.
pub const REMEMBERED: usize = 1 << 18;
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
    /// Status reports, which change nothing.
    pub status_reports: u64,
    /// Execution reports that lack a field or hold a value that cannot be kept.
    pub refused: u64,
    /// Number of the message refused last, and why.
    pub last_refused: Option<(u64, Defect)>,
    /// Executions journalled without instrument, since their symbol is longer than eight bytes.
    pub symbols_too_long: u64,
    /// Application messages of other types, by type; types beyond the sixteenth are under an empty name.
    pub other_messages: Vec<(String, u64)>,
    /// How often `trades` had no room and an execution had to wait.
    pub waited: u64,
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
    known: HashSet<Identity>,
    order: VecDeque<Identity>,
    /// The execution that is waiting for room was counted.
    waiting: bool,
    counters: ExecutionCounters,
}

impl Default for Executions {
    fn default() -> Self {
        Self {
            known: HashSet::with_capacity(REMEMBERED),
            order: VecDeque::with_capacity(REMEMBERED),
            waiting: false,
            counters: ExecutionCounters::default(),
        }
    }
}

impl Executions {
    /// Journals the execution that `message` reports, unless it is journalled already.
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
            Err(defect) => {
                self.counters.refused += 1;
                self.counters.last_refused = Some((message.number.unwrap_or(0), defect));
                self.done();
                return Ok(Taken::Refused(defect));
            }
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
        match trades.publish(&event) {
            Ok(()) => {}
            Err(TradesError::NoRoom) => {
                self.counters.waited += u64::from(!self.waiting);
                self.waiting = true;
                return Ok(Taken::Later);
            }
            Err(broken) => return Err(broken),
        }
        self.remember(identity);
        self.counters.published += 1;
        self.counters.symbols_too_long += u64::from(instrument_is_blank(&event));
        Ok(self.done())
    }

    /// Remembers the identity of an event that the journal holds.
    pub fn remember(&mut self, identity: Identity) {
        if !self.known.insert(identity) {
            return;
        }
        if self.order.len() == REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.order.push_back(identity);
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
    }
}

/// What a journal tells its next writer: which executions it holds and where the venue is to go on.
#[derive(Debug, Default)]
pub struct Resume {
    executions: Executions,
    last: Option<(u64, Time)>,
}

impl Resume {
    /// Takes the next event of the journal's tail, in order.
    pub fn observe(&mut self, event: TradeEventRef<'_>) {
        let (trade_date, execution, sequence, time) = match event {
            TradeEventRef::Fill(e) => (e.trade_date, e.execution, e.venue_sequence, e.receive_time),
            TradeEventRef::OrderUpdate(e) => (e.trade_date, e.execution, e.venue_sequence, e.receive_time),
            TradeEventRef::FillCorrection(e) => (e.trade_date, e.execution, e.venue_sequence, e.receive_time),
            TradeEventRef::FillBust(e) => (e.trade_date, e.execution, e.venue_sequence, e.receive_time),
        };
        self.executions.remember(Identity { trade_date, execution });
        self.last = Some((sequence, time));
    }

    /// The number to expect next from the venue: after the last execution, or 1 where there is none or where both sides
    /// began again after it. Too low a number is harmless, since known executions are dropped.
    pub fn next_inbound(&self, restarted: Time) -> u64 {
        match self.last {
            Some((sequence, time)) if time > restarted => sequence.saturating_add(1),
            _ => 1,
        }
    }

    /// The executions that the journal holds.
    pub fn into_executions(self) -> Executions {
        self.executions
    }
}
