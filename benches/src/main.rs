//! Figures that anyone can run: each prints its conditions, and claims are ratios to something measured in the same run.

mod conditions;
mod decode;
mod durable;
mod figure;
mod flow;
mod path;
mod placement;
mod random;
mod scratch;
mod throughput;

use std::process::ExitCode;

use bus::program::{self, Arguments, Command, Exit, Failure, Flag, Positional, Program};

static BENCHES: Program = Program {
    name: "benches",
    about: "measures Busbar on this machine and compares it with what the machine gives at best",
    commands: &[
        Command {
            name: "list",
            about: "names all figures and what they claim",
            positional: None,
            flags: &[],
            examples: &["benches list"],
            run: list,
        },
        Command {
            name: "round-trip",
            about: "64-byte messages there and back between two threads over two journalled topics; claims at most 1.5 × \
                    a bare ping-pong of two cache lines",
            positional: None,
            flags: &[Flag::value("rounds", "N", "interleaved measurements").default("5")],
            examples: &["benches round-trip --json"],
            run: throughput::round_trip,
        },
        Command {
            name: "rate",
            about: "64-byte messages one way between two threads over a journalled topic, in a burst and sustained; \
                    claims at least 0.8 × the raw durable write rate",
            positional: None,
            flags: &[
                Flag::value("rounds", "N", "interleaved measurements").default("5"),
                Flag::value("for", "D", "length of the sustained part").default("3s"),
            ],
            examples: &["benches rate --json"],
            run: throughput::rate,
        },
        Command {
            name: "path",
            about: "from the intended send of an ITCH message over UDP to each stage, open loop; claims, with the gateway \
                    on its own core, a p50 under 20 µs from the kernel's stamp to published, beside a bare receive",
            positional: None,
            flags: &[
                Flag::value("rate", "R", "messages a second").default("20k"),
                Flag::value("for", "D", "length of the measured part, after a warm-up").default("10s"),
            ],
            examples: &["benches path", "benches path --rate 100k --for 1m --json"],
            run: path::path,
        },
        Command {
            name: "durable",
            about: "64-byte messages one at a time from publish to durable; claims the ratio to a bare durable write of \
                    4 KiB",
            positional: None,
            flags: &[Flag::value("for", "D", "length of both together").default("5s")],
            examples: &["benches durable --json"],
            run: durable::durable,
        },
        Command {
            name: "decode",
            about: "ITCH decoded, normalised and applied to full-depth books; claims nanoseconds a message and the ratio \
                    to a copy of it",
            positional: Some(Positional {
                name: "FILE",
                about: "a day file of ITCH 5.0, plain or compressed with gzip; else a seeded mix of 500 symbols",
                at_least: 0,
                at_most: 1,
            }),
            flags: &[Flag::value("messages", "N", "messages, or the most to read of FILE").default("2M")],
            examples: &["benches decode", "benches decode day.itch50.gz --messages 10M"],
            run: decode::decode,
        },
    ],
    later: &["peers"],
};

fn main() -> ExitCode {
    program::run(&BENCHES)
}

fn list(_: &Arguments) -> Result<Exit, Failure> {
    for command in BENCHES.commands.iter().filter(|command| command.name != "list") {
        program::print_line(&format!("{:<12} {}", command.name, command.about))?;
    }
    program::print_line("criterion    publish, poll, decode, book: `cargo bench -p benches`; claim nothing")?;
    Ok(Exit::Good)
}
