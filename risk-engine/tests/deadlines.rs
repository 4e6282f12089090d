//! The demo of the whole path where something does not arrive: it ends all the same, and says what is missing.
#![allow(missing_docs)]

mod common;

use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use bus::event::Text;
use bus::event::trade::{Fill, TradeEvent, TradeEventRef};
use bus::{Gate, Start};
use common::Ground;
use serde_json::Value;

/// A program that has not ended by now hangs.
const HANGS: Duration = Duration::from_secs(120);

type Stderr = Lines<BufReader<ChildStderr>>;

fn start(bus: &Path, arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_risk-engine"));
    command.args(["--rate", "10k", "--kafka", "off", "--json"]).args(arguments).arg("--bus").arg(bus);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn wait_until(child: &mut Child, what: &str, mut is_done: impl FnMut(&mut Child) -> bool) {
    let began = Instant::now();
    while !is_done(child) {
        if began.elapsed() > HANGS {
            child.kill().unwrap();
            panic!("waited in vain for {what}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits for its end; what it wrote, from `stderr` on.
fn end(mut child: Child, stderr: Stderr) -> (Option<i32>, Value, String) {
    wait_until(&mut child, "its end", |child| child.try_wait().unwrap().is_some());
    let errors = stderr.map(|line| line.unwrap() + "\n").collect();
    let output = child.wait_with_output().unwrap();
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap(), errors)
}

fn stderr(child: &mut Child) -> Stderr {
    BufReader::new(child.stderr.take().unwrap()).lines()
}

fn terminate(child: &Child) {
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
}

/// A bus of the demo whose last execution has a number that the exchange never gets to: to the gateway, each Logon of the
/// exchange is one of a venue that has begun again, and no fill comes any more.
fn bus_without_further_fills() -> Ground {
    let ground = Ground::new();
    let mut child = start(&ground.path(), &[]);
    let notes = stderr(&mut child);
    wait_until(&mut child, "a fill", |_| {
        ground.bus.watermarks("trades").is_ok_and(|marks| marks.published > 0)
    });
    terminate(&child);
    let (code, _, errors) = end(child, notes);
    assert_eq!(code, Some(0), "{errors}");
    let mut fills = ground.bus.subscriber::<TradeEvent>("trades", Start::Oldest, Gate::Published).unwrap();
    let Some(TradeEventRef::Fill(&fill)) = fills.poll().unwrap() else { panic!("a good run reports fills") };
    let (receive_time, execution) = (bus::clock::Clock::new().now(), Text::new("FAR").unwrap());
    let far = Fill { venue_sequence: 1 << 50, receive_time, execution, ..fill };
    ground.bus.publisher::<TradeEvent>("trades").unwrap().publish(&far).unwrap();
    ground
}

/// It ended with what is missing in words, and everything else is complete.
fn assert_fills_are_missing((code, summary, errors): (Option<i32>, Value, String)) {
    assert_eq!(code, Some(1), "{errors}");
    let complaint = errors.lines().find(|line| line.starts_with("risk-engine: ")).unwrap_or_default();
    assert!(
        complaint.contains("the gateway did not get all that the exchange sent: 0 messages and "),
        "{errors}"
    );
    assert!(complaint.contains(" fills are missing; start again on this directory"), "{errors}");
    assert_eq!(summary["ok"], false, "{summary}");
    assert_eq!(summary["incomplete"].as_array().map(Vec::len), Some(1), "{summary}");
    for (topic, marks) in summary["topics"].as_object().unwrap() {
        assert_eq!(marks["published"], marks["durable"], "{topic}");
        assert_eq!(summary["cut"].get(topic).unwrap_or(&marks["published"]), &marks["published"], "{topic}");
    }
    assert_eq!(summary["input"]["gaps"], 0, "{summary}");
}

#[test]
fn it_ends_without_the_fills_that_do_not_arrive_and_says_so() {
    let ground = bus_without_further_fills();
    let published = || ground.bus.watermarks("market-data").map_or(0, |marks| marks.published);
    let enough = published() + 4_000;
    let mut child = start(&ground.path(), &[]);
    let mut notes = stderr(&mut child);
    let fired = notes.by_ref().take(120).any(|note| note.unwrap().contains("drop copy: MsgSeqNum too low"));
    assert!(fired, "no Logon was refused");
    wait_until(&mut child, "messages", |_| published() > enough);
    terminate(&child);
    assert_fills_are_missing(end(child, notes));

    let mut child = start(&ground.path(), &["--for", "100ms"]);
    let notes = stderr(&mut child);
    assert_fills_are_missing(end(child, notes));
}
