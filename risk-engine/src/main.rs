//! `risk-engine`: the whole path in one process, or the risk engine on a bus that others feed.

mod path;
mod run;
mod summary;

use std::process::ExitCode;

use bus::plan::Role;
use bus::program::{Command, Flag, Program};

/// The gateway's place in the core plan.
pub(crate) const GATEWAY: Role = Role::hot("gateway");
/// The engine's.
pub(crate) const RISK_ROLE: Role = Role::hot("risk");

static PROGRAM: Program = Program {
    name: "risk-engine",
    about: "the whole path in one process, or the risk engine on a bus that others feed",
    commands: &[PATH, RUN],
    later: &[],
};

const PATH: Command = Command {
    name: "",
    about: "the whole path in one process: a simulated exchange, the gateway, the journals, the risk engine, \
            the compliance consumer, the Kafka listener; gateway and engine spin where each has a core of its own and \
            one is left for the write-out and the rest, else all park; the bus has the topics market-data and trades, \
            from the gateway, risk, what the engine concludes, and session, which keeps our numbers of the FIX drop copy",
    positional: None,
    flags: &[
        Flag::value("for", "D", "end after this time; else at the first Ctrl-C"),
        Flag::value("rate", "R", "messages a second of the simulated exchange, 1 to 100M").default("20k"),
        Flag::value("seed", "N", "seed of the market; else the bus directory's own, or 1"),
        Flag::value(
            "kafka",
            "ADDR",
            "where Kafka consumers read, or off; a free port if the default is taken",
        )
        .default("127.0.0.1:9092"),
    ],
    examples: &["risk-engine", "risk-engine --for 10s --rate 100k --json"],
    run: path::run,
};

const RUN: Command = Command {
    name: "run",
    about: "the risk engine alone, on a bus that others feed; resumes where its topic 'risk' ends",
    positional: None,
    flags: &[
        Flag::value(
            "config",
            "FILE",
            "its parts [risk], and [bus]: memory, cores of risk and write-out, [bus.topics.risk] (TOML); the gateway's part \
             [gateway] may stand there, and unknown keys are refused in all of them; without limits and fees under [risk] those stay in \
             force that the topic 'risk' holds; where either is given, the two replace all of these: `limits = []` withdraws \
             the limits, and what fees are not given",
        ),
        Flag::value("for", "D", "end after this time, once it has caught up; else at the first Ctrl-C"),
        Flag::switch(
            "derive-anew",
            "go on without messages that are lost for good: those of the inputs are not applied, those of 'risk' are concluded \
             again, and what of 'risk' does not fit for that is cut, kept beside and told by `replay verify`; first restore \
             what a copy has; ends with code 1",
        ),
    ],
    examples: &["risk-engine run", "risk-engine run --for 10s --config busbar.toml --json"],
    run: run::run,
};

fn main() -> ExitCode {
    bus::program::run(&PROGRAM)
}
