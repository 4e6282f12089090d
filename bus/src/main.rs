//! `bus`: looks after a bus and the machine that it runs on.

mod command;

use bus::program::{Command, Flag, Program, run};
use std::process::ExitCode;

static PROGRAM: Program = Program {
    name: "bus",
    about: "looks after a bus and the machine that it runs on",
    commands: &[
        Command {
            name: "status",
            about: "topics, epochs, watermarks, segments, readers with their lag, I/O, health; floor: number of the oldest \
                    segment that retention has left; keeper: a program that declared to need the past; overruled: \
                    segments that retention removed all the same; the topic session: numbers of the FIX drop copy",
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
