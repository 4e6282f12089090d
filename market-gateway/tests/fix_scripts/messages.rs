//! Single messages, silence, and an end that is agreed on or not.

use std::time::Duration;

use market_gateway::fix::{
    drop_copy::{Flow, Receiver, Stop},
    executions::Resume,
    framing::MAX_MESSAGE,
    message::{Defect, Fault},
    numbers::Reserved,
    reason::Reason,
    session::SessionConfig,
};

use crate::script::{
    HEARTBEAT, PARTS, SECOND, Script, Sent, fill, live, message, reframed, resent, with_checksum,
};

#[test]
fn a_garbled_message_is_ignored_and_comes_again() {
    let mut script = Script::logged_on();
    let mut garbled = live(2);
    let at = garbled.len() - 20;
    garbled[at] ^= 1;
    script.receive(&garbled).unwrap();
    assert_eq!(script.sent(), Vec::<Sent>::new(), "a garbled message is never answered");
    script.receive(&live(3)).unwrap();
    script.expect(&["35=2", "7=2", "16=0"]);
    script.receive(&[resent(2), resent(3), live(4)].concat()).unwrap();
    assert_eq!(script.numbers(), [2, 3, 4]);
    assert_eq!(script.receiver.framer().garbled().checksums, 1);
    assert_eq!(script.receiver.session().counters().resend_requests, 1);
}

#[test]
fn silence_is_asked_about_and_then_ended() {
    let mut script = Script::logged_on();
    script.wait(HEARTBEAT).unwrap();
    script.expect(&["35=0"]);
    script.wait(HEARTBEAT / 5).unwrap();
    script.expect(&["35=1", "112=are you there"]);
    script.receive(&message("0", 2, &["112=are you there"])).unwrap();
    script.wait(2 * HEARTBEAT).unwrap();
    script.sent();
    assert_eq!(script.wait(2 * HEARTBEAT), Err(Reason::Silent));
    assert_eq!(script.receiver.session().counters().test_requests, 2);
}

#[test]
fn before_the_logon_is_answered_nothing_else_is_said() {
    let mut script = Script::new(&[], Reserved::default(), false);
    let (sender, target) = ("US".to_owned(), "VENUE".to_owned());
    let config = SessionConfig { sender, target, heartbeat: Duration::from_secs(1), reset_on_logon: false };
    script.receiver = Receiver::new(config, Resume::default(), Reserved::default());
    script.receiver.start(script.now).unwrap();
    script.expect(&["35=A", "108=1"]);
    for _ in 0..9 {
        script.wait(SECOND).unwrap();
        assert_eq!(script.sent(), Vec::<Sent>::new());
    }
    assert_eq!(script.wait(SECOND), Err(Reason::LogonTimeout));
}

#[test]
fn a_logon_that_asks_for_encryption_is_refused() {
    let mut script = Script::new(&[], Reserved::default(), false);
    script.receiver.start(script.now).unwrap();
    script.sent();
    let ended = script.receive(&message("A", 1, &["98=1", "108=30"]));
    assert_eq!(ended, Err(Stop::Connection(Reason::Encryption)));
    script.expect(&["35=5"]);
    assert_eq!(script.receiver.session().counters().logons, 0);
}

#[test]
fn a_reject_from_the_peer_is_counted_and_changes_nothing() {
    let mut script = Script::logged_on();
    script.receive(&message("3", 2, &["45=1", "373=5"])).unwrap();
    assert_eq!(script.sent(), Vec::<Sent>::new(), "a reject is never answered");
    script.receive(&live(3)).unwrap();
    assert_eq!(script.numbers(), [3]);
    assert_eq!(script.receiver.session().counters().rejects_received, 1);
}

#[test]
fn a_test_request_is_answered() {
    let mut script = Script::logged_on();
    script.receive(&message("1", 2, &["112=hello"])).unwrap();
    script.expect(&["35=0", "112=hello"]);
    script.receive(&message("1", 3, &[])).unwrap();
    script.expect(&["35=3", "45=3", "371=112", "373=1"]);
    assert_eq!(script.receiver.session().counters().rejects, 1);
}

#[test]
fn a_wrong_comp_id_is_rejected_and_ends_the_connection() {
    for (right, wrong, tag) in [("49=VENUE", "49=OTHER", "371=49"), ("56=US", "56=ME", "371=56")] {
        let mut script = Script::logged_on();
        let stranger = String::from_utf8(live(2)).unwrap().replace(right, wrong).into_bytes();
        let ended = script.receive(&with_checksum(stranger));
        assert!(matches!(ended, Err(Stop::Connection(Reason::WrongCompId(_)))), "{ended:?}");
        let sent = script.sent();
        for field in ["35=3", "373=9", tag] {
            assert!(sent[0].contains(&field.to_owned()), "no {field} in {sent:?}");
        }
        assert!(sent[1].contains(&"35=5".to_owned()));
        assert_eq!(script.receiver.session().counters().foreign, 1);
        assert_eq!(script.numbers(), [0; 0]);
    }
}

#[test]
fn a_wrong_version_ends_the_connection() {
    let mut script = Script::logged_on();
    let other = String::from_utf8(live(2)).unwrap().replace("FIX.4.4", "FIX.4.2").into_bytes();
    let ended = script.receive(&with_checksum(other));
    assert_eq!(ended, Err(Stop::Connection(Reason::WrongVersion("FIX.4.2".to_owned()))));
    assert_eq!(script.receiver.session().counters().foreign, 1);
}

#[test]
fn another_message_than_a_logon_is_refused_first() {
    let mut script = Script::new(&[], Reserved::default(), false);
    script.receiver.start(script.now).unwrap();
    assert_eq!(script.receive(&live(1)), Err(Stop::Connection(Reason::NotLoggedOn("8".to_owned()))));
    script.receiver.start(script.now).unwrap();
    let refused = script.receive(&message("5", 1, &["58=go away"]));
    assert_eq!(refused, Err(Stop::Connection(Reason::LoggedOut("go away".to_owned()))));
    script.receiver.start(script.now).unwrap();
    assert_eq!(script.wait(10 * SECOND), Err(Reason::LogonTimeout));
}

#[test]
fn an_oversize_message_is_skipped_counted_and_asked_for() {
    let mut script = Script::logged_on();
    let text = format!("58={}", "x".repeat(MAX_MESSAGE));
    script.receive(&message("8", 2, &[&text])).unwrap();
    script.receive(&live(3)).unwrap();
    script.expect(&["35=2", "7=2"]);
    script.receive(&[resent(2), resent(3)].concat()).unwrap();
    assert_eq!(script.numbers(), [2, 3]);
    assert_eq!(script.receiver.framer().garbled().oversize, 1);
}

#[test]
fn what_cannot_be_kept_is_rejected_by_its_tag_and_the_session_goes_on() {
    let mut script = Script::logged_on();
    let without_side: Vec<&str> =
        PARTS.iter().copied().filter(|part| !part.starts_with("54=")).chain(["17=E2"]).collect();
    script.receive(&message("8", 2, &without_side)).unwrap();
    script.expect(&["35=3", "45=2", "371=54", "372=8", "373=1"]);
    let fraction = String::from_utf8(live(3)).unwrap().replace("32=5\u{1}", "32=5.5\u{1}");
    script.receive(&reframed(&fraction)).unwrap();
    script.expect(&["35=3", "45=3", "371=32", "373=5"]);
    let empty = String::from_utf8(live(4)).unwrap().replace("55=BUSBAR", "55=");
    script.receive(&reframed(&empty)).unwrap();
    script.expect(&["35=3", "45=4", "371=55", "373=4"]);
    script.receive(&live(5)).unwrap();
    assert_eq!(script.numbers(), [5]);
    assert_eq!(script.receiver.executions().refused, 3);
    assert_eq!(script.receiver.executions().last_refused, Some((4, Defect::new(55, Fault::NoValue))));
    assert_eq!(script.receiver.session().counters().last_reject, Some((4, Defect::new(55, Fault::NoValue))));
}

#[test]
fn other_messages_are_counted_by_type() {
    let mut script = Script::logged_on();
    script.receive(&message("9", 2, &["37=O1"])).unwrap();
    script.receive(&message("AE", 3, &["571=1"])).unwrap();
    script.receive(&fill(4, 4, &[])).unwrap();
    assert_eq!(script.receiver.executions().other_messages, [("9".to_owned(), 1), ("AE".to_owned(), 1)]);
    assert_eq!(script.numbers(), [4]);
}

#[test]
fn a_logout_is_agreed_on() {
    let mut script = Script::logged_on();
    script.receiver.session().logout(script.now).unwrap();
    script.expect(&["35=5"]);
    script.receive(&live(2)).unwrap();
    assert_eq!(script.receive(&message("5", 3, &[])), Err(Stop::Connection(Reason::Finished)));
    assert_eq!(script.numbers(), [2], "what is on its way is still taken");
    let mut script = Script::logged_on();
    assert_eq!(
        script.receive(&message("5", 2, &[])),
        Err(Stop::Connection(Reason::LoggedOut(String::new())))
    );
    script.expect(&["35=5"]);
}

#[test]
fn a_logout_is_said_once_and_not_waited_for_for_ever() {
    let mut script = Script::logged_on();
    script.receiver.session().logout(script.now).unwrap();
    script.receiver.session().logout(script.now).unwrap();
    script.expect(&["35=5"]);
    script.wait(9 * SECOND).unwrap();
    assert_eq!(script.wait(SECOND), Err(Reason::Finished));
    script.receiver.session().closed(&Reason::Finished);
    assert!(!script.receiver.session().is_active());
    assert_eq!(script.receiver.session().counters().disconnects, 0, "an end that we wanted");
}

#[test]
fn a_full_journal_delays_a_resend_and_does_not_ask_for_it_again() {
    let mut script = Script::logged_on();
    script.receive(&live(3)).unwrap();
    script.expect(&["35=2", "7=2"]);
    script.journal.full = true;
    assert_eq!(script.receive(&[resent(2), resent(3)].concat()), Ok(Flow::Waiting(0)));
    for _ in 0..10 {
        script.wait(HEARTBEAT / 2).unwrap();
        assert_eq!(script.receiver.process(script.now, &mut script.journal), Ok(Flow::Waiting(0)));
    }
    script.journal.full = false;
    assert_eq!(script.receiver.process(script.now, &mut script.journal), Ok(Flow::Drained(2)));
    assert_eq!(script.numbers(), [2, 3]);
    let counters = script.receiver.session().counters();
    assert_eq!((counters.resend_requests, script.receiver.executions().waited), (1, 1));
}

#[test]
fn a_full_journal_holds_the_session_back_and_loses_nothing() {
    let mut script = Script::logged_on();
    script.journal.full = true;
    assert_eq!(script.receive(&[live(2), live(3)].concat()), Ok(Flow::Waiting(0)));
    for _ in 0..10 {
        script.wait(HEARTBEAT / 2).unwrap();
        assert_eq!(script.receiver.process(script.now, &mut script.journal), Ok(Flow::Waiting(0)));
    }
    assert!(
        script.sent().iter().all(|sent| sent.contains(&"35=0".to_owned())),
        "the peer is not the one who is silent"
    );
    script.journal.full = false;
    assert_eq!(script.receiver.process(script.now, &mut script.journal), Ok(Flow::Drained(2)));
    assert_eq!(script.numbers(), [2, 3]);
    assert_eq!(script.receiver.executions().waited, 1);
}

#[test]
fn a_peer_that_asks_and_does_not_read_gets_no_further_answers() {
    let mut script = Script::logged_on();
    let question = "112=".to_owned() + &"x".repeat(1_000);
    let flows: Vec<Flow> =
        (2..120).map(|number| script.receive(&message("1", number, &[&question])).unwrap()).collect();
    assert_eq!((flows.first(), flows.last()), (Some(&Flow::Drained(1)), Some(&Flow::Waiting(0))));
    assert!(script.receiver.session().output().len() < MAX_MESSAGE + 2_000);
    assert!(script.next_inbound() < 100);
}
