//! The binary: its commands, its address, its end.

use crate::client::{Client, publish_orders, serve};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};

fn archive(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_archive")).args(arguments).output().unwrap()
}

#[test]
fn commands_of_a_later_version_are_refused_and_not_in_the_help() {
    let help = archive(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(help.contains("archive serve") && help.contains("--listen"), "{help}");
    for command in ["replicate", "verify", "fly"] {
        assert!(!help.contains(command), "{help}");
        let refused = archive(&[command]);
        assert_eq!(refused.status.code(), Some(2));
        let line = String::from_utf8(refused.stderr).unwrap();
        assert!(
            line.starts_with("archive: ") && line.contains(command) && line.lines().count() == 1,
            "{line}"
        );
    }
}

#[test]
fn an_address_that_cannot_be_bound_is_refused() {
    let taken = serve();
    let address = taken.server.address().to_string();
    let refused = archive(&["serve", "--listen", &address]);
    assert_eq!(refused.status.code(), Some(2));
    let line = String::from_utf8(refused.stderr).unwrap();
    assert!(
        line.starts_with(&format!("archive: cannot listen: {address}: ")) && line.lines().count() == 1,
        "{line}"
    );
}

/// Starts `archive serve` on a free port of `address`.
fn start(bus: &Path, address: &str) -> (Child, BufReader<ChildStderr>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_archive"))
        .args(["serve", "--json", "--listen", &format!("{address}:0"), "--bus"])
        .arg(bus)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let notes = BufReader::new(child.stderr.take().unwrap());
    (child, notes)
}

fn line(notes: &mut impl BufRead) -> String {
    let mut line = String::new();
    notes.read_line(&mut line).unwrap();
    line
}

#[test]
fn it_serves_another_process_and_ends_well_at_sigterm() {
    let publishing = serve();
    publish_orders(&mut publishing.market(), 1, 100);
    let (mut child, mut notes) = start(publishing.directory(), "127.0.0.1");
    let note = line(&mut notes);
    let address = note.trim_end().strip_prefix("note: Kafka consumers read this bus at ").unwrap();
    assert_eq!(Client::connect(address.parse().unwrap()).read_all("market-data.json").len(), 100);

    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let mut stdout = String::new();
    child.stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
    let summary: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!((&summary["records"], &summary["kafka"]), (&100.into(), &address.into()));
}

#[test]
fn an_address_that_others_reach_is_warned_of_and_a_bus_may_come_later() {
    let empty = tempfile::tempdir().unwrap();
    let (mut child, mut notes) = start(&empty.path().join("later"), "0.0.0.0");
    line(&mut notes);
    assert!(line(&mut notes).contains("no authentication"));
    child.kill().unwrap();
    child.wait().unwrap();
}
