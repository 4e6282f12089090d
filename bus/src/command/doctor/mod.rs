//! `bus doctor`: what the machine gives, what it lacks, and what helps.

mod disk;
mod forgotten;
mod kernel;
mod memory;
mod processor;

use super::about;
use bus::program::{Arguments, Exit, Failure, Output, Tone, print_json};
use forgotten::Instance;
use journal::instance;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use std::fs;
use std::path::{Path, PathBuf};

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    status: Status,
    finding: String,
    /// What helps; given with every warning.
    remedy: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    Warn,
}

impl Finding {
    fn ok(finding: impl Into<String>) -> Self {
        Self { status: Status::Ok, finding: finding.into(), remedy: None }
    }
    fn warn(finding: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { status: Status::Warn, finding: finding.into(), remedy: Some(remedy.into()) }
    }
}

/// The files in which the kernel describes itself; below another root in tests.
#[derive(Debug)]
struct System {
    root: PathBuf,
}

impl System {
    /// The text of a file such as `proc/version`, trimmed; `None` where there is none.
    fn text(&self, path: &str) -> Option<String> {
        let text = fs::read_to_string(self.root.join(path)).ok()?;
        Some(text.trim().to_owned())
    }

    /// The number in a file.
    fn number(&self, path: &str) -> Option<u64> {
        self.text(path)?.parse().ok()
    }
}

/// All that was found.
#[derive(Debug)]
struct Report {
    checks: Vec<(&'static str, Finding)>,
    forgotten: Vec<Instance>,
}

impl Report {
    /// Whether no message is lost or about to be. A machine that lacks something is an answer, not a fault.
    fn is_ok(&self) -> bool {
        !self.forgotten.iter().any(Instance::is_fault)
    }
}

/// `{"ok","CHECK":{"status","finding","remedy"},…,"forgotten":[…]}`
impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("ok", &self.is_ok())?;
        self.checks.iter().try_for_each(|(check, finding)| map.serialize_entry(check, finding))?;
        map.serialize_entry("forgotten", &self.forgotten)?;
        map.end()
    }
}

/// Runs the command.
pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let report = Report {
        forgotten: forgotten::settle(
            &arguments.bus(),
            arguments.has("remove-forgotten"),
            &arguments.all("discard")?,
        )?,
        checks: checks(&System { root: "/".into() }, &arguments.bus()),
    };
    if arguments.json() {
        print_json(&report)?
    } else {
        print(&report)?
    }
    Ok(if report.is_ok() { Exit::Good } else { Exit::Fault })
}

fn checks(system: &System, bus: &Path) -> Vec<(&'static str, Finding)> {
    let shared_memory = instance::root();
    vec![
        ("cores", processor::cores(bus::plan::available_cores().len())),
        ("isolation", processor::isolation(system)),
        ("quota", processor::quota(bus::machine::cpu_quota())),
        ("steal", processor::steal(system)),
        ("governor", processor::governor(system)),
        ("autogroup", processor::autogroup(system)),
        ("clock", processor::clock(system)),
        ("time", processor::time()),
        ("shared_memory", memory::shared(&shared_memory)),
        ("huge_pages", memory::huge_pages(system)),
        ("locked_memory", memory::locked()),
        ("kernel", kernel::release(system)),
        ("io_uring", kernel::io_uring()),
        ("socket_buffers", kernel::socket_buffers(system)),
        ("open_files", kernel::open_files()),
        ("disk", disk::check(bus)),
    ]
}

fn print(report: &Report) -> Result<(), Failure> {
    let mut out = Output::stdout();
    for (check, finding) in &report.checks {
        print_line(&mut out, check, finding)?;
    }
    for instance in &report.forgotten {
        print_line(&mut out, if instance.removed() { "removed" } else { "forgotten" }, &instance.finding())?;
    }
    out.flush()
}

fn print_line(out: &mut Output, check: &str, finding: &Finding) -> Result<(), Failure> {
    let status = match finding.status {
        Status::Ok => Tone::Good.paint("ok  "),
        Status::Warn => Tone::Warning.paint("warn"),
    };
    out.line(&format!("{status}  {check:<14}  {}", finding.finding))?;
    finding
        .remedy
        .as_ref()
        .map_or(Ok(()), |remedy| out.line(&format!("                      {}", Tone::Aside.paint(remedy))))
}

#[cfg(test)]
mod tests;
