//! Sequence numbers: gaps, resends and beginning again.

use bus::event::Time;
use market_gateway::fix::{drop_copy::Stop, numbers::Reserved, reason::Reason};

use crate::script::{HEARTBEAT, SECOND, Script, Sent, fill, journalled, live, message, resent};

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
fn a_new_connection_goes_on_with_the_numbers_and_forgets_the_rest() {
    let mut script = Script::logged_on();
    script.receive(&[live(2), live(5)].concat()).unwrap();
    script.expect(&["35=2", "34=2", "7=3"]);
    script.receive(&message("1", 6, &["112=unread"])).unwrap();
    script.receive(&message("2", 7, &["7=1", "16=0"])).unwrap();
    assert!(!script.receiver.session().output().is_empty(), "an answer that the connection did not take");
    script.receiver.session().closed(&Reason::PeerClosed);
    assert!(!script.receiver.session().is_active());
    script.receiver.start(script.now).unwrap();
    script.expect(&["35=A", "34=3"]);
    script.receive(&message("A", 8, &["98=0", "108=30"])).unwrap();
    script.expect(&["35=2", "34=4", "7=3"]);
    script.receive(&[resent(3), resent(4), resent(5)].concat()).unwrap();
    script.receive(&message("4", 6, &["43=Y", "123=Y", "36=9"])).unwrap();
    assert_eq!((script.numbers(), script.next_inbound()), (vec![2, 3, 4, 5], 9));
    assert_eq!(script.receiver.session().counters().disconnects, 1);
}

#[test]
fn a_request_that_was_answered_or_has_lost_its_sense_is_not_repeated() {
    let answered = [resent(2), resent(3), resent(4)].concat();
    let reset = message("4", 9, &["36=3"]);
    let restarted = message("A", 1, &["98=0", "108=30", "141=Y"]);
    for (what, next) in [(answered, 5), (reset, 3), (restarted, 2)] {
        let mut script = Script::logged_on();
        script.receive(&live(4)).unwrap();
        script.expect(&["35=2", "7=2"]);
        script.receive(&what).unwrap();
        script.sent();
        assert_eq!(script.next_inbound(), next);
        script.wait(HEARTBEAT).unwrap();
        script.expect(&["35=0"]);
        assert_eq!(script.receiver.session().counters().resend_requests, 1);
    }
}

#[test]
fn a_logon_that_begins_again_begins_at_1() {
    let mut script = Script::new(&journalled(5), Reserved::default(), false);
    script.receiver.start(script.now).unwrap();
    script.sent();
    script.receive(&message("A", 9, &["98=0", "108=30", "141=Y"])).unwrap();
    script.expect(&["35=2", "7=6"]);
    let counters = script.receiver.session().counters();
    assert_eq!((counters.resets, counters.too_high), (0, 1), "any other number is no beginning");
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
    script.receive(&[fill(7, 7, &["97=Y"]), fill(8, 8, &["43=Y"])].concat()).unwrap();
    assert_eq!(script.numbers(), [2, 6, 7, 8], "what is marked as perhaps known may be new");
    assert_eq!(script.receiver.session().counters().duplicates, 1);
    let executions = script.receiver.executions();
    assert_eq!((executions.repeated, executions.repeated_unmarked), (2, 1));
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
    script.receive(&[fill(2, 6, &[]), fill(3, 5, &[])].concat()).unwrap();
    assert_eq!(script.numbers(), [2, 3, 4, 5, 2], "what is journalled stays known");
    script.receiver.session().closed(&Reason::PeerClosed);
    script.receiver.start(script.now).unwrap();
    assert_eq!(script.sent()[0].iter().filter(|field| field.starts_with("141=")).count(), 0);
    script.receive(&message("A", 4, &["98=0", "108=30"])).unwrap();
    assert_eq!(
        (script.next_inbound(), script.receiver.session().counters().resets),
        (5, 1),
        "once is enough"
    );
}

#[test]
fn a_reset_that_nobody_answers_is_tried_again() {
    let mut script = Script::new(&journalled(5), Reserved { next: 1_025, restarted: Time(0) }, true);
    for _ in 0..2 {
        script.receiver.start(script.now).unwrap();
        script.expect(&["35=A", "34=1", "141=Y"]);
        script.receiver.session().closed(&Reason::PeerClosed);
    }
    script.receiver.start(script.now).unwrap();
    script.receive(&message("A", 9, &["98=0", "108=30"])).unwrap();
    assert!(
        script.sent().iter().any(|sent| sent.contains(&"7=1".to_owned())),
        "a venue that did not begin again"
    );
    script.receive(&(1..=8).flat_map(resent).collect::<Vec<u8>>()).unwrap();
    assert_eq!(script.numbers(), [2, 3, 4, 5, 1, 6, 7, 8], "each execution once");
}

#[test]
fn numbers_begin_again_after_a_reset_that_no_execution_followed() {
    let fills = journalled(5);
    let restarted = Time(fills.last().unwrap().receive_time.0 + 1);
    assert_eq!(Script::new(&fills, Reserved { next: 1_025, restarted }, false).next_inbound(), 1);
    let restarted = Time(restarted.0 - 2);
    assert_eq!(Script::new(&fills, Reserved { next: 1_025, restarted }, false).next_inbound(), 6);
}
