//! Snapshots that the risk engine keeps on disk: `BUS/risk/snapshots/SEQUENCE.snapshot`, where SEQUENCE is the next
//! message of `risk` after those that led to it. Each is durable in whole, and so is all that it follows from.

use std::fs;
use std::path::{Path, PathBuf};

use bus::program::note;
use bus::{Bus, regular};
use engine::{Positions, Restored, State};

use crate::RISK;

const EXTENSION: &str = "snapshot";
/// Largest file that is read, in bytes: an archive addresses 2 GiB, and a header stands before it.
const LARGEST: u64 = (2 << 30) + 4_096;

/// A snapshot read back.
#[derive(Clone)]
pub struct Snapshot {
    /// The next message of `risk`.
    pub risk: u64,
    /// The state, and where its inputs stand.
    pub restored: Restored,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let positions = self.restored.positions;
        f.debug_struct("Snapshot").field("risk", &self.risk).field("positions", &positions).finish()
    }
}

/// Where the snapshots of a bus are.
pub fn directory(bus: &Bus) -> PathBuf {
    bus.directory().join(RISK).join("snapshots")
}

/// The file of a snapshot.
pub fn path(directory: &Path, risk: u64) -> PathBuf {
    directory.join(format!("{risk:020}.{EXTENSION}"))
}

/// The snapshots in a directory by their sequence, oldest first; none if it does not exist.
pub fn sequences(directory: &Path) -> Vec<u64> {
    let sequence = |path: PathBuf| {
        let is_snapshot = path.extension().is_some_and(|extension| extension == EXTENSION);
        path.file_stem().filter(|_| is_snapshot)?.to_str()?.parse().ok()
    };
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut sequences: Vec<u64> = entries.filter_map(|entry| sequence(entry.path())).collect();
    sequences.sort_unstable();
    sequences
}

/// Reads a snapshot. One that cannot be read is said and is none: an older one, or the journals from their beginning,
/// give the same state.
pub fn read(directory: &Path, risk: u64) -> Option<Snapshot> {
    let path = path(directory, risk);
    let read = regular::read(&path, LARGEST).map_err(|error| error.to_string());
    match read.and_then(|bytes| State::restore(&bytes).map_err(|error| error.to_string())) {
        Ok(restored) => Some(Snapshot { risk, restored }),
        Err(error) => {
            note(&format!("passed over: {}: {error}", path.display()));
            None
        }
    }
}

/// The newest snapshot of a bus that `fits`, given its sequence and the positions of its inputs.
pub fn newest(bus: &Bus, fits: impl Fn(u64, &Positions) -> bool) -> Option<Snapshot> {
    let directory = directory(bus);
    let found = sequences(&directory).into_iter().rev().filter_map(|risk| read(&directory, risk));
    found.into_iter().find(|snapshot| fits(snapshot.risk, &snapshot.restored.positions))
}
