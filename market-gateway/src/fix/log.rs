//! FIX message logs as a source: the execution reports of a recorded drop copy, journalled like live ones.
//!
//! A log holds messages one after the other, each on a line of its own or not, with whatever a logger writes between
//! them. Fields end with SOH or, in a log made for reading, with `|`; the first message shows which. What holds no
//! message is refused before anything is played.

use std::{
    fmt,
    io::{self, ErrorKind, Read},
    ops::Range,
};

use bus::event::Time;

use super::{
    executions::{ExecutionCounters, Executions, Resume, Taken, Trades, TradesError},
    framing::{Framer, GarbledCounters, MAX_VERSION, SOH, START},
    message::Message,
    numbers::Names,
    writer::VERSION,
};

/// Gaps that are listed; further ones are only counted.
const MAX_GAPS: usize = 1_024;

/// What one [`step`](LogReplay::step) did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The next message is the first execution report, which says whose [session](LogReplay::session) the log holds.
    Begins,
    /// A message is dealt with.
    Message,
    /// `trades` has no room: try again.
    Waiting,
    /// The log is read.
    End,
}

/// Why a replay ends early.
#[derive(Debug)]
pub enum LogError {
    /// The log cannot be read.
    Read(io::Error),
    /// It holds no message.
    Empty,
    /// `trades` takes nothing any more.
    Trades(TradesError),
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(error) => write!(f, "cannot read: message log ({error}); mend the file"),
            Self::Empty => {
                f.write_str("no FIX message: message log; name one whose fields end with SOH or '|'")
            }
            Self::Trades(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for LogError {}

impl From<TradesError> for LogError {
    fn from(error: TradesError) -> Self {
        Self::Trades(error)
    }
}

/// What a log held.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogSummary {
    /// Messages, of both sides.
    pub messages: u64,
    /// Messages of another version than FIX.4.4: not used.
    pub other_versions: u64,
    /// Execution reports of another session than the first one's: not used, since ExecIDs are a session's own.
    pub other_sessions: u64,
    /// Bytes at the end that are no whole message.
    pub truncated: usize,
    /// Garbled messages after the last good one: no later number shows what they were.
    pub garbled_at_end: u64,
    /// What became of the executions.
    pub executions: ExecutionCounters,
    /// What was no message.
    pub garbled: GarbledCounters,
    /// Numbers of the session that the log does not hold.
    pub missing: Missing,
}

/// A log from its first message on.
#[derive(Debug)]
pub struct Log<R> {
    source: R,
    framer: Framer,
    delimiter: Option<u8>,
}

impl<R: Read> Log<R> {
    /// The log in `source`, read up to its first message.
    ///
    /// # Errors
    /// It cannot be read, or holds no message.
    pub fn open(source: R) -> Result<Self, LogError> {
        let mut log = Self { source, framer: Framer::default(), delimiter: None };
        if log.reaches_message().map_err(LogError::Read)? { Ok(log) } else { Err(LogError::Empty) }
    }

    /// Reads on until a whole message is at hand; `false` at the end.
    fn reaches_message(&mut self) -> io::Result<bool> {
        while self.framer.message().is_none() {
            if !self.fill()? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Reads on; `false` at the end.
    fn fill(&mut self) -> io::Result<bool> {
        let room = self.framer.room();
        let count = loop {
            match self.source.read(room) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        if self.delimiter == Some(b'|') {
            to_soh(&mut room[..count]);
        }
        self.framer.filled(count);
        if self.delimiter.is_none() {
            let unread = self.framer.unread();
            self.delimiter = delimiter(unread);
            if self.delimiter == Some(b'|') {
                to_soh(unread);
            }
        }
        Ok(count > 0)
    }
}

/// Plays a log into `trades`.
#[derive(Debug)]
pub struct LogReplay<R> {
    log: Log<R>,
    executions: Executions,
    session: Option<Numbering>,
    /// The message at hand is counted; it may come again.
    counted: bool,
    /// Garbled messages before the last good one.
    garbled_before: u64,
    summary: LogSummary,
}

impl<R: Read> LogReplay<R> {
    /// Plays `log` into a journal whose tail `resume` has observed.
    pub fn new(log: Log<R>, resume: Resume) -> Self {
        let mut executions = resume.into_executions(Time(0));
        // A log may begin anywhere, and repeat what it likes: its numbers do not tell what is journalled.
        executions.distrust_numbers();
        Self {
            log,
            executions,
            session: None,
            counted: false,
            garbled_before: 0,
            summary: LogSummary::default(),
        }
    }

    /// Deals with the next message.
    ///
    /// # Errors
    /// The log cannot be read, or `trades` is broken.
    pub fn step(&mut self, trades: &mut impl Trades) -> Result<Step, LogError> {
        if !self.log.reaches_message().map_err(LogError::Read)? {
            let unread = self.log.framer.unread();
            self.summary.truncated = unread.iter().filter(|b| !b.is_ascii_whitespace()).count();
            self.summary.garbled_at_end = self.log.framer.garbled().messages() - self.garbled_before;
            return Ok(Step::End);
        }
        self.garbled_before = self.log.framer.garbled().messages();
        let Some(message) = self.log.framer.message() else { return Ok(Step::End) };
        let length = message.length();
        let is_report = message.version == VERSION && message.kind == b"8";
        if is_report && self.session.is_none() {
            self.session = Some(Numbering::of(&message));
            return Ok(Step::Begins);
        }
        if !self.counted {
            self.counted = true;
            self.summary.messages += 1;
            self.summary.other_versions += u64::from(message.version != VERSION);
            if let Some(session) = &mut self.session {
                self.summary.other_sessions += u64::from(is_report && !session.owns(&message));
                session.observe(&message);
            }
        }
        let ours = is_report && self.session.as_ref().is_some_and(|session| session.owns(&message));
        // When the log was received is not known: 0.
        if ours && self.executions.take(&message, Time(0), trades)? == Taken::Later {
            return Ok(Step::Waiting);
        }
        self.log.framer.consume(length);
        self.counted = false;
        Ok(Step::Message)
    }

    /// The session that the log holds, once it has [begun](Step::Begins).
    pub fn session(&self) -> Option<Names> {
        self.session.as_ref().map(|session| Names::new(&session.target, &session.sender))
    }

    /// What the log has held so far.
    pub fn summary(&self) -> LogSummary {
        LogSummary {
            executions: self.executions.counters().clone(),
            garbled: self.log.framer.garbled(),
            missing: self.session.as_ref().map_or_else(Missing::default, |session| session.missing.clone()),
            ..self.summary.clone()
        }
    }
}

/// What ends the BeginString of the first message. A logger's own words about FIX have no such end.
fn delimiter(bytes: &[u8]) -> Option<u8> {
    let starts = bytes.windows(START.len()).enumerate().filter(|(_, window)| *window == START);
    let ends = |at: usize| bytes[at..].iter().take(MAX_VERSION).copied().find(|b| matches!(b, b'|' | &SOH));
    starts.map(|(at, _)| at).find_map(ends)
}

fn to_soh(bytes: &mut [u8]) {
    for byte in bytes.iter_mut().filter(|byte| **byte == b'|') {
        *byte = SOH;
    }
}

/// Numbers that never came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Missing {
    /// Ranges, at most 1,024.
    pub ranges: Vec<Range<u64>>,
    /// Numbers missing beyond those listed.
    pub unlisted: u64,
    /// Numbers that were missing and came later.
    pub recovered: u64,
}

impl Missing {
    fn add(&mut self, range: Range<u64>) {
        if range.is_empty() {
        } else if self.ranges.len() < MAX_GAPS {
            self.ranges.push(range);
        } else {
            self.unlisted = self.unlisted.saturating_add(range.end - range.start);
        }
    }

    /// What is in `found` came after all.
    fn remove(&mut self, found: &Range<u64>) {
        for gap in std::mem::take(&mut self.ranges) {
            let overlap = gap.start.max(found.start)..gap.end.min(found.end);
            if overlap.is_empty() {
                self.add(gap);
            } else {
                self.recovered += overlap.end - overlap.start;
                self.add(gap.start..overlap.start);
                self.add(overlap.end..gap.end);
            }
        }
    }
}

/// Follows the numbers of the one who sends execution reports.
#[derive(Debug)]
struct Numbering {
    sender: Vec<u8>,
    target: Vec<u8>,
    next: u64,
    missing: Missing,
}

impl Numbering {
    fn of(message: &Message<'_>) -> Self {
        Self {
            sender: message.sender.to_vec(),
            target: message.target.to_vec(),
            next: message.number.unwrap_or(0),
            missing: Missing::default(),
        }
    }

    fn owns(&self, message: &Message<'_>) -> bool {
        message.version == VERSION && message.sender == self.sender && message.target == self.target
    }

    fn observe(&mut self, message: &Message<'_>) {
        let Some(number) = message.number.filter(|_| self.owns(message)) else { return };
        let after = match message.kind {
            b"4" => message.number_of(36).unwrap_or(number).max(number),
            _ => number.saturating_add(1),
        };
        if message.kind == b"4" && !message.is_set(123) {
            self.missing.add(self.next..after);
            self.next = after;
        } else if number < self.next && message.possible_duplicate {
            self.missing.remove(&(number..after));
            self.next = self.next.max(after);
        } else {
            // A lower number that is no repetition begins a new count.
            self.missing.add(self.next..number);
            self.next = after;
        }
    }
}

#[cfg(test)]
mod tests {
    use bus::event::trade::TradeEvent;

    use super::*;
    use crate::fix::writer::{Header, Writer};

    #[derive(Default)]
    struct Published(Vec<u64>);

    impl Trades for Published {
        fn publish(&mut self, event: &TradeEvent) -> Result<(), TradesError> {
            if let TradeEvent::Fill(fill) = event {
                self.0.push(fill.venue_sequence);
            }
            Ok(())
        }
    }

    fn fill(number: u64, original: Option<Time>) -> Vec<u8> {
        let mut out = Vec::new();
        let header = Header { kind: b"8", sender: b"V", target: b"U", number, time: Time(0), original };
        let mut writer = Writer::new(&mut out, &header);
        writer.number(37, 1).text(17, format!("E{number}").as_bytes()).text(150, b"F").text(39, b"2");
        writer.text(55, b"ESZ6").text(54, b"1").number(31, 5).number(32, 1).number(151, 0).number(14, 1);
        writer.finish();
        out
    }

    fn play(log: &[u8]) -> (Vec<u64>, LogSummary) {
        let mut trades = Published::default();
        let mut replay = LogReplay::new(Log::open(log).unwrap(), Resume::default());
        while replay.step(&mut trades).unwrap() != Step::End {}
        (trades.0, replay.summary())
    }

    #[test]
    fn either_delimiter_and_any_prefix() {
        let log: Vec<u8> = (1..=3).flat_map(|number| fill(number, None)).collect();
        assert_eq!(play(&log).0, [1, 2, 3]);
        let mut readable = Vec::new();
        for number in 1..=3 {
            readable.extend_from_slice(b"2026-01-02 03:04:05 recv ");
            readable.extend(fill(number, None).iter().map(|&b| if b == SOH { b'|' } else { b }));
            readable.extend_from_slice(b"\r\n");
        }
        let (published, summary) = play(&readable);
        assert_eq!(published, [1, 2, 3]);
        assert_eq!((summary.messages, summary.garbled.messages(), summary.truncated), (3, 0, 0));
    }

    #[test]
    fn a_truncated_end_is_named() {
        let mut log = fill(1, None);
        log.extend_from_slice(&fill(2, None)[..30]);
        let (published, summary) = play(&log);
        assert_eq!(published, [1]);
        assert_eq!(summary.truncated, 30);
    }

    #[test]
    fn missing_numbers_are_named_until_they_come() {
        let log =
            [fill(1, None), fill(5, None), fill(3, Some(Time(0))), fill(6, None), fill(6, Some(Time(0)))];
        let (published, summary) = play(&log.concat());
        assert_eq!(published, [1, 5, 3, 6]);
        assert_eq!(summary.missing.ranges, [2..3, 4..5]);
        assert_eq!(summary.missing.recovered, 1);
        assert_eq!(summary.executions.repeated, 1);
    }

    #[test]
    fn garbled_messages_and_other_sessions_are_counted() {
        let mut garbled = fill(2, None);
        let at = garbled.len() - 10;
        garbled[at] ^= 1;
        let other = String::from_utf8(fill(9, None)).unwrap().replace("49=V", "49=W");
        let sum = crate::fix::framing::checksum(&other.as_bytes()[..other.len() - 7]);
        let other = [&other.as_bytes()[..other.len() - 4], &sum, &[SOH]].concat();
        let (published, summary) = play(&[fill(1, None), garbled, other, fill(3, None)].concat());
        assert_eq!(published, [1, 3]);
        assert_eq!(summary.garbled.checksums, 1);
        assert_eq!(summary.other_sessions, 1);
        assert_eq!(summary.missing.ranges, [Range { start: 2, end: 3 }]);
    }
}
