//! Figures that anyone can run: each prints its conditions, and claims are ratios to something measured in the same run.

mod figure;
mod placement;
mod throughput;

use std::{process::ExitCode, time::Duration};

use bus::program::{self, Arguments, Command, Exit, Failure, Flag, Program};

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
            about: "64-byte messages there and back between two threads over two journalled topics",
            positional: None,
            flags: &[Flag::value("rounds", "N", "interleaved measurements").default("5")],
            examples: &["benches round-trip --json"],
            run: throughput::round_trip,
        },
        Command {
            name: "rate",
            about: "64-byte messages one way between two threads over a journalled topic, in a burst and sustained",
            positional: None,
            flags: &[
                Flag::value("rounds", "N", "interleaved measurements").default("5"),
                Flag::value("for", "D", "length of the sustained part").default("3s"),
            ],
            examples: &["benches rate --json"],
            run: throughput::rate,
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
    program::print_line("criterion    publish, poll, decode, book: `cargo bench -p benches`")?;
    Ok(Exit::Good)
}

/// What every figure is printed with.
fn print_conditions(as_json: bool, what: &str, length: Duration) -> Result<(), Failure> {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name\t: ")).unwrap_or("unknown processor");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let raw = placement::ping_pong();
    let text = format!(
        "{what}; {model}, {cores} cores, Linux {}, raw ping-pong {raw:.0} ns ({}), unpinned, about {:.0} s",
        kernel.trim(),
        if raw < 120.0 { "near" } else { "far" },
        length.as_secs_f64()
    );
    if as_json {
        program::note(&text);
        return Ok(());
    }
    program::print_line(&text)
}
