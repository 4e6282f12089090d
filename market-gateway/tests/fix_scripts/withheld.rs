//! Given reports that are not journalled as what they report, expect a trace of each in the journal, once.

use bus::event::{
    Code, Symbol, Text, Time,
    trade::{TradeEvent, TradeEventRef, Withheld},
};
use bus::{Bus, Gate, Start};
use market_gateway::fix::{
    drop_copy::{Flow, Receiver},
    executions::REMEMBERED,
    framing::MAX_MESSAGE,
    numbers::Reserved,
    session::SessionConfig,
    topics,
};

use crate::script::{HEARTBEAT, SECOND, Script, fill, live, message, reframed, resent, timed};

/// Execution `number` under its number with a fault: without a side, of half a share, or with a symbol of no characters;
/// and the cause and the tag that its trace gives.
fn faulty(number: u64) -> [(Vec<u8>, Code, u32); 3] {
    let text = String::from_utf8(fill(number, number, &["1=DESK", "11=C7", "75=20260103"])).unwrap();
    let with = |from: &str, to: &str| reframed(&text.replace(from, to));
    [
        (with("54=1\u{1}", ""), Withheld::MISSING, 54),
        (with("32=5\u{1}", "32=5.5\u{1}"), Withheld::VALUE, 32),
        (with("14=5\u{1}", "14=\u{1}"), Withheld::VALUE, 14),
    ]
}

/// `message` as a repetition under the same number.
fn again(message: &[u8]) -> Vec<u8> {
    let text = String::from_utf8(message.to_vec()).unwrap();
    reframed(&text.replace("\u{1}37=", "\u{1}43=Y\u{1}122=20260101-00:00:00\u{1}37="))
}

fn text<const N: usize>(text: &str) -> Text<N> {
    Text::new(text).unwrap()
}

/// The venue's side of a Logon, which has the number that is expected.
fn log_on(script: &mut Script) {
    script.receiver.start(script.now).unwrap();
    let number = script.next_inbound();
    script.receive(&message("A", number, &["98=0", "108=30"])).unwrap();
    script.sent();
}

#[test]
fn given_a_report_that_cannot_be_kept_expect_its_trace_once_whatever_is_killed() {
    for (report, cause, tag) in faulty(2) {
        let mut script = Script::logged_on();
        script.receive(&report).unwrap();
        script.expect(&["35=3", "45=2", &format!("371={tag}")]);
        let [trace] = script.journal.withheld[..] else { panic!("a trace for tag {tag}") };
        assert_eq!((trace.cause, trace.tag, trace.venue_sequence), (cause, tag, 2));
        assert_eq!((trace.receive_time, trace.execution_type), (script.now, Code(b'F')));
        assert_eq!(
            (trace.execution, trace.order, trace.instrument),
            (text("E2"), text("O1"), text("BUSBAR"))
        );
        assert!(trace.exchange_time > Time(0));
        script.receive(&again(&report)).unwrap();

        let mut script = script.killed(REMEMBERED, Time(0));
        assert_eq!(script.next_inbound(), 3, "it is not asked for again");
        log_on(&mut script);
        script.receive(&again(&report)).unwrap();
        assert_eq!(script.journal.withheld, [trace]);

        // The venue sends it anew and whole.
        script.receive(&fill(4, 2, &[])).unwrap();
        assert_eq!((script.numbers(), script.journal.withheld.len()), (vec![4], 1));
    }
}

#[test]
fn given_a_report_of_which_little_can_be_kept_expect_its_trace_to_say_that_and_no_more() {
    let mut script = Script::logged_on();
    script.receive(&faulty(2)[1].0).unwrap();
    let trace = script.journal.withheld[0];
    assert_eq!((trace.account, trace.client_order, trace.trade_date), (text("DESK"), text("C7"), 20_260_103));
    let parts = ["37=O1", "55=LONGER.THAN.8", "75=2026", "150=FF", "60=never", "1="];
    script.receive(&message("8", 3, &parts)).unwrap();
    let trace = script.journal.withheld[1];
    let want = Withheld {
        receive_time: script.now,
        venue_sequence: 3,
        tag: 1,
        cause: Withheld::VALUE,
        order: text("O1"),
        ..Withheld::default()
    };
    assert_eq!(trace, want);
    assert_eq!((trace.instrument, script.receiver.executions().refused), (Symbol::default(), 2));
}

#[test]
fn given_a_kill_before_the_trace_is_durable_expect_it_once_when_the_report_comes_again() {
    for (report, ..) in faulty(3) {
        let mut script = Script::logged_on();
        script.receive(&[live(2), report.clone()].concat()).unwrap();
        script.journal.withheld.clear();
        let mut script = script.killed(REMEMBERED, Time(0));
        assert_eq!(script.next_inbound(), 3);
        script.receiver.start(script.now).unwrap();
        script.receive(&message("A", 5, &["98=0", "108=30"])).unwrap();
        script.receive(&[again(&report), resent(4)].concat()).unwrap();
        assert_eq!((script.numbers(), script.journal.withheld.len()), (vec![2, 4], 1));
    }
}

/// A clock that was set back makes the journal's last number worthless, so that everything comes again.
#[test]
fn given_numbers_that_are_asked_for_from_the_beginning_expect_no_second_trace() {
    let mut script = Script::logged_on();
    let reports = faulty(2).map(|(report, ..)| report);
    script.receive(&reports[0]).unwrap();
    script.now.0 += SECOND;
    let mut script = script.killed(REMEMBERED, Time(1_000 * SECOND));
    assert_eq!(script.next_inbound(), 1);
    log_on(&mut script);
    script.receive(&again(&reports[0])).unwrap();
    assert_eq!((script.journal.withheld.len(), script.receiver.executions().refused), (1, 1));
    assert_eq!(script.next_inbound(), 3);
}

#[test]
fn given_a_full_journal_expect_no_reject_before_the_trace() {
    for (report, ..) in faulty(2) {
        let mut script = Script::logged_on();
        script.journal.full = true;
        assert_eq!(script.receive(&[report, live(3)].concat()), Ok(Flow::Waiting(0)));
        script.wait(HEARTBEAT / 2).unwrap();
        assert_eq!(script.receiver.process(script.now, &mut script.journal), Ok(Flow::Waiting(0)));
        assert_eq!((script.receiver.executions().refused, script.next_inbound()), (0, 2));
        assert!(script.sent().iter().all(|sent| !sent.contains(&"35=3".to_owned())));
        script.journal.full = false;
        assert_eq!(script.receiver.process(script.now, &mut script.journal), Ok(Flow::Drained(2)));
        script.expect(&["35=3", "45=2"]);
        let counters = script.receiver.executions();
        assert_eq!((counters.refused, counters.waited), (1, 1));
        assert_eq!((script.journal.withheld.len(), script.numbers()), (1, vec![3]));
    }
}

#[test]
fn given_possible_repetitions_expect_a_trace_of_each_however_often_they_come() {
    const BOUND: usize = 4;
    let mut script = Script::logged_on();
    for number in 2..=11 {
        script.receive(&timed(number, number, &[])).unwrap();
    }
    for _ in 0..3 {
        // Both sides begin again, and the venue sends everything under new numbers.
        let restarted = Time(script.now.0 + SECOND);
        script = script.killed(BOUND, restarted);
        script.now.0 += SECOND;
        log_on(&mut script);
        for number in 2..=11 {
            script.receive(&timed(number, number, &["97=Y"])).unwrap();
        }
    }
    let traces: Vec<_> = script.journal.withheld.iter().map(|trace| trace.execution.to_string()).collect();
    assert_eq!(traces, ["E2", "E3", "E4", "E5", "E6", "E7"]);
    assert!(
        script.journal.withheld.iter().all(|trace| (trace.cause, trace.tag) == (Withheld::REPETITION, 0))
    );
    assert_eq!(script.journal.fills.len(), 10);
}

/// On a bus, through the publisher of `trades`.
#[test]
fn given_a_bus_expect_a_new_life_to_go_on_behind_the_trace() {
    let directory = tempfile::tempdir().unwrap();
    let bus = Bus::open(directory.path()).unwrap();
    let life = |expected: u64, messages: &[u8]| {
        let mut trades = bus.publisher::<TradeEvent>(topics::TRADES).unwrap();
        let resume = topics::resume(&bus, &trades).unwrap();
        let config = SessionConfig {
            sender: "US".to_owned(),
            target: "VENUE".to_owned(),
            heartbeat: std::time::Duration::from_secs(30),
            reset_on_logon: false,
        };
        let now = Time(100 * SECOND + expected);
        let mut receiver = Receiver::new(config, resume, Reserved::default());
        assert_eq!(receiver.session().next_inbound(), expected);
        receiver.start(now).unwrap();
        let stream = [&message("A", expected, &["98=0", "108=30"]), messages].concat();
        for chunk in stream.chunks(MAX_MESSAGE) {
            receiver.framer().room()[..chunk.len()].copy_from_slice(chunk);
            receiver.framer().filled(chunk.len());
            receiver.process(now, &mut trades).unwrap();
        }
        trades.flush().unwrap();
    };
    let [(report, ..), ..] = faulty(3);
    life(1, &[live(2), report.clone()].concat());
    life(4, &[again(&report), live(5)].concat());
    let mut trades = bus.subscriber::<TradeEvent>(topics::TRADES, Start::Oldest, Gate::Durable).unwrap();
    let mut kept = Vec::new();
    while let Some(event) = trades.poll().unwrap() {
        kept.push(match event {
            TradeEventRef::Fill(fill) => fill.venue_sequence,
            TradeEventRef::Withheld(report) => 100 + report.venue_sequence,
            _ => panic!("neither a fill nor withheld"),
        });
    }
    assert_eq!(kept, [2, 103, 5]);
}
