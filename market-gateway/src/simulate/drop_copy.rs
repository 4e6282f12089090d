//! The exchange's side of the drop copy: a FIX 4.4 acceptor that reports simulated fills and can always repeat them.
//!
//! It stores no message. Execution n has MsgSeqNum n × 4096 in every session, so a resend is a recomputation and a
//! disturbed run carries the same numbers as an undisturbed one. The numbers between two executions are for the
//! session's own messages; those that are left over are gap-filled before the next execution. What a new life must know
//! of the old one is only which of these were used: they are reserved in blocks, as the other side does with its own.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use bus::event::{Side, Time};

use super::Execution;
use crate::fix::{
    connection::is_temporary,
    framing::Framer,
    message::Message,
    numbers::{Numbers, Reserved},
    writer::{Header, VERSION, Writer},
};

/// Numbers from one execution to the next.
const STRIDE: u64 = 4_096;
/// Numbers reserved at once for the session's own messages.
const BLOCK: u64 = 64;
const MAX_CONNECTIONS: usize = 8;
const MAX_SESSIONS: usize = 16;
/// Messages taken from one connection in one duty cycle.
const BATCH: usize = 64;
/// Output beyond which nothing is added: the peer has to read first.
const OUTPUT_LIMIT: usize = 64 * 1024;

/// What happened so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DropCopyServerCounters {
    /// Logons accepted.
    pub logons: u64,
    /// Connections refused or dropped: too many, a wrong Logon, a broken rule.
    pub refused: u64,
    /// Executions sent for the first time in their session.
    pub sent: u64,
    /// Executions sent again on request.
    pub resent: u64,
    /// Resend requests sent for numbers that the peer jumped over.
    pub resend_requests: u64,
    /// Connections ended since all numbers up to the next execution were used up.
    pub exhausted: u64,
}

/// The acceptor.
pub struct DropCopyServer {
    listener: TcpListener,
    connections: Vec<Connection>,
    shared: Shared,
}

/// What all connections share.
struct Shared {
    comp_id: String,
    numbers: Box<dyn Numbers + Send>,
    executions: Box<dyn FnMut(u64) -> Option<Execution> + Send>,
    published: u64,
    sessions: Vec<Session>,
    counters: DropCopyServerCounters,
}

/// What outlives a connection: one for each SenderCompID.
#[derive(Debug)]
struct Session {
    peer: Vec<u8>,
    /// Our next number.
    next: u64,
    /// Executions sent.
    sent: u64,
    /// Executions up to this one may have been sent under other numbers, before the peer began again at 1.
    sent_before: u64,
    /// The peer's next number.
    expected: u64,
    connected: bool,
}

#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    framer: Framer,
    output: Vec<u8>,
    session: Option<usize>,
    heartbeat: Duration,
    last_sent: Time,
    last_received: Time,
    resend: Option<Resend>,
}

/// A ResendRequest that is being answered.
#[derive(Debug, Clone, Copy)]
struct Resend {
    next: u64,
    /// `None`: up to whatever is the last number when all before it is sent.
    last: Option<u64>,
}

/// The connection has ended, by whomever.
struct Ended;

impl DropCopyServer {
    /// An acceptor named `comp_id` on `listener`. `numbers` keeps what it reserves; `executions` gives execution n, from
    /// 1, whenever it is asked for, up to the last one published. Nothing is published yet.
    ///
    /// # Errors
    /// The listener cannot be made non-blocking.
    pub fn new(
        listener: TcpListener,
        comp_id: &str,
        numbers: impl Numbers + Send + 'static,
        executions: impl FnMut(u64) -> Option<Execution> + Send + 'static,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let shared = Shared {
            comp_id: comp_id.to_owned(),
            numbers: Box::new(numbers),
            executions: Box::new(executions),
            published: 0,
            sessions: Vec::new(),
            counters: DropCopyServerCounters::default(),
        };
        Ok(Self { listener, connections: Vec::new(), shared })
    }

    /// Where connections are accepted.
    ///
    /// # Errors
    /// What the system says of the listener.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Executions up to the one numbered `last` have happened. A new life must be told what the old one had published
    /// before it serves anybody.
    pub fn publish_up_to(&mut self, last: u64) {
        self.shared.published = self.shared.published.max(last);
    }

    /// One duty cycle: accepts, answers, reports. Returns how many messages were received and executions sent.
    pub fn do_work(&mut self, now: Time) -> usize {
        let mut work = self.accept(now);
        let shared = &mut self.shared;
        self.connections.retain_mut(|connection| match connection.serve(now, shared) {
            Ok(count) => {
                work += count;
                true
            }
            Err(Ended) => {
                // Why we end it is worth one attempt.
                let _ = connection.stream.write(&connection.output);
                if let Some(session) = connection.session {
                    shared.sessions[session].connected = false;
                }
                false
            }
        });
        work
    }

    /// What happened so far.
    pub fn counters(&self) -> DropCopyServerCounters {
        self.shared.counters
    }

    /// Executions that every session which is connected has been sent.
    pub fn delivered(&self) -> Option<u64> {
        self.shared.sessions.iter().filter(|session| session.connected).map(|session| session.sent).min()
    }

    fn accept(&mut self, now: Time) -> usize {
        match self.listener.accept() {
            Ok((stream, _)) if self.connections.len() < MAX_CONNECTIONS => {
                if stream.set_nonblocking(true).and_then(|()| stream.set_nodelay(true)).is_ok() {
                    self.connections.push(Connection::new(stream, now));
                }
                1
            }
            Ok(_) => {
                self.shared.counters.refused += 1;
                1
            }
            // Whatever else keeps a stranger from connecting is the stranger's matter; the next cycle tries again.
            Err(_) => 0,
        }
    }
}

impl Shared {
    /// The session of `peer`, whose Logon has `number` and `reset`; `None` where it cannot have one.
    fn open(&mut self, peer: &[u8], number: u64, reset: bool) -> Option<usize> {
        let index = match self.sessions.iter().position(|session| session.peer == peer) {
            Some(index) => index,
            None if self.sessions.len() < MAX_SESSIONS => {
                self.sessions.push(Session {
                    peer: peer.to_vec(),
                    next: (self.published * STRIDE + 1).max(self.numbers.reserved().next),
                    sent: self.published,
                    sent_before: 0,
                    expected: number,
                    connected: false,
                });
                self.sessions.len() - 1
            }
            None => return None,
        };
        let session = &mut self.sessions[index];
        if session.connected {
            return None;
        }
        if reset {
            session.sent_before = session.sent;
            (session.next, session.sent, session.expected) = (1, 0, number);
        }
        session.connected = true;
        Some(index)
    }

    fn header<'a>(&'a self, now: Time, session: usize, kind: &'a [u8], number: u64) -> Header<'a> {
        Header {
            kind,
            sender: self.comp_id.as_bytes(),
            target: &self.sessions[session].peer,
            number,
            time: now,
            original: None,
        }
    }

    /// The next number for a message of the session's own.
    fn take_number(&mut self, session: usize) -> Result<u64, Ended> {
        let session = &mut self.sessions[session];
        let number = session.next;
        if number >= (session.sent + 1) * STRIDE {
            self.counters.exhausted += 1;
            return Err(Ended);
        }
        let reserved = self.numbers.reserved();
        if number >= reserved.next {
            let block = Reserved { next: number + BLOCK, ..reserved };
            self.numbers.reserve(block).map_err(|_| Ended)?;
        }
        session.next += 1;
        Ok(number)
    }
}

impl Connection {
    fn new(stream: TcpStream, now: Time) -> Self {
        Self {
            stream,
            framer: Framer::default(),
            output: Vec::new(),
            session: None,
            heartbeat: Duration::from_secs(30),
            last_sent: now,
            last_received: now,
            resend: None,
        }
    }

    fn serve(&mut self, now: Time, shared: &mut Shared) -> Result<usize, Ended> {
        let mut work = 0;
        if self.output.len() < OUTPUT_LIMIT {
            work += self.receive(now, shared)?;
        }
        // Before the Logon the heartbeat interval is not agreed on yet; 30 seconds are assumed.
        if since(now, self.last_received) > 3 * self.heartbeat.as_nanos() {
            return Err(Ended);
        }
        if let Some(session) = self.session {
            work += self.repeat(now, session, shared);
            work += self.report(now, session, shared);
            self.keep_alive(now, session, shared)?;
        }
        self.flush()?;
        Ok(work)
    }

    fn receive(&mut self, now: Time, shared: &mut Shared) -> Result<usize, Ended> {
        let mut ended = false;
        if self.framer.message().is_none() {
            match self.stream.read(self.framer.room()) {
                Ok(0) => ended = true,
                Ok(count) => self.framer.filled(count),
                Err(error) if is_temporary(&error) => {}
                Err(_) => ended = true,
            }
        }
        // The framer is taken out for the loop, so that its message and the connection can be used together.
        let mut framer = std::mem::take(&mut self.framer);
        let mut result = Ok(());
        let mut count = 0;
        while count < BATCH && result.is_ok() {
            let Some(message) = framer.message() else { break };
            result = self.answer(now, &message, shared);
            let length = message.length();
            framer.consume(length);
            count += 1;
        }
        self.framer = framer;
        result?;
        if ended { Err(Ended) } else { Ok(count) }
    }

    fn answer(&mut self, now: Time, message: &Message<'_>, shared: &mut Shared) -> Result<(), Ended> {
        self.last_received = now;
        let number = message.number.filter(|_| message.version == VERSION).ok_or(Ended)?;
        if message.target != shared.comp_id.as_bytes() {
            shared.counters.refused += 1;
            return Err(Ended);
        }
        let Some(session) = self.session else { return self.log_on(now, number, message, shared) };
        match message.kind {
            b"1" => {
                let id = message.get(112).unwrap_or(b"?");
                self.send(now, session, shared, b"0", |writer| {
                    writer.text(112, id);
                })?;
            }
            b"2" => {
                let (Ok(from), Ok(to)) = (message.number_of(7), message.number_of(16)) else {
                    return Err(Ended);
                };
                let last = (to != 0).then_some(to);
                let last = last.filter(|&last| last < shared.sessions[session].next);
                self.resend = Some(Resend { next: from.max(1), last });
            }
            b"5" => {
                self.send(now, session, shared, b"5", |_| {})?;
                return Err(Ended);
            }
            _ => {}
        }
        let expected = &mut shared.sessions[session].expected;
        let next = match message.kind {
            b"4" => message.number_of(36).unwrap_or(number),
            _ => number.saturating_add(1),
        };
        *expected = next.max(*expected);
        Ok(())
    }

    fn log_on(
        &mut self,
        now: Time,
        number: u64,
        message: &Message<'_>,
        shared: &mut Shared,
    ) -> Result<(), Ended> {
        let heartbeat = message.number_of(108).ok().filter(|seconds| (1..=3_600).contains(seconds));
        let reset = message.is_set(141);
        let session = heartbeat
            .filter(|_| message.kind == b"A" && (!reset || number == 1))
            .and_then(|_| shared.open(message.sender, number, reset));
        let (Some(heartbeat), Some(session)) = (heartbeat, session) else {
            shared.counters.refused += 1;
            return Err(Ended);
        };
        self.session = Some(session);
        self.heartbeat = Duration::from_secs(heartbeat);
        let expected = shared.sessions[session].expected;
        if number < expected {
            shared.counters.refused += 1;
            let text = format!("MsgSeqNum too low, expecting {expected} but received {number}");
            self.send(now, session, shared, b"5", |writer| {
                writer.text(58, text.as_bytes());
            })?;
            return Err(Ended);
        }
        shared.counters.logons += 1;
        self.send(now, session, shared, b"A", |writer| {
            writer.number(98, 0).number(108, heartbeat);
            if reset {
                writer.text(141, b"Y");
            }
        })?;
        if number > expected {
            shared.counters.resend_requests += 1;
            self.send(now, session, shared, b"2", |writer| {
                writer.number(7, expected).number(16, 0);
            })?;
        }
        shared.sessions[session].expected = number.saturating_add(1);
        Ok(())
    }

    /// Goes on with answering a ResendRequest. Nothing new is reported before it is answered.
    fn repeat(&mut self, now: Time, session: usize, shared: &mut Shared) -> usize {
        let mut count = 0;
        while self.output.len() < OUTPUT_LIMIT {
            let Some(Resend { next, last }) = self.resend else { break };
            let ours = &shared.sessions[session];
            let end = last.map_or(ours.next, |last| last + 1);
            let index = next.div_ceil(STRIDE);
            let number = index.saturating_mul(STRIDE);
            let execution =
                if number < end && index <= ours.sent { (shared.executions)(index) } else { None };
            let fill_to = if execution.is_some() { number } else { end };
            if next < fill_to {
                let header = Header { original: Some(now), ..shared.header(now, session, b"4", next) };
                self.write(&header, |writer| {
                    writer.text(123, b"Y").number(36, fill_to);
                });
            }
            self.resend = execution.map(|execution| {
                shared.counters.resent += 1;
                count += 1;
                let original = Some(execution.time);
                let header = Header { original, ..shared.header(now, session, b"8", number) };
                self.write(&header, |writer| write_report(writer, &execution));
                Resend { next: number + 1, last }
            });
        }
        count
    }

    /// Reports executions that have happened since.
    fn report(&mut self, now: Time, session: usize, shared: &mut Shared) -> usize {
        let mut count = 0;
        while self.resend.is_none() && self.output.len() < OUTPUT_LIMIT {
            let Session { sent, next, sent_before, .. } = shared.sessions[session];
            if sent >= shared.published {
                break;
            }
            let index = sent + 1;
            let Some(execution) = (shared.executions)(index) else { break };
            let number = index * STRIDE;
            if next < number {
                self.write(&shared.header(now, session, b"4", next), |writer| {
                    writer.text(123, b"Y").number(36, number);
                });
            }
            self.write(&shared.header(now, session, b"8", number), |writer| {
                if index <= sent_before {
                    writer.text(97, b"Y");
                }
                write_report(writer, &execution);
            });
            let ours = &mut shared.sessions[session];
            (ours.sent, ours.next) = (index, number + 1);
            shared.counters.sent += 1;
            count += 1;
        }
        count
    }

    fn keep_alive(&mut self, now: Time, session: usize, shared: &mut Shared) -> Result<(), Ended> {
        if since(now, self.last_sent) >= self.heartbeat.as_nanos() && self.output.len() < OUTPUT_LIMIT {
            self.send(now, session, shared, b"0", |_| {})?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Ended> {
        if self.output.is_empty() {
            return Ok(());
        }
        match self.stream.write(&self.output) {
            Ok(count) => {
                self.output.drain(..count);
                Ok(())
            }
            Err(error) if is_temporary(&error) => Ok(()),
            Err(_) => Err(Ended),
        }
    }

    fn send(
        &mut self,
        now: Time,
        session: usize,
        shared: &mut Shared,
        kind: &[u8],
        fill: impl FnOnce(&mut Writer<'_>),
    ) -> Result<(), Ended> {
        let number = shared.take_number(session)?;
        self.write(&shared.header(now, session, kind, number), fill);
        Ok(())
    }

    fn write(&mut self, header: &Header<'_>, fill: impl FnOnce(&mut Writer<'_>)) {
        let mut writer = Writer::new(&mut self.output, header);
        fill(&mut writer);
        writer.finish();
        self.last_sent = header.time;
    }
}

/// Nanoseconds from `time` to `now`.
fn since(now: Time, time: Time) -> u128 {
    now.0.saturating_sub(time.0).into()
}

fn write_report(writer: &mut Writer<'_>, execution: &Execution) {
    let quantity = execution.quantity.0.unsigned_abs();
    writer.text(37, execution.order.trimmed()).text(17, execution.execution.trimmed());
    writer.text(150, b"F").text(39, b"2").text(1, execution.account.trimmed());
    writer.text(11, execution.client_order.trimmed()).text(55, execution.instrument.trimmed());
    writer.text(54, if execution.side == Side::BUY { b"1" } else { b"2" });
    writer.number(38, quantity).number(32, quantity).price(31, execution.price);
    writer.number(151, 0).number(14, quantity).price(6, execution.price);
    writer.text(75, execution.trade_date.to_string().as_bytes()).time(60, execution.time, 9);
}
