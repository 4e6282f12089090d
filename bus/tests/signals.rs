//! SIGINT, SIGTERM and SIGHUP, sent to a process: this test runs itself as a program that waits for them.

use bus::program::{Arguments, Command, Exit, Failure, Program, Stop, print_line, run};
use std::io::{BufRead, BufReader};
use std::process::{Child, ExitCode, Stdio};
use std::time::Duration;

static PROGRAM: Program = Program {
    name: "waiter",
    about: "waits for signals",
    commands: &[
        command("gentle", |_| wait(&Stop::on_signals(), Exit::Fault)),
        command("stubborn", |_| {
            let _ignored = Stop::on_signals();
            wait(&Stop::new(), Exit::Good)
        }),
        command("busy", |_| {
            wait(&Stop::on_signals(), Exit::Good)?;
            std::io::stdin().lines().for_each(drop);
            Ok(Exit::Fault)
        }),
        command("careless", |_| wait(&Stop::new(), Exit::Good)),
    ],
    later: &[],
};

const fn command(name: &'static str, run: fn(&Arguments) -> Result<Exit, Failure>) -> Command {
    Command { name, about: "waits", positional: None, flags: &[], examples: &[], run }
}

/// Says that it waits, and ends when it is to stop.
fn wait(stop: &Stop, then: Exit) -> Result<Exit, Failure> {
    print_line("waiting")?;
    stop.sleep(Duration::from_secs(60));
    print_line("stopped")?;
    Ok(then)
}

fn main() -> ExitCode {
    let child = std::env::args().nth(1).is_some_and(|name| PROGRAM.commands.iter().any(|c| c.name == name));
    if child {
        return run(&PROGRAM);
    }
    // Under nohup it is ignored, and what is ignored is inherited.
    // SAFETY: the call touches no memory, and nothing here handles the signal yet.
    unsafe { libc::signal(libc::SIGHUP, libc::SIG_DFL) };
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        the_first_signal_asks_and_the_code_is_earned(signal);
        who_does_not_watch_is_ended_by_the_first(signal);
    }
    the_second_signal_ends_at_once(libc::SIGINT, libc::SIGTERM);
    the_second_signal_ends_at_once(libc::SIGTERM, libc::SIGINT);
    a_terminal_that_is_closed_may_say_so_twice();
    a_hangup_that_is_ignored_stays_so();
    ExitCode::SUCCESS
}

fn the_first_signal_asks_and_the_code_is_earned(signal: libc::c_int) {
    let (mut child, mut lines) = start("gentle");
    send(&child, signal);
    assert_eq!(lines.next().expect("it goes on").expect("a line"), "stopped");
    assert_eq!(code(&mut child), 1);
}

fn the_second_signal_ends_at_once(signal: libc::c_int, other: libc::c_int) {
    let (mut child, mut lines) = start("stubborn");
    // The kernel may merge two pending signals of one number, not two different ones.
    send(&child, signal);
    send(&child, other);
    assert!(lines.next().is_none());
    assert_eq!(code(&mut child), 2);
}

fn who_does_not_watch_is_ended_by_the_first(signal: libc::c_int) {
    let (mut child, mut lines) = start("careless");
    send(&child, signal);
    assert!(lines.next().is_none());
    assert_eq!(code(&mut child), 2);
}

fn a_terminal_that_is_closed_may_say_so_twice() {
    let (mut child, mut lines) = start("busy");
    send(&child, libc::SIGHUP);
    assert_eq!(lines.next().expect("it goes on").expect("a line"), "stopped");
    // The child sees the end of its input after the signal, which is there before.
    send(&child, libc::SIGHUP);
    drop(child.stdin.take());
    assert_eq!(code(&mut child), 1);
}

fn a_hangup_that_is_ignored_stays_so() {
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "trap '' HUP; exec \"$0\" gentle"]).arg(std::env::current_exe().expect("its own path"));
    let (mut child, _lines) = awaited(&mut shell);
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).expect("it runs");
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("the mask");
    let ignored = u64::from_str_radix(ignored.trim(), 16).expect("hexadecimal");
    assert_ne!(ignored & (1 << (libc::SIGHUP - 1)), 0);
    send(&child, libc::SIGTERM);
    assert_eq!(code(&mut child), 1);
}

/// Starts a command and awaits that it waits.
fn start(name: &str) -> (Child, impl Iterator<Item = std::io::Result<String>>) {
    awaited(std::process::Command::new(std::env::current_exe().expect("its own path")).arg(name))
}

fn awaited(
    command: &mut std::process::Command,
) -> (Child, impl Iterator<Item = std::io::Result<String>> + use<>) {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    assert_eq!(lines.next().expect("it waits").expect("a line"), "waiting");
    (child, lines)
}

fn send(child: &Child, signal: libc::c_int) {
    let process = libc::pid_t::try_from(child.id()).expect("a process id");
    // SAFETY: the call touches no memory; the child is ours and not yet awaited, so its id names it.
    assert_eq!(unsafe { libc::kill(process, signal) }, 0);
}

fn code(child: &mut Child) -> i32 {
    child.wait().expect("it ends").code().expect("no death by a signal")
}
