//! `replay`: proves, prints and derives anew what the journals of a bus hold. It never writes to a bus.

mod command;

use bus::program::{Command, Flag, Program, run};
use std::process::ExitCode;

static PROGRAM: Program = Program {
    name: "replay",
    about: "proves, prints and derives anew what the journals of a bus hold",
    commands: &[
        Command {
            name: "verify",
            about: "proves order and integrity: damage, open gaps, effects without cause, a hash of the contents; one flipped bit \
                    loses all messages from its frame to the next frame of evidence, up to 64 KiB on, as nothing before that \
                    says which messages follow",
            positional: None,
            flags: &[Flag::value("topic", "T", "only this topic")],
            examples: &["replay verify", "replay verify --topic market-data --json"],
            run: command::verify::run,
        },
        Command {
            name: "dump",
            about: "prints a topic, one JSON object a line",
            positional: None,
            flags: &[
                Flag::value("topic", "T", "the topic").required(),
                Flag::value("from", "SEQ", "first sequence").default("0"),
                Flag::value("to", "SEQ", "last sequence; else the newest"),
                Flag::value("gate", "GATE", "published or durable").default("published"),
                Flag::switch("follow", "go on with what comes, until Ctrl-C"),
            ],
            examples: &[
                "replay dump --topic market-data --from 1000 --to 1009",
                "replay dump --topic risk --follow",
            ],
            run: command::dump::run,
        },
        Command {
            name: "state",
            about: "books and positions derived from the journals, in the order that the risk engine recorded",
            positional: None,
            flags: &[Flag::value("at", "TOPIC=SEQ", "as it was after this message; else after the newest")],
            examples: &["replay state", "replay state --at market-data=1000 --json"],
            run: command::state::run,
        },
        Command {
            name: "blotter",
            about: "what compliance keeps: orders, fills, corrections, alerts, limits and gaps, once durable",
            positional: None,
            flags: &[
                Flag::switch("follow", "go on with what becomes durable, until Ctrl-C"),
                Flag::value("out", "FILE", "write the lines there, to a new file; else to stdout"),
            ],
            examples: &["replay blotter", "replay blotter --follow --out blotter.jsonl"],
            run: command::blotter::run,
        },
    ],
    later: &["diff", "export"],
};

fn main() -> ExitCode {
    run(&PROGRAM)
}
