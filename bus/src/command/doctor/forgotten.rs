//! Shared memory whose bus is gone: what is in it, and what may be removed.

use super::{Finding, about};
use bus::program::Failure;
use journal::instance::{self, Forgotten};
use serde::Serialize;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The shared memory of one bus.
#[derive(Debug, Serialize)]
pub(super) struct Instance {
    directory: PathBuf,
    /// Where its bus was, and its id.
    bus: Option<PathBuf>,
    id: Option<String>,
    bytes: u64,
    /// Messages that no disk is known to hold.
    messages: u64,
    /// Files that make no sense to this version.
    unknown: u64,
    /// Nanoseconds since the Unix epoch.
    last_used: u64,
    /// Whether live writers hold it; then it stays.
    in_use: bool,
    removed: bool,
}

impl Instance {
    fn new(found: Forgotten, removed: bool) -> Self {
        let Forgotten { directory, bus, id, bytes, messages, unknown, last_used, in_use } = found;
        let id = id.map(|id| id.to_string());
        Self { directory, bus, id, bytes, messages, unknown, last_used, in_use, removed }
    }

    /// Whether messages of it are lost, or will be if nobody comes for them.
    pub(super) fn is_fault(&self) -> bool {
        self.messages > 0 && !self.in_use
    }

    pub(super) fn removed(&self) -> bool {
        self.removed
    }

    /// What there is or was, for people.
    pub(super) fn finding(&self) -> Finding {
        let bus = self
            .bus
            .as_ref()
            .map_or("an unknown bus".into(), |bus| format!("{}, which is gone", bus.display()));
        let id = self.id.as_ref().map_or_else(String::new, |id| format!(", id {id}"));
        let (directory, bytes) = (self.directory.display(), about(self.bytes));
        let mut text = format!("{directory}: {bytes} of {bus}{id}; last used {} ago", age(self.last_used));
        if self.unknown > 0 {
            text += &format!("; {} files that this version does not understand", self.unknown);
        }
        let is_only_copy = self.messages > 0 || self.unknown > 0;
        if self.messages > 0 {
            text += &format!("; {} messages that are nowhere else", self.messages);
        }
        match (self.removed, self.in_use) {
            (true, _) if is_only_copy => Finding::warn(text, "they are lost"),
            (true, _) => Finding::ok(text),
            (_, true) => Finding::warn(text, "its writers still live: stop them"),
            _ if is_only_copy => Finding::warn(
                text,
                format!(
                    "start a writer on the bus where it is now, or give them up: 'bus doctor --discard {directory}'"
                ),
            ),
            _ => Finding::warn(text, "run 'bus doctor --remove-forgotten'"),
        }
    }
}

/// Looks at the memory whose bus is gone, but for that of `bus`, and removes what was asked for: with `remove` all whose
/// messages are durable, and the directories `discard` whatever they hold.
pub(super) fn settle(bus: &Path, remove: bool, discard: &[PathBuf]) -> Result<Vec<Instance>, Failure> {
    let own = instance::Instance::of(bus).ok();
    let root = instance::root();
    let failed = |error: io::Error| {
        Failure::new(
            "cannot look for forgotten memory",
            format!("{} ({error})", root.display()),
            "mend its mode",
        )
    };
    let mut found = instance::forgotten(&root).map_err(failed)?;
    found.retain(|found| own.as_ref().is_none_or(|own| own.directory() != found.directory));
    for name in discard {
        let Some(found) = found.iter().find(|found| is_named(found, name)) else {
            let what = "no forgotten shared memory";
            return Err(Failure::new(what, name.display(), "see what 'bus doctor' lists"));
        };
        if found.in_use {
            return Err(Failure::new("writers hold shared memory", name.display(), "stop them first"));
        }
    }
    let settle = |found: Forgotten| {
        if discard.iter().any(|name| is_named(&found, name)) {
            let gone = found.discard().map_err(failed)?;
            return Ok(gone.map_or_else(|| Instance::new(found, false), |gone| Instance::new(gone, true)));
        }
        let removed = remove && found.remove().map_err(failed)?;
        Ok(Instance::new(found, removed))
    };
    found.into_iter().map(settle).collect()
}

/// Whether an operator means this memory, by its path or by its name.
fn is_named(found: &Forgotten, name: &Path) -> bool {
    found.directory == name || found.directory.file_name() == Some(name.as_os_str())
}

/// How long ago, in the largest unit that there is at least two of.
fn age(time: u64) -> String {
    let age = SystemTime::now().duration_since(UNIX_EPOCH + Duration::from_nanos(time)).unwrap_or_default();
    let seconds = age.as_secs();
    let units = [(86_400, "days"), (3_600, "h"), (60, "min")];
    let unit = units.into_iter().find(|(length, _)| seconds >= 2 * length);
    let (length, name) = unit.unwrap_or((1, "s"));
    format!("{} {name}", seconds / length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_told_roughly() {
        let now = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos()).unwrap();
        let ago = |seconds: u64| age(now - seconds * 1_000_000_000);
        assert_eq!([ago(150), ago(7_300), ago(400_000)], ["2 min", "2 h", "4 days"]);
        assert_eq!(age(u64::MAX), "0 s", "a clock that went back");
    }
}
