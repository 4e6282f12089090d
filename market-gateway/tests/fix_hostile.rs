//! A drop copy whose peer means harm: whatever it sends is counted, bounded, and survived.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bus::event::{Time, trade::TradeEvent};
use market_gateway::fix::{
    drop_copy::{Flow, Receiver, Stop},
    executions::{Resume, Trades, TradesError},
    framing::{GarbledCounters, MAX_MESSAGE, checksum},
    numbers::{Numbers, ReserveError, Reserved},
    reason::Reason,
    session::{SessionConfig, SessionCounters},
    writer::{Header, Writer},
};

const SECOND: u64 = 1_000_000_000;

/// The numbers of the session, and how often they were written.
#[derive(Clone, Default)]
struct Store(Arc<Mutex<(Reserved, u64)>>);

impl Numbers for Store {
    fn reserved(&self) -> Reserved {
        self.0.lock().unwrap().0
    }

    fn reserve(&mut self, reserved: Reserved) -> Result<(), ReserveError> {
        let (kept, writes) = &mut *self.0.lock().unwrap();
        (*kept, *writes) = (reserved, *writes + 1);
        Ok(())
    }
}

/// The venue's numbers of the fills that were journalled.
#[derive(Default)]
struct Journal(Vec<u64>);

impl Trades for Journal {
    fn publish(&mut self, event: &TradeEvent) -> Result<(), TradesError> {
        match event {
            TradeEvent::Fill(fill) => self.0.push(fill.venue_sequence),
            TradeEvent::Withheld(_) => {}
            _ => panic!("the peer reports fills only"),
        }
        Ok(())
    }
}

/// Our side of the session.
struct Victim {
    receiver: Receiver<Store>,
    journal: Journal,
    store: Store,
    now: Time,
}

impl Victim {
    /// One that is logged on and expects number 2.
    fn new() -> Self {
        let config = SessionConfig {
            sender: "US".to_owned(),
            target: "VENUE".to_owned(),
            heartbeat: Duration::from_secs(30),
            reset_on_logon: false,
        };
        let store = Store::default();
        let receiver = Receiver::new(config, Resume::default(), store.clone());
        let mut victim = Self { receiver, journal: Journal::default(), store, now: Time(100 * SECOND) };
        victim.receiver.start(victim.now).unwrap();
        victim.receive(&logon(1, false)).unwrap();
        victim
    }

    /// Takes bytes as they come from a socket, and sends what it has to say.
    fn receive(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        for chunk in bytes.chunks(1_000) {
            self.receiver.framer().room()[..chunk.len()].copy_from_slice(chunk);
            self.receiver.framer().filled(chunk.len());
            while matches!(self.receiver.process(self.now, &mut self.journal)?, Flow::Waiting(_)) {
                self.send();
            }
        }
        self.send();
        Ok(())
    }

    fn send(&mut self) {
        let session = self.receiver.session();
        assert!(session.output().len() <= 2 * MAX_MESSAGE, "what waits to be sent is bounded");
        session.sent(session.output().len());
    }

    fn wait(&mut self, nanoseconds: u64) {
        self.now.0 += nanoseconds;
        self.receiver.session().tick(self.now).unwrap();
    }

    fn garbled(&mut self) -> GarbledCounters {
        self.receiver.framer().garbled()
    }

    fn session(&mut self) -> SessionCounters {
        self.receiver.session().counters()
    }

    /// The session goes on with the next execution as if nothing had been.
    fn assert_alive(&mut self) {
        let next = self.receiver.session().next_inbound();
        self.receive(&fill(next)).unwrap();
        assert_eq!(self.journal.0.last(), Some(&next));
    }
}

fn message(kind: &str, number: u64, original: Option<Time>, fields: &[(u32, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    let (kind, time) = (kind.as_bytes(), Time(SECOND));
    let mut writer =
        Writer::new(&mut out, &Header { kind, sender: b"VENUE", target: b"US", number, time, original });
    for (tag, value) in fields {
        writer.text(*tag, value.as_bytes());
    }
    writer.finish();
    out
}

fn logon(number: u64, resets: bool) -> Vec<u8> {
    let reset = if resets { "Y" } else { "N" };
    message("A", number, None, &[(98, "0"), (108, "30"), (141, reset)])
}

fn fill(number: u64) -> Vec<u8> {
    let id = format!("E{number}");
    let (order, traded) =
        ([(37, "O"), (17, &id), (150, "F"), (39, "2"), (55, "BUSBAR")], "20260102-03:04:05");
    let rest = [(54, "1"), (31, "101.25"), (32, "5"), (151, "0"), (14, "5"), (60, traded)];
    message("8", number, None, &[&order[..], &rest].concat())
}

fn text(bytes: &str) -> Vec<u8> {
    bytes.replace('|', "\u{1}").into_bytes()
}

#[test]
fn lengths_that_cannot_be_are_counted_and_skipped() {
    let mut victim = Victim::new();
    let lengths = ["65536", "999999999", "99999999999999999999", "0", "", "-1", "0x10", " 5"];
    for length in lengths {
        victim.receive(&text(&format!("8=FIX.4.4|9={length}|35=8|34=2|10=000|"))).unwrap();
        victim.assert_alive();
    }
    let garbled = victim.garbled();
    assert_eq!((garbled.oversize, garbled.headers, garbled.lengths), (3, 4, 1));
    assert_eq!(victim.journal.0, (2..2 + lengths.len() as u64).collect::<Vec<u64>>());
}

#[test]
fn a_length_that_reaches_over_the_messages_behind_it_only_delays_them() {
    let mut victim = Victim::new();
    victim.receive(&text("8=FIX.4.4|9=60000|35=8|58=")).unwrap();
    victim.receive(&(2..400).flat_map(fill).collect::<Vec<u8>>()).unwrap();
    assert_eq!(victim.garbled().lengths, 1);
    assert_eq!(victim.journal.0, (2..400).collect::<Vec<u64>>());
}

#[test]
fn a_field_without_end_is_given_up_at_the_largest_message() {
    for start in ["8=FIX.4.4", "8=FIX.4.4|9=", "8=FIX.4.4|9=65000|35=8|58=", "8=FIX.4.4|9=65000|35=8|58"] {
        let mut victim = Victim::new();
        victim.receive(&text(start)).unwrap();
        for _ in 0..200 {
            victim.receive(&[b'7'; 1_000]).unwrap();
        }
        victim.assert_alive();
        assert_eq!(victim.garbled().messages(), 1, "{start}");
        assert!(victim.garbled().skipped_bytes >= 200_000, "{start}");
    }
}

#[test]
fn ten_megabytes_without_a_checksum_take_no_memory_and_no_time_to_speak_of() {
    let mut victim = Victim::new();
    victim.receive(&text("8=FIX.4.4|9=10000000|35=8|58=")).unwrap();
    for _ in 0..1_000 {
        victim.receive(&[b'x'; 10_000]).unwrap();
    }
    victim.assert_alive();
    assert_eq!((victim.garbled().oversize, victim.garbled().messages()), (1, 1));
}

#[test]
fn each_byte_of_what_only_looks_like_messages_is_summed_once() {
    // 30 bytes that begin like a message of 2,000 times as many, and end like one: so does each 2,000th after it.
    let unit = text("8=FIX.4.4|9=59975|35=8|10=000|");
    let mut victim = Victim::new();
    for _ in 0..20 {
        victim.receive(&unit.repeat(2_000)).unwrap();
    }
    assert_eq!((victim.garbled().checksums, victim.garbled().messages()), (20, 20));
    victim.assert_alive();
}

#[test]
fn logons_without_end_are_refused_one_by_one() {
    let mut victim = Victim::new();
    for number in 2..1_102 {
        victim.receive(&logon(number, false)).unwrap();
    }
    assert_eq!(victim.session().rejects, 1_100);
    victim.assert_alive();
    for _ in 0..1_000 {
        victim.receive(&message("A", 1, Some(Time(0)), &[(98, "0"), (108, "30")])).unwrap();
    }
    assert_eq!((victim.session().duplicates, victim.session().logons), (1_000, 1));
    victim.assert_alive();
    let (_, writes) = *victim.store.0.lock().unwrap();
    assert_eq!(writes, 2, "the answers take two blocks of numbers");
}

#[test]
fn a_peer_that_begins_again_all_the_time_is_left() {
    let mut victim = Victim::new();
    victim.wait(SECOND);
    victim.receive(&logon(1, true)).unwrap();
    victim.assert_alive();
    let mut ended = Ok(());
    let mut sent = 0;
    while ended.is_ok() {
        sent += 1;
        assert!(sent < 10, "a thousand resets would be a thousand durable writes");
        ended = victim.receive(&logon(1, true));
    }
    assert_eq!(ended, Err(Stop::Connection(Reason::ResetTooOften)));
    let (_, writes) = *victim.store.0.lock().unwrap();
    assert_eq!(writes, 2, "the first block, and that of the one reset");
    assert_eq!(victim.session().resets, 1);
}

#[test]
fn numbers_of_any_size_move_nothing_but_the_request_for_what_is_missing() {
    let mut victim = Victim::new();
    for number in [1 << 63, u64::MAX - 1, u64::MAX] {
        for kind in ["0", "1", "8", "A", "2", "3", "9", "zz"] {
            victim.receive(&message(kind, number, None, &[])).unwrap();
        }
        let number = &number.to_string();
        victim.receive(&message("4", 1 << 63, None, &[(123, "Y"), (36, number)])).unwrap();
        for (from, to) in [(number.as_str(), "0"), ("1", number), (number, number)] {
            let next = victim.receiver.session().next_inbound();
            victim.receive(&message("2", next, None, &[(7, from), (16, to)])).unwrap();
        }
        let next = victim.receiver.session().next_inbound();
        victim.receive(&message("4", next, None, &[(123, "Y"), (36, number)])).unwrap();
        victim.receive(&message("4", next, None, &[(36, number)])).unwrap();
        victim.assert_alive();
    }
    let session = victim.session();
    assert_eq!((session.gap_fills, session.resets, session.resend_requests_received), (0, 0, 3));
    assert_eq!((session.too_high, session.resend_requests), (27, 1), "what is missing is asked for once");
}

#[test]
fn a_message_without_a_number_that_can_be_ends_the_connection() {
    for number in ["", "34=18446744073709551616|", "34=-1|", "34=x|"] {
        let body = format!("35=0|49=VENUE|56=US|{number}");
        let content = text(&format!("8=FIX.4.4|9={}|{body}", body.len()));
        let sum = checksum(&content);
        let mut victim = Victim::new();
        let ended = victim.receive(&[&content[..], b"10=", &sum, b"\x01"].concat());
        assert_eq!(ended, Err(Stop::Connection(Reason::NoNumber)), "{number}");
        assert_eq!(victim.garbled(), GarbledCounters::default());
    }
}

#[test]
fn a_logon_of_any_number_is_asked_about_or_ends_the_connection() {
    for (number, want) in [(u64::MAX, true), (1 << 63, true), (0, false)] {
        let mut victim = Victim::new();
        victim.receiver.start(victim.now).unwrap();
        assert_eq!(victim.receive(&logon(number, false)).is_ok(), want, "{number}");
        assert_eq!(victim.session().resend_requests, u64::from(want));
    }
}

#[test]
fn what_resets_jump_over_is_counted_to_the_end_of_counting() {
    let mut victim = Victim::new();
    let far = "1000000000000000000";
    for _ in 0..20 {
        let next = victim.receiver.session().next_inbound();
        victim.receive(&message("4", next, None, &[(36, far)])).unwrap();
        victim.wait(SECOND);
        victim.receive(&logon(1, true)).unwrap();
        victim.receive(&logon(1, true)).unwrap();
    }
    assert_eq!((victim.session().lost_by_reset, victim.session().resets), (u64::MAX, 40));
    victim.assert_alive();
}

#[test]
fn what_a_connection_left_unfinished_is_no_part_of_the_next() {
    let mut victim = Victim::new();
    let execution = fill(2);
    victim.receive(&execution[..execution.len() - 10]).unwrap();
    victim.receiver.session().closed(&Reason::PeerClosed);
    victim.receiver.start(victim.now).unwrap();
    victim.receive(&logon(2, false)).unwrap();
    victim.assert_alive();
    assert_eq!((victim.garbled(), victim.session().logons), (GarbledCounters::default(), 2));
}

#[test]
fn when_our_own_numbers_are_used_up_the_session_ends() {
    let store = Store::default();
    store.0.lock().unwrap().0.next = u64::MAX;
    let config = SessionConfig {
        sender: "US".to_owned(),
        target: "VENUE".to_owned(),
        heartbeat: Duration::from_secs(30),
        reset_on_logon: false,
    };
    let mut receiver = Receiver::new(config, Resume::default(), store);
    assert!(matches!(receiver.start(Time(SECOND)), Err(Reason::Numbers(_))));
}
