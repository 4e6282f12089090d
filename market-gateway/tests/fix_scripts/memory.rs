//! Given a memory that is smaller than what the journal holds, expect that nothing is journalled twice, whatever comes again.

use bus::event::{Time, trade::Fill};
use market_gateway::fix::numbers::Reserved;

use super::script::{SECOND, Script, message, timed};

/// Executions that are remembered, of the ten that are journalled.
const BOUND: usize = 4;
const LAST: u64 = 11;

fn log_on(script: &mut Script, more: &[&str]) {
    script.receiver.start(script.now).unwrap();
    script.receive(&message("A", 1, &[&["98=0", "108=30"], more].concat())).unwrap();
    script.sent();
}

/// Executions 2 to `LAST` under their own numbers.
fn filled() -> Script {
    let mut script = Script::remembering(BOUND, &[], Reserved::default(), false);
    log_on(&mut script, &[]);
    for number in 2..=LAST {
        script.receive(&timed(number, number, &[])).unwrap();
    }
    assert_eq!(script.journal.fills.len(), 10);
    script
}

/// What executions 2 to `LAST` leave in a journal, and a new life that goes on from it.
fn restarted(restarted: Time) -> (Vec<Fill>, Script) {
    let fills = filled().journal.fills;
    let script = Script::remembering(BOUND, &fills, Reserved { next: 1_025, restarted }, false);
    (fills, script)
}

/// All comes again from number 2 on: the oldest are beyond memory and withheld, the others are known, and what is new is
/// journalled.
fn all_comes_again(script: &mut Script, mark: &[&str]) {
    for number in 2..=LAST {
        script.receive(&timed(number, number, mark)).unwrap();
    }
    let executions = script.receiver.executions();
    let known = executions.repeated + executions.repeated_unmarked;
    assert_eq!((script.journal.fills.len(), executions.withheld, known), (10, 6, 4));
    let (number, execution) = executions.last_withheld.unwrap();
    assert_eq!((number, execution.to_string()), (7, "E7".to_owned()));
    assert!(
        executions
            .tell_withheld()
            .unwrap()
            .starts_with("6 execution reports were withheld, the last is 7 with ExecID E7")
    );
    script.receive(&timed(LAST + 1, LAST + 1, &[])).unwrap();
    assert_eq!(script.journal.fills.last().unwrap().venue_sequence, LAST + 1);
    assert_eq!((script.journal.fills.len(), script.next_inbound()), (11, LAST + 2));
}

#[test]
fn a_resend_under_numbers_that_began_again_journals_nothing_twice() {
    for mark in [&["97=Y"][..], &["43=Y", "122=20260101-00:00:00"], &[]] {
        let mut script = filled();
        script.receive(&message("A", 1, &["98=0", "108=30", "141=Y"])).unwrap();
        all_comes_again(&mut script, mark);
    }
}

#[test]
fn nor_does_one_after_a_restart() {
    let (_, mut script) = restarted(Time(200 * SECOND));
    script.now = Time(300 * SECOND);
    assert_eq!(script.next_inbound(), 1);
    log_on(&mut script, &[]);
    all_comes_again(&mut script, &["97=Y"]);
}

#[test]
fn a_second_time_nothing_is_journalled_either() {
    let mut script = filled();
    for _ in 0..2 {
        script.receive(&message("A", 1, &["98=0", "108=30", "141=Y"])).unwrap();
        for number in 2..=LAST {
            script.receive(&timed(number, number, &["97=Y"])).unwrap();
        }
        script.now.0 += 10 * SECOND;
    }
    assert_eq!((script.journal.fills.len(), script.receiver.executions().withheld), (10, 12));
}

/// Numbers that went on prove that an execution is new, however late it is reported.
#[test]
fn within_one_count_numbers_decide_and_memory_does_not_matter() {
    let (_, mut script) = restarted(Time(0));
    assert_eq!(script.next_inbound(), LAST + 1);
    script.receiver.start(script.now).unwrap();
    script.receive(&message("A", LAST + 1, &["98=0", "108=30"])).unwrap();
    for number in 2..=LAST {
        script.receive(&timed(number, number, &["43=Y", "122=20260101-00:00:00"])).unwrap();
    }
    assert_eq!((script.journal.fills.len(), script.receiver.session().counters().duplicates), (10, 10));
    script.receive(&timed(LAST + 2, 1, &[])).unwrap();
    assert_eq!(script.journal.fills.last().unwrap().venue_sequence, LAST + 2);
    assert_eq!(script.receiver.executions().withheld, 0);
}

/// An execution without a time is new unless it is marked.
#[test]
fn without_a_time_the_mark_decides() {
    let mut script = filled();
    script.receive(&message("A", 1, &["98=0", "108=30", "141=Y"])).unwrap();
    let untimed = |number: u64, id: &str, mark: &[&str]| {
        let fields =
            ["37=O1", "150=F", "39=2", "55=BUSBAR", "54=1", "31=1", "32=5", "151=0", "14=5", "75=20260102"];
        let id = format!("17={id}");
        message("8", number, &[&fields[..], &[id.as_str()], mark].concat())
    };
    script.receive(&untimed(2, "E2", &["97=Y"])).unwrap();
    script.receive(&untimed(3, "NEW", &[])).unwrap();
    let ids: Vec<_> = script.journal.fills[10..].iter().map(|fill| fill.execution.to_string()).collect();
    assert_eq!((ids, script.receiver.executions().withheld), (vec!["NEW".to_owned()], 1));
}
