//! A feed whose journal has lost its beginning to retention goes on all the same, thanks to its snapshot. Where retention
//! went beyond the snapshot, it says so and makes nothing up.

use bus::config::{BusConfig, TopicConfig, WhenFull};
use bus::event::Time;
use bus::event::market::{MarketEvent, MarketEventRef};
use bus::program::Size;
use bus::{Bus, Gate, Publisher, Start};
use market_gateway::arbiter::Source;
use market_gateway::feed::{Feed, FeedConfig};
use market_gateway::itch::{AddOrder, Head, OrderDelete};
use market_gateway::mold::{PacketWriter, session_id};
use market_gateway::normalise::Itch;
use market_gateway::resume::History;
use market_gateway::snapshot::{self, Snapshots};
use std::path::Path;
use zerocopy::IntoBytes;

const TOPIC: &str = "market-data";
const SEGMENT: u64 = 1 << 20;
const NOW: Time = Time(1_767_600_000_000_000_000);
/// Long enough for a missing range to be given up.
const LATER: Time = Time(NOW.0 + 60_000_000_000);

fn open(directory: &Path) -> Bus {
    let topic = TopicConfig { retention: Some(Size(4 * SEGMENT)), when_full: Some(WhenFull::Expire) };
    let config = BusConfig {
        segment: Some(Size(SEGMENT)),
        topics: [(TOPIC.to_owned(), topic)].into(),
        ..BusConfig::default()
    };
    Bus::with_config(directory, config).unwrap()
}

fn life(bus: &Bus) -> Feed<Itch, Publisher<MarketEvent>> {
    let publisher = bus.publisher(TOPIC).unwrap();
    let mut itch = Itch::new();
    let history = History::read(bus, TOPIC, &mut itch).unwrap();
    Feed::new(itch, publisher, history, FeedConfig::new(true))
}

/// The first message names the instrument, all others delete orders of it.
fn send(feed: &mut Feed<Itch, Publisher<MarketEvent>>, first: u64, count: u64) {
    send_of(*b"20260105  ", feed, first, count);
}

fn send_of(session: [u8; 10], feed: &mut Feed<Itch, Publisher<MarketEvent>>, first: u64, count: u64) {
    let mut writer = PacketWriter::new(60_000);
    writer.begin(&session_id(session), first);
    for number in first..first + count {
        let order = number.into();
        let pushed = if number == 1 {
            let (shares, stock, price) = (1.into(), *b"ONE     ", 1.into());
            writer.push(
                AddOrder { head: Head::new(b'A', 1, 1), order, side: b'B', shares, stock, price }.as_bytes(),
            )
        } else {
            writer.push(OrderDelete { head: Head::new(b'D', 1, 1), order }.as_bytes())
        };
        assert!(pushed);
    }
    feed.packet(Source::Line(0), NOW, writer.datagram()).unwrap();
}

/// The oldest event that the gateway needs.
fn needed(bus: &Bus) -> u64 {
    bus.survey(TOPIC).unwrap().keepers[0].sequence.unwrap()
}

#[test]
fn a_journal_without_its_beginning_is_continued() {
    let directory = tempfile::tempdir().unwrap();
    let bus = open(directory.path());
    let mut feed = life(&bus);
    let mut snapshots = Snapshots::new(&bus, TOPIC, snapshot::EVERY);
    let mut next = 1;
    while next < 200_000 {
        send(&mut feed, next, 500);
        next += 500;
        let (sequence, durable) = (feed.output().next_sequence(), feed.output().durable());
        snapshots.keep(&feed, sequence, durable);
        // A keeper that retention outruns is overruled.
        while feed.output().next_sequence() - needed(&bus) > 50_000 {
            let durable = feed.output().durable();
            snapshots.keep(&feed, sequence, durable);
            std::thread::yield_now();
        }
    }
    drop(snapshots);
    feed.into_parts().1.close().unwrap();
    let first = bus.watermarks(TOPIC).unwrap().first;
    assert!(first > 50_000, "retention removed the beginning");
    assert!(needed(&bus) >= first, "and nothing of what the snapshot lacks");

    let mut feed = life(&bus);
    send(&mut feed, next - 500, 1_000);
    assert_eq!((feed.summary().published, feed.summary().duplicates), (500, 500));
    feed.into_parts().1.close().unwrap();
    let end = bus.watermarks(TOPIC).unwrap().published;
    let mut tail = bus.subscriber::<MarketEvent>(TOPIC, Start::Sequence(end - 500), Gate::Durable).unwrap();
    for number in next..next + 500 {
        let Some(MarketEventRef::DeleteOrder(delete)) = tail.poll().unwrap() else { panic!("no deletion") };
        assert_eq!((delete.venue_sequence, delete.instrument.to_string()), (number, "ONE".to_owned()));
    }

    std::fs::remove_file(directory.path().join(TOPIC).join("gateway.snapshot")).unwrap();
    let refused = History::read(&bus, TOPIC, &mut Itch::new()).unwrap_err().to_string();
    assert!(refused.contains("no snapshot"), "{refused}");
}

/// Journals messages 1 to 10,000 without 501 to 510, with a snapshot of that, which is the last one.
fn with_a_gap(bus: &Bus) -> Feed<Itch, Publisher<MarketEvent>> {
    let mut feed = life(bus);
    let mut snapshots = Snapshots::new(bus, TOPIC, snapshot::EVERY);
    let (sequence, durable) = (feed.output().next_sequence(), feed.output().durable());
    snapshots.keep(&feed, sequence, durable);
    send(&mut feed, 1, 500);
    for first in (511..10_000).step_by(500) {
        send(&mut feed, first, 500);
    }
    feed.poll(LATER).unwrap();
    feed.output().flush().unwrap();
    assert_eq!((feed.missing(), feed.reached().unwrap().next), (10, 10_011));
    while needed(bus) == 0 {
        let (sequence, durable) = (feed.output().next_sequence(), feed.output().durable());
        snapshots.keep(&feed, sequence, durable);
        std::thread::yield_now();
    }
    feed
}

#[test]
fn what_retention_removed_before_a_snapshot_told_it_is_said_and_not_made_up() {
    let directory = tempfile::tempdir().unwrap();
    let bus = open(directory.path());
    let mut feed = with_a_gap(&bus);
    // What a restart finds that retention has not outrun.
    assert_eq!(History::read(&bus, TOPIC, &mut Itch::new()).unwrap().unread(), None);
    let mut next = 10_011;
    // Message 501 to 510 arrive after all, which no snapshot tells.
    send(&mut feed, 501, 10);
    assert_eq!(feed.missing(), 0);
    while next < 300_000 {
        send(&mut feed, next, 500);
        next += 500;
    }
    feed.into_parts().1.close().unwrap();
    let first = bus.watermarks(TOPIC).unwrap().first;
    assert!(first > needed(&bus), "retention went beyond the snapshot");
    let unread = Some(needed(&bus)..first);

    let mut feed = life(&bus);
    assert_eq!(feed.summary().unread, unread);
    assert!(feed.summary().is_incomplete());
    send(&mut feed, next - 500, 1_000);
    send(&mut feed, 501, 10);
    assert_eq!(feed.summary().published, 500, "nothing is journalled twice");
    assert_eq!((feed.missing(), feed.request(LATER)), (0, None));

    let mut snapshots = Snapshots::new(&bus, TOPIC, 1);
    let mut keep = |feed: &mut Feed<_, Publisher<MarketEvent>>| {
        let before = needed(&bus);
        while needed(&bus) == before {
            let (sequence, durable) = (feed.output().next_sequence(), feed.output().durable());
            snapshots.keep(feed, sequence, durable);
            next += 1;
            send(feed, next + 499, 1);
        }
    };
    keep(&mut feed);
    assert_eq!(
        History::read(&bus, TOPIC, &mut Itch::new()).unwrap().unread(),
        unread,
        "a snapshot remembers it"
    );
}

#[test]
fn a_session_that_began_where_nothing_can_be_read_is_not_taken_for_another() {
    let directory = tempfile::tempdir().unwrap();
    let bus = open(directory.path());
    let mut feed = with_a_gap(&bus);
    feed.end(session_id(*b"20260105  "), 10_011).unwrap();
    for first in (1..200_000).step_by(500) {
        send_of(*b"20260106  ", &mut feed, first, 500);
    }
    assert!(feed.session().unwrap().session == session_id(*b"20260106  "));
    feed.into_parts().1.close().unwrap();
    let first = bus.watermarks(TOPIC).unwrap().first;
    assert!(first > needed(&bus) + 1, "retention removed the beginning of the second session");
    let refused = History::read(&bus, TOPIC, &mut Itch::new()).unwrap_err().to_string();
    assert!(refused.contains("what named the session"), "{refused}");
}

#[test]
fn a_snapshot_that_cannot_be_written_is_counted_and_the_next_one_is_tried() {
    let directory = tempfile::tempdir().unwrap();
    let bus = open(directory.path());
    let mut feed = life(&bus);
    let mut snapshots = Snapshots::new(&bus, TOPIC, 1);
    let in_the_way = directory.path().join(TOPIC).join("gateway.new");
    std::fs::create_dir(&in_the_way).unwrap();
    let mut next = 1;
    let mut keep = |snapshots: &mut Snapshots| {
        send(&mut feed, next, 1);
        next += 1;
        let (sequence, durable) = (feed.output().next_sequence(), feed.output().durable());
        snapshots.keep(&feed, sequence, durable);
    };
    while snapshots.unwritten() == 0 {
        keep(&mut snapshots);
    }
    assert_eq!(needed(&bus), 0, "retention holds all that no snapshot tells");
    std::fs::remove_dir(&in_the_way).unwrap();
    while needed(&bus) == 0 {
        keep(&mut snapshots);
    }
}

#[test]
fn a_snapshot_that_is_a_pipe_is_none_and_holds_nobody_up() {
    let directory = tempfile::tempdir().unwrap();
    let bus = open(directory.path());
    let mut feed = life(&bus);
    send(&mut feed, 1, 10);
    let journalled = feed.output().next_sequence();
    drop(feed);
    let pipe = directory.path().join(TOPIC).join("gateway.snapshot");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let (told, answer) = std::sync::mpsc::channel();
    std::thread::spawn(move || told.send(life(&bus).output().next_sequence()));
    let next = answer.recv_timeout(std::time::Duration::from_secs(20));
    assert_eq!(next, Ok(journalled), "the journal tells the same");
}
