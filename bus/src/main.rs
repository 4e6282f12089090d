//! `bus`: looks after a bus and the machine that it runs on.

mod command;

use bus::program::{Command, Flag, Program, run};
use std::process::ExitCode;

const STATUS: &str = "\
topics, epochs, watermarks, segments, readers with their lag, I/O, health
  The health is ok, or attention with the reasons below it. The state of a topic is
    open        it has a publisher
    closed      its publisher ended well
    dead        its publisher died and left shared memory, from which the next one goes on    attention
    unclean     the same without shared memory: the power was lost, or this is a copy         attention
    unknown     this user may not ask whether it has a publisher
    poisoned    writing to disk failed                                                        attention, exit code 1
    damaged     something is missing or destroyed                                             attention, exit code 1
    unreadable  this user may not read it, or this version cannot                             attention, exit code 1
  Retention, I/O and what was written are told while a topic has a publisher, or shared memory that one left: `-` without,
  and `all` for a topic that keeps everything.
  The floor is the number of the oldest segment that retention has left. A keeper is a program that declared to need the
  past; overruled counts the segments that retention removed all the same. The topic `session` holds the outbound numbers
  of the FIX drop copy.";

static PROGRAM: Program = Program {
    name: "bus",
    about: "looks after a bus and the machine that it runs on",
    commands: &[
        Command {
            name: "status",
            about: STATUS,
            positional: None,
            flags: &[],
            examples: &["bus status", "bus status --json --bus /data/busbar"],
            run: command::status::run,
        },
        Command {
            name: "doctor",
            about: "what this machine lacks, with the remedy of each, and shared memory that was forgotten",
            positional: None,
            flags: &[
                Flag::switch(
                    "remove-forgotten",
                    "remove shared memory of buses that are gone, if all of it is durable",
                ),
                Flag::value(
                    "discard",
                    "DIR",
                    "remove this forgotten shared memory with the messages that are only there",
                )
                .repeated(),
            ],
            examples: &[
                "bus doctor",
                "bus doctor --json --bus /data/busbar",
                "bus doctor --discard /dev/shm/busbar-1000-0123456789abcdef",
            ],
            run: command::doctor::run,
        },
    ],
    later: &["top"],
};

fn main() -> ExitCode {
    run(&PROGRAM)
}
