//! `market-gateway replay` with a message log of more executions than are remembered, given twice.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output};

use bus::Bus;
use bus::event::Time;
use bus::event::trade::{TradeEvent, Withheld};
use market_gateway::fix::executions::{REMEMBERED, Resume};
use market_gateway::fix::writer::{Header, Writer};
use serde_json::Value;

/// More than a new life looks at.
const EXECUTIONS: u64 = Resume::TAIL as u64 + 5_000;

fn log_of(executions: u64) -> Vec<u8> {
    let mut log = Vec::new();
    let mut text = String::new();
    for number in 1..=executions {
        let header = Header { kind: b"8", sender: b"V", target: b"U", number, time: Time(0), original: None };
        let mut writer = Writer::new(&mut log, &header);
        text.clear();
        let (second, millisecond) = (number / 1_000, number % 1_000);
        let (minute, second) = (second / 60, second % 60);
        write!(text, "20260102-03:{minute:02}:{second:02}.{millisecond:03}").unwrap();
        writer.number(37, number).text(17, format!("E{number}").as_bytes()).text(150, b"F").text(39, b"2");
        writer.text(55, b"ESZ6").text(54, b"1").number(31, 5).number(32, 1).number(151, 0).number(14, 1);
        writer.text(60, text.as_bytes());
        writer.finish();
    }
    log
}

fn replay(bus: &Path, log: &Path) -> (Output, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_market-gateway"));
    command.args(["replay", "--json", "--fix-log"]).arg(log).arg("--bus").arg(bus);
    let output = command.output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let fix = report["fix"].clone();
    (output, fix)
}

#[test]
fn a_log_that_is_longer_than_memory_journals_nothing_twice_and_says_what_it_cannot_know() {
    let place = tempfile::tempdir().unwrap();
    let (bus, file) = (place.path().join("bus"), place.path().join("fix.log"));
    std::fs::write(&file, log_of(EXECUTIONS)).unwrap();
    let (output, fix) = replay(&bus, &file);
    assert_eq!(output.status.code(), Some(0), "{fix}");
    assert_eq!((&fix["published"], &fix["withheld"]), (&Value::from(EXECUTIONS), &Value::from(0)));
    let (output, fix) = replay(&bus, &file);
    let forgotten = EXECUTIONS - REMEMBERED as u64;
    assert_eq!((&fix["published"], &fix["withheld"]), (&Value::from(0), &Value::from(forgotten)), "{fix}");
    assert_eq!(fix["duplicates"], Value::from(REMEMBERED), "{fix}");
    let notes = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{notes}");
    assert!(notes.contains(&format!("{forgotten} execution reports were withheld")), "{notes}");
    for _ in 0..2 {
        let published = Bus::open(&bus).unwrap().watermarks("trades").unwrap().published;
        assert_eq!(published, EXECUTIONS + forgotten, "each is told once, however often it comes");
        let (_, fix) = replay(&bus, &file);
        assert_eq!(
            (&fix["published"], &fix["withheld"]),
            (&Value::from(0), &Value::from(forgotten)),
            "{fix}"
        );
    }
}

#[test]
fn given_more_withheld_reports_than_are_remembered_expect_the_executions_before_them_not_to_be_forgotten() {
    let place = tempfile::tempdir().unwrap();
    let (bus, file) = (place.path().join("bus"), place.path().join("fix.log"));
    std::fs::write(&file, log_of(10)).unwrap();
    replay(&bus, &file);
    let mut trades = Bus::open(&bus).unwrap().publisher::<TradeEvent>("trades").unwrap();
    for number in 0..EXECUTIONS {
        trades.publish(&Withheld { venue_sequence: number, ..Withheld::default() }).unwrap();
    }
    trades.close().unwrap();
    let (_, fix) = replay(&bus, &file);
    assert_eq!((&fix["published"], &fix["duplicates"]), (&Value::from(0), &Value::from(10)), "{fix}");
}
