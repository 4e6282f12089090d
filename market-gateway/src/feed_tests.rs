//! The feed with ITCH messages, into a journal in memory that the next life reads back.

use bus::event::market::{MarketEvent, MarketEventRef};
use bus::event::{Symbol, as_bytes};
use proptest::prelude::*;
use zerocopy::{FromBytes, IntoBytes};

use super::*;
use crate::itch::{self, AddOrder, Head, OrderDelete, StockDirectory, SystemEvent};
use crate::mold::{PacketWriter, session_id};
use crate::normalise::Itch;

/// A journal: events by kind and bytes. Refuses when it has no room.
#[derive(Debug, Default, Clone)]
struct Journal {
    events: Vec<(u16, Vec<u128>)>,
    room: usize,
}

#[derive(Debug, PartialEq)]
struct NoRoom;

impl Output<MarketEvent> for Journal {
    type Error = NoRoom;
    fn publish<E: PartOf<MarketEvent>>(&mut self, event: &E) -> Result<(), NoRoom> {
        if self.events.len() >= self.room {
            return Err(NoRoom);
        }
        let mut aligned = vec![0_u128; size_of::<E>().div_ceil(16)];
        aligned.as_mut_bytes()[..size_of::<E>()].copy_from_slice(as_bytes(event));
        self.events.push((E::KIND, aligned));
        Ok(())
    }
}

impl Journal {
    fn each(&self, mut see: impl FnMut(MarketEventRef<'_>)) {
        for (kind, body) in &self.events {
            let info = MarketEvent::KINDS.iter().find(|info| info.kind == *kind).unwrap();
            see(MarketEvent::decode(*kind, &body.as_bytes()[..info.size]).unwrap());
        }
    }

    /// The events in short: what they are and which message they stand for.
    fn told(&self) -> Vec<String> {
        let mut told = Vec::new();
        self.each(|event| {
            told.push(match event {
                MarketEventRef::Session(s) => {
                    format!("{} {}", char::from(s.state.0), s.venue_sequence)
                }
                MarketEventRef::Gap(g) => {
                    format!("gap {} {}+{}", char::from(g.state.0), g.venue_sequence, g.count)
                }
                MarketEventRef::Instrument(i) => format!("{} is {}", i.locate, i.instrument),
                MarketEventRef::AddOrder(e) => format!("{} add {}", e.venue_sequence, e.instrument),
                MarketEventRef::DeleteOrder(e) => format!("{} delete {}", e.venue_sequence, e.instrument),
                MarketEventRef::SystemEvent(e) => format!("{} system", e.venue_sequence),
                other => format!("{other:?}"),
            });
        });
        told
    }

    /// A new life that reads this journal back.
    fn feed(self, rerequest: bool) -> Feed<Itch, Self> {
        self.feed_from(None, rerequest)
    }

    /// A new life that reads this journal back, from a snapshot on.
    fn feed_from(self, snapshot: Option<&[u8]>, rerequest: bool) -> Feed<Itch, Self> {
        let (mut itch, mut history, mut from) = (Itch::new(), History::default(), 0);
        if let Some(snapshot) = snapshot.and_then(snapshot::parse) {
            assert!(itch.restore(&snapshot.learned));
            (history, from) = (snapshot.history, usize::try_from(snapshot.sequence).unwrap());
        }
        let tail = Self { events: self.events[from..].to_vec(), room: 0 };
        tail.each(|event| history.observe(itch.recall(event)));
        Feed::new(itch, Self { room: usize::MAX, ..self }, history, FeedConfig::new(rerequest))
    }
}

/// Message `number` of the test's market: a directory of two instruments, then orders of both.
fn message(number: u64) -> Vec<u8> {
    let locate = u16::try_from(1 + number % 2).unwrap();
    let head = |letter| Head::new(letter, locate, number);
    let stock = *if locate == 1 { b"ONE     " } else { b"TWO     " };
    match number {
        1 => SystemEvent { head: Head::new(b'S', 0, 1), code: b'O' }.as_bytes().to_vec(),
        2 | 3 => {
            let bytes = [head(b'R').as_bytes(), &stock, &[b'N'; 20]].concat();
            StockDirectory::ref_from_bytes(&bytes).unwrap().as_bytes().to_vec()
        }
        _ if number.is_multiple_of(3) => {
            OrderDelete { head: head(b'D'), order: number.into() }.as_bytes().to_vec()
        }
        _ => {
            let (order, shares, price) = (number.into(), 5.into(), 10_000.into());
            AddOrder { head: head(b'A'), order, side: b'B', shares, stock, price }.as_bytes().to_vec()
        }
    }
}

fn datagram(session: &[u8; 10], numbers: Range<u64>) -> Vec<u8> {
    let mut writer = PacketWriter::new(60_000);
    writer.begin(&session_id(*session), numbers.start);
    numbers.for_each(|number| assert!(writer.push(&message(number))));
    writer.datagram().to_vec()
}

const DAY: &[u8; 10] = b"20260105  ";
/// 2026-01-05 in nanoseconds.
const MIDNIGHT: u64 = 1_767_571_200_000_000_000;

fn send(feed: &mut Feed<Itch, Journal>, numbers: Range<u64>) -> Result<(), NoRoom> {
    feed.packet(Source::Line(0), Time(MIDNIGHT + numbers.start), &datagram(DAY, numbers))
}

fn fresh() -> Feed<Itch, Journal> {
    Journal::default().feed(false)
}

#[test]
fn a_session_is_announced_before_its_first_message_and_ended_after_its_last() {
    let mut feed = fresh();
    send(&mut feed, 1..3).unwrap();
    send(&mut feed, 3..6).unwrap();
    feed.end(session_id(*DAY), 6).unwrap();
    assert!(feed.is_ended());
    let told = feed.output().told();
    assert_eq!(told, ["S 1", "1 system", "1 is ONE", "2 is TWO", "4 add ONE", "5 add TWO", "E 6"]);
    let session = feed.session().unwrap();
    assert_eq!((session.exchange_time, session.date), (Time(MIDNIGHT), 20_260_105));
    assert_eq!(feed.summary().published, 5);
}

#[test]
fn nothing_is_published_of_what_the_journal_has() {
    let mut first = fresh();
    send(&mut first, 1..4).unwrap();
    send(&mut first, 4..9).unwrap();
    let before = first.output().clone();
    let mut second = before.clone().feed(false);
    send(&mut second, 1..9).unwrap();
    assert_eq!(second.output().events, before.events);
    let summary = second.summary();
    assert_eq!((summary.messages, summary.published, summary.duplicates), (8, 0, 8));
    send(&mut second, 9..10).unwrap();
    assert_eq!(second.output().told().last().unwrap(), "9 delete TWO");
}

#[test]
fn a_locate_without_directory_is_explained_in_the_journal() {
    let mut feed = fresh();
    send(&mut feed, 1..2).unwrap();
    send(&mut feed, 5..6).unwrap();
    send(&mut feed, 6..8).unwrap();
    feed.finish(Time(MIDNIGHT)).unwrap();
    let told = feed.output().told();
    let want =
        ["S 1", "1 system", "gap O 2+3", "2 is TWO", "5 add TWO", "6 delete #00001", "1 is ONE", "7 add ONE"];
    // Message 7 has locate 2.
    assert_eq!(told[..6], want[..6]);
    let mut next = feed.output().clone().feed(false);
    send(&mut next, 8..10).unwrap();
    send(&mut next, 2..5).unwrap();
    let told = next.output().told();
    assert_eq!(told[told.len() - 4..], ["1 is ONE", "2 is TWO", "4 add ONE", "gap C 2+3"]);
}

#[test]
fn another_session_begins_with_empty_instruments() {
    let mut feed = fresh();
    send(&mut feed, 1..4).unwrap();
    send(&mut feed, 4..5).unwrap();
    feed.end(session_id(*DAY), 5).unwrap();
    let next = *b"20260106  ";
    let mut other = |numbers: Range<u64>| {
        feed.packet(Source::Line(1), Time(MIDNIGHT * 2), &datagram(&next, numbers)).unwrap();
    };
    other(1..2);
    other(6..7);
    other(2..6);
    let told = feed.output().told();
    assert_eq!(
        told[6..],
        ["S 1", "1 system", "1 is ONE", "2 is TWO", "4 add ONE", "5 add TWO", "6 delete ONE"]
    );
    assert_eq!(feed.summary().messages, 10);
    // The first session's journal is met again although the journal is in another one now.
    let mut again = feed.output().clone().feed(false);
    send(&mut again, 1..4).unwrap();
    send(&mut again, 4..5).unwrap();
    assert_eq!(again.output().events.len(), 13);
    send(&mut again, 5..6).unwrap();
    assert_eq!(again.output().told()[13..], ["S 5", "5 add TWO"]);
}

#[test]
fn strangers_and_garbage_are_counted_and_change_nothing() {
    let mut feed = fresh();
    send(&mut feed, 1..2).unwrap();
    send(&mut feed, 2..4).unwrap();
    for garbage in [&b"short"[..], &datagram(b"STRANGER  ", 1..2), &[0; 40], &datagram(DAY, 4..6)[..50]] {
        feed.packet(Source::Line(1), Time(MIDNIGHT), garbage).unwrap();
    }
    let summary = feed.summary();
    assert_eq!((summary.malformed, summary.foreign, summary.messages), (3, 1, 3));
    assert_eq!((summary.lines[1].malformed, summary.lines[1].foreign), (3, 1));
}

/// What a venue's heartbeat, or end of session, is.
fn header(session: &[u8; 10], sequence: u64, count: u16) -> Vec<u8> {
    [&session[..], &sequence.to_be_bytes(), &count.to_be_bytes()].concat()
}

const SECOND: u64 = 1_000_000_000;

#[test]
fn given_a_forged_end_and_then_strangers_expect_the_session_to_go_on() {
    const FAR: u64 = 10_000_000;
    let mut feed = Journal::default().feed(true);
    let both = |feed: &mut Feed<Itch, Journal>, now: u64, datagram: &[u8]| {
        (0..2).for_each(|line| feed.packet(Source::Line(line), Time(MIDNIGHT + now), datagram).unwrap());
    };
    both(&mut feed, 0, &datagram(DAY, 1..4));
    let steps = 200;
    for step in 0..steps {
        // Two seconds of a forged end, one of quiet, two of strangers; then the real session alone.
        let now = (1 + step) * SECOND / 20;
        if step <= 40 && step % 6 == 0 {
            both(&mut feed, now, &header(DAY, FAR, u16::MAX));
            assert!(!feed.is_ended(), "{step}");
        }
        if (60..100).contains(&step) {
            both(&mut feed, now, &datagram(b"STRANGER01", 1..2));
        }
        both(&mut feed, now + 1, &datagram(DAY, 4 + step..5 + step));
        feed.poll(Time(MIDNIGHT + now + SECOND / 40)).unwrap();
        while feed.request(Time(MIDNIGHT + now + SECOND / 40)).is_some() {}
        assert!(!feed.is_ended(), "{step}");
    }
    both(&mut feed, steps * SECOND / 20 + SECOND, &header(DAY, 4 + steps, u16::MAX));
    assert!(feed.is_ended());
    let mut undisturbed = fresh();
    send(&mut undisturbed, 1..2).unwrap();
    send(&mut undisturbed, 2..4 + steps).unwrap();
    undisturbed.end(session_id(*DAY), 4 + steps).unwrap();
    let told = feed.output().told();
    let of_gap = |told: &&String| told.starts_with("gap") || **told == format!("E {FAR}");
    assert_eq!(told.iter().filter(of_gap).count(), 4, "{told:?}");
    let rest: Vec<_> = told.iter().filter(|told| !of_gap(told)).collect();
    assert!(rest.into_iter().eq(&undisturbed.output().told()));
    let summary = feed.summary();
    assert!(!summary.is_incomplete(), "{:?}", summary.gaps);
    assert_eq!((summary.messages, summary.foreign), (3 + steps, 80));
}

#[test]
fn given_a_session_that_comes_back_and_fills_its_gap_expect_no_open_gap() {
    let mut feed = fresh();
    send(&mut feed, 1..4).unwrap();
    send(&mut feed, 6..8).unwrap();
    feed.poll(Time(MIDNIGHT + SECOND)).unwrap();
    feed.end(session_id(*DAY), 8).unwrap();
    feed.end(session_id(*b"20260106  "), 1).unwrap();
    assert_eq!(feed.summary().gaps, [(4..6, false)]);
    send(&mut feed, 4..5).unwrap();
    send(&mut feed, 5..6).unwrap();
    feed.poll(Time(MIDNIGHT + SECOND)).unwrap();
    let summary = feed.summary();
    assert!(!summary.is_incomplete(), "{:?}", summary.gaps);
    assert_eq!(feed.output().told().last().unwrap(), "gap C 4+2");
}

proptest! {
    /// Lives that end anywhere, by a kill or for lack of room, and begin from the journal alone or from a snapshot, leave
    /// together what one undisturbed life leaves.
    #[test]
    fn disturbed_lives_make_the_same_journal(
        ends in prop::collection::vec((1u64..40, 0usize..50, any::<bool>()), 0..6), lost in prop::collection::btree_set(2u64..40, 0..4),
        sizes in prop::collection::vec(1u64..6, 1..10),
    ) {
        let play = |feed: &mut Feed<Itch, Journal>, from: u64, until: u64| {
            let (mut first, mut sizes) = (from, sizes.iter().cycle());
            while first < until {
                let end = (first + sizes.next().unwrap()).min(40);
                if !lost.contains(&first) {
                    let _ = send(feed, first..end);
                }
                first = end;
            }
        };
        let mut undisturbed = fresh();
        play(&mut undisturbed, 1, 40);
        undisturbed.finish(Time(MIDNIGHT)).unwrap();
        let mut journal = Journal::default();
        let mut snapshot: Option<Vec<u8>> = None;
        for (until, room, from_snapshot) in ends {
            let mut feed = journal.feed_from(snapshot.as_deref().filter(|_| from_snapshot), false);
            feed.output().room = room;
            play(&mut feed, 1, until / 2);
            let sequence = feed.output().events.len() as u64;
            snapshot = Some(feed.snapshot(sequence));
            play(&mut feed, 1, until);
            journal = feed.into_parts().1;
        }
        let mut last = journal.feed_from(snapshot.as_deref(), false);
        play(&mut last, 1, 40);
        last.finish(Time(MIDNIGHT)).unwrap();
        let told = |feed: &mut Feed<Itch, Journal>| feed.output().told();
        prop_assert_eq!(told(&mut last), told(&mut undisturbed));
    }
}

#[test]
fn bytes_that_are_no_message_stay_in_the_stream() {
    let mut feed = fresh();
    let mut writer = PacketWriter::new(1_000);
    writer.begin(&session_id(*DAY), 1);
    for strange in [&b"Z123"[..], b"", b"A short add", &[b'Z'; 300]] {
        assert!(writer.push(strange));
    }
    for _ in 0..2 {
        feed.packet(Source::Line(0), Time(MIDNIGHT), writer.datagram()).unwrap();
    }
    let mut seen = Vec::new();
    feed.output().each(|event| {
        if let MarketEventRef::VenueMessage(m) = event {
            seen.push((m.venue_sequence, m.message.0, m.length, m.instrument));
        }
    });
    let instrument = |index: usize| seen[index].3;
    assert_eq!((seen[0].0, seen[0].1, seen[0].2), (1, b'Z', 4));
    assert_eq!((seen[1].0, seen[1].1, seen[1].2), (2, 0, 0));
    assert_eq!((seen[2].0, seen[2].1, seen[2].2), (3, b'A', 11));
    assert_eq!((seen[3].0, seen[3].1, seen[3].2), (4, b'Z', 255));
    assert!(instrument(0).is_blank());
    assert_eq!(instrument(2), Symbol::new("#08307").unwrap());
    assert_eq!((feed.normaliser().unknown(), feed.normaliser().malformed()), (2, 2));
    assert!(itch::length(b'Z').is_none());
}
