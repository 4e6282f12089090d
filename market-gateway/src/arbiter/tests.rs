//! The arbiter against a naive model: a set of the numbers that came.

use std::collections::BTreeSet;
use std::ops::Range;

use proptest::prelude::*;

use super::*;
use crate::mold::{Packet, PacketWriter, SessionId};

/// A message says its own number; its length varies.
pub(super) fn message(number: u64) -> Vec<u8> {
    let length = 8 + usize::try_from(number % 7).unwrap();
    number.to_be_bytes().into_iter().chain(std::iter::repeat(0xEE)).take(length).collect()
}

/// A datagram with the messages of `range`; a heartbeat if it is empty.
pub(super) fn datagram(range: Range<u64>) -> Vec<u8> {
    let mut writer = PacketWriter::new(60_000);
    writer.begin(&SessionId::default(), range.start);
    range.for_each(|number| assert!(writer.push(&message(number))));
    writer.datagram().to_vec()
}

/// What the arbiter released, checked as it comes.
#[derive(Debug, Default)]
struct Recorder {
    new: Vec<u64>,
    seen: BTreeSet<u64>,
    late: Vec<u64>,
    journalled: Vec<u64>,
    open: BTreeSet<u64>,
    closed: Vec<u64>,
    ended: Vec<u64>,
    /// Whether to refuse, call by call, from the back.
    refusals: Vec<bool>,
}

#[derive(Debug, PartialEq)]
struct Refused;

impl Recorder {
    fn refuses(&mut self) -> Result<(), Refused> {
        if self.refusals.pop() == Some(true) { Err(Refused) } else { Ok(()) }
    }
}

impl Release for Recorder {
    type Error = Refused;
    fn message(&mut self, released: Released<'_>) -> Result<(), Refused> {
        self.refuses()?;
        assert_eq!(released.bytes, message(released.sequence));
        assert!(self.seen.insert(released.sequence), "{} came twice", released.sequence);
        match released.standing {
            Standing::New => {
                assert!(self.new.last().is_none_or(|last| *last < released.sequence));
                assert!(self.open.iter().all(|open| *open < released.sequence));
                self.new.push(released.sequence);
            }
            Standing::Late => {
                assert!(self.open.remove(&released.sequence), "{} was not lost", released.sequence);
                self.late.push(released.sequence);
            }
            Standing::Journalled => self.journalled.push(released.sequence),
        }
        Ok(())
    }
    fn gap_opened(&mut self, gap: &OpenGap) -> Result<(), Refused> {
        self.refuses()?;
        for number in gap.from..gap.from + gap.count {
            assert!(!self.seen.contains(&number) && self.open.insert(number));
        }
        Ok(())
    }
    fn gap_closed(&mut self, gap: &OpenGap) -> Result<(), Refused> {
        self.refuses()?;
        assert!((gap.from..gap.from + gap.count).all(|number| !self.open.contains(&number)));
        self.closed.push(gap.from);
        Ok(())
    }
    fn gap_withdrawn(&mut self, range: &Range<u64>, _: GapCause) -> Result<(), Refused> {
        panic!("{range:?} is not to be withdrawn: so little time passes here");
    }
    fn ended(&mut self, sequence: u64) -> Result<(), Refused> {
        self.refuses()?;
        self.ended.push(sequence);
        Ok(())
    }
}

fn limits(rerequest: bool) -> Limits {
    Limits { patience: Duration::from_secs(3_600), ..Limits::new(rerequest) }
}

fn start(next: u64) -> Start {
    Start { next, journalled: next, ..Start::default() }
}

struct Bench {
    arbiter: Arbiter,
    out: Recorder,
}

impl Bench {
    fn new(limits: Limits, start: Start) -> Self {
        let open = start.open.iter().flat_map(|gap| gap.from..gap.from + gap.count).collect();
        Self { arbiter: Arbiter::new(limits, start), out: Recorder { open, ..Recorder::default() } }
    }
    fn at(&mut self, time: u64, source: Source, range: Range<u64>) -> Result<(), Refused> {
        let bytes = datagram(range);
        let packet = Packet::parse(&bytes).unwrap();
        self.arbiter.packet(source, &packet, Time(time), &mut self.out)
    }
    fn line(&mut self, line: usize, range: Range<u64>) {
        self.at(0, Source::Line(line), range).unwrap();
    }
    fn end(&mut self, sequence: u64) {
        let packet = Packet { session: SessionId::default(), sequence, body: crate::mold::Body::End };
        self.arbiter.packet(Source::Line(0), &packet, Time(0), &mut self.out).unwrap();
    }
    fn finish(&mut self) {
        self.arbiter.finish(&mut self.out).unwrap();
    }
}

/// How a line cuts, loses, repeats and moves its packets: for each packet its length, whether it is lost or sent twice,
/// and how far behind it comes.
pub(super) type Habits = Vec<(u64, u8, usize)>;

pub(super) fn habits() -> impl Strategy<Value = Habits> {
    prop::collection::vec((1u64..9, 0u8..8, 0usize..4), 1..40)
}

/// The packets of one line that carries the messages 1 to `last`.
pub(super) fn packets(habits: &Habits, last: u64) -> Vec<Range<u64>> {
    let (mut sent, mut first) = (Vec::new(), 1);
    for (i, &(length, fate, delay)) in habits.iter().cycle().enumerate().take(100) {
        if first > last {
            break;
        }
        let range = first..(first + length).min(last + 1);
        first = range.end;
        match fate {
            0 | 1 => {}
            2 => sent.extend([(i + delay, range.clone()), (i + 1, range)]),
            _ => sent.push((i + delay, range)),
        }
    }
    sent.sort_by_key(|(place, _)| *place);
    sent.into_iter().map(|(_, range)| range).collect()
}

/// Both lines' packets in one order, each line's own kept.
pub(super) fn interleave(a: Vec<Range<u64>>, b: Vec<Range<u64>>, order: &[bool]) -> Vec<(usize, Range<u64>)> {
    let (mut a, mut b) = (a.into_iter().peekable(), b.into_iter().peekable());
    let mut merged = Vec::new();
    for pick in order.iter().cycle() {
        let of_a = (*pick && a.peek().is_some()) || b.peek().is_none();
        let Some(range) = (if of_a { a.next() } else { b.next() }) else { break };
        merged.push((usize::from(!of_a), range));
    }
    merged
}

fn complement(delivered: &BTreeSet<u64>, last: u64) -> Vec<u64> {
    (1..=last).filter(|number| !delivered.contains(number)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Any interleaving, loss, duplication, reorder and repacketisation gives the exact stream and the exact gaps.
    #[test]
    fn the_stream_is_exact(
        a in habits(), b in habits(), last in 1u64..120,
        order in prop::collection::vec(any::<bool>(), 1..50), answered in prop::collection::vec(any::<bool>(), 1..20),
        rerequest in any::<bool>(),
    ) {
        let mut bench = Bench::new(limits(rerequest), start(1));
        let mut delivered = BTreeSet::new();
        let mut answers = answered.iter().cycle();
        let sent = interleave(packets(&a, last), packets(&b, last), &order);
        for (i, (line, range)) in sent.into_iter().enumerate() {
            delivered.extend(range.clone());
            bench.line(line, range);
            while let Some(request) = bench.arbiter.request(Time(i as u64 * 1_000_000)).filter(|_| rerequest) {
                if *answers.next().unwrap() {
                    let range = request.sequence..request.sequence + u64::from(request.count).min(5);
                    prop_assert!(range.clone().any(|number| !bench.out.seen.contains(&number)));
                    delivered.extend(range.clone());
                    bench.at(0, Source::Rerequest, range).unwrap();
                }
            }
        }
        bench.end(last + 1);
        bench.finish();
        prop_assert!(bench.out.new.iter().eq(&delivered));
        prop_assert!(bench.out.open.iter().eq(&complement(&delivered, last)));
        prop_assert_eq!(bench.out.ended, vec![last + 1]);
        let listed: Vec<u64> =
            bench.arbiter.gaps().into_iter().filter(|(_, recovered)| !recovered).flat_map(|(range, _)| range).collect();
        prop_assert_eq!(listed, complement(&delivered, last));
        prop_assert!(bench.arbiter.is_ended());
    }

    /// With no room, no patience, wild jumps, a journal that has some already and an output that refuses, each message
    /// still comes once or is in an open gap, and nothing panics.
    #[test]
    fn nothing_comes_twice_and_nothing_vanishes(
        a in habits(), b in habits(), last in 1u64..120, order in prop::collection::vec(any::<bool>(), 1..50),
        refusals in prop::collection::vec(any::<bool>(), 0..200), wild in prop::collection::vec(20u64..60, 1..20),
        journalled in 1u64..60, next in 1u64..10, lost in prop::collection::vec((1u64..8, 1u64..4), 0..4),
        rerequest in any::<bool>(), window in 1u64..30, held_bytes in 0usize..2_000,
    ) {
        let limits = Limits { window, held_bytes, patience: Duration::from_nanos(3), reorder_wait: Duration::from_nanos(1), retry: Duration::from_nanos(2), rerequest };
        let (mut open, mut at) = (Vec::new(), 0);
        for (skip, count) in lost {
            at += skip;
            if at + count <= journalled {
                open.push(OpenGap::new(at, count, GapCause::Network));
            }
            at += count;
        }
        let mut bench = Bench::new(limits, Start { next: next.min(journalled), journalled, open, ..Start::default() });
        bench.out.refusals = refusals;
        let mut wild = wild.into_iter().cycle();
        let sent = interleave(packets(&a, last), packets(&b, last), &order);
        for (i, (line, range)) in sent.into_iter().enumerate() {
            let now = i as u64;
            let _ = bench.at(now, Source::Line(line), range);
            if i % 3 == 0 {
                let first = wild.next().unwrap() * 50;
                let _ = bench.at(now, Source::Line(line), first..first + 3);
            }
            let _ = bench.arbiter.poll(Time(now), &mut bench.out);
            if let Some(request) = bench.arbiter.request(Time(now)).filter(|request| request.sequence <= last) {
                let _ = bench.at(now, Source::Rerequest, request.sequence..(request.sequence + u64::from(request.count)).min(last + 1));
            }
        }
        bench.out.refusals.clear();
        bench.finish();
        let (reached, out) = (bench.arbiter.next(), &bench.out);
        for number in journalled..reached.min(last + 1) {
            prop_assert!(out.seen.contains(&number) != out.open.contains(&number), "{} is neither here nor lost", number);
        }
        prop_assert!(out.new.iter().all(|&number| number >= journalled));
        prop_assert!(out.journalled.iter().all(|&number| number < journalled));
    }
}

#[test]
fn a_jump_beyond_the_window_moves_nothing_alone() {
    for jump in [1 << 20, 1 << 63, u64::MAX - 3] {
        let mut bench = Bench::new(limits(false), start(1));
        bench.line(0, 1..3);
        bench.line(0, jump..jump + 2);
        bench.line(0, 3..5);
        bench.line(1, 5..7);
        bench.finish();
        assert_eq!(bench.out.new, (1..7).collect::<Vec<_>>());
        assert!(bench.out.open.is_empty());
        assert_eq!(bench.arbiter.counts().unconfirmed, 1);
    }
}

#[test]
fn another_line_or_a_later_packet_or_an_answer_confirms_a_jump() {
    let confirmations = [
        (Source::Line(1), 100_000..100_002),
        (Source::Line(0), 100_003..100_004),
        (Source::Rerequest, 100_000..100_003),
    ];
    for (source, range) in confirmations {
        let mut bench = Bench::new(limits(false), start(99_000 - 98_000));
        bench.line(0, 1_000..1_001);
        bench.line(0, 100_000..100_003);
        assert_eq!(bench.out.new, [1_000]);
        bench.at(0, source, range.clone()).unwrap();
        let end = range.end.max(100_003);
        assert_eq!(bench.out.new, [1_000].into_iter().chain(100_000..end).collect::<Vec<_>>());
        assert_eq!(bench.arbiter.gaps(), [(1_001..100_000, false)]);
    }
}

#[test]
fn a_late_joiner_asks_from_the_first_message_and_holds_no_more_than_its_window() {
    let mut bench = Bench::new(Limits { window: 10, ..limits(true) }, start(1));
    let (mut live, mut asked) = (50, Vec::new());
    bench.line(0, live..live + 1);
    bench.line(0, live + 1..live + 2);
    live += 2;
    for now in 0..40 {
        while let Some(request) = bench.arbiter.request(Time(now)) {
            asked.push(request.sequence);
            let end = (request.sequence + u64::from(request.count)).min(request.sequence + 4).min(live);
            bench.at(now, Source::Rerequest, request.sequence..end).unwrap();
        }
        bench.line(0, live..live + 1);
        live += 1;
    }
    assert_eq!(asked[..2], [1, 5]);
    assert_eq!(bench.out.new, (1..live).collect::<Vec<_>>());
    assert!(bench.out.open.is_empty());
}

#[test]
fn what_arrives_after_it_was_given_up_is_late_and_closes_its_gap() {
    let mut bench = Bench::new(Limits { patience: Duration::from_nanos(5), ..limits(false) }, start(1));
    bench.line(0, 1..3);
    bench.line(0, 6..8);
    bench.arbiter.poll(Time(4), &mut bench.out).unwrap();
    assert!(bench.out.open.is_empty());
    bench.arbiter.poll(Time(5), &mut bench.out).unwrap();
    assert_eq!(bench.out.open, BTreeSet::from([3, 4, 5]));
    bench.line(1, 4..7);
    assert_eq!((&bench.out.late[..], &bench.out.closed[..]), (&[4, 5][..], &[][..]));
    assert_eq!(bench.arbiter.gaps(), [(3..4, false)]);
    bench.line(1, 1..5);
    assert_eq!((&bench.out.late[..], &bench.out.closed[..]), (&[4, 5, 3][..], &[3][..]));
    assert_eq!(bench.arbiter.gaps(), [(3..6, true)]);
    assert_eq!(bench.out.new, [1, 2, 6, 7]);
}

#[test]
fn an_open_gap_is_asked_for_on_and_on_and_less_and_less_often() {
    let [patience, retry] = [50, 10].map(Duration::from_nanos);
    let limits = Limits { patience, retry, ..limits(true) };
    let mut bench = Bench::new(limits, start(1));
    bench.line(0, 1..3);
    bench.line(0, 6..8);
    bench.arbiter.poll(Time(50), &mut bench.out).unwrap();
    assert_eq!(bench.out.open, BTreeSet::from([3, 4, 5]));
    assert_eq!(bench.arbiter.missing(), 3);
    let day = 1_000_000_u64;
    let asked: Vec<u64> = (51..day).filter(|now| bench.arbiter.request(Time(*now)).is_some()).collect();
    let pauses: Vec<u64> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(pauses[..8], [50, 100, 200, 400, 800, 1_600, 3_200, 3_200]);
    assert!(asked.last().unwrap() + 3_200 >= day, "until the end");
    bench.at(day, Source::Rerequest, 3..6).unwrap();
    assert_eq!((&bench.out.closed[..], bench.arbiter.missing()), (&[3][..], 0));
}

#[test]
fn many_open_gaps_are_asked_for_a_few_at_a_time() {
    let open = (0..200).map(|n| OpenGap::new(10 * n + 1, 5, GapCause::Network)).collect();
    let start = Start { open, ..start(3_000) };
    let mut bench = Bench::new(limits(true), start);
    let ask = |bench: &mut Bench, now| bench.arbiter.request(Time(now)).map(|request| request.sequence);
    let first: Vec<u64> = std::iter::from_fn(|| ask(&mut bench, 1)).collect();
    assert_eq!(first, (0..16).map(|n| 10 * n + 1).collect::<Vec<_>>());
    bench.at(2, Source::Rerequest, 1..6).unwrap();
    assert_eq!(ask(&mut bench, 2), Some(161), "an answer makes room for a request");
    assert_eq!(ask(&mut bench, 2), None);
    let retry = limits(true).retry.as_nanos() as u64;
    assert_eq!(ask(&mut bench, 2 + retry), Some(171), "and time without one for all");
}

#[test]
fn a_burst_at_one_instant_waits_for_its_first_message() {
    let mut bench = Bench::new(limits(true), start(1));
    for first in (2..9_000).step_by(25) {
        bench.line(0, first..first + 25);
    }
    assert!(bench.out.new.is_empty());
    let request = bench.arbiter.request(Time(1_000_000)).unwrap();
    assert_eq!((request.sequence, request.count), (1, 1));
    assert_eq!(bench.arbiter.request(Time(1_000_001)), None, "one request at a time for one range");
    bench.at(0, Source::Rerequest, 1..2).unwrap();
    assert_eq!(bench.out.new.len(), 9_001);
    assert_eq!(bench.arbiter.gaps(), [(1..2, true)]);
}

#[test]
fn a_message_beyond_the_end_takes_the_end_back() {
    let mut bench = Bench::new(limits(false), start(1));
    bench.line(0, 1..4);
    bench.end(4);
    bench.end(4);
    assert!(bench.arbiter.is_ended());
    assert_eq!(bench.out.ended, [4]);
    bench.line(0, 4..5);
    assert!(!bench.arbiter.is_ended());
    bench.end(3);
    assert!(!bench.arbiter.is_ended());
    bench.end(5);
    assert_eq!(bench.out.ended, [4, 5]);
    assert_eq!(bench.arbiter.counts().contradictions, 2);
}

#[test]
fn what_a_full_output_refused_is_offered_again_and_lost_only_beyond_the_limits() {
    let mut bench = Bench::new(Limits { window: 10, ..limits(false) }, start(1));
    bench.out.refusals = vec![true; 30];
    for first in 1..=20 {
        assert_eq!(bench.at(0, Source::Line(0), first..first + 1), Err(Refused));
    }
    bench.out.refusals.clear();
    bench.finish();
    assert_eq!(bench.out.new, (1..=10).collect::<Vec<_>>());
    assert_eq!(bench.arbiter.gaps(), [(11..21, false)]);
}

#[test]
fn the_journals_own_messages_are_met_again_and_only_its_gaps_are_filled() {
    let open = vec![OpenGap::new(3, 2, GapCause::Network)];
    let mut bench =
        Bench::new(limits(false), Start { next: 1, journalled: 6, open, ended: Some(8), ..Start::default() });
    bench.line(0, 1..8);
    bench.end(8);
    assert_eq!(bench.out.journalled, [1, 2, 5]);
    assert_eq!((&bench.out.late[..], &bench.out.closed[..]), (&[3, 4][..], &[3][..]));
    assert_eq!(bench.out.new, [6, 7]);
    assert!(bench.out.ended.is_empty(), "the journal has this end");
    assert_eq!(bench.arbiter.counts().journalled, 3);
}
