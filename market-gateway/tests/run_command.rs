//! `market-gateway run` as a user runs it: what it refuses, and what it says at its end.

use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn run(bus: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_market-gateway"));
    command.args(["run", "--json", "--bus"]).arg(bus).args(arguments).output().unwrap()
}

/// An address that the system gave out.
fn free() -> String {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[test]
fn a_drop_copy_that_never_logged_on_is_a_fault_and_is_said() {
    let place = tempfile::tempdir().unwrap();
    let refusing = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let names = ["--sender", "DESK", "--target", "EXCHANGE", "--for", "300ms"];
    let line = free();
    let arguments = [&["--mold", &line, "--fix", &refusing][..], &names[..]].concat();
    let output = run(place.path(), &arguments);
    let notes = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{notes}");
    assert!(notes.contains("drop copy: never logged on"), "{notes}");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(summary["fix"]["logons"] == 0 && summary["fix"]["disconnects"].as_u64() > Some(0), "{summary}");

    let output = run(place.path(), &["--mold", &line, "--for", "100ms"]);
    assert_eq!(output.status.code(), Some(0), "without a drop copy there is nothing to miss");
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary.get("fix"), None);
}

#[test]
fn what_cannot_be_meant_is_refused_in_one_line_and_leaves_nothing() {
    let place = tempfile::tempdir().unwrap();
    let bus = place.path().join("bus");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let (taken, line) = (&socket.local_addr().unwrap().to_string(), &free());
    let fix = ["--sender", "DESK", "--target", "EXCHANGE"];
    let refused: [&[&str]; 11] = [
        &[],
        &["--mold", "127.0.0.1:0"],
        &["--mold", line, "--mold", line],
        &["--mold", line, "--mold", taken],
        &["--mold", "239.1.1.1:31001", "--interface", "192.0.2.1"],
        &["--mold", line, "--rerequest", "127.0.0.1:0"],
        &["--mold", line, "--fix", "127.0.0.1:9880", "--sender", "DESK"],
        &["--mold", line, "--fix", "127.0.0.1:9880", "--sender", "DESK", "--target", "A\u{1}B"],
        &["--mold", line, "--fix", "127.0.0.1:9880", "--sender", "", "--target", "EXCHANGE"],
        &[&["--mold", line, "--fix", "nowhere"], &fix[..]].concat(),
        &[&["--mold", line, "--fix", "127.0.0.1:70000"], &fix[..]].concat(),
    ];
    for arguments in refused {
        let output = run(&bus, &[arguments, &["--for", "1s"]].concat());
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            (output.status.code(), complaint.lines().count()),
            (Some(2), 1),
            "{arguments:?}: {complaint}"
        );
        assert!(complaint.starts_with("market-gateway: ") && output.stdout.is_empty(), "{complaint}");
        assert!(!bus.exists(), "{arguments:?} has left something behind");
    }
}
