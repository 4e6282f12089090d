//! The program `bus` as a user meets it.

use std::process::{Command, Output};

fn bus(arguments: &[&str]) -> Output {
    let directory = tempfile::tempdir().expect("a temporary directory");
    Command::new(env!("CARGO_BIN_EXE_bus"))
        .args(arguments)
        .current_dir(directory.path())
        .env("BUSBAR_SHM", directory.path())
        .output()
        .expect("bus runs")
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).expect("programs write UTF-8")
}

#[test]
fn help_and_version_are_answers() {
    let help = bus(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(text(&help.stdout).contains("bus doctor") && help.stderr.is_empty());
    assert!(!text(&help.stdout).contains("bus top"));
    assert_eq!(text(&bus(&["--version"]).stdout), format!("bus {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_bad_command_line_is_one_line_and_exit_code_2() {
    for (arguments, line) in [
        (&["--no-such-flag"][..], "bus: unknown flag: --no-such-flag; see 'bus --help'\n"),
        (&["top"], "bus: not in this version: top; see 'bus --help'\n"),
        (&["doctor", "now"], "bus: unexpected argument: now; see 'bus doctor --help'\n"),
    ] {
        let refused = bus(arguments);
        assert_eq!((refused.status.code(), text(&refused.stderr)), (Some(2), line));
        assert!(refused.stdout.is_empty());
    }
    assert_eq!(bus(&[]).status.code(), Some(2));
}

#[test]
fn doctor_answers_in_text_and_as_one_object() {
    let told = bus(&["doctor"]);
    assert_eq!((told.status.code(), told.stderr.is_empty()), (Some(0), true));
    let told = bus(&["doctor", "--json"]);
    assert_eq!(told.status.code(), Some(0));
    let report: serde_json::Value = serde_json::from_slice(&told.stdout).expect("one JSON object");
    for check in
        ["cores", "governor", "shared_memory", "huge_pages", "locked_memory", "io_uring", "clock", "disk"]
    {
        assert!(report[check]["finding"].is_string(), "{check} in {report}");
    }
}

#[test]
fn a_closed_stdout_ends_it_quietly() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_bus"));
    let done =
        command.arg("--help").stdout(writer).stderr(std::process::Stdio::piped()).spawn().expect("bus runs");
    let done = done.wait_with_output().expect("bus ends");
    assert_eq!((done.status.code(), text(&done.stderr)), (Some(0), ""));
}
