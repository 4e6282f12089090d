//! A peer and a network that do anything.

use std::cell::RefCell;

use bus::event::trade::Fill;
use market_gateway::fix::{drop_copy::Stop, numbers::Reserved};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

use crate::script::{HEARTBEAT, PARTS, SECOND, Script, Sent, live, message, resent};

/// A peer that has executions 2 to 40 under the same numbers, sends them, and answers what we ask.
struct Peer {
    last: u64,
}

impl Peer {
    fn answer(&self, sent: &Sent) -> Vec<u8> {
        let field = |tag: &str| {
            sent.iter().find_map(|field| field.strip_prefix(tag)).and_then(|value| value.parse().ok())
        };
        match field("7=") {
            Some(1) => [message("4", 1, &["43=Y", "123=Y", "36=2"]), self.executions(2)].concat(),
            Some(from) => self.executions(from),
            None => Vec::new(),
        }
    }

    fn executions(&self, from: u64) -> Vec<u8> {
        (from..=self.last).flat_map(resent).collect()
    }
}

fn any_fields() -> impl Strategy<Value = Vec<String>> {
    let tags =
        prop::sample::select(vec![7, 16, 17, 31, 32, 36, 43, 54, 97, 98, 108, 112, 123, 141, 150, 151]);
    let values =
        prop::sample::select(vec!["0", "1", "5", "N", "Y", "Y", "F", "18446744073709551615", "-1", "x"]);
    prop::collection::vec((tags, values).prop_map(|(tag, value)| format!("{tag}={value}")), 0..8)
}

proptest! {
    #[test]
    fn random_bytes_are_noise(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        let mut script = Script::logged_on();
        script.receive(&bytes).unwrap();
        script.receive(&live(2)).unwrap();
        prop_assert_eq!(script.numbers(), [2]);
        prop_assert!(script.receiver.session().output().len() < 1_000);
    }

    /// Well-formed messages with random contents: no panic, bounded output, and never an execution twice or out of
    /// order but after a reset.
    #[test]
    fn random_messages_break_nothing(
        messages in prop::collection::vec(("[0-589A]", prop_oneof![0_u64..12, any::<u64>()], any_fields()), 0..40),
    ) {
        let mut script = Script::logged_on();
        for (kind, number, fields) in &messages {
            let number = if *number < 10 { script.next_inbound() } else { *number };
            let fields: Vec<&str> = fields.iter().map(String::as_str).chain(PARTS).collect();
            if let Err(Stop::Connection(reason)) = script.receive(&message(kind, number, &fields)) {
                script.receiver.session().closed(&reason);
                script.receiver.start(script.now).unwrap();
            }
            let _ = script.wait(SECOND);
            prop_assert!(script.sent().len() <= 4);
        }
        let mut ids: Vec<_> = script.journal.fills.iter().map(|fill| fill.execution).collect();
        ids.sort_unstable();
        ids.dedup();
        prop_assert_eq!(ids.len(), script.journal.fills.len());
    }
}

/// How often which fault struck.
#[derive(Debug, Default)]
struct Faults {
    /// A byte that reached us was another.
    garbled: u64,
    /// A connection broke within what the peer sent, or before all was sent.
    broken: u64,
    /// Executions that were journalled and not durable when our process died.
    forgotten: u64,
}

/// One life of our process after another, each of a connection: so many bytes until it breaks, so many executions that are
/// not durable then, and perhaps a place where bytes are garbled. The last one is undisturbed. Answers the journal's numbers.
fn survive(lives: &[(usize, usize, bool, usize)], faults: &mut Faults) -> Result<Vec<u64>, TestCaseError> {
    let peer = Peer { last: 40 };
    let mut fills: Vec<Fill> = Vec::new();
    let mut reserved = Reserved::default();
    for (cut, undurable, garble, at) in lives.iter().copied().chain([(usize::MAX, 0, false, 0)]) {
        let mut script = Script::new(&fills, reserved, false);
        script.receiver.start(script.now).unwrap();
        let mut stream = message("A", 41, &["98=0", "108=30"]);
        let mut left = cut;
        while left > 0 {
            let length = stream.len().min(left);
            if garble && at < length {
                stream[at] ^= 1;
                faults.garbled += 1;
            }
            left -= length;
            for chunk in stream[..length].chunks(100) {
                prop_assert!(script.receive(chunk).is_ok());
            }
            stream = script.sent().iter().flat_map(|sent| peer.answer(sent)).collect();
            if stream.is_empty() && script.wait(HEARTBEAT).is_err() {
                break;
            }
            if script.next_inbound() == 41 {
                break;
            }
        }
        faults.broken += u64::from(left == 0);
        reserved.next += 1_024;
        let durable = fills.len().max(script.journal.fills.len().saturating_sub(undurable));
        fills = script.journal.fills;
        faults.forgotten += (fills.len() - durable) as u64;
        fills.truncate(durable);
    }
    Ok(fills.iter().map(|fill| fill.venue_sequence).collect())
}

/// Connections break and our process dies at random places, bytes are cut and garbled: the journal ends with every
/// execution once, in order.
#[test]
fn executions_survive_crashes_once_and_in_order() {
    let lives = prop::collection::vec((0_usize..6_000, 0_usize..6, any::<bool>(), 0_usize..6_000), 1..6);
    let faults = RefCell::new(Faults::default());
    let once = |lives: Vec<_>| {
        let numbers = survive(&lives, &mut faults.borrow_mut())?;
        prop_assert_eq!(numbers, (2..=40).collect::<Vec<u64>>());
        Ok(())
    };
    TestRunner::new(Config::with_source_file(file!())).run(&lives, once).unwrap();
    let Faults { garbled, broken, forgotten } = faults.into_inner();
    assert!(garbled > 20 && broken > 50 && forgotten > 100, "{garbled} {broken} {forgotten}");
}
