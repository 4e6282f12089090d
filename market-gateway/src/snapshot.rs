//! What a gateway has learned from its journal, on disk, so that it need not read the journal from its beginning, and
//! goes on where retention has removed that beginning.
//!
//! `BUS/TOPIC/gateway.snapshot` is one file, replaced whole: a line with the BLAKE3 of what follows, then JSON. It is
//! taken between two packets and written, by a thread of its own, once all that led to it is durable, so that no journal
//! ever falls behind it. Without it, or where it is damaged, the journal tells the same. The gateway declares itself a
//! keeper of what the snapshot lacks, so retention leaves it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use bus::event::PartOf;
use bus::event::market::{Gap, Session};
use bus::event::{Text, Time};
use bus::program::note;
use bus::{Bus, regular};
use serde::{Deserialize, Serialize};

use crate::arbiter::{Ahead, GapCause, OpenGap};
use crate::feed::Feed;
use crate::resume::{History, Past};
use crate::{Normalise, Output};

/// Events between two snapshots; fewer where the topic's retention is small.
pub const EVERY: u64 = 1 << 18;

/// The gateway's name as a keeper.
const KEEPER: &str = "market-gateway";
/// Bytes of retention for each event between two snapshots: of about 100 bytes an event, the last snapshot and what comes
/// while the next one is written take a small part.
const ROOM: u64 = 1_024;

/// Name of the file in the topic's directory.
const NAME: &str = "gateway.snapshot";
/// Largest file that is read, in bytes.
const LARGEST: u64 = 64 << 20;

/// A snapshot read back.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// The topic's next message after those that led to it.
    pub(crate) sequence: u64,
    pub(crate) history: History,
    /// What [`Normalise::save`] gave.
    pub(crate) learned: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Contents {
    sequence: u64,
    current: Option<[u8; 16]>,
    sessions: Vec<PastSession>,
    /// Events that could not be read back.
    #[serde(default)]
    unread: Option<Range<u64>>,
    learned: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct PastSession {
    id: [u8; 16],
    date: u32,
    next: u64,
    ended: Option<u64>,
    open: Vec<Open>,
    #[serde(default)]
    ahead: Vec<(u64, u64)>,
    #[serde(default)]
    told: u64,
}

#[derive(Serialize, Deserialize)]
struct Open {
    from: u64,
    count: u64,
    local: bool,
    missing: Vec<(u64, u64)>,
}

impl Open {
    fn of(gap: &OpenGap) -> Self {
        let missing = gap.missing().map(|range| (range.start, range.end)).collect();
        Self { from: gap.from, count: gap.count, local: gap.cause == GapCause::Local, missing }
    }

    fn gap(&self) -> Option<OpenGap> {
        let cause = if self.local { GapCause::Local } else { GapCause::Network };
        OpenGap::with_missing(self.from, self.count, cause, &self.missing)
    }
}

impl PastSession {
    fn past(&self) -> Option<Past> {
        let open = self.open.iter().map(Open::gap).collect::<Option<Vec<_>>>()?;
        let ahead = Ahead::of(&self.ahead)?;
        let Self { date, next, ended, told, .. } = *self;
        let ascending = open.is_sorted_by(|a, b| a.from.saturating_add(a.count) <= b.from);
        (next > 0 && ascending).then_some(Past { date, next, open, ahead, told: Time(told), ended })
    }
}

/// The contents of a snapshot file.
pub(crate) fn write(sequence: u64, history: &History, learned: Vec<u8>) -> Vec<u8> {
    let session = |(id, past): (&Text<16>, &Past)| PastSession {
        id: id.0,
        date: past.date,
        next: past.next,
        ended: past.ended,
        open: past.open.iter().map(Open::of).collect(),
        ahead: past.ahead.iter().map(|range| (range.start, range.end)).collect(),
        told: past.told.0,
    };
    let contents = Contents {
        sequence,
        current: history.current().map(|id| id.0),
        sessions: history.sessions().map(session).collect(),
        unread: history.unread(),
        learned,
    };
    let json = serde_json::to_vec(&contents).expect("numbers and lists");
    [blake3::hash(&json).to_hex().as_bytes(), b"\n", &json].concat()
}

/// Reads a snapshot file; `None` if it is damaged.
pub(crate) fn parse(file: &[u8]) -> Option<Snapshot> {
    let (hash, json) = file.split_at_checked(blake3::OUT_LEN * 2)?;
    let json = json.strip_prefix(b"\n")?;
    if blake3::hash(json).to_hex().as_bytes() != hash {
        return None;
    }
    let Contents { sequence, current, sessions, unread, learned } = serde_json::from_slice(json).ok()?;
    let sessions = sessions.iter().map(|session| Some((Text(session.id), session.past()?)));
    let history = History::new(sessions.collect::<Option<_>>()?, current.map(Text), unread);
    Some(Snapshot { sequence, history, learned })
}

/// The snapshot of a topic, if there is a good one.
pub(crate) fn load(bus: &Bus, topic: &str) -> Option<Snapshot> {
    parse(&regular::read(&path(bus, topic), LARGEST).ok()?)
}

fn path(bus: &Bus, topic: &str) -> PathBuf {
    bus.directory().join(topic).join(NAME)
}

/// Takes and writes the snapshots of a topic.
#[derive(Debug)]
pub struct Snapshots {
    every: u64,
    /// Sequence at which the next one is taken; none is before the first events.
    next: Option<u64>,
    /// One that waits until it is durable, and the sequence that has to be.
    pending: Option<Taken>,
    saver: Option<SyncSender<Taken>>,
    thread: Option<JoinHandle<()>>,
    unwritten: Arc<AtomicU64>,
    bus: Bus,
    topic: String,
}

/// A snapshot with the topic's next message after those that led to it.
type Taken = (u64, Vec<u8>);

impl Snapshots {
    /// Takes one each `every` events of a topic, or more often where its retention is small. For the topic's publisher.
    pub fn new(bus: &Bus, topic: &str, every: u64) -> Self {
        let retention = bus.config().topics.get(topic).and_then(|topic| topic.retention);
        let every = retention.map_or(every, |retention| every.min(retention.0 / ROOM)).max(1);
        hold_retention(bus, topic, load(bus, topic).map_or(0, |snapshot| snapshot.sequence));
        let (bus, topic) = (bus.clone(), topic.to_owned());
        let unwritten = Arc::default();
        Self { every, next: None, pending: None, saver: None, thread: None, unwritten, bus, topic }
    }

    /// Snapshots that could not be written; each was said on stderr.
    pub fn unwritten(&self) -> u64 {
        // ORDERING: Relaxed, as in `save_all`: the number stands for itself and orders nothing.
        self.unwritten.load(Ordering::Relaxed)
    }

    /// Takes a snapshot of the feed if one is due, and hands it to be written once it is durable. `sequence` and
    /// `durable` are those of the topic. To be called between two packets, as often as is convenient.
    #[inline]
    pub fn keep<N, O>(&mut self, feed: &Feed<N, O>, sequence: u64, durable: u64)
    where
        N: Normalise,
        O: Output<N::Event>,
        Session: PartOf<N::Event>,
        Gap: PartOf<N::Event>,
    {
        let next = *self.next.get_or_insert(sequence + self.every);
        if sequence >= next && self.pending.is_none() {
            self.next = Some(sequence + self.every);
            self.pending = Some((sequence, feed.snapshot(sequence)));
        }
        if self.pending.as_ref().is_some_and(|(needed, _)| *needed <= durable) {
            self.save();
        }
    }

    #[cold]
    fn save(&mut self) {
        let Some(taken) = self.pending.take() else { return };
        let saver = self.saver.get_or_insert_with(|| {
            let (saver, taken) = sync_channel::<Taken>(1);
            let (bus, topic, unwritten) = (self.bus.clone(), self.topic.clone(), self.unwritten.clone());
            self.thread =
                Some(std::thread::spawn(move || save_all(&bus, &topic, taken.into_iter(), &unwritten)));
            saver
        });
        if let Err(TrySendError::Full(taken)) = saver.try_send(taken) {
            self.pending = Some(taken);
        }
    }
}

impl Drop for Snapshots {
    fn drop(&mut self) {
        self.saver = None;
        if let Some(thread) = self.thread.take() {
            // It does not panic; if it did, the snapshot is missing, which costs time at the next start and no more.
            let _ = thread.join();
        }
    }
}

/// Writes what was taken. What cannot be written leaves retention to the one before, until retention overrules it.
fn save_all(bus: &Bus, topic: &str, taken: impl Iterator<Item = Taken>, unwritten: &AtomicU64) {
    let path = path(bus, topic);
    for (sequence, file) in taken {
        match replace(&path, &file) {
            Ok(()) => hold_retention(bus, topic, sequence),
            Err(error) => {
                // ORDERING: Relaxed, as in `Snapshots::unwritten`: the number stands for itself and orders nothing.
                unwritten.fetch_add(1, Ordering::Relaxed);
                note(&format!(
                    "no snapshot: {}: {error}; make room there, the next one is tried anyway",
                    path.display()
                ));
            }
        }
    }
}

/// Lets retention remove only what lies below `sequence`.
fn hold_retention(bus: &Bus, topic: &str, sequence: u64) {
    // Where it fails, what was declared before holds, which leaves more; the next snapshot declares it again.
    let _ = bus.keep_from(topic, KEEPER, sequence);
}

/// Replaces the file whole: after a crash it is the old one or the new one.
fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let written = File::create(&fresh).and_then(|mut file| {
        file.write_all(contents)?;
        file.sync_all()
    });
    if let Err(error) = written.and_then(|()| fs::rename(&fresh, path)) {
        // What is left of it would only take room.
        let _ = fs::remove_file(&fresh);
        return Err(error);
    }
    let directory = path.parent().expect("a file in the topic's directory");
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mold::session_id;

    fn history() -> History {
        let mut gap = OpenGap::new(5, 10, GapCause::Local);
        gap.arrived(7);
        let (date, ended, told) = (20_260_105, Some(99), Time(7));
        let ahead = Ahead::of(&[(100, 101), (1 << 63, u64::MAX)]).expect("they ascend");
        let past = Past { date, next: 99, open: vec![gap], ahead, told, ended };
        let id = session_id(*b"20260105  ");
        History::new([(id, past)].into(), Some(id), Some(3..7))
    }

    #[test]
    fn what_is_written_is_read() {
        let snapshot = parse(&write(1_234, &history(), vec![1, 2, 3])).expect("a good file");
        assert_eq!((snapshot.sequence, snapshot.learned), (1_234, vec![1, 2, 3]));
        assert_eq!(format!("{:?}", snapshot.history), format!("{:?}", history()));
    }

    #[test]
    fn damage_is_no_snapshot() {
        let file = write(1, &history(), Vec::new());
        for at in 0..file.len() {
            let mut damaged = file.clone();
            damaged[at] ^= 1;
            assert!(parse(&damaged).is_none() && parse(&file[..at]).is_none());
        }
    }
}
