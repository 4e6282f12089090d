//! The FIX 4.4 session of an initiator that only listens, as a state machine: messages and times in, bytes and
//! verdicts out. It does no I/O and knows no clock.
//!
//! ```text
//!             start             Logon               logout, or theirs
//!   closed ──────────► logon sent ──────► active ──────────────────► logout sent ──► closed
//! ```
//!
//! Nothing is handed out of order and nothing is queued: a message with too high a number is dropped, and everything
//! from the first missing one on is asked for once. While that request is pending, further high numbers only move its
//! target; it is renewed where what comes shows another hole, or where nothing came for a heartbeat interval.
//!
//! The next inbound number moves only when the application [accepts](Session::accept) a message, so a message that
//! nobody has room for is offered again with its next delivery. Our own messages are never worth repeating: every
//! ResendRequest is answered with one gap fill.

use std::time::Duration;

use bus::event::Time;

use super::{
    message::{Defect, Fault, Message},
    numbers::{Numbers, Outbound},
    reason::{Reason, printable},
    resend::Resend,
    writer::{Header, VERSION, Writer},
};

/// How long the peer may take to answer a Logon or a Logout.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the peer must leave our numbers in peace after it began again at 1: each time is a durable write.
const RESET_PAUSE: Duration = Duration::from_secs(1);
/// How often one and the same range is asked for before the connection is given up.
const MAX_ATTEMPTS: u32 = 3;
/// Highest number that a SequenceReset may lead to: no session gets there, and counting on from it cannot overflow.
const MAX_NUMBER: u64 = 1_000_000_000_000_000_000;

/// Who talks to whom, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionConfig {
    /// Our SenderCompID (49).
    pub sender: String,
    /// The venue's CompID (56).
    pub target: String,
    /// HeartBtInt (108), whole seconds, at least one.
    pub heartbeat: Duration,
    /// ResetSeqNumFlag (141): both sides begin again at 1 with the first Logon that the venue answers; later connections
    /// go on from there. For a venue that has begun again by itself. What it had sent that we lack, it may never repeat.
    pub reset_on_logon: bool,
}

/// What to do with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The session has dealt with it.
    Done,
    /// It is the application's, and next in order: [accept](Session::accept) or [reject](Session::reject) it, or
    /// offer it again later.
    Application,
}

/// What happened in a session so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SessionCounters {
    /// Logons that the peer answered.
    pub logons: u64,
    /// Messages with a number lower than expected that were not marked as repetitions; each ended its connection.
    pub too_low: u64,
    /// Messages that came ahead of a missing one; dropped, and asked for.
    pub too_high: u64,
    /// Messages marked PossDup whose number we already have; dropped.
    pub duplicates: u64,
    /// Resend requests sent.
    pub resend_requests: u64,
    /// Resend requests received, each answered with a gap fill.
    pub resend_requests_received: u64,
    /// Gap fills received.
    pub gap_fills: u64,
    /// SequenceReset in reset mode, and Logons that began again at 1.
    pub resets: u64,
    /// Numbers that the peer's SequenceReset in reset mode jumped over: what they were, nobody knows.
    pub lost_by_reset: u64,
    /// Messages rejected.
    pub rejects: u64,
    /// Messages of ours that the peer rejected.
    pub rejects_received: u64,
    /// Test requests sent, each after silence.
    pub test_requests: u64,
    /// Messages with wrong CompIDs or version; each ended its connection.
    pub foreign: u64,
    /// Connections that ended for other reasons than our own logout.
    pub disconnects: u64,
    /// Number of the message rejected last, and what was wrong with it.
    pub last_reject: Option<(u64, Defect)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed,
    LogonSent(Time),
    Active,
    LogoutSent(Time),
}

/// The session. See the module for how it is driven.
#[derive(Debug)]
pub struct Session<N> {
    config: SessionConfig,
    state: State,
    numbers: Outbound<N>,
    expected: u64,
    resend: Option<Resend>,
    last_sent: Time,
    last_received: Time,
    test_request: Option<Time>,
    /// When the peer last began again at 1.
    reset_received: Option<Time>,
    /// Our Logon that begins again at 1 is not answered yet; nor may the answer be answered.
    reset_sent: bool,
    counters: SessionCounters,
    output: Vec<u8>,
}

impl<N: Numbers> Session<N> {
    /// A session that expects `next_inbound` from the venue: the last durable execution's number plus one, else 1.
    ///
    /// # Panics
    /// If the heartbeat interval is under a second or `next_inbound` is 0.
    pub fn new(config: SessionConfig, next_inbound: u64, numbers: N) -> Self {
        assert!(config.heartbeat >= Duration::from_secs(1), "HeartBtInt is whole seconds, at least one");
        assert!(next_inbound > 0, "FIX counts from 1");
        Self {
            config,
            state: State::Closed,
            numbers: Outbound::new(numbers),
            expected: next_inbound,
            resend: None,
            last_sent: Time(0),
            last_received: Time(0),
            test_request: None,
            reset_received: None,
            reset_sent: false,
            counters: SessionCounters::default(),
            output: Vec::new(),
        }
    }

    /// A connection is there: writes the Logon.
    ///
    /// # Errors
    /// Our numbers cannot be reserved; close the connection.
    pub fn start(&mut self, now: Time) -> Result<(), Reason> {
        self.output.clear();
        self.resend = None;
        self.test_request = None;
        self.reset_sent = false;
        self.last_received = now;
        self.state = State::LogonSent(now);
        let reset = self.config.reset_on_logon && self.counters.logons == 0;
        if reset {
            self.restart(now)?;
        }
        self.send_logon(now, reset)
    }

    /// The connection is gone, for this reason.
    pub fn closed(&mut self, reason: &Reason) {
        if !matches!(reason, Reason::Finished) {
            self.counters.disconnects += 1;
        }
        self.state = State::Closed;
    }

    /// Says goodbye. The connection stays until the peer answers or ten seconds have passed.
    ///
    /// # Errors
    /// Our numbers cannot be reserved, or nobody was logged on: close the connection.
    pub fn logout(&mut self, now: Time) -> Result<(), Reason> {
        match self.state {
            State::Active => {
                self.state = State::LogoutSent(now);
                self.send_text(now, b"5", 58, b"done")
            }
            State::LogoutSent(_) => Ok(()),
            State::Closed | State::LogonSent(_) => Err(Reason::Finished),
        }
    }

    /// Takes the next message of the connection. An `Application` verdict has changed nothing yet.
    ///
    /// # Errors
    /// The connection is to be closed once the output is sent.
    pub fn receive(&mut self, now: Time, message: &Message<'_>) -> Result<Verdict, Reason> {
        self.last_received = now;
        self.test_request = None;
        if message.version != VERSION {
            self.counters.foreign += 1;
            return Err(Reason::WrongVersion(printable(message.version)));
        }
        let Some(number) = message.number else {
            return self.give_up(now, Reason::NoNumber);
        };
        if message.sender != self.config.target.as_bytes() || message.target != self.config.sender.as_bytes()
        {
            return self.refuse_comp_id(now, number, message);
        }
        match self.state {
            State::Closed => Ok(Verdict::Done),
            State::LogonSent(_) => self.receive_first(now, number, message),
            State::Active | State::LogoutSent(_) => self.receive_next(now, number, message),
        }
    }

    /// The application has taken the message that was offered: its number is used.
    pub fn accept(&mut self, now: Time) {
        self.advance(now, self.expected.saturating_add(1));
    }

    /// The application refuses the message that was offered, for good.
    ///
    /// # Errors
    /// Our numbers cannot be reserved; close the connection.
    pub fn reject(&mut self, now: Time, message: &Message<'_>, defect: Defect) -> Result<(), Reason> {
        self.send_reject(now, self.expected, message, defect)?;
        self.accept(now);
        Ok(())
    }

    /// Time has passed: heartbeats, test requests, resend requests that brought nothing.
    ///
    /// # Errors
    /// The connection is to be closed once the output is sent.
    pub fn tick(&mut self, now: Time) -> Result<(), Reason> {
        match self.state {
            State::Closed => return Ok(()),
            State::LogonSent(since) if passed(now, since, ANSWER_TIMEOUT) => {
                return Err(Reason::LogonTimeout);
            }
            State::LogoutSent(since) if passed(now, since, ANSWER_TIMEOUT) => return Err(Reason::Finished),
            State::LogonSent(_) => return Ok(()),
            State::Active | State::LogoutSent(_) => {}
        }
        if passed(now, self.last_sent, self.config.heartbeat) {
            self.send(now, b"0", |_| {})?;
        }
        let silence = self.config.heartbeat + self.config.heartbeat / 5;
        match self.test_request {
            Some(since) if passed(now, since, silence) => return Err(Reason::Silent),
            None if passed(now, self.last_received, silence) => {
                self.test_request = Some(now);
                self.counters.test_requests += 1;
                self.send_text(now, b"1", 112, b"are you there")?;
            }
            _ => {}
        }
        match self.resend {
            Some(resend) if passed(now, resend.time, self.config.heartbeat) => {
                self.ask_again(now, resend.target)
            }
            _ => Ok(()),
        }
    }

    /// Bytes to send.
    pub fn output(&self) -> &[u8] {
        &self.output
    }

    /// The first `count` bytes of the output are sent.
    pub fn sent(&mut self, count: usize) {
        self.output.drain(..count);
    }

    /// Whether both sides are logged on.
    pub fn is_active(&self) -> bool {
        self.state == State::Active
    }

    /// The next number expected from the venue.
    pub fn next_inbound(&self) -> u64 {
        self.expected
    }

    /// When both sides last began again at 1; 0 for never.
    pub fn restarted(&self) -> Time {
        self.numbers.restarted()
    }

    /// What happened so far.
    pub fn counters(&self) -> SessionCounters {
        self.counters
    }

    /// Deals with what comes while our Logon is unanswered.
    fn receive_first(&mut self, now: Time, number: u64, message: &Message<'_>) -> Result<Verdict, Reason> {
        match message.kind {
            b"A" => self.receive_logon(now, number, message),
            b"5" => Err(Reason::LoggedOut(text_of(message))),
            kind => self.give_up(now, Reason::NotLoggedOn(printable(kind))),
        }
    }

    fn receive_logon(&mut self, now: Time, number: u64, message: &Message<'_>) -> Result<Verdict, Reason> {
        if message.get(98).is_some_and(|method| method != b"0") {
            return self.give_up(now, Reason::Encryption);
        }
        if message.is_set(141) && number == 1 {
            if self.reset_sent {
                self.reset_sent = false;
                self.expected = 1;
            } else if self.reset_received.is_some_and(|since| !passed(now, since, RESET_PAUSE)) {
                return self.give_up(now, Reason::ResetTooOften);
            } else {
                self.reset_received = Some(now);
                self.restart(now)?;
                self.send_logon(now, true)?;
            }
        } else if number < self.expected {
            return self.too_low(now, number, message);
        }
        self.state = State::Active;
        self.counters.logons += 1;
        if number > self.expected {
            return self.too_high(now, number, message);
        }
        self.accept(now);
        Ok(Verdict::Done)
    }

    /// Deals with what comes after the Logon.
    fn receive_next(&mut self, now: Time, number: u64, message: &Message<'_>) -> Result<Verdict, Reason> {
        match message.kind {
            b"5" => return self.receive_logout(now, message),
            b"4" if !message.is_set(123) => return self.reset_sequence(now, number, message),
            b"A" if message.is_set(141) && number == 1 => return self.receive_logon(now, number, message),
            b"2" if number > self.expected => self.answer_resend(now, number, message)?,
            _ => {}
        }
        if number < self.expected {
            return self.too_low(now, number, message);
        }
        if number > self.expected {
            return self.too_high(now, number, message);
        }
        if let Some(resend) = &mut self.resend {
            resend.time = now;
        }
        // An execution report that is malformed is the application's, which keeps a trace of it.
        if let Some(defect) = message.defect.filter(|_| message.kind != b"8") {
            self.reject(now, message, defect)?;
            return Ok(Verdict::Done);
        }
        self.receive_in_order(now, number, message)
    }

    fn receive_in_order(&mut self, now: Time, number: u64, message: &Message<'_>) -> Result<Verdict, Reason> {
        self.reset_sent = false;
        match message.kind {
            b"0" => {}
            b"1" => match message.get(112) {
                Some(id) => self.send_text(now, b"0", 112, id)?,
                None => self.send_reject(now, number, message, Defect::new(112, Fault::Missing))?,
            },
            b"2" => self.answer_resend(now, number, message)?,
            b"3" => self.counters.rejects_received += 1,
            b"4" => return self.fill_gap(now, number, message),
            b"A" => self.send_reject(now, number, message, Defect::new(35, Fault::MessageType))?,
            _ => return Ok(Verdict::Application),
        }
        self.accept(now);
        Ok(Verdict::Done)
    }

    fn receive_logout(&mut self, now: Time, message: &Message<'_>) -> Result<Verdict, Reason> {
        if matches!(self.state, State::LogoutSent(_)) {
            return Err(Reason::Finished);
        }
        self.send(now, b"5", |_| {})?;
        Err(Reason::LoggedOut(text_of(message)))
    }

    /// SequenceReset in gap-fill mode, in order: the numbers up to NewSeqNo hold nothing for us.
    fn fill_gap(&mut self, now: Time, number: u64, message: &Message<'_>) -> Result<Verdict, Reason> {
        match message.number_of(36) {
            Ok(next) if next > number && next <= MAX_NUMBER => {
                self.counters.gap_fills += 1;
                self.advance(now, next);
            }
            Ok(_) => self.reject(now, message, Defect::new(36, Fault::Value))?,
            Err(defect) => self.reject(now, message, defect)?,
        }
        Ok(Verdict::Done)
    }

    /// SequenceReset in reset mode: whatever its own number, the next one is NewSeqNo, and what was missing is lost.
    fn reset_sequence(&mut self, now: Time, number: u64, message: &Message<'_>) -> Result<Verdict, Reason> {
        match message.number_of(36) {
            Ok(next) if next >= self.expected && next <= MAX_NUMBER => {
                self.counters.resets += 1;
                let lost = next - self.expected;
                self.counters.lost_by_reset = self.counters.lost_by_reset.saturating_add(lost);
                self.resend = None;
                self.advance(now, next);
            }
            Ok(_) => self.send_reject(now, number, message, Defect::new(36, Fault::Value))?,
            Err(defect) => self.send_reject(now, number, message, defect)?,
        }
        Ok(Verdict::Done)
    }

    fn too_low(&mut self, now: Time, received: u64, message: &Message<'_>) -> Result<Verdict, Reason> {
        if message.possible_duplicate {
            self.counters.duplicates += 1;
            return Ok(Verdict::Done);
        }
        self.counters.too_low += 1;
        self.give_up(now, Reason::TooLow { expected: self.expected, received })
    }

    /// Drops a message that came ahead of a missing one, and sees to it that the missing one is asked for.
    fn too_high(&mut self, now: Time, number: u64, message: &Message<'_>) -> Result<Verdict, Reason> {
        self.counters.too_high += 1;
        match &mut self.resend {
            Some(pending) if !pending.is_to_be_renewed(self.expected, message.possible_duplicate) => {
                pending.target = pending.target.max(number);
            }
            _ => self.ask(now, number, 1)?,
        }
        Ok(Verdict::Done)
    }

    /// Asks for everything from the first missing message on: what was dropped behind it has to come again as well.
    fn ask(&mut self, now: Time, target: u64, attempts: u32) -> Result<(), Reason> {
        let target = self.resend.map_or(target, |pending| pending.target.max(target));
        self.resend = Some(Resend { from: self.expected, asked: target, target, time: now, attempts });
        self.counters.resend_requests += 1;
        let from = self.expected;
        self.send(now, b"2", |writer| {
            writer.number(7, from).number(16, 0);
        })
    }

    fn ask_again(&mut self, now: Time, target: u64) -> Result<(), Reason> {
        match self.resend {
            Some(pending) if pending.from == self.expected && pending.attempts >= MAX_ATTEMPTS => {
                self.give_up(now, Reason::NoProgress(self.expected)).map(|_| ())
            }
            Some(pending) if pending.from == self.expected => self.ask(now, target, pending.attempts + 1),
            _ => self.ask(now, target, 1),
        }
    }

    /// Answers a ResendRequest: we have sent nothing that is worth repeating.
    fn answer_resend(&mut self, now: Time, number: u64, message: &Message<'_>) -> Result<(), Reason> {
        let next = self.numbers.next();
        let range = message.number_of(7).and_then(|from| Ok((from, message.number_of(16)?)));
        match range {
            Err(defect) => self.send_reject(now, number, message, defect),
            Ok((from, _)) if from == 0 || from >= next => {
                self.send_reject(now, number, message, Defect::new(7, Fault::Value))
            }
            Ok((from, to)) if to != 0 && to < from => {
                self.send_reject(now, number, message, Defect::new(16, Fault::Value))
            }
            Ok((from, to)) => {
                self.counters.resend_requests_received += 1;
                let last = if to == 0 { next - 1 } else { to.min(next - 1) };
                self.write(now, b"4", from, true, |writer| {
                    writer.text(123, b"Y").number(36, last + 1);
                });
                Ok(())
            }
        }
    }

    fn refuse_comp_id(&mut self, now: Time, number: u64, message: &Message<'_>) -> Result<Verdict, Reason> {
        self.counters.foreign += 1;
        let ids = format!("from {:?} to {:?}", printable(message.sender), printable(message.target));
        let tag = if message.sender == self.config.target.as_bytes() { 56 } else { 49 };
        self.send_reject(now, number, message, Defect::new(tag, Fault::CompId))?;
        self.give_up(now, Reason::WrongCompId(ids))
    }

    /// Logs out, saying why.
    fn give_up(&mut self, now: Time, reason: Reason) -> Result<Verdict, Reason> {
        self.send_text(now, b"5", 58, reason.to_string().as_bytes())?;
        Err(reason)
    }

    fn restart(&mut self, now: Time) -> Result<(), Reason> {
        self.numbers.restart(now)?;
        self.counters.resets += 1;
        self.expected = 1;
        self.resend = None;
        Ok(())
    }

    fn advance(&mut self, now: Time, next: u64) {
        self.expected = next;
        match &mut self.resend {
            Some(resend) if next <= resend.target => resend.time = now,
            _ => self.resend = None,
        }
    }

    fn send_logon(&mut self, now: Time, reset: bool) -> Result<(), Reason> {
        let heartbeat = self.config.heartbeat.as_secs();
        self.reset_sent = reset;
        self.send(now, b"A", |writer| {
            writer.number(98, 0).number(108, heartbeat);
            if reset {
                writer.text(141, b"Y");
            }
        })
    }

    fn send_reject(
        &mut self,
        now: Time,
        number: u64,
        message: &Message<'_>,
        defect: Defect,
    ) -> Result<(), Reason> {
        self.counters.rejects += 1;
        self.counters.last_reject = Some((number, defect));
        self.send(now, b"3", |writer| {
            writer.number(45, number);
            if defect.tag != 0 {
                writer.number(371, defect.tag.into());
            }
            writer.text(372, &message.kind[..message.kind.len().min(8)]);
            writer.number(373, defect.fault as u64).text(58, defect.to_string().as_bytes());
        })
    }

    fn send_text(&mut self, now: Time, kind: &[u8], tag: u32, text: &[u8]) -> Result<(), Reason> {
        self.send(now, kind, |writer| {
            writer.text(tag, text);
        })
    }

    fn send(&mut self, now: Time, kind: &[u8], fill: impl FnOnce(&mut Writer<'_>)) -> Result<(), Reason> {
        let number = self.numbers.take()?;
        self.write(now, kind, number, false, fill);
        Ok(())
    }

    fn write(
        &mut self,
        now: Time,
        kind: &[u8],
        number: u64,
        again: bool,
        fill: impl FnOnce(&mut Writer<'_>),
    ) {
        let header = Header {
            kind,
            sender: self.config.sender.as_bytes(),
            target: self.config.target.as_bytes(),
            number,
            time: now,
            original: again.then_some(now),
        };
        let mut writer = Writer::new(&mut self.output, &header);
        fill(&mut writer);
        writer.finish();
        self.last_sent = now;
    }
}

fn passed(now: Time, since: Time, duration: Duration) -> bool {
    u128::from(now.0.saturating_sub(since.0)) >= duration.as_nanos()
}

/// The Text (58) of a message.
fn text_of(message: &Message<'_>) -> String {
    printable(message.get(58).unwrap_or_default())
}
