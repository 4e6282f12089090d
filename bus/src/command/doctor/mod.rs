//! `bus doctor`: what the machine gives, what it lacks, and what helps.

mod disk;
mod kernel;
mod memory;
mod processor;

use super::about;
use bus::program::{Arguments, Exit, Failure, Output, Tone, print_json};
use journal::instance::{self, Forgotten};
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

/// Shared memory that nobody will come back for.
#[derive(Debug, Serialize)]
struct Instance {
    directory: PathBuf,
    /// Where its bus was.
    bus: Option<PathBuf>,
    bytes: u64,
    /// Whether live writers hold it; then it stays.
    in_use: bool,
    removed: bool,
}

impl Report {
    fn is_ok(&self) -> bool {
        self.forgotten.iter().all(|instance| instance.removed)
            && self.checks.iter().all(|(_, finding)| finding.status == Status::Ok)
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

/// Runs the command. A machine that lacks something is an answer, not a fault.
pub(crate) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let report = Report {
        checks: checks(&System { root: "/".into() }, &arguments.bus()),
        forgotten: forgotten(&arguments.bus(), arguments.has("remove-forgotten"))?,
    };
    if arguments.json() {
        print_json(&report)?
    } else {
        print(&report)?
    }
    Ok(Exit::Good)
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

/// Memory whose bus is gone, but for that of `bus`, which may only have been renamed since its writer died.
fn forgotten(bus: &Path, remove: bool) -> Result<Vec<Instance>, Failure> {
    let own = instance::Instance::of(bus).ok();
    let root = instance::root();
    let failed = |error| {
        Failure::new(
            "cannot look for forgotten memory",
            format!("{} ({error})", root.display()),
            "mend its mode",
        )
    };
    let mut found = instance::forgotten(&root).map_err(failed)?;
    found.retain(|found| own.as_ref().is_none_or(|own| own.directory() != found.directory));
    let inspect = |found: Forgotten| {
        let removed = remove && !found.in_use && found.remove().map_err(failed)?;
        let Forgotten { directory, bus, bytes, in_use } = found;
        Ok(Instance { directory, bus, bytes, in_use, removed })
    };
    found.into_iter().map(inspect).collect()
}

fn print(report: &Report) -> Result<(), Failure> {
    let mut out = Output::stdout();
    for (check, finding) in &report.checks {
        let status = match finding.status {
            Status::Ok => Tone::Good.paint("ok  "),
            Status::Warn => Tone::Warning.paint("warn"),
        };
        out.line(&format!("{status}  {check:<14}  {}", finding.finding))?;
        if let Some(remedy) = &finding.remedy {
            out.line(&format!("                      {}", Tone::Aside.paint(remedy)))?;
        }
    }
    for instance in &report.forgotten {
        out.line(&describe(instance))?;
    }
    out.flush()
}

fn describe(instance: &Instance) -> String {
    let Instance { directory, bus, bytes, in_use, removed } = instance;
    let bus = bus
        .as_ref()
        .map_or_else(|| "an unknown bus".into(), |bus| format!("{}, which is gone", bus.display()));
    let what = format!("{}: {bytes} bytes of {bus}", directory.display());
    match (removed, in_use) {
        (true, _) => format!("{}  removed         {what}", Tone::Good.paint("ok  ")),
        (_, true) => format!(
            "{}  forgotten       {what}; its writers still live: stop them",
            Tone::Warning.paint("warn")
        ),
        _ => format!(
            "{}  forgotten       {what}; run 'bus doctor --remove-forgotten'",
            Tone::Warning.paint("warn")
        ),
    }
}

#[cfg(test)]
mod tests;
