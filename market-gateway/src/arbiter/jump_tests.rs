//! Jumps that nobody made, forged or garbled, and what the lines that go on below them make of them; with a journal that
//! the next life reads back.

use proptest::prelude::*;

use super::tests::{Habits, datagram, habits, interleave, message, packets};
use super::*;
use crate::Recall;
use crate::mold::{Body, Packet, SessionId};
use crate::resume::History;
use bus::event::market::{Gap, Session};
use bus::event::{Code, Text};

const SECOND: u64 = 1_000_000_000;

#[derive(Debug, Clone, PartialEq)]
enum Told {
    Message(u64, Standing),
    Gap(u8, Range<u64>),
    End(u64),
}

use Told::{End, Message};

fn new(range: Range<u64>) -> Vec<Told> {
    range.map(|number| Message(number, Standing::New)).collect()
}

fn late(range: Range<u64>) -> Vec<Told> {
    range.map(|number| Message(number, Standing::Late)).collect()
}

fn gap(state: u8, range: Range<u64>) -> Vec<Told> {
    vec![Told::Gap(state, range)]
}

/// A journal. What it has may be met again, but not a second time be told.
#[derive(Debug, Default)]
struct Journal {
    told: Vec<(Time, Told)>,
    now: u64,
    /// Whether to refuse, call by call, from the back.
    refusals: Vec<bool>,
}

#[derive(Debug)]
struct Refused;

impl Journal {
    fn tell(&mut self, told: Told) -> Result<(), Refused> {
        if self.refusals.pop() == Some(true) {
            return Err(Refused);
        }
        self.told.push((Time(self.now), told));
        Ok(())
    }

    fn told(&self) -> Vec<Told> {
        self.told.iter().map(|(_, told)| told.clone()).collect()
    }

    /// What the gateway reads back.
    fn history(&self) -> History {
        let mut history = History::default();
        history.observe(Recall::Session(Session { state: Code(b'S'), ..Session::default() }));
        for (time, told) in &self.told {
            history.observe(match told {
                Message(number, _) => Recall::Message(*number),
                Told::Gap(state, range) => Recall::Gap(Gap {
                    receive_time: *time,
                    venue_sequence: range.start,
                    count: range.end - range.start,
                    state: Code(*state),
                    cause: Text::new("network").unwrap(),
                    ..Gap::default()
                }),
                End(number) => Recall::Session(Session {
                    state: Code(b'E'),
                    venue_sequence: *number,
                    ..Session::default()
                }),
            });
        }
        history
    }

    /// How often the journal has a message, and whether it is missing, as one who reads it naively says.
    fn of(&self, number: u64) -> (usize, bool) {
        let mut state = (0, false);
        for (_, told) in &self.told {
            match told {
                Message(its, _) if *its == number => state = (state.0 + 1, false),
                Told::Gap(kind, range) if range.contains(&number) => state.1 = *kind == b'O',
                _ => {}
            }
        }
        state
    }

    /// Whether a gap covers the message still, for one who looks at gaps alone, as the books do.
    fn is_covered(&self, number: u64) -> bool {
        let last = self.told.iter().rev().find_map(|(_, told)| match told {
            Told::Gap(kind, range) if range.contains(&number) => Some(*kind),
            _ => None,
        });
        last == Some(b'O')
    }
}

impl Release for Journal {
    type Error = Refused;
    fn message(&mut self, released: Released<'_>) -> Result<(), Refused> {
        assert_eq!(released.bytes, message(released.sequence));
        match released.standing {
            Standing::Journalled => Ok(()),
            standing => self.tell(Message(released.sequence, standing)),
        }
    }
    fn gap_opened(&mut self, gap: &OpenGap) -> Result<(), Refused> {
        self.tell(Told::Gap(b'O', gap.from..gap.end()))
    }
    fn gap_closed(&mut self, gap: &OpenGap) -> Result<(), Refused> {
        self.tell(Told::Gap(b'C', gap.from..gap.end()))
    }
    fn gap_withdrawn(&mut self, range: &Range<u64>, _: GapCause) -> Result<(), Refused> {
        self.tell(Told::Gap(b'W', range.clone()))
    }
    fn ended(&mut self, sequence: u64) -> Result<(), Refused> {
        self.tell(End(sequence))
    }
}

/// An arbiter in one of its lives, and the journal of all.
struct Bench {
    limits: Limits,
    arbiter: Option<Arbiter>,
    out: Journal,
}

impl Bench {
    fn new(rerequest: bool) -> Self {
        let limits = Limits { window: 300, patience: Duration::from_millis(50), ..Limits::new(rerequest) };
        Self { limits, arbiter: None, out: Journal::default() }
    }

    fn arbiter(&mut self) -> &mut Arbiter {
        self.arbiter.as_mut().expect("it has heard a packet")
    }

    /// It dies. The next packet begins its next life.
    fn kill(&mut self) {
        self.arbiter = None;
    }

    fn hear(&mut self, now: u64, source: Source, packet: &Packet<'_>) {
        self.out.now = now;
        let arbiter = self.arbiter.get_or_insert_with(|| {
            let history = self.out.history();
            let past = history.past(&SessionId::default()).unwrap();
            Arbiter::new(self.limits, past.start(packet.sequence, self.limits.window))
        });
        let _ = arbiter.packet(source, packet, Time(now), &mut self.out);
    }

    /// Messages on a line; a heartbeat if there are none.
    fn line(&mut self, now: u64, line: usize, range: Range<u64>) {
        self.hear(now, Source::Line(line), &Packet::parse(&datagram(range)).unwrap());
    }

    fn end(&mut self, now: u64, line: usize, sequence: u64) {
        let packet = Packet { session: SessionId::default(), sequence, body: Body::End };
        self.hear(now, Source::Line(line), &packet);
    }

    fn poll(&mut self, now: u64) {
        self.out.now = now;
        let Some(arbiter) = &mut self.arbiter else { return };
        let _ = arbiter.poll(Time(now), &mut self.out);
    }

    /// Both lines say each half second, from `from` on and 4 seconds long, that `next` is next.
    fn quiet(&mut self, from: u64, next: u64) {
        for step in 0..=8 {
            self.line(from + step * SECOND / 2, step as usize % 2, next..next);
        }
    }

    /// Both lines have been at 5 when one packet on each says `jump`, and that was given up.
    fn forged(jump: u64) -> Self {
        let mut bench = Self::new(false);
        bench.line(SECOND, 0, 1..5);
        bench.line(SECOND, 0, jump..jump + 2);
        bench.line(SECOND, 1, jump..jump + 2);
        bench.poll(2 * SECOND);
        let told = [new(1..5), gap(b'O', 5..jump), new(jump..jump + 2)].concat();
        assert_eq!(bench.out.told(), told);
        bench
    }

    fn since(&self, told: usize) -> Vec<Told> {
        self.out.told()[told..].to_vec()
    }
}

/// Within the window, and beyond it.
const JUMPS: [u64; 3] = [200, 1 << 40, (1 << 63) - 1];

#[test]
fn the_real_end_of_a_session_below_a_jump_is_accepted_when_the_lines_say_it_steadily() {
    for jump in JUMPS {
        let mut bench = Bench::forged(jump);
        bench.line(2 * SECOND, 0, 5..8);
        bench.line(2 * SECOND, 1, 9..10);
        for step in 0..=8 {
            bench.end(3 * SECOND + step * SECOND / 2, step as usize % 2, 10);
        }
        let want = [late(5..8), late(9..10), gap(b'W', 10..jump), vec![End(10)]].concat();
        assert_eq!(bench.since(7), want, "8 is lost, and nothing else");
        assert!(bench.arbiter().is_ended());
        assert_eq!(bench.arbiter().gaps(), [(8..9, false)]);
        assert_eq!(bench.arbiter().counts().refuted, 2);
    }
}

#[test]
fn lines_that_go_on_below_a_jump_refute_it() {
    for jump in JUMPS {
        let mut bench = Bench::forged(jump);
        bench.line(2 * SECOND, 0, 5..8);
        bench.quiet(3 * SECOND, 8);
        assert_eq!(bench.since(7), [late(5..8), gap(b'W', 8..jump), gap(b'C', 5..8)].concat());
        // A real loss is now known exactly, and messages are new again.
        bench.line(8 * SECOND, 0, 8..9);
        bench.line(8 * SECOND, 0, 11..12);
        bench.poll(9 * SECOND);
        assert_eq!(bench.since(12), [new(8..9), gap(b'O', 9..11), new(11..12)].concat());
        assert_eq!(bench.arbiter().gaps(), [(5..8, true), (9..11, false)]);
    }
}

#[test]
fn what_a_forged_packet_brought_is_not_told_again_when_the_lines_come_there() {
    let mut bench = Bench::forged(200);
    bench.quiet(2 * SECOND, 5);
    assert_eq!(bench.since(7), gap(b'W', 5..200));
    let copies = bench.arbiter().counts().copies;
    bench.line(7 * SECOND, 0, 5..190);
    bench.line(7 * SECOND, 0, 190..210);
    bench.line(7 * SECOND, 0, 210..211);
    assert_eq!(bench.since(8), [new(5..200), new(202..211)].concat());
    assert_eq!(bench.arbiter().counts().copies - copies, 2);
    assert_eq!(bench.arbiter().next(), 211);
}

#[test]
fn a_jump_that_is_waited_for_still_leaves_nothing_in_the_journal() {
    let mut bench = Bench::new(false);
    bench.limits.patience = Duration::from_secs(60);
    bench.line(SECOND, 0, 1..5);
    bench.line(SECOND, 0, 200..202);
    bench.line(2 * SECOND, 0, 5..8);
    bench.quiet(3 * SECOND, 8);
    bench.line(8 * SECOND, 0, 8..250);
    assert_eq!(bench.out.told(), new(1..250));
    assert_eq!((bench.arbiter().counts().unconfirmed, bench.arbiter().counts().refuted), (1, 0));
}

#[test]
fn a_jump_that_a_line_goes_on_from_stands() {
    for jump in JUMPS {
        let mut bench = Bench::forged(jump);
        for second in 3..30 {
            // The other line is far behind.
            bench.line(second * SECOND, 0, jump + 2..jump + 2);
            (0..9).for_each(|step| bench.line(second * SECOND + step, 1, 5..6));
        }
        assert_eq!(bench.since(7), late(5..6));
        assert_eq!(bench.arbiter().next(), jump + 2);
    }
}

#[test]
fn few_packets_or_a_short_time_or_answers_refute_nothing() {
    let mut bench = Bench::forged(1 << 40);
    (0..3).for_each(|step| bench.line((3 + step * 10) * SECOND, 0, 5..5));
    let mut short = Bench::forged(1 << 40);
    (0..300).for_each(|step| short.line(3 * SECOND + step * SECOND / 101, 0, 5..5));
    let mut answers = Bench::forged(1 << 40);
    for second in 3..300 {
        answers.hear(second * SECOND, Source::Rerequest, &Packet::parse(&datagram(1..5)).unwrap());
    }
    for bench in [bench, short, answers] {
        assert_eq!(bench.out.told().len(), 7);
    }
}

#[test]
fn a_forged_end_below_a_jump_ends_no_session_that_lives() {
    let mut bench = Bench::forged(1 << 40);
    for second in 3..30 {
        bench.line(second * SECOND, 1, 2 * second - 1..2 * second + 1);
        (0..9).for_each(|step| bench.end(second * SECOND + step, 0, 2 * second - 1));
    }
    let told = bench.out.told();
    assert!(!told.iter().any(|told| matches!(told, End(_))), "{told:?}");
    assert!(told.contains(&Told::Gap(b'W', 13..1 << 40)), "it heals although: {told:?}");
}

#[test]
fn a_forged_end_beyond_a_session_is_taken_back_and_the_real_one_is_told() {
    let mut bench = Bench::new(false);
    bench.line(SECOND, 0, 1..5);
    bench.end(SECOND, 0, 200);
    bench.poll(2 * SECOND);
    assert!(bench.arbiter().is_ended(), "as one end within the window does");
    bench.quiet(3 * SECOND, 5);
    assert!(!bench.arbiter().is_ended());
    bench.end(8 * SECOND, 0, 5);
    assert!(bench.arbiter().is_ended());
    let want = [gap(b'O', 5..200), vec![End(200)], gap(b'W', 5..200), vec![End(5)]].concat();
    assert_eq!(bench.since(4), want);
}

#[test]
fn given_lines_that_go_on_below_an_end_that_is_said_on_them_expect_no_end() {
    for end in [200, 1 << 40] {
        let mut bench = Bench::new(false);
        (0..2).for_each(|line| bench.line(SECOND, line, 1..5));
        for step in 0..100 {
            let at = SECOND + step * SECOND / 20;
            if step % 6 == 0 && step <= 40 {
                (0..2).for_each(|line| bench.end(at, line, end));
            }
            assert!(!bench.arbiter().is_ended(), "{end}: {step}, behind a forged end");
            (0..2).for_each(|line| bench.line(at + 1, line, 5 + step..6 + step));
            bench.poll(at + SECOND / 50);
            assert!(!bench.arbiter().is_ended(), "{end}: {step}");
        }
        (0..2).for_each(|line| bench.end(7 * SECOND, line, 105));
        assert!(bench.arbiter().is_ended());
        assert_eq!(bench.arbiter().gaps().iter().filter(|(_, recovered)| !recovered).count(), 0);
    }
}

#[test]
fn given_an_end_before_which_all_lines_lost_messages_expect_it_once_they_are_given_up() {
    let mut bench = Bench::new(false);
    (0..2).for_each(|line| bench.line(SECOND, line, 1..5));
    bench.end(SECOND + 1, 0, 9);
    // The other line is a little late.
    bench.line(SECOND + 2, 1, 5..7);
    bench.end(SECOND + 3, 1, 9);
    assert!(!bench.arbiter().is_ended(), "7 and 8 are waited for");
    bench.poll(SECOND + SECOND / 10);
    assert!(bench.arbiter().is_ended());
    assert_eq!(bench.since(4), [new(5..7), gap(b'O', 7..9), vec![End(9)]].concat());
}

#[test]
fn given_an_end_far_beyond_all_that_came_expect_it_once_it_has_stood_for_a_while() {
    let mut bench = Bench::new(false);
    bench.line(SECOND, 0, 1..5);
    (0..2).for_each(|line| bench.end(SECOND, line, 1 << 40));
    bench.poll(3 * SECOND);
    assert!(!bench.arbiter().is_ended());
    bench.end(3 * SECOND, 0, 1 << 40);
    bench.poll(4 * SECOND);
    assert!(bench.arbiter().is_ended());
}

#[test]
fn a_line_that_is_late_and_alone_for_a_while_costs_nothing() {
    let mut bench = Bench::new(false);
    bench.line(SECOND, 0, 1..5);
    bench.line(SECOND, 0, 50..60);
    bench.poll(2 * SECOND);
    // The line that is ahead falls silent; the other one carries what it lost, and then goes on.
    (0..40).for_each(|n| bench.line(3 * SECOND + n * SECOND / 5, 1, 5 + n..6 + n));
    (40..70).for_each(|n| bench.line(12 * SECOND + n, 1, 5 + n..6 + n));
    for number in 1..75 {
        assert_eq!(bench.out.of(number), (1, false), "{number}");
        assert!(!bench.out.is_covered(number), "{number}");
    }
}

#[test]
fn what_one_line_brought_is_kept_while_the_other_one_is_late_and_alone() {
    let mut bench = Bench::new(false);
    bench.limits.patience = Duration::from_secs(120);
    bench.line(SECOND, 0, 1..5);
    bench.line(SECOND, 0, 50..60);
    (0..40).for_each(|n| bench.line(2 * SECOND + n * SECOND / 5, 1, 5 + n..6 + n));
    bench.line(12 * SECOND, 1, 45..53);
    bench.line(12 * SECOND, 1, 57..62);
    bench.poll(200 * SECOND);
    assert_eq!(bench.out.told(), new(1..62), "the late line lost 53 to before 57");
}

#[test]
fn a_line_that_ends_the_session_steadily_is_not_refuted_by_a_late_one() {
    let mut bench = Bench::new(false);
    bench.line(SECOND, 0, 1..5);
    bench.line(SECOND, 0, 50..60);
    bench.poll(2 * SECOND);
    for step in 0..20 {
        bench.end(2 * SECOND + step * SECOND / 2, 0, 60);
        bench.line(2 * SECOND + step * SECOND / 2, 1, 5 + step..6 + step);
    }
    let want = [new(1..5), gap(b'O', 5..50), new(50..60), vec![End(60)], late(5..25)].concat();
    assert_eq!(bench.out.told(), want);
}

#[test]
fn a_jump_is_refuted_however_many_gaps_there_are() {
    let mut bench = Bench::new(false);
    (0..1_100).for_each(|n| bench.line(SECOND + n, 0, 2 * n + 1..2 * n + 2));
    bench.poll(2 * SECOND);
    let next = 2 * 1_100;
    bench.line(3 * SECOND, 0, 1 << 40..(1 << 40) + 1);
    bench.line(3 * SECOND, 1, 1 << 40..(1 << 40) + 1);
    bench.poll(4 * SECOND);
    bench.quiet(4 * SECOND, next);
    bench.line(9 * SECOND, 0, next..next + 10);
    let told = bench.out.told();
    assert_eq!(told[told.len() - 11..], [gap(b'W', next..1 << 40), new(next..next + 10)].concat());
    let facts =
        |past: &crate::resume::Past| (past.next, past.open.iter().map(|gap| gap.from).collect::<Vec<_>>());
    let history = bench.out.history();
    let past = history.past(&SessionId::default()).unwrap();
    assert_eq!(facts(past), facts(&bench.arbiter().past(0)));
}

#[test]
fn a_capture_that_is_given_again_withdraws_no_gap_that_its_journal_has() {
    let play = |bench: &mut Bench| {
        for n in (1..2_000).step_by(2).filter(|n| !(901..911).contains(n)) {
            bench.line(SECOND + n * SECOND / 20, (n as usize / 2) % 2, n..n + 2);
        }
        bench.poll(200 * SECOND);
    };
    let mut bench = Bench::new(false);
    play(&mut bench);
    let before = bench.out.told();
    assert!(before.contains(&Told::Gap(b'O', 901..911)));
    bench.kill();
    bench.limits = Limits { window: 300, ..Limits::of_captures(false) };
    play(&mut bench);
    assert_eq!(bench.out.told(), before);
}

#[test]
fn ranges_ahead_are_bounded() {
    let mut bench = Bench::new(false);
    bench.limits.window = 1 << 20;
    bench.line(SECOND, 0, 1..5);
    for round in 1..6 {
        let now = round * 20 * SECOND;
        bench.line(now, 0, round * 50_000..round * 50_000 + 1);
        bench.poll(now + SECOND);
        for n in 0..5_000 {
            let number = round * 50_000 - 20_000 + 2 * n;
            bench.line(now + SECOND, 0, number..number + 1);
        }
        // The first time they were said to be at the last of these.
        bench.quiet(now + 2 * SECOND, 5);
        bench.quiet(now + 8 * SECOND, 5);
        let ahead = bench.arbiter().past(0).ahead.len();
        assert!(ahead <= 8_192 && (ahead >= 4_000 || round > 1), "{ahead}");
    }
}

/// One packet that is no line's: before which of the lines' it comes, on which lines, how far it jumps, what it says.
type Forged = (usize, u8, u64, u8);

fn forged() -> impl Strategy<Value = Forged> {
    (0usize..60, 1u8..4, prop_oneof![1u64..200, 200u64..900, Just(1 << 62)], 0u8..4)
}

/// What was sent by the lines and by the forger, up to the message `last`, and the end of the session.
fn play(
    bench: &mut Bench,
    (a, b, order): (&Habits, &Habits, &[bool]),
    last: u64,
    forged: &[Forged],
    mut before: impl FnMut(&mut Bench, usize, u64),
) -> (Vec<Range<u64>>, Vec<Range<u64>>) {
    let (mut delivered, mut of_forger, mut sent) = (Vec::new(), Vec::new(), 1);
    for (i, (line, range)) in interleave(packets(a, last), packets(b, last), order).into_iter().enumerate() {
        let now = SECOND + i as u64 * SECOND / 10;
        before(bench, i, sent);
        for &(_, lines, jump, kind) in forged.iter().filter(|forged| forged.0 == i) {
            let first = sent + jump;
            for line in (0..2).filter(|line| lines & (1 << line) != 0) {
                match kind {
                    0 => bench.line(now, line, first..first),
                    1 => bench.end(now, line, first),
                    count => bench.line(now, line, first..first + u64::from(count)),
                }
                of_forger.push(first..first + u64::from(kind));
            }
        }
        bench.line(now, line, range.clone());
        sent = sent.max(range.end);
        delivered.push(range);
        bench.poll(now + SECOND / 20);
    }
    let now = 100 * SECOND;
    for step in 0..40 {
        before(bench, usize::MAX, last + 1);
        bench.line(now + step * SECOND / 2, step as usize % 2, last + 1..last + 1);
    }
    for step in 0..20 {
        bench.end(now + (40 + step) * SECOND / 2, step as usize % 2, last + 1);
        bench.poll(now + (40 + step) * SECOND / 2 + SECOND / 5);
    }
    (delivered, of_forger)
}

/// No message twice, none both here and missing; beyond the last one nothing is missing; and it ended there.
fn assert_healed(bench: &mut Bench, last: u64) {
    let mut is_missing = false;
    for number in 1..=last {
        let (times, missing) = bench.out.of(number);
        assert_eq!((times, missing), (usize::from(!missing), missing), "{number}");
        assert!(bench.out.is_covered(number) || !missing, "{number} is missing and no gap says so");
        is_missing |= missing;
    }
    let beyond = [last + 1, last + 2, last + 50, last + 250, last + 700, 1 << 61, (1 << 62) - 1, 1 << 62];
    for number in beyond {
        let (times, missing) = bench.out.of(number);
        assert!(!missing && (times > 0 || !bench.out.is_covered(number)), "{number} was never sent");
    }
    let is_covered = (1..=last).any(|number| bench.out.is_covered(number));
    assert_eq!(is_covered, is_missing, "books are stale as long as something is missing");
    let lost =
        bench.arbiter().gaps().into_iter().filter(|(_, recovered)| !recovered).flat_map(|(range, _)| range);
    let missing: Vec<u64> = (1..=last).filter(|&number| bench.out.of(number).1).collect();
    assert_eq!(lost.collect::<Vec<_>>(), missing);
    let ends: Vec<_> = bench.out.told().into_iter().filter(|told| matches!(told, End(_))).collect();
    assert_eq!(ends.last(), Some(&End(last + 1)));
    assert!(bench.arbiter().is_ended());
    let (history, of_arbiter) = (bench.out.history(), bench.arbiter().past(0));
    let past = history.past(&SessionId::default()).unwrap();
    let facts = |past: &crate::resume::Past| {
        let open: Vec<_> =
            past.open.iter().map(|gap| (gap.from, gap.end(), gap.missing().collect())).collect();
        let _: &Vec<(u64, u64, Vec<Range<u64>>)> = &open;
        // What is ahead and next may count as passed.
        let (mut next, mut ahead) = (past.next, past.ahead.clone());
        while let Some(range) = ahead.first_from(next).filter(|range| range.start == next) {
            next = range.end;
            ahead.pass(next);
        }
        (next, open, ahead.iter().collect::<Vec<_>>())
    };
    assert_eq!(facts(past), facts(&of_arbiter), "the journal tells what the arbiter knows");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever is forged among real lines that lose, repeat and reorder: what they delivered is there once, what they
    /// lost is told exactly, and nothing else is.
    #[test]
    fn forged_jumps_heal(
        a in habits(), b in habits(), last in 1u64..120, order in prop::collection::vec(any::<bool>(), 1..50),
        forged in prop::collection::vec(forged(), 0..6),
        refusals in prop_oneof![Just(Vec::new()), prop::collection::vec(any::<bool>(), 0..200)],
        patience in prop_oneof![Just(50), Just(8_000)],
    ) {
        let mut bench = Bench::new(false);
        bench.limits.patience = Duration::from_millis(patience);
        // What is late and refused may be lost.
        let mut refusing = refusals.contains(&true);
        let is_exact = !refusing;
        bench.out.refusals = refusals;
        let (delivered, of_forger) = play(&mut bench, (&a, &b, &order), last, &forged, |bench, i, _| {
            if i == usize::MAX && std::mem::take(&mut refusing) {
                bench.out.refusals.clear();
            }
        });
        assert_healed(&mut bench, last);
        for number in 1..=last {
            let is_in = |ranges: &[Range<u64>]| ranges.iter().any(|range| range.contains(&number));
            let is_here = bench.out.of(number).0 == 1;
            prop_assert!(is_here || !is_exact || !is_in(&delivered), "{} was delivered", number);
            prop_assert!(!is_here || is_in(&delivered) || is_in(&of_forger), "{} came from nowhere", number);
        }
    }

    /// Lives that end between any two packets, and a venue that answers requests: every message is there once.
    #[test]
    fn forged_jumps_heal_through_kills(
        a in habits(), b in habits(), last in 1u64..120, order in prop::collection::vec(any::<bool>(), 1..50),
        forged in prop::collection::vec(forged(), 0..6), kills in prop::collection::vec(any::<bool>(), 60),
        mut late_kills in prop::collection::vec(any::<bool>(), 0..20),
    ) {
        let mut bench = Bench::new(true);
        play(&mut bench, (&a, &b, &order), last, &forged, |bench, i, sent| {
            if kills.get(i) == Some(&true) || (i == usize::MAX && late_kills.pop() == Some(true)) {
                bench.kill();
            }
            let now = bench.out.now + 1;
            while let Some(request) = bench.arbiter.as_mut().and_then(|arbiter| arbiter.request(Time(now))) {
                let end = sent.min(request.sequence.saturating_add(u64::from(request.count)));
                if request.sequence < end {
                    let answer = datagram(request.sequence..end);
                    bench.hear(now, Source::Rerequest, &Packet::parse(&answer).unwrap());
                }
            }
        });
        assert_healed(&mut bench, last);
        prop_assert!((1..=last).all(|number| bench.out.of(number).0 == 1));
    }
}
