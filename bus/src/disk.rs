//! Disk that the topics of a bus need to start, and what there is of it.

use std::{collections::BTreeSet, process};

use journal::{OpenError, Room, lock, storage::space};

use crate::{error::BusError, topic::Bus};

/// A journal rolls from its segment to the next one.
const SEGMENTS: u64 = 2;
/// What its mark, its schema and the rest take.
const SMALL_FILES: u64 = 64 << 10;

/// What the opening of a topic failed with. Where the disk had no room, what all topics need is said too: those that were
/// opened before have taken some of it, and give it back when the program ends for that.
pub(crate) fn refusal(
    bus: &Bus,
    topic: &str,
    segment: u64,
    before: Option<u64>,
    source: OpenError,
) -> BusError {
    let free = space(bus.directory()).map(|space| space.free);
    match (&source, free) {
        (OpenError::NoRoom { room: Room::Disk, .. }, Ok(free)) => BusError::TooLittleDisk {
            topic: topic.into(),
            path: bus.directory().into(),
            segment,
            free,
            needed: needed(bus, topic, segment),
            before: before.unwrap_or(free),
        },
        _ => BusError::Journal { topic: topic.into(), source },
    }
}

/// Bytes that the topics need to start, `topic` and those of this program among them, but for those that have a publisher
/// elsewhere.
fn needed(bus: &Bus, topic: &str, segment: u64) -> u64 {
    let mut topics: BTreeSet<String> = bus.topics().unwrap_or_default().into_iter().collect();
    topics.insert(topic.into());
    let size = |name: &String| {
        let storage = bus.places(name).ok()?.storage;
        journal::segment_size(storage.as_ref())
    };
    let starts = topics.iter().filter(|name| !is_published_elsewhere(bus, name));
    starts.map(|name| size(name).unwrap_or(segment) * SEGMENTS + SMALL_FILES).sum()
}

fn is_published_elsewhere(bus: &Bus, topic: &str) -> bool {
    let path = bus.topic_dir(topic).join("0").join(journal::LOCK);
    let is_ours = || lock::holder(&path).is_some_and(|holder| holder.process == process::id());
    lock::is_held(&path).unwrap_or(false) && !is_ours()
}
