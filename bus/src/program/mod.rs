//! What all programs share: command lines, exit codes, output, signals, numbers as people write them, latencies.
//!
//! ```no_run
//! use bus::program::{self, Arguments, Command, Exit, Failure, Flag, Program};
//!
//! static GREET: Program = Program {
//!     name: "greet",
//!     about: "greets whoever is named",
//!     commands: &[Command {
//!         name: "",
//!         about: "greets once",
//!         positional: None,
//!         flags: &[Flag::value("name", "NAME", "whom to greet").default("world")],
//!         examples: &["greet --name Ada"],
//!         run: greet,
//!     }],
//!     later: &[],
//! };
//!
//! fn greet(arguments: &Arguments) -> Result<Exit, Failure> {
//!     let name: String = arguments.get("name")?;
//!     program::print_line(&format!("Hello, {name}!"))?;
//!     Ok(Exit::Good)
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     program::run(&GREET)
//! }
//! ```

mod arguments;
mod help;
mod latency;
mod number;
mod output;
mod signals;

pub use crate::event::decimal::{decimal, parse_decimal};
pub use arguments::{Arguments, Command, Flag, Positional, Program, Value};
pub use latency::{Latencies, LatencySummary};
pub use number::{Date, Rate, Size, counted};
pub use output::{Output, Progress, Tone, error, note, print_json, print_line};
pub use signals::Stop;

use arguments::Parsed;
use std::process::ExitCode;

/// How a program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It ran and all is well.
    Good = 0,
    /// It ran, and data is lost, damaged, divergent or incomplete.
    Fault = 1,
    /// It could not run: a bad argument, a missing file, refused, unsupported.
    CouldNotRun = 2,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a program could not run, or could not go on: one line for a person, exit code 2.
///
/// Every error converts into it; its `Display` is then the line, so errors that can reach a command line have the
/// form `what: where; what to do`.
#[derive(Debug)]
pub struct Failure {
    line: String,
    /// The reader of stdout has gone: nobody is left to tell, and nothing is wrong.
    closed: bool,
}

impl Failure {
    /// The line `what: place; remedy`.
    pub fn new(
        what: impl std::fmt::Display,
        place: impl std::fmt::Display,
        remedy: impl std::fmt::Display,
    ) -> Self {
        Self { line: format!("{what}: {place}; {remedy}"), closed: false }
    }

    /// Nobody reads stdout any more.
    fn closed() -> Self {
        Self { line: "stdout is closed".into(), closed: true }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.line)
    }
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self { line: error.to_string(), closed: false }
    }
}

/// Runs the command that the command line names and turns its result into the exit code.
///
/// Until the command calls [`Stop::on_signals`], SIGINT, SIGTERM and SIGHUP end the process at once with exit code 2.
pub fn run(program: &'static Program) -> ExitCode {
    signals::install();
    let result = match arguments::parse(program, std::env::args_os()) {
        Ok(Parsed::Run(arguments)) => (arguments.command().run)(&arguments),
        Ok(Parsed::Print(text)) => print_line(text.trim_end()).map(|()| Exit::Good),
        Err(failure) => Err(failure),
    };
    end(program.name, result)
}

/// Runs a program that has no command line to parse: a failure is its one line on stderr and exit code 2.
pub fn attempt(name: &str, work: impl FnOnce() -> Result<(), Failure>) -> ExitCode {
    end(name, work().map(|()| Exit::Good))
}

fn end(name: &str, result: Result<Exit, Failure>) -> ExitCode {
    match result {
        Ok(exit) => exit.into(),
        Err(failure) if failure.closed => Exit::Good.into(),
        Err(failure) => {
            error(name, &failure.line);
            Exit::CouldNotRun.into()
        }
    }
}
