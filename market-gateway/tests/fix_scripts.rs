//! The FIX session against a scripted peer: each fault once, and a counter that proves that it happened.

use std::time::Duration;

use bus::event::{
    Message as _, Time, as_bytes,
    trade::{Fill, TradeEvent},
};
use market_gateway::fix::{
    drop_copy::{Flow, Receiver, Stop},
    executions::{Resume, Trades, TradesError},
    framing::{MAX_MESSAGE, checksum},
    message::{Defect, Fault},
    numbers::Reserved,
    reason::Reason,
    session::SessionConfig,
    writer::{Header, Writer},
};
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;
const HEARTBEAT: u64 = 30 * SECOND;

/// The journal of a test: it refuses where it is told to.
#[derive(Default)]
struct Journal {
    fills: Vec<Fill>,
    full: bool,
}

impl Trades for Journal {
    fn publish(&mut self, event: &TradeEvent) -> Result<(), TradesError> {
        let TradeEvent::Fill(fill) = event else { panic!("the scripts report fills only") };
        if self.full {
            return Err(TradesError::NoRoom);
        }
        self.fills.push(*fill);
        Ok(())
    }
}

/// Our side and the script's next number.
struct Script {
    receiver: Receiver<Reserved>,
    journal: Journal,
    now: Time,
}

/// One message of ours, as `tag=value|…`.
type Sent = Vec<String>;

impl Script {
    fn new(fills: &[Fill], reserved: Reserved, reset_on_logon: bool) -> Self {
        let mut resume = Resume::default();
        for fill in fills {
            let event = TradeEvent::decode(1, as_bytes(fill)).unwrap();
            resume.observe(event);
        }
        let config = SessionConfig {
            sender: "US".to_owned(),
            target: "VENUE".to_owned(),
            heartbeat: Duration::from_nanos(HEARTBEAT),
            reset_on_logon,
        };
        let journal = Journal { fills: fills.to_vec(), full: false };
        Self { receiver: Receiver::new(config, resume, reserved), journal, now: Time(100 * SECOND) }
    }

    /// A script that has connected with nothing journalled, and logged on with number 1.
    fn logged_on() -> Self {
        let mut script = Self::new(&[], Reserved::default(), false);
        script.receiver.start(script.now).unwrap();
        script.expect(&["35=A", "34=1"]);
        script.receive(&message("A", 1, &["98=0", "108=30"])).unwrap();
        assert!(script.receiver.session().is_active());
        script
    }

    fn receive(&mut self, bytes: &[u8]) -> Result<Flow, Stop> {
        let mut flow = Flow::Drained(0);
        for chunk in bytes.chunks(MAX_MESSAGE) {
            self.receiver.framer().room()[..chunk.len()].copy_from_slice(chunk);
            self.receiver.framer().filled(chunk.len());
            flow = self.receiver.process(self.now, &mut self.journal)?;
        }
        Ok(flow)
    }

    fn wait(&mut self, nanoseconds: u64) -> Result<(), Reason> {
        self.now.0 += nanoseconds;
        self.receiver.session().tick(self.now)
    }

    /// What we have sent since the last call.
    fn sent(&mut self) -> Vec<Sent> {
        let session = self.receiver.session();
        let output = String::from_utf8(session.output().to_vec()).unwrap();
        session.sent(output.len());
        let messages = output.split("8=FIX.4.4\u{1}").skip(1);
        messages.map(|message| message.split_terminator('\u{1}').map(str::to_owned).collect()).collect()
    }

    /// We have sent exactly one message since the last call, with these fields.
    fn expect(&mut self, fields: &[&str]) {
        let sent = self.sent();
        assert_eq!(sent.len(), 1, "{sent:?}");
        for field in fields {
            assert!(sent[0].iter().any(|found| found == field), "no {field} in {sent:?}");
        }
    }

    fn numbers(&self) -> Vec<u64> {
        self.journal.fills.iter().map(|fill| fill.venue_sequence).collect()
    }

    fn next_inbound(&mut self) -> u64 {
        self.receiver.session().next_inbound()
    }
}

/// A message of the peer; `fields` are `tag=value`.
fn message(kind: &str, number: u64, fields: &[&str]) -> Vec<u8> {
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

const PARTS: [&str; 9] =
    ["37=O1", "150=F", "39=2", "55=BUSBAR", "54=1", "31=101.25", "32=5", "151=0", "60=20260102-03:04:05.123"];

/// Execution `id` under `number`, with `more` fields.
fn fill(number: u64, id: u64, more: &[&str]) -> Vec<u8> {
    let id = format!("17=E{id}");
    let fields: Vec<&str> =
        PARTS.iter().copied().chain([id.as_str(), "14=5"]).chain(more.iter().copied()).collect();
    message("8", number, &fields)
}

fn resent(number: u64) -> Vec<u8> {
    fill(number, number, &["43=Y", "122=20260101-00:00:00"])
}

fn live(number: u64) -> Vec<u8> {
    fill(number, number, &[])
}

/// The fills that executions 2 to `last` leave in a journal.
fn journalled(last: u64) -> Vec<Fill> {
    let mut script = Script::logged_on();
    for number in 2..=last {
        script.receive(&live(number)).unwrap();
    }
    script.journal.fills
}

#[test]
fn logon_with_a_number_too_low_ends_the_connection() {
    let mut script = Script::new(&journalled(5), Reserved::default(), false);
    assert_eq!(script.next_inbound(), 6);
    script.receiver.start(script.now).unwrap();
    script.sent();
    let low = Reason::TooLow { expected: 6, received: 3 };
    assert_eq!(script.receive(&message("A", 3, &["98=0", "108=30"])), Err(Stop::Connection(low.clone())));
    script.expect(&["35=5", "58=MsgSeqNum too low, expecting 6 but received 3"]);
    script.receiver.session().closed(&low);
    assert_eq!(script.receiver.session().counters().too_low, 1);
    assert_eq!(script.receiver.session().counters().disconnects, 1);
}

#[test]
fn logon_with_a_number_too_high_asks_for_what_is_missing() {
    let mut script = Script::new(&journalled(5), Reserved::default(), false);
    script.receiver.start(script.now).unwrap();
    script.sent();
    script.receive(&message("A", 9, &["98=0", "108=30"])).unwrap();
    script.expect(&["35=2", "7=6", "16=0"]);
    for number in 6..9 {
        script.receive(&resent(number)).unwrap();
    }
    script.receive(&message("4", 9, &["43=Y", "123=Y", "36=10"])).unwrap();
    script.receive(&live(10)).unwrap();
    assert_eq!(script.numbers(), [2, 3, 4, 5, 6, 7, 8, 10]);
    let counters = script.receiver.session().counters();
    assert_eq!((counters.too_high, counters.resend_requests), (1, 1));
    assert_eq!(script.sent(), Vec::<Sent>::new());
}

#[test]
fn a_gap_fill_moves_on_only_in_order() {
    let mut script = Script::logged_on();
    script.receive(&message("4", 2, &["123=Y", "36=5"])).unwrap();
    assert_eq!(script.next_inbound(), 5);
    script.receive(&message("4", 8, &["123=Y", "36=20"])).unwrap();
    assert_eq!(script.next_inbound(), 5, "a gap fill ahead of a gap is not a reset");
    script.expect(&["35=2", "7=5"]);
    script.receive(&message("4", 5, &["123=Y", "36=5"])).unwrap();
    script.expect(&["35=3", "371=36", "373=5"]);
    let counters = script.receiver.session().counters();
    assert_eq!((counters.gap_fills, counters.too_high, counters.resets), (1, 1, 0));
}

#[test]
fn a_reset_moves_on_at_once_and_says_what_may_be_lost() {
    let mut script = Script::logged_on();
    script.receive(&message("4", 99, &["123=N", "36=10"])).unwrap();
    script.receive(&live(10)).unwrap();
    assert_eq!(script.numbers(), [10]);
    script.receive(&message("4", 11, &["36=4"])).unwrap();
    script.expect(&["35=3", "371=36", "373=5"]);
    assert_eq!(script.next_inbound(), 11, "a reset never goes back");
    script.receive(&message("4", 11, &[&format!("36={}", u64::MAX)])).unwrap();
    let counters = script.receiver.session().counters();
    assert_eq!((counters.resets, counters.lost_by_reset, counters.rejects), (1, 8, 2));
}

#[test]
fn a_known_execution_is_dropped_whatever_its_number() {
    let mut script = Script::logged_on();
    script.receive(&live(2)).unwrap();
    script.receive(&resent(2)).unwrap();
    script.receive(&fill(3, 2, &["97=Y"])).unwrap();
    script.receive(&fill(4, 2, &["43=Y"])).unwrap();
    script.receive(&fill(5, 2, &[])).unwrap();
    script.receive(&fill(6, 2, &["75=20260103"])).unwrap();
    assert_eq!(script.numbers(), [2, 6], "the same ExecID on another trade date is another execution");
    assert_eq!(script.receiver.session().counters().duplicates, 1);
    let executions = script.receiver.executions();
    assert_eq!((executions.repeated, executions.repeated_unmarked), (2, 1));
}

#[test]
fn a_garbled_message_is_ignored_and_comes_again() {
    let mut script = Script::logged_on();
    let mut garbled = live(2);
    let at = garbled.len() - 20;
    garbled[at] ^= 1;
    script.receive(&garbled).unwrap();
    assert_eq!(script.sent(), Vec::<Sent>::new(), "a garbled message is never answered");
    script.receive(&live(3)).unwrap();
    script.expect(&["35=2", "7=2", "16=0"]);
    script.receive(&[resent(2), resent(3), live(4)].concat()).unwrap();
    assert_eq!(script.numbers(), [2, 3, 4]);
    assert_eq!(script.receiver.framer().garbled().checksums, 1);
    assert_eq!(script.receiver.session().counters().resend_requests, 1);
}

#[test]
fn silence_is_asked_about_and_then_ended() {
    let mut script = Script::logged_on();
    script.wait(HEARTBEAT).unwrap();
    script.expect(&["35=0"]);
    script.wait(HEARTBEAT / 5).unwrap();
    script.expect(&["35=1", "112=are you there"]);
    script.receive(&message("0", 2, &["112=are you there"])).unwrap();
    script.wait(2 * HEARTBEAT).unwrap();
    script.sent();
    assert_eq!(script.wait(2 * HEARTBEAT), Err(Reason::Silent));
    assert_eq!(script.receiver.session().counters().test_requests, 2);
}

#[test]
fn a_test_request_is_answered() {
    let mut script = Script::logged_on();
    script.receive(&message("1", 2, &["112=hello"])).unwrap();
    script.expect(&["35=0", "112=hello"]);
    script.receive(&message("1", 3, &[])).unwrap();
    script.expect(&["35=3", "45=3", "371=112", "373=1"]);
    assert_eq!(script.receiver.session().counters().rejects, 1);
}

#[test]
fn a_hole_in_a_resend_is_asked_for_once() {
    let mut script = Script::logged_on();
    script.receive(&live(6)).unwrap();
    script.expect(&["35=2", "7=2"]);
    script.receive(&[live(7), resent(2), resent(4), resent(5), resent(6)].concat()).unwrap();
    script.expect(&["35=2", "7=3"]);
    script.receive(&[resent(7), live(8)].concat()).unwrap();
    assert_eq!(script.sent(), Vec::<Sent>::new());
    script.receive(&(3..=9).flat_map(resent).collect::<Vec<u8>>()).unwrap();
    assert_eq!(script.numbers(), [2, 3, 4, 5, 6, 7, 8, 9]);
    assert_eq!(script.receiver.session().counters().resend_requests, 2);
}

#[test]
fn live_messages_among_resent_ones_are_asked_for_without_waiting() {
    let mut script = Script::logged_on();
    script.receive(&live(4)).unwrap();
    script.expect(&["35=2", "7=2"]);
    script.receive(&[resent(2), live(5), resent(3), resent(4)].concat()).unwrap();
    assert_eq!(script.sent(), Vec::<Sent>::new());
    script.receive(&live(6)).unwrap();
    script.expect(&["35=2", "7=5"]);
    script.receive(&[resent(5), resent(6), live(7)].concat()).unwrap();
    assert_eq!(script.numbers(), [2, 3, 4, 5, 6, 7]);
    assert_eq!(script.receiver.session().counters().too_high, 3);
}

#[test]
fn a_resend_request_during_a_resend_is_answered_at_once() {
    let mut script = Script::logged_on();
    script.receive(&live(4)).unwrap();
    script.expect(&["35=2", "7=2"]);
    script.receive(&message("2", 5, &["7=1", "16=0"])).unwrap();
    script.expect(&["35=4", "34=1", "43=Y", "123=Y", "36=3"]);
    script.receive(&[resent(2), resent(3), resent(4)].concat()).unwrap();
    script.receive(&message("4", 5, &["43=Y", "123=Y", "36=6"])).unwrap();
    script.receive(&live(6)).unwrap();
    assert_eq!(script.numbers(), [2, 3, 4, 6]);
    assert_eq!(script.receiver.session().counters().resend_requests_received, 1);
}

#[test]
fn a_resend_that_brings_nothing_is_repeated_and_then_given_up() {
    let mut script = Script::logged_on();
    script.receive(&live(4)).unwrap();
    script.expect(&["35=2", "7=2"]);
    for _ in 0..2 {
        script.receive(&live(5)).unwrap();
        script.wait(HEARTBEAT).unwrap();
        assert!(script.sent().iter().any(|sent| sent.contains(&"7=2".to_owned())));
    }
    script.receive(&live(6)).unwrap();
    assert_eq!(script.wait(HEARTBEAT), Err(Reason::NoProgress(2)));
    assert_eq!(script.receiver.session().counters().resend_requests, 3);
    assert_eq!(script.next_inbound(), 2, "the next connection asks again");
}

#[test]
fn requests_for_our_messages_are_filled_whatever_they_ask() {
    let mut script = Script::new(&[], Reserved { next: 1_025, restarted: Time(0) }, false);
    script.receiver.start(script.now).unwrap();
    script.expect(&["35=A", "34=1025"]);
    script.receive(&message("A", 1, &["98=0", "108=30"])).unwrap();
    script.receive(&message("2", 2, &["7=7", "16=0"])).unwrap();
    script.expect(&["35=4", "34=7", "43=Y", "36=1026"]);
    script.receive(&message("2", 3, &["7=7", "16=9"])).unwrap();
    script.expect(&["35=4", "34=7", "36=10"]);
    for (number, fields) in
        [(4, ["7=0", "16=0"]), (5, ["7=9", "16=8"]), (6, ["7=9999", "16=0"]), (7, ["7=x", "16=0"])]
    {
        script.receive(&message("2", number, &fields)).unwrap();
        script.expect(&["35=3"]);
    }
    let counters = script.receiver.session().counters();
    assert_eq!((counters.resend_requests_received, counters.rejects), (2, 4));
}

#[test]
fn a_wrong_comp_id_is_rejected_and_ends_the_connection() {
    let mut script = Script::logged_on();
    let stranger = String::from_utf8(live(2)).unwrap().replace("49=VENUE", "49=OTHER").into_bytes();
    let ended = script.receive(&with_checksum(stranger));
    assert!(matches!(ended, Err(Stop::Connection(Reason::WrongCompId(_)))), "{ended:?}");
    let sent = script.sent();
    assert!(sent[0].contains(&"35=3".to_owned()) && sent[0].contains(&"373=9".to_owned()));
    assert!(sent[1].contains(&"35=5".to_owned()));
    assert_eq!(script.receiver.session().counters().foreign, 1);
    assert_eq!(script.numbers(), [0; 0]);
}

#[test]
fn a_wrong_version_ends_the_connection() {
    let mut script = Script::logged_on();
    let other = String::from_utf8(live(2)).unwrap().replace("FIX.4.4", "FIX.4.2").into_bytes();
    let ended = script.receive(&with_checksum(other));
    assert_eq!(ended, Err(Stop::Connection(Reason::WrongVersion("FIX.4.2".to_owned()))));
    assert_eq!(script.receiver.session().counters().foreign, 1);
}

#[test]
fn another_message_than_a_logon_is_refused_first() {
    let mut script = Script::new(&[], Reserved::default(), false);
    script.receiver.start(script.now).unwrap();
    assert_eq!(script.receive(&live(1)), Err(Stop::Connection(Reason::NotLoggedOn("8".to_owned()))));
    script.receiver.start(script.now).unwrap();
    let refused = script.receive(&message("5", 1, &["58=go away"]));
    assert_eq!(refused, Err(Stop::Connection(Reason::LoggedOut("go away".to_owned()))));
    script.receiver.start(script.now).unwrap();
    assert_eq!(script.wait(10 * SECOND), Err(Reason::LogonTimeout));
}

#[test]
fn an_oversize_message_is_skipped_counted_and_asked_for() {
    let mut script = Script::logged_on();
    let text = format!("58={}", "x".repeat(MAX_MESSAGE));
    script.receive(&message("8", 2, &[&text])).unwrap();
    script.receive(&live(3)).unwrap();
    script.expect(&["35=2", "7=2"]);
    script.receive(&[resent(2), resent(3)].concat()).unwrap();
    assert_eq!(script.numbers(), [2, 3]);
    assert_eq!(script.receiver.framer().garbled().oversize, 1);
}

#[test]
fn what_cannot_be_kept_is_rejected_by_its_tag_and_the_session_goes_on() {
    let mut script = Script::logged_on();
    let without_side: Vec<&str> =
        PARTS.iter().copied().filter(|part| !part.starts_with("54=")).chain(["17=E2"]).collect();
    script.receive(&message("8", 2, &without_side)).unwrap();
    script.expect(&["35=3", "45=2", "371=54", "372=8", "373=1"]);
    let fraction = String::from_utf8(live(3)).unwrap().replace("32=5\u{1}", "32=5.5\u{1}");
    script.receive(&reframed(&fraction)).unwrap();
    script.expect(&["35=3", "45=3", "371=32", "373=5"]);
    let empty = String::from_utf8(live(4)).unwrap().replace("55=BUSBAR", "55=");
    script.receive(&reframed(&empty)).unwrap();
    script.expect(&["35=3", "45=4", "371=55", "373=4"]);
    script.receive(&live(5)).unwrap();
    assert_eq!(script.numbers(), [5]);
    assert_eq!(script.receiver.executions().refused, 2);
    assert_eq!(script.receiver.executions().last_refused, Some((3, Defect::new(32, Fault::Value))));
    assert_eq!(script.receiver.session().counters().last_reject, Some((4, Defect::new(55, Fault::NoValue))));
}

#[test]
fn other_messages_are_counted_by_type() {
    let mut script = Script::logged_on();
    script.receive(&message("9", 2, &["37=O1"])).unwrap();
    script.receive(&message("AE", 3, &["571=1"])).unwrap();
    script.receive(&fill(4, 4, &[])).unwrap();
    assert_eq!(script.receiver.executions().other_messages, [("9".to_owned(), 1), ("AE".to_owned(), 1)]);
    assert_eq!(script.numbers(), [4]);
}

#[test]
fn a_logout_is_agreed_on() {
    let mut script = Script::logged_on();
    script.receiver.session().logout(script.now).unwrap();
    script.expect(&["35=5"]);
    script.receive(&live(2)).unwrap();
    assert_eq!(script.receive(&message("5", 3, &[])), Err(Stop::Connection(Reason::Finished)));
    assert_eq!(script.numbers(), [2], "what is on its way is still taken");
    let mut script = Script::logged_on();
    assert_eq!(
        script.receive(&message("5", 2, &[])),
        Err(Stop::Connection(Reason::LoggedOut(String::new())))
    );
    script.expect(&["35=5"]);
}

#[test]
fn both_sides_begin_again_where_the_peer_says_so() {
    let mut script = Script::new(&journalled(5), Reserved { next: 1_025, restarted: Time(0) }, false);
    script.receiver.start(script.now).unwrap();
    script.sent();
    script.receive(&message("A", 1, &["98=0", "108=30", "141=Y"])).unwrap();
    script.expect(&["35=A", "34=1", "141=Y"]);
    script.receive(&fill(2, 2, &["97=Y"])).unwrap();
    script.receive(&fill(3, 9, &[])).unwrap();
    script.wait(SECOND).unwrap();
    script.receive(&message("A", 1, &["98=0", "108=30", "141=Y"])).unwrap();
    script.expect(&["35=A", "34=1", "141=Y"]);
    script.receive(&message("A", 1, &["98=0", "108=30", "141=Y"])).unwrap();
    assert_eq!(script.sent(), Vec::<Sent>::new(), "an answer is not answered");
    assert_eq!(script.next_inbound(), 2);
    assert_eq!(script.numbers(), [2, 3, 4, 5, 3]);
    assert_eq!(script.receiver.session().counters().resets, 2);
    assert_eq!(script.receiver.executions().repeated, 1);
}

#[test]
fn both_sides_begin_again_where_we_say_so() {
    let mut script = Script::new(&journalled(5), Reserved { next: 1_025, restarted: Time(0) }, true);
    script.receiver.start(script.now).unwrap();
    script.expect(&["35=A", "34=1", "141=Y"]);
    script.receive(&message("A", 1, &["98=0", "108=30", "141=Y"])).unwrap();
    assert_eq!(script.sent(), Vec::<Sent>::new());
    script.receive(&fill(2, 6, &[])).unwrap();
    assert_eq!(script.numbers(), [2, 3, 4, 5, 2]);
    assert_eq!(script.receiver.session().counters().resets, 1);
}

#[test]
fn numbers_begin_again_after_a_reset_that_no_execution_followed() {
    let fills = journalled(5);
    let restarted = Time(fills.last().unwrap().receive_time.0 + 1);
    assert_eq!(Script::new(&fills, Reserved { next: 1_025, restarted }, false).next_inbound(), 1);
    let restarted = Time(restarted.0 - 2);
    assert_eq!(Script::new(&fills, Reserved { next: 1_025, restarted }, false).next_inbound(), 6);
}

#[test]
fn a_full_journal_holds_the_session_back_and_loses_nothing() {
    let mut script = Script::logged_on();
    script.journal.full = true;
    assert_eq!(script.receive(&[live(2), live(3)].concat()), Ok(Flow::Waiting(0)));
    for _ in 0..10 {
        script.wait(HEARTBEAT / 2).unwrap();
        assert_eq!(script.receiver.process(script.now, &mut script.journal), Ok(Flow::Waiting(0)));
    }
    assert!(
        script.sent().iter().all(|sent| sent.contains(&"35=0".to_owned())),
        "the peer is not the one who is silent"
    );
    script.journal.full = false;
    assert_eq!(script.receiver.process(script.now, &mut script.journal), Ok(Flow::Drained(2)));
    assert_eq!(script.numbers(), [2, 3]);
    assert_eq!(script.receiver.executions().waited, 1);
}

#[test]
fn a_peer_that_asks_and_does_not_read_gets_no_further_answers() {
    let mut script = Script::logged_on();
    let question = "112=".to_owned() + &"x".repeat(1_000);
    let flows: Vec<Flow> =
        (2..120).map(|number| script.receive(&message("1", number, &[&question])).unwrap()).collect();
    assert_eq!((flows.first(), flows.last()), (Some(&Flow::Drained(1)), Some(&Flow::Waiting(0))));
    assert!(script.receiver.session().output().len() < MAX_MESSAGE + 2_000);
    assert!(script.next_inbound() < 100);
}

fn with_checksum(mut message: Vec<u8>) -> Vec<u8> {
    let end = message.len() - 7;
    let sum = checksum(&message[..end]);
    message[end + 3..end + 6].copy_from_slice(&sum);
    message
}

/// `message` with the BodyLength and CheckSum that its fields now have.
fn reframed(message: &str) -> Vec<u8> {
    let body = &message[message.find("35=").unwrap()..message.len() - 7];
    let framed = format!("8=FIX.4.4\u{1}9={}\u{1}{body}10=000\u{1}", body.len());
    with_checksum(framed.into_bytes())
}

/// A peer that has executions 2 to 40 under the same numbers, sends them, and answers what we ask.
struct Peer {
    last: u64,
}

impl Peer {
    fn answer(&self, sent: &Sent) -> Vec<u8> {
        let field = |tag: &str| {
            sent.iter().find_map(|field| field.strip_prefix(tag)).and_then(|value| value.parse().ok())
        };
        match field("7=") {
            Some(1) => [message("4", 1, &["43=Y", "123=Y", "36=2"]), self.executions(2)].concat(),
            Some(from) => self.executions(from),
            None => Vec::new(),
        }
    }

    fn executions(&self, from: u64) -> Vec<u8> {
        (from..=self.last).flat_map(resent).collect()
    }
}

fn any_fields() -> impl Strategy<Value = Vec<String>> {
    let tags =
        prop::sample::select(vec![7, 16, 17, 31, 32, 36, 43, 54, 97, 98, 108, 112, 123, 141, 150, 151]);
    let values =
        prop::sample::select(vec!["0", "1", "5", "N", "Y", "Y", "F", "18446744073709551615", "-1", "x"]);
    prop::collection::vec((tags, values).prop_map(|(tag, value)| format!("{tag}={value}")), 0..8)
}

proptest! {
    #[test]
    fn random_bytes_are_noise(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        let mut script = Script::logged_on();
        script.receive(&bytes).unwrap();
        script.receive(&live(2)).unwrap();
        prop_assert_eq!(script.numbers(), [2]);
        prop_assert!(script.receiver.session().output().len() < 1_000);
    }

    /// Well-formed messages with random contents: no panic, bounded output, and never an execution twice or out of
    /// order but after a reset.
    #[test]
    fn random_messages_break_nothing(
        messages in prop::collection::vec(("[0-589A]", prop_oneof![0_u64..12, any::<u64>()], any_fields()), 0..40),
    ) {
        let mut script = Script::logged_on();
        for (kind, number, fields) in &messages {
            let number = if *number < 10 { script.next_inbound() } else { *number };
            let fields: Vec<&str> = fields.iter().map(String::as_str).chain(PARTS).collect();
            if let Err(Stop::Connection(reason)) = script.receive(&message(kind, number, &fields)) {
                script.receiver.session().closed(&reason);
                script.receiver.start(script.now).unwrap();
            }
            let _ = script.wait(SECOND);
            prop_assert!(script.sent().len() <= 4);
        }
        let mut ids: Vec<_> = script.journal.fills.iter().map(|fill| fill.execution).collect();
        ids.sort_unstable();
        ids.dedup();
        prop_assert_eq!(ids.len(), script.journal.fills.len());
    }

    /// Connections break and our process dies at random places, bytes are cut and garbled: the journal ends with every
    /// execution once, in order.
    #[test]
    fn executions_survive_crashes_once_and_in_order(
        lives in prop::collection::vec((0_usize..6_000, 0_usize..6, any::<bool>(), 0_usize..6_000), 1..6),
    ) {
        let peer = Peer { last: 40 };
        let mut fills: Vec<Fill> = Vec::new();
        let mut reserved = Reserved::default();
        let mut faults = 0;
        for (cut, undurable, garble, at) in lives.iter().copied().chain([(usize::MAX, 0, false, 0)]) {
            let mut script = Script::new(&fills, reserved, false);
            script.receiver.start(script.now).unwrap();
            let mut stream = message("A", 41, &["98=0", "108=30"]);
            let mut left = cut;
            while left > 0 {
                if garble && at < stream.len() {
                    stream[at] ^= 1;
                    faults += 1;
                }
                let length = stream.len().min(left);
                left -= length;
                for chunk in stream[..length].chunks(100) {
                    prop_assert!(script.receive(chunk).is_ok());
                }
                stream = script.sent().iter().flat_map(|sent| peer.answer(sent)).collect();
                if stream.is_empty() && script.wait(HEARTBEAT).is_err() { break; }
                if script.next_inbound() == 41 { break; }
            }
            reserved.next += 1_024;
            let durable = fills.len().max(script.journal.fills.len().saturating_sub(undurable));
            fills = script.journal.fills;
            fills.truncate(durable);
        }
        let numbers: Vec<u64> = fills.iter().map(|fill| fill.venue_sequence).collect();
        prop_assert_eq!(numbers, (2..=40).collect::<Vec<u64>>(), "after {} faults", faults);
    }
}
