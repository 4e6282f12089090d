//! A scripted peer of our FIX session, and the messages that it sends.

use std::time::Duration;

use bus::event::{
    Message as _, Time, as_bytes,
    trade::{Fill, TradeEvent, Withheld},
};
use market_gateway::fix::{
    drop_copy::{Flow, Receiver, Stop},
    executions::{REMEMBERED, Resume, Trades, TradesError},
    framing::{MAX_MESSAGE, checksum},
    numbers::Reserved,
    reason::Reason,
    session::SessionConfig,
    writer::{Header, Writer},
};

pub(crate) const SECOND: u64 = 1_000_000_000;
pub(crate) const HEARTBEAT: u64 = 30 * SECOND;

/// The journal of a test: it refuses where it is told to.
#[derive(Default)]
pub(crate) struct Journal {
    pub(crate) fills: Vec<Fill>,
    pub(crate) withheld: Vec<Withheld>,
    pub(crate) full: bool,
}

impl Journal {
    /// What it tells its next writer.
    fn resume(&self, bound: usize) -> Resume {
        let mut resume = Resume::remembering(bound);
        let fills = self.fills.iter().map(|fill| (fill.receive_time, 1, as_bytes(fill)));
        let withheld = self.withheld.iter().map(|report| (report.receive_time, 5, as_bytes(report)));
        let mut events: Vec<_> = fills.chain(withheld).collect();
        events.sort_by_key(|&(receive_time, ..)| receive_time);
        for (_, kind, body) in events {
            resume.observe(TradeEvent::decode(kind, body).unwrap());
        }
        resume
    }
}

impl Trades for Journal {
    fn publish(&mut self, event: &TradeEvent) -> Result<(), TradesError> {
        if self.full {
            return Err(TradesError::NoRoom);
        }
        match event {
            TradeEvent::Fill(fill) => self.fills.push(*fill),
            TradeEvent::Withheld(report) => self.withheld.push(*report),
            _ => panic!("the scripts report fills only"),
        }
        Ok(())
    }
}

/// Our side and the script's next number.
pub(crate) struct Script {
    pub(crate) receiver: Receiver<Reserved>,
    pub(crate) journal: Journal,
    pub(crate) now: Time,
}

/// One message of ours, as `tag=value|…`.
pub(crate) type Sent = Vec<String>;

impl Script {
    pub(crate) fn new(fills: &[Fill], reserved: Reserved, reset_on_logon: bool) -> Self {
        Self::remembering(REMEMBERED, fills, reserved, reset_on_logon)
    }

    /// As [`new`](Self::new), with memory for `bound` executions.
    pub(crate) fn remembering(
        bound: usize,
        fills: &[Fill],
        reserved: Reserved,
        reset_on_logon: bool,
    ) -> Self {
        let journal = Journal { fills: fills.to_vec(), ..Journal::default() };
        Self::going_on(journal, bound, reserved, reset_on_logon)
    }

    /// Our side is killed; a new life goes on from the journal, with other outbound numbers.
    pub(crate) fn killed(self, bound: usize, restarted: Time) -> Self {
        let now = Time(self.now.0 + SECOND);
        Self { now, ..Self::going_on(self.journal, bound, Reserved { next: 1_025, restarted }, false) }
    }

    fn going_on(journal: Journal, bound: usize, reserved: Reserved, reset_on_logon: bool) -> Self {
        let resume = journal.resume(bound);
        let config = SessionConfig {
            sender: "US".to_owned(),
            target: "VENUE".to_owned(),
            heartbeat: Duration::from_nanos(HEARTBEAT),
            reset_on_logon,
        };
        Self { receiver: Receiver::new(config, resume, reserved), journal, now: Time(100 * SECOND) }
    }

    /// A script that has connected with nothing journalled, and logged on with number 1.
    pub(crate) fn logged_on() -> Self {
        let mut script = Self::new(&[], Reserved::default(), false);
        script.receiver.start(script.now).unwrap();
        script.expect(&["35=A", "34=1", "98=0", "108=30"]);
        script.receive(&message("A", 1, &["98=0", "108=30"])).unwrap();
        assert!(script.receiver.session().is_active());
        script
    }

    pub(crate) fn receive(&mut self, bytes: &[u8]) -> Result<Flow, Stop> {
        let mut flow = Flow::Drained(0);
        for chunk in bytes.chunks(MAX_MESSAGE) {
            self.receiver.framer().room()[..chunk.len()].copy_from_slice(chunk);
            self.receiver.framer().filled(chunk.len());
            flow = self.receiver.process(self.now, &mut self.journal)?;
        }
        Ok(flow)
    }

    pub(crate) fn wait(&mut self, nanoseconds: u64) -> Result<(), Reason> {
        self.now.0 += nanoseconds;
        self.receiver.session().tick(self.now)
    }

    /// What we have sent since the last call.
    pub(crate) fn sent(&mut self) -> Vec<Sent> {
        let session = self.receiver.session();
        let output = String::from_utf8(session.output().to_vec()).unwrap();
        session.sent(output.len());
        let messages = output.split("8=FIX.4.4\u{1}").skip(1);
        messages.map(|message| message.split_terminator('\u{1}').map(str::to_owned).collect()).collect()
    }

    /// We have sent exactly one message since the last call, with these fields.
    pub(crate) fn expect(&mut self, fields: &[&str]) {
        let sent = self.sent();
        assert_eq!(sent.len(), 1, "{sent:?}");
        for field in fields {
            assert!(sent[0].iter().any(|found| found == field), "no {field} in {sent:?}");
        }
    }

    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.journal.fills.iter().map(|fill| fill.venue_sequence).collect()
    }

    pub(crate) fn next_inbound(&mut self) -> u64 {
        self.receiver.session().next_inbound()
    }
}

/// A message of the peer; `fields` are `tag=value`.
pub(crate) fn message(kind: &str, number: u64, fields: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    let header = Header {
        kind: kind.as_bytes(),
        sender: b"VENUE",
        target: b"US",
        number,
        time: Time(SECOND),
        original: None,
    };
    let mut writer = Writer::new(&mut out, &header);
    for field in fields {
        let (tag, value) = field.split_once('=').unwrap();
        writer.text(tag.parse().unwrap(), value.as_bytes());
    }
    writer.finish();
    out
}

pub(crate) const PARTS: [&str; 9] =
    ["37=O1", "150=F", "39=2", "55=BUSBAR", "54=1", "31=101.25", "32=5", "151=0", "60=20260102-03:04:05.123"];

/// Execution `id` under `number`, with `more` fields.
pub(crate) fn fill(number: u64, id: u64, more: &[&str]) -> Vec<u8> {
    let id = format!("17=E{id}");
    let fields: Vec<&str> =
        PARTS.iter().copied().chain([id.as_str(), "14=5"]).chain(more.iter().copied()).collect();
    message("8", number, &fields)
}

/// Execution `id` of the second `id`, under `number`, with `more` fields.
pub(crate) fn timed(number: u64, id: u64, more: &[&str]) -> Vec<u8> {
    let (id, time) = (format!("17=E{id}"), format!("60=20260102-03:04:{id:02}"));
    let fields = PARTS[..8].iter().copied().chain([id.as_str(), time.as_str(), "14=5"]);
    message("8", number, &fields.chain(more.iter().copied()).collect::<Vec<_>>())
}

pub(crate) fn resent(number: u64) -> Vec<u8> {
    fill(number, number, &["43=Y", "122=20260101-00:00:00"])
}

pub(crate) fn live(number: u64) -> Vec<u8> {
    fill(number, number, &[])
}

/// The fills that executions 2 to `last` leave in a journal.
pub(crate) fn journalled(last: u64) -> Vec<Fill> {
    let mut script = Script::logged_on();
    for number in 2..=last {
        script.receive(&live(number)).unwrap();
    }
    script.journal.fills
}

pub(crate) fn with_checksum(mut message: Vec<u8>) -> Vec<u8> {
    let end = message.len() - 7;
    let sum = checksum(&message[..end]);
    message[end + 3..end + 6].copy_from_slice(&sum);
    message
}

/// `message` with the BodyLength and CheckSum that its fields now have.
pub(crate) fn reframed(message: &str) -> Vec<u8> {
    let body = &message[message.find("35=").unwrap()..message.len() - 7];
    let framed = format!("8=FIX.4.4\u{1}9={}\u{1}{body}10=000\u{1}", body.len());
    with_checksum(framed.into_bytes())
}
