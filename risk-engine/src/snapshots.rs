//! Keeping snapshots of the engine on disk.
//!
//! A snapshot is taken where the journalled order ends with its last message, and is kept only once all of that is
//! durable, so no journal ever falls behind it. Files are replaced whole; the newest two stay, and the engine declares
//! itself a keeper of what the older one needs, in its own journal and in those of its inputs, whoever publishes them.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use bus::Bus;
use bus::program::note;
use engine::Frozen;
use replay::snapshots::{directory, path, read, sequences};

use crate::{MARKET_DATA, RISK, TRADES};

/// Snapshots that stay.
const KEPT: usize = 2;

/// A snapshot that is not on disk yet.
#[derive(Debug)]
pub(crate) struct Taken {
    /// The next message of `risk`.
    pub(crate) risk: u64,
    pub(crate) frozen: Frozen,
}

/// The engine's name as a keeper.
const KEEPER: &str = "risk-engine";

/// Declares what the snapshots on disk need: all from the positions of the oldest one that stays. A topic that does not
/// exist yet has nothing that could go.
pub(crate) fn hold_retention(bus: &Bus) {
    let directory = directory(bus);
    let oldest = sequences(&directory).into_iter().rev().take(KEPT).next_back();
    let found = oldest.and_then(|risk| read(&directory, risk));
    let (risk, positions) = found.map(|found| (found.risk, found.restored.positions)).unwrap_or_default();
    let needs = [(MARKET_DATA, positions.market_data.next), (TRADES, positions.trades.next), (RISK, risk)];
    for (topic, sequence) in needs {
        match bus.keep_from(topic, KEEPER, sequence) {
            Err(error) if !error.is_missing() => {
                note(&format!("retention of '{topic}' may remove what a restart needs: {error}"));
            }
            Ok(()) | Err(_) => {}
        }
    }
}

/// Removes the snapshots that lie beyond the end of `risk`: they belong to messages that are lost, and others will take
/// their sequences.
pub(crate) fn remove_beyond(bus: &Bus, end: u64) -> io::Result<()> {
    let directory = directory(bus);
    let beyond = sequences(&directory).into_iter().filter(|risk| *risk > end);
    beyond.into_iter().try_for_each(|risk| fs::remove_file(path(&directory, risk)))
}

/// Writes snapshots on a thread of its own.
#[derive(Debug)]
pub(crate) struct Saver {
    taken: Option<SyncSender<Taken>>,
    thread: Option<JoinHandle<()>>,
}

impl Saver {
    pub(crate) fn start(bus: &Bus) -> io::Result<Self> {
        let (taken, receiver) = sync_channel(1);
        let bus = bus.clone();
        let thread =
            std::thread::Builder::new().name("snapshots".into()).spawn(move || save_all(&bus, &receiver))?;
        Ok(Self { taken: Some(taken), thread: Some(thread) })
    }

    /// Hands a durable snapshot over; it comes back if the last one is still being written.
    pub(crate) fn save(&self, taken: Taken) -> Option<Taken> {
        match self.taken.as_ref()?.try_send(taken) {
            Err(TrySendError::Full(taken)) => Some(taken),
            Ok(()) | Err(TrySendError::Disconnected(_)) => None,
        }
    }
}

impl Drop for Saver {
    fn drop(&mut self) {
        self.taken = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed; the snapshot is missing, which costs time at the next start and no more.
            let _ = thread.join();
        }
    }
}

fn save_all(bus: &Bus, receiver: &Receiver<Taken>) {
    let directory = directory(bus);
    while let Ok(Taken { risk, frozen }) = receiver.recv() {
        match frozen.bytes().map_err(io::Error::other).and_then(|bytes| write(&directory, risk, &bytes)) {
            Ok(()) => {
                remove_old(&directory);
                hold_retention(bus);
            }
            Err(error) => note(&format!(
                "no snapshot: {}: {error}; make room there, the next one is tried anyway",
                directory.display()
            )),
        }
    }
}

/// Replaces the file whole: after a crash it is there or it is not.
fn write(directory: &Path, risk: u64, bytes: &[u8]) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let target = path(directory, risk);
    let fresh = target.with_extension("new");
    let written = File::create(&fresh).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    if let Err(error) = written.and_then(|()| fs::rename(&fresh, &target)) {
        // What is left of it would only take room.
        let _ = fs::remove_file(&fresh);
        return Err(error);
    }
    File::open(directory)?.sync_all()
}

fn remove_old(directory: &Path) {
    for risk in sequences(directory).into_iter().rev().skip(KEPT) {
        // One that stays takes room and harms nothing.
        let _ = fs::remove_file(path(directory, risk));
    }
}
