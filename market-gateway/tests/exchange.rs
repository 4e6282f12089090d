//! The simulated exchange as a gateway meets it: over sockets, with faults, restarts and senseless requests.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::path::Path;
use std::time::{Duration, Instant};

use market_gateway::itch::day_file;
use market_gateway::mold::{Body, Header, Packet, Request};
use market_gateway::simulate::{Exchange, ExchangeConfig, ExchangeError, Execution, Faults};
use zerocopy::IntoBytes;

const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;
const RATE: u64 = 20_000;

/// An exchange whose time the test moves, and the ends of its two lines.
struct Venue {
    exchange: Exchange,
    lines: Vec<UdpSocket>,
    now: Instant,
}

/// What a line said.
#[derive(Default)]
struct Heard {
    messages: BTreeMap<u64, Vec<u8>>,
    /// First numbers of the packets, in the order of arrival.
    packets: Vec<u64>,
    heartbeats: u64,
    end: Option<u64>,
}

impl Venue {
    fn open(directory: &Path, faults: Faults, truth: Option<&Path>) -> Self {
        let lines: Vec<_> = (0..2).map(|_| receiver()).collect();
        let config = ExchangeConfig {
            directory: directory.to_owned(),
            seed: Some(5),
            rate: RATE,
            lines: lines.iter().map(address).collect(),
            rerequest: Some(SocketAddrV4::new(LOOPBACK, 0)),
            fix: Some(SocketAddrV4::new(LOOPBACK, 0)),
            faults,
            truth: truth.map(Path::to_owned),
            ..ExchangeConfig::default()
        };
        Self { exchange: Exchange::open(&config).unwrap(), lines, now: Instant::now() }
    }

    /// Lets `messages` become due, a few at a time, and hears both lines meanwhile.
    fn run(&mut self, messages: u64, heard: &mut [Heard; 2]) {
        let until = self.exchange.sent() + messages;
        self.work(heard);
        while self.exchange.sent() < until {
            self.now += Duration::from_nanos(16 * 1_000_000_000 / RATE);
            self.work(heard);
        }
    }

    fn pass(&mut self, time: Duration, heard: &mut [Heard; 2]) {
        self.now += time;
        self.work(heard);
    }

    fn work(&mut self, heard: &mut [Heard; 2]) {
        self.exchange.do_work(self.now).unwrap();
        for (line, heard) in self.lines.iter().zip(heard) {
            hear(line, heard);
        }
    }

    /// Asks for messages until all are there, as a gateway that has come late would.
    fn ask(&mut self, first: u64, count: u64) -> Vec<Vec<u8>> {
        let client = receiver();
        let server = self.exchange.rerequest().unwrap();
        let mut got = Vec::new();
        while (got.len() as u64) < count {
            let left = (count - got.len() as u64).min(1_000) as u16;
            let request = Request { sequence: first + got.len() as u64, count: left };
            client.send_to(request.datagram(&self.exchange.session()).as_bytes(), server).unwrap();
            self.exchange.do_work(self.now).unwrap();
            let mut answer = Heard::default();
            hear(&client, &mut answer);
            assert_eq!(answer.packets, [request.sequence], "one answer to one request");
            got.extend(answer.messages.into_values());
        }
        got
    }
}

fn receiver() -> UdpSocket {
    let socket = UdpSocket::bind((LOOPBACK, 0)).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

fn address(socket: &UdpSocket) -> SocketAddrV4 {
    match socket.local_addr().unwrap() {
        SocketAddr::V4(address) => address,
        SocketAddr::V6(address) => panic!("{address} is not IPv4"),
    }
}

fn hear(line: &UdpSocket, heard: &mut Heard) {
    let mut datagram = [0; 2_048];
    while let Ok(length) = line.recv(&mut datagram) {
        let packet = Packet::parse(&datagram[..length]).unwrap();
        match packet.body {
            Body::Messages(blocks) => {
                heard.packets.push(packet.sequence);
                heard.messages.extend((packet.sequence..).zip(blocks.map(<[u8]>::to_vec)));
            }
            Body::Heartbeat => heard.heartbeats += 1,
            Body::End => heard.end = Some(packet.sequence),
        }
    }
}

fn day(path: &Path) -> Vec<Vec<u8>> {
    let mut reader = day_file::Reader::new(std::fs::File::open(path).unwrap());
    let mut messages = Vec::new();
    while let Some(blocks) = reader.next_blocks(1_000) {
        messages.extend(blocks.map(<[u8]>::to_vec));
    }
    messages
}

#[test]
fn a_perfect_network_brings_all_messages_on_both_lines_in_different_packets() {
    let directory = tempfile::tempdir().unwrap();
    let truth = directory.path().join("truth.itch50");
    let mut venue = Venue::open(directory.path(), Faults::NONE, Some(&truth));
    let mut heard = <[Heard; 2]>::default();
    venue.run(3_000, &mut heard);
    venue.exchange.end(venue.now).unwrap();
    venue.pass(Duration::from_millis(60), &mut heard);
    let sent = venue.exchange.sent();
    let truth = day(&truth);
    assert_eq!(truth.len() as u64, sent);
    for line in &heard {
        assert!(line.messages.keys().copied().eq(1..=sent));
        assert!(line.messages.values().eq(&truth));
        assert!(line.packets.is_sorted());
        assert_eq!(line.end, Some(sent + 1));
    }
    assert_ne!(heard[0].packets, heard[1].packets);
}

#[test]
fn a_pause_brings_no_burst_and_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let mut venue = Venue::open(directory.path(), Faults::NONE, None);
    let mut heard = <[Heard; 2]>::default();
    venue.run(100, &mut heard);
    let before = venue.exchange.sent();
    venue.pass(Duration::from_secs(1), &mut heard);
    let burst = venue.exchange.sent() - before;
    assert!(burst < RATE / 10, "{burst} messages at once");
    assert_eq!(venue.exchange.counters().behind, RATE - burst);
    venue.run(100, &mut heard);
    assert_eq!(venue.exchange.counters().behind, RATE - burst, "and it goes on at its rate");
    assert!(heard[0].messages.keys().copied().eq(1..=venue.exchange.sent()));
}

#[test]
fn an_exchange_that_is_held_sends_nothing_beyond_and_says_how_far_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let mut venue = Venue::open(directory.path(), Faults::NONE, None);
    let mut heard = <[Heard; 2]>::default();
    venue.run(100, &mut heard);
    let sent = venue.exchange.sent();
    venue.exchange.hold_at(sent + 7);
    venue.pass(Duration::from_millis(10), &mut heard);
    assert_eq!(venue.exchange.sent(), sent + 7);
    let before = heard[0].heartbeats;
    venue.pass(Duration::from_secs(2), &mut heard);
    assert_eq!((venue.exchange.sent(), heard[0].heartbeats), (sent + 7, before + 1));
    assert_eq!(venue.ask(1, sent + 7).len() as u64, sent + 7, "it answers meanwhile");
    venue.exchange.hold_at(u64::MAX);
    venue.run(100, &mut heard);
    assert!(venue.exchange.counters().behind > RATE, "what was left out is counted");
}

#[test]
fn what_the_lines_lose_is_counted_and_answered() {
    let directory = tempfile::tempdir().unwrap();
    let truth = directory.path().join("truth.itch50");
    let faults = Faults { lost: 300, repeated: 200, overtaken: 200, lost_everywhere: 10 };
    let mut venue = Venue::open(directory.path(), faults, Some(&truth));
    let mut heard = <[Heard; 2]>::default();
    venue.run(10_000, &mut heard);
    venue.exchange.end(venue.now).unwrap();
    venue.pass(Duration::from_millis(60), &mut heard);
    let sent = venue.exchange.sent();
    let counters = venue.exchange.counters();
    for (line, counted) in heard.iter().zip(&counters.lines) {
        assert_eq!(line.packets.len() as u64, counted.packets - counted.lost + counted.repeated);
        assert!(counted.lost > 0 && counted.repeated > 0 && counted.overtaken > 0, "{counted:?}");
        assert!(!line.packets.is_sorted());
    }
    let lost: Vec<u64> =
        (1..=sent).filter(|n| heard.iter().all(|line| !line.messages.contains_key(n))).collect();
    assert!(lost.len() as u64 >= counters.lost_everywhere && counters.lost_everywhere > 0);
    let truth = day(&truth);
    for number in lost {
        assert_eq!(venue.ask(number, 1), [truth[number as usize - 1].clone()]);
    }
    assert_eq!(venue.ask(1, sent), truth);
}

#[test]
fn a_restart_continues_the_session_and_answers_for_the_past() {
    let directory = tempfile::tempdir().unwrap();
    let truth = directory.path().join("truth.itch50");
    let mut first = Venue::open(directory.path(), Faults::NONE, None);
    let (mut heard, session) = (<[Heard; 2]>::default(), first.exchange.session());
    first.run(2_000, &mut heard);
    let before = first.exchange.sent();
    drop(first);

    let mut second = Venue::open(directory.path(), Faults::NONE, Some(&truth));
    assert_eq!((second.exchange.session(), second.exchange.sent()), (session, before));
    second.run(1_000, &mut heard);
    assert!(heard[0].messages.keys().copied().eq(1..=second.exchange.sent()));
    assert!(second.ask(1, before).iter().eq(heard[0].messages.values().take(before as usize)));
    second.exchange.end(second.now).unwrap();
    assert!(day(&truth).iter().eq(heard[0].messages.values()));
    drop(second);

    let third = Venue::open(directory.path(), Faults::NONE, None);
    assert!(third.exchange.session() != session && third.exchange.sent() == 0);
}

#[test]
fn a_day_file_goes_on_with_its_session_and_nothing_else_is_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let truth = directory.path().join("truth.itch50");
    let refused = |truth: &Path| {
        let config = ExchangeConfig {
            directory: directory.path().to_owned(),
            seed: Some(5),
            truth: Some(truth.to_owned()),
            ..ExchangeConfig::default()
        };
        let before = std::fs::read(truth).unwrap();
        let Err(error) = Exchange::open(&config) else { panic!("{} was taken", truth.display()) };
        assert!(matches!(error, ExchangeError::ForeignTruth(_)), "{error}");
        assert_eq!(std::fs::read(truth).unwrap(), before);
    };
    let mut heard = <[Heard; 2]>::default();
    for cut in [0, 1, 40, 3_000] {
        let mut venue = Venue::open(directory.path(), Faults::NONE, Some(&truth));
        venue.run(1_000, &mut heard);
        drop(venue);
        let written = std::fs::read(&truth).unwrap();
        std::fs::write(&truth, &written[..written.len() - cut]).unwrap();
    }
    let mut other = std::fs::read(&truth).unwrap();
    *other.last_mut().unwrap() ^= 1;
    let longer = [&std::fs::read(&truth).unwrap()[..], &[0; 50_000]].concat();
    for content in [&other, &longer, &b"notes of somebody".to_vec()] {
        let foreign = directory.path().join("foreign");
        std::fs::write(&foreign, content).unwrap();
        refused(&foreign);
    }
    let mut last = Venue::open(directory.path(), Faults::NONE, Some(&truth));
    last.exchange.end(last.now).unwrap();
    assert!(day(&truth).iter().eq(heard[0].messages.values()));
    drop(last);
    refused(&truth);
}

#[test]
fn a_day_file_of_an_exchange_that_is_refused_is_not_left_behind() {
    let directory = tempfile::tempdir().unwrap();
    drop(Venue::open(directory.path(), Faults::NONE, None));
    let (fresh, empty) = (directory.path().join("fresh"), directory.path().join("empty"));
    std::fs::write(&empty, "").unwrap();
    for truth in [&fresh, &empty] {
        let config = ExchangeConfig {
            directory: directory.path().to_owned(),
            seed: Some(6),
            truth: Some(truth.clone()),
            ..ExchangeConfig::default()
        };
        let Err(error) = Exchange::open(&config) else { panic!("another seed was taken") };
        assert!(matches!(error, ExchangeError::Progress(_)), "{error}");
    }
    assert!(!fresh.exists() && empty.exists(), "what was there stays");
}

#[test]
fn an_idle_line_sends_heartbeats_and_an_ended_one_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let mut venue = Venue::open(directory.path(), Faults::NONE, None);
    let mut heard = <[Heard; 2]>::default();
    venue.run(100, &mut heard);
    venue.exchange.end(venue.now).unwrap();
    assert_eq!(heard[0].heartbeats, 1, "one before the first message");
    for _ in 0..3 {
        heard = Default::default();
        venue.pass(Duration::from_millis(60), &mut heard);
        assert_eq!(heard[1].end, Some(venue.exchange.sent() + 1));
    }
    assert_eq!(venue.exchange.quiet_for(venue.now), Some(Duration::from_millis(180)));
    venue.ask(1, 1);
    assert_eq!(venue.exchange.quiet_for(venue.now), Some(Duration::ZERO));
}

#[test]
fn senseless_requests_are_counted_and_not_answered() {
    let directory = tempfile::tempdir().unwrap();
    let mut venue = Venue::open(directory.path(), Faults::NONE, None);
    let mut heard = <[Heard; 2]>::default();
    venue.run(100, &mut heard);
    let session = venue.exchange.session();
    let mut foreign = session;
    foreign.0[0] ^= 1;
    let client = receiver();
    let requests = [
        Header::new(&foreign, 1, 1),
        Header::new(&session, venue.exchange.sent() + 1, 1),
        Header::new(&session, u64::MAX, u16::MAX),
        Header::new(&session, 0, 1),
        Header::new(&session, 1, 0),
    ];
    let server = venue.exchange.rerequest().unwrap();
    for request in requests {
        client.send_to(request.as_bytes(), server).unwrap();
    }
    client.send_to(&[0xff; 1_000], server).unwrap();
    client.send_to(b"", server).unwrap();
    venue.exchange.do_work(venue.now).unwrap();
    let counters = venue.exchange.counters();
    assert_eq!((counters.senseless, counters.answered), (7, 0));
    assert!(client.recv(&mut [0; 64]).is_err());
    assert_eq!(venue.ask(1, 100).len(), 100);
}

#[test]
fn fills_are_trades_of_the_market_and_the_same_in_every_life() {
    let directory = tempfile::tempdir().unwrap();
    let mut known: Vec<Execution> = Vec::new();
    for session in 0..3 {
        let mut venue = Venue::open(directory.path(), Faults::NONE, None);
        let mut heard = <[Heard; 2]>::default();
        let before = known.len() as u64;
        assert_eq!(venue.exchange.executions(), before);
        venue.run(3_000, &mut heard);
        assert_eq!(venue.exchange.executions(), before + venue.exchange.sent() / 256);
        let mut fills = venue.exchange.fills();
        let now: Vec<_> = (1..=venue.exchange.executions()).map(|n| fills.execution(n).unwrap()).collect();
        assert_eq!(now[..known.len()], known, "fills of sessions before session {session}");
        for fill in &now[known.len()..] {
            assert!(fill.quantity.0 > 0 && fill.price.0 > 0 && fill.side.sign() != 0);
            let message = &heard[0].messages[&((fill.number - before) * 256)];
            assert!(b"ECP".contains(&message[0]), "{}", message[0]);
        }
        assert_eq!((fills.execution(0), fills.execution(u64::MAX)), (None, None));
        known = now;
        venue.exchange.end(venue.now).unwrap();
    }
    let mut ids: Vec<_> = known.iter().map(|fill| fill.execution).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), known.len());
}
