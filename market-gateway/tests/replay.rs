//! `market-gateway replay` as a user runs it, on captures made here.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use bus::event::market::{MarketEvent, MarketEventRef};
use bus::event::trade::{TradeEvent, TradeEventRef};
use bus::{Bus, Gate, Start};
use flate2::{Compression, write::GzEncoder};
use market_gateway::fix::{drop_copy::DropCopy, session::SessionConfig, topics::TopicError};
use market_gateway::itch::{AddOrder, Head, day_file};
use market_gateway::mold::{END_OF_SESSION, Header, PacketWriter, session_id};
use serde_json::Value;
use zerocopy::IntoBytes;

const SESSION: &[u8; 10] = b"20260105  ";
const MESSAGES: u64 = 400;

fn message(number: u64) -> AddOrder {
    AddOrder {
        head: Head::new(b'A', 1, number * 1_000_000),
        order: number.into(),
        side: b'B',
        shares: 5.into(),
        stock: *b"ONE     ",
        price: 10_000.into(),
    }
}

fn day() -> Vec<u8> {
    let mut writer = day_file::Writer::new(Vec::new());
    (1..=MESSAGES).for_each(|number| writer.message(message(number).as_bytes()).unwrap());
    writer.finish().unwrap()
}

/// A line that cuts its packets after `size` messages and loses those that begin with the numbers `lost`.
fn line(size: u64, lost: &[u64]) -> Vec<u8> {
    let mut datagrams = Vec::new();
    for first in (1..=MESSAGES).step_by(usize::try_from(size).unwrap()) {
        let mut writer = PacketWriter::new(1_400);
        writer.begin(&session_id(*SESSION), first);
        (first..(first + size).min(MESSAGES + 1)).for_each(|n| assert!(writer.push(message(n).as_bytes())));
        if !lost.contains(&first) {
            datagrams.push((first, writer.datagram().to_vec()));
        }
    }
    let end = Header::new(&session_id(*SESSION), MESSAGES + 1, END_OF_SESSION);
    datagrams.push((MESSAGES + 1, end.as_bytes().to_vec()));
    pcap(&datagrams)
}

/// A capture of datagrams, each at the time of the message that it begins with.
fn pcap(datagrams: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let mut file = [0xA1B2_3C4D_u32, 0x0004_0002, 0, 0, 65_535, 101].map(u32::to_le_bytes).concat();
    for (number, payload) in datagrams {
        let udp = u16::try_from(payload.len() + 8).unwrap();
        let mut packet = vec![0x45, 0];
        packet.extend((udp + 20).to_be_bytes());
        packet.extend([0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 239, 1, 1, 1, 0, 9, 0, 9]);
        packet.extend(udp.to_be_bytes());
        packet.extend([0, 0]);
        packet.extend(payload);
        let length = u32::try_from(packet.len()).unwrap();
        let nanoseconds = u32::try_from(number * 1_000_000).unwrap();
        file.extend([1_767_600_000, nanoseconds, length, length].map(u32::to_le_bytes).concat());
        file.extend(packet);
    }
    file
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A directory with files and a bus.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
    fn bus(&self) -> PathBuf {
        self.0.path().join("bus")
    }
    fn replay(&self, arguments: &[&dyn AsRef<Path>]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_market-gateway"));
        command.arg("replay").args(arguments.iter().map(|argument| argument.as_ref()));
        command.arg("--json").arg("--bus").arg(self.bus()).output().unwrap()
    }
    /// The summary of a replay that ends with this code.
    fn summary(&self, code: i32, arguments: &[&dyn AsRef<Path>]) -> Value {
        let output = self.replay(arguments);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
    /// The numbers of the venue's messages in the journal, in its order; gaps and sessions as negative numbers.
    fn journal(&self) -> Vec<i64> {
        let bus = Bus::open(self.bus()).unwrap();
        let mut events = bus.subscriber::<MarketEvent>("market-data", Start::Oldest, Gate::Durable).unwrap();
        let mut numbers = Vec::new();
        while let Some(event) = events.poll().unwrap() {
            let number = |sequence: u64| i64::try_from(sequence).unwrap();
            match event {
                MarketEventRef::Session(session) => numbers.push(-number(session.venue_sequence)),
                MarketEventRef::Gap(gap) => numbers.push(-number(gap.venue_sequence)),
                MarketEventRef::AddOrder(order) => numbers.push(number(order.venue_sequence)),
                MarketEventRef::Instrument(_) => {}
                other => panic!("{other:?}"),
            }
        }
        numbers
    }
}

/// The whole day, from its beginning to its end.
fn whole() -> Vec<i64> {
    let last = i64::try_from(MESSAGES).unwrap();
    [-1].into_iter().chain(1..=last).chain([-last - 1]).collect()
}

#[test]
fn a_day_file_is_journalled_once() {
    let place = Place::new();
    let day = place.file("day.itch50.gz", &gzip(&day()));
    let first = place.summary(0, &[&day]);
    assert_eq!(
        (&first["messages"], &first["published"], &first["by_type"]["A"]),
        (&400.into(), &400.into(), &400.into())
    );
    let second = place.summary(0, &[&day]);
    assert_eq!(
        (&second["messages"], &second["published"], &second["duplicates"]),
        (&400.into(), &0.into(), &400.into())
    );
    assert_eq!(place.journal(), whole());
}

#[test]
fn a_truncated_day_is_named_and_its_completion_continues_it() {
    for cut in [20, 60, 5_000] {
        let place = Place::new();
        let torn = place.file("torn.itch50", &day()[..cut]);
        let summary = place.summary(1, &[&torn]);
        assert_eq!((&summary["truncated"], &summary["messages"]), (&1.into(), &(cut / 38).into()));
        place.summary(0, &[&place.file("day.itch50", &day())]);
        assert_eq!(place.journal(), whole());
    }
}

#[test]
fn what_stands_behind_the_end_mark_of_a_day_is_named_and_a_fault() {
    let place = Place::new();
    let followed = place.file("followed.itch50", &[day(), b"junk".to_vec()].concat());
    let output = place.replay(&[&followed]);
    let notes = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{notes}");
    assert!(
        notes.contains("followed.itch50 holds 4 bytes behind its end mark, which are not read"),
        "{notes}"
    );
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&summary["truncated"], &summary["messages"]), (&1.into(), &400.into()));
    assert_eq!(place.journal(), whole(), "the session has ended all the same");
}

#[test]
fn lines_complete_each_other() {
    let place = Place::new();
    let (a, b) =
        (place.file("a.pcap", &line(10, &[11, 101])), place.file("b.pcap.gz", &gzip(&line(7, &[1, 50]))));
    let summary = place.summary(0, &[&a, &b]);
    assert_eq!((&summary["messages"], &summary["gaps"]), (&400.into(), &Value::Array(Vec::new())));
    assert_eq!((&summary["lines"][0]["lost"], &summary["lines"][1]["lost"]), (&20.into(), &7.into()));
    assert_eq!(place.journal(), whole());
}

#[test]
fn what_both_lines_lost_is_an_open_gap_until_somebody_brings_it() {
    let place = Place::new();
    let (a, b) = (place.file("a.pcap", &line(10, &[11, 101])), place.file("b.pcap", &line(5, &[16, 101])));
    let summary = place.summary(1, &[&a, &b]);
    let gaps = serde_json::json!([
        {"from": 16, "count": 5, "recovered": false}, {"from": 101, "count": 5, "recovered": false}
    ]);
    assert_eq!(summary["gaps"], gaps);
    assert_eq!(place.summary(1, &[&a, &b])["gaps"], gaps, "the second time they are still open");
    let day = place.file("day.itch50", &day());
    let summary = place.summary(0, &[&a, &b, &"--rerequest", &day]);
    assert_eq!((&summary["published"], &summary["recovered"]), (&10.into(), &10.into()));
    let journal = place.journal();
    let end = journal.iter().position(|number| *number == -401).expect("the session has ended");
    let late: Vec<i64> = (16..21).chain([-16]).chain(101..106).chain([-101]).collect();
    assert_eq!(journal[end + 1..], late);
}

#[test]
fn requests_fill_what_both_lines_lost_in_its_place() {
    let place = Place::new();
    let (a, day) = (place.file("a.pcap", &line(10, &[1, 11, 101, 391])), place.file("day.itch50", &day()));
    let summary = place.summary(0, &[&a, &"--rerequest", &day]);
    assert_eq!((&summary["messages"], &summary["recovered"]), (&400.into(), &40.into()));
    assert!(summary["gaps"].as_array().unwrap().iter().all(|gap| gap["recovered"] == true));
    assert_eq!(place.journal(), whole());
}

#[test]
fn the_recorded_pace_is_kept() {
    let place = Place::new();
    let day = place.file("day.itch50", &day());
    let began = std::time::Instant::now();
    place.summary(0, &[&day, &"--speed", &"10"]);
    assert!(began.elapsed() >= std::time::Duration::from_millis(39), "0.4 s at ten times the pace");
    assert_eq!(place.journal(), whole());
}

#[test]
fn captures_without_a_packet_of_the_feed_are_a_fault() {
    let place = Place::new();
    let (lines, strangers) = (line(10, &[]), pcap(&[(1, b"another protocol".to_vec())]));
    for (name, capture) in [("named", &lines), ("strange", &strangers), ("empty", &pcap(&[]))] {
        let capture = place.file(name, capture);
        let output = place.replay(&[&capture, &"--session", &"nobodys"]);
        let notes = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{name}: {notes}");
        assert!(notes.contains("no packet of the feed"), "{name}: {notes}");
        let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(summary["messages"], 0, "{name}");
    }
    let named = place.file("named", &lines);
    assert_eq!(place.summary(0, &[&named, &"--session", &"20260105"])["messages"], MESSAGES);
}

#[test]
fn a_day_that_is_piped_in_needs_a_name() {
    let place = Place::new();
    let day = place.file("day.itch50", &day());
    for (arguments, code) in [(&[][..], 2), (&["--session", "monday"][..], 0)] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_market-gateway"));
        command.args(["replay", "/dev/stdin", "--bus"]).arg(place.bus()).args(arguments);
        let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Who is refused does not read to the end.
        let _ = child.stdin.take().unwrap().write_all(&std::fs::read(&day).unwrap());
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert_eq!(place.bus().exists(), code == 0);
    }
    assert_eq!(place.journal(), whole());
}

#[test]
fn session_and_date_are_the_users() {
    let place = Place::new();
    let day = place.file("day.itch50", &day());
    place.summary(0, &[&day, &"--session", &"monday", &"--date", &"20260105"]);
    let bus = Bus::open(place.bus()).unwrap();
    let mut events = bus.subscriber::<MarketEvent>("market-data", Start::Oldest, Gate::Durable).unwrap();
    let Some(MarketEventRef::Session(session)) = events.poll().unwrap() else { panic!("no session") };
    assert_eq!((session.session.to_string(), session.date), ("monday".into(), 20_260_105));
}

/// A FIX 4.4 fill, with its length and checksum.
fn fill(number: u64) -> Vec<u8> {
    fill_of("FIX.4.4", number)
}

fn fill_of(version: &str, number: u64) -> Vec<u8> {
    let body = format!(
        "35=8|49=EXCHANGE|56=DESK|34={number}|52=20260105-09:30:00|37=O{number}|17=E{number}|150=F|39=2|1=A|55=ONE|54=1|\
         31=1.5|32=5|151=0|14=5|6=1.5|60=20260105-09:30:00|75=20260105|"
    );
    let message = format!("8={version}|9={}|{body}", body.len()).replace('|', "\u{1}");
    let sum = message.bytes().fold(0_u8, u8::wrapping_add);
    format!("{message}10={sum:03}\u{1}").into_bytes()
}

#[test]
fn executions_of_a_message_log_are_journalled_once() {
    let place = Place::new();
    let log = place.file("log.fix.gz", &gzip(&[fill(1), fill(2), fill(2), fill(4)].concat()));
    let first = place.summary(1, &[&"--fix-log", &log]);
    let want = serde_json::json!({
        "messages": 4, "published": 3, "duplicates": 1, "refused": 0, "garbled": 0, "other_sessions": 0,
        "other_versions": 0, "withheld": 0, "missing": 1, "truncated": false
    });
    assert_eq!(first["fix"], want);
    let second = place.summary(1, &[&"--fix-log", &log]);
    assert_eq!((&second["fix"]["published"], &second["fix"]["duplicates"]), (&0.into(), &4.into()));
}

#[test]
fn given_a_message_log_with_reports_that_cannot_be_kept_expect_a_trace_of_each_once() {
    let place = Place::new();
    let broken = |number: u64, from: &str, to: &str| {
        let text = String::from_utf8(fill(number)).unwrap();
        let body = text[text.find("35=").unwrap()..text.len() - 7].replace(from, to);
        let message = format!("8=FIX.4.4\u{1}9={}\u{1}{body}", body.len());
        let sum = message.bytes().fold(0_u8, u8::wrapping_add);
        format!("{message}10={sum:03}\u{1}").into_bytes()
    };
    let faults = [broken(2, "54=1\u{1}", ""), broken(3, "32=5", "32=x"), broken(4, "14=5", "14=")].concat();
    let log = place.file("log.fix", &[fill(1), faults, fill(5)].concat());
    for published in [2, 0] {
        let summary = place.summary(1, &[&"--fix-log", &log]);
        assert_eq!(
            (&summary["fix"]["published"], &summary["fix"]["refused"]),
            (&published.into(), &3.into())
        );
        let bus = Bus::open(place.bus()).unwrap();
        let mut trades = bus.subscriber::<TradeEvent>("trades", Start::Oldest, Gate::Durable).unwrap();
        let mut found = Vec::new();
        while let Some(event) = trades.poll().unwrap() {
            found.push(match event {
                TradeEventRef::Withheld(report) => (report.cause.0, report.tag),
                _ => (b'-', 0),
            });
        }
        assert_eq!(found, [(b'-', 0), (b'M', 54), (b'V', 32), (b'V', 14), (b'-', 0)]);
    }
}

#[test]
fn a_bus_holds_the_executions_of_one_session() {
    let place = Place::new();
    let ours = place.file("ours.fix", &fill(1));
    place.summary(0, &[&"--fix-log", &ours]);
    let other = String::from_utf8(fill(1)).unwrap().replace("49=EXCHANGE", "49=VENUENEW");
    let sum = other[..other.len() - 7].bytes().fold(0_u8, u8::wrapping_add);
    let other = format!("{}10={sum:03}\u{1}", &other[..other.len() - 7]);
    let other = place.file("other.fix", other.as_bytes());
    let refused = place.replay(&[&"--fix-log", &other]);
    let complaint = String::from_utf8(refused.stderr).unwrap();
    let want =
        "another FIX session: this bus has the executions of DESK with EXCHANGE, not of DESK with VENUENEW";
    assert_eq!((refused.status.code(), complaint.contains(want)), (Some(2), true), "{complaint}");

    let bus = Bus::open(place.bus()).unwrap();
    let open = |target: &str| {
        let (sender, target) = ("DESK".to_owned(), target.to_owned());
        let heartbeat = std::time::Duration::from_secs(30);
        let config = SessionConfig { sender, target, heartbeat, reset_on_logon: false };
        DropCopy::open(&bus, "127.0.0.1:1".to_owned(), config).map(drop)
    };
    assert!(matches!(open("VENUENEW"), Err(TopicError::OtherSession { .. })));
    open("EXCHANGE").unwrap();
    assert_eq!(place.summary(0, &[&"--fix-log", &ours])["fix"]["duplicates"], 1);
}

#[test]
fn what_of_a_message_log_was_not_used_is_said_and_is_a_fault() {
    let mut garbled = fill(3);
    let at = garbled.len() - 20;
    garbled[at] ^= 1;
    let cut = gzip(&(1..=2_000).flat_map(fill).collect::<Vec<u8>>());
    let logs = [
        ("of another version", fill_of("FIX.4.2", 3), "not FIX.4.4"),
        ("garbled at its end", garbled, "ends with 1 garbled"),
        ("cut off", fill(3)[..50].to_vec(), "is truncated"),
    ];
    for (name, end, want) in logs {
        let place = Place::new();
        let log = place.file("log.fix", &[fill(1), fill(2), end].concat());
        let output = place.replay(&[&"--fix-log", &log]);
        let notes = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), notes.contains(want)), (Some(1), true), "{name}: {notes}");
        let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(summary["fix"]["published"], 2, "{name}");
    }
    let place = Place::new();
    let log = place.file("log.fix.gz", &cut[..cut.len() / 2]);
    let summary = place.summary(1, &[&"--fix-log", &log]);
    assert!(summary["fix"]["published"].as_u64().unwrap() > 0 && summary["fix"]["truncated"] == true);
}

#[test]
fn a_signal_ends_a_replay_with_what_it_has() {
    let place = Place::new();
    let day = place.file("day.itch50", &day());
    let child = Command::new(env!("CARGO_BIN_EXE_market-gateway"))
        .arg("replay")
        .arg(&day)
        .args(["--speed", "0.001", "--json", "--bus"])
        .arg(place.bus())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let bus = Bus::open(place.bus()).unwrap();
    while bus.watermarks("market-data").map_or(0, |watermarks| watermarks.published) == 0 {
        std::thread::yield_now();
    }
    Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(place.journal().len() as u64, 1 + summary["published"].as_u64().unwrap());
    place.summary(0, &[&day]);
    assert_eq!(place.journal(), whole());
}

#[test]
fn what_is_no_capture_is_refused_in_one_line() {
    let place = Place::new();
    let noise = place.file("noise", b"no capture");
    let day = place.file("day.itch50", &day());
    let (empty, log) = (place.file("empty", b""), place.file("log.fix", &fill(1)));
    let prose = place.file("prose", b"8=FIX is how each message begins, says | this text");
    let refused: [&[&dyn AsRef<Path>]; 15] = [
        &[],
        &[&noise],
        &[&place.0.path().join("absent")],
        &[&day, &"--speed", &"0"],
        &[&day, &"--date", &"20261399"],
        &[&day, &"--date", &"2026-01-05"],
        &[&day, &"--session", &"ELEVENBYTES"],
        &[&day, &"--session", &"tab\tbed"],
        &[&day, &"--rerequest", &noise],
        &[&day, &day, &"--session", &"monday"],
        &[&"--fix-log", &noise],
        &[&"--fix-log", &empty],
        &[&"--fix-log", &prose],
        &[&day, &"--fix-log", &place.0.path().join("absent")],
        &[&"--fix-log", &log, &"--speed", &"-1"],
    ];
    for arguments in refused {
        let output = place.replay(arguments);
        let complaint = String::from_utf8(output.stderr).unwrap();
        let complaint: Vec<_> = complaint.lines().filter(|line| !line.starts_with("note: ")).collect();
        assert_eq!((output.status.code(), complaint.len()), (Some(2), 1), "{complaint:?}");
        assert!(complaint[0].starts_with("market-gateway: "));
        assert!(!place.bus().exists(), "a refused command writes nothing");
    }
}
