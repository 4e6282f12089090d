//! `risk-engine`: the whole path in one process, or the risk engine on a bus that others feed.

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
    commands: &[Command {
        name: "run",
        about: "the risk engine alone, on a bus that others feed; resumes where its topic 'risk' ends",
        positional: None,
        flags: &[
            Flag::value("config", "FILE", "limits, fees, cores (TOML)"),
            Flag::value("for", "D", "end after this time, once it has caught up; else at the first Ctrl-C"),
        ],
        examples: &["risk-engine run", "risk-engine run --for 10s --config busbar.toml --json"],
        run: run::run,
    }],
    later: &[],
};

fn main() -> ExitCode {
    bus::program::run(&PROGRAM)
}
