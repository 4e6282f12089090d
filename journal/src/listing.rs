//! Which segments a journal has now, in memory or on disk, and which of them holds a message.

use std::{cell::OnceCell, fs};

use crate::{
    disk_copy::{self, LoadError},
    layout::{MarkSlot, SegmentHeader},
    memory::SegmentMemory,
    names,
    reader::Places,
    segment::Segment,
    storage::Access,
};

/// The segments at one moment, from the floor on. Headers are read when they are asked for; what has none (a segment made
/// ready, or a damaged one) is passed over.
#[derive(Debug)]
pub(crate) struct Listing<'a> {
    places: &'a Places,
    mark: &'a MarkSlot,
    numbers: Vec<u64>,
    /// Why the first segment of which the system refused the header was passed over.
    refused: OnceCell<LoadError>,
}

impl<'a> Listing<'a> {
    pub(crate) fn new(places: &'a Places, mark: &'a MarkSlot) -> Self {
        let on_disk = places.storage.names().unwrap_or_default();
        let mut numbers: Vec<u64> = on_disk.iter().filter_map(|name| names::segment_number(name)).collect();
        if let Ok(entries) = fs::read_dir(&places.memory_dir) {
            let shared =
                entries.flatten().filter_map(|entry| names::segment_number(entry.file_name().to_str()?));
            numbers.extend(shared);
        }
        numbers.retain(|number| *number >= mark.floor);
        numbers.sort_unstable();
        numbers.dedup();
        Self { places, mark, numbers, refused: OnceCell::new() }
    }

    /// The header of a segment, from memory if it is there, else from disk.
    pub(crate) fn header(&self, number: u64) -> Option<SegmentHeader> {
        if let Some(segment) = shared(self.places, self.mark, number) {
            return segment.header(&self.mark.journal);
        }
        let header = disk_copy::header(self.places.storage.as_ref(), &self.mark.journal, number);
        header.unwrap_or_else(|error| {
            self.refused.get_or_init(|| LoadError::of(number, &error));
            None
        })
    }

    /// What was passed over because the system refuses it, if anything that was asked for so far.
    pub(crate) fn refused(&self) -> Option<&LoadError> {
        self.refused.get()
    }

    /// The same, to be kept.
    pub(crate) fn into_refused(self) -> Option<LoadError> {
        self.refused.into_inner()
    }

    /// All of them, oldest first.
    pub(crate) fn headers(&self) -> impl DoubleEndedIterator<Item = SegmentHeader> + '_ {
        self.numbers.iter().filter_map(|number| self.header(*number))
    }

    pub(crate) fn first(&self) -> Option<SegmentHeader> {
        self.headers().next()
    }

    pub(crate) fn newest(&self) -> Option<SegmentHeader> {
        self.headers().next_back()
    }

    /// The next one behind a segment.
    pub(crate) fn after(&self, number: u64) -> Option<SegmentHeader> {
        let behind = self.numbers.partition_point(|other| *other <= number);
        self.numbers[behind..].iter().find_map(|number| self.header(*number))
    }

    /// The one that holds, or will hold, the message of this sequence: the last that begins at or below it.
    pub(crate) fn holding(&self, sequence: u64) -> Option<SegmentHeader> {
        let (mut low, mut high) = (0, self.numbers.len());
        let mut best = None;
        while low < high {
            let middle = low + (high - low) / 2;
            let probe = (middle..high).find_map(|at| Some((at, self.header(self.numbers[at])?)));
            match probe {
                Some((at, header)) if header.sequence <= sequence => (best, low) = (Some(header), at + 1),
                _ => high = middle,
            }
        }
        best
    }
}

/// A segment in shared memory, if it is there. It stays what it is as long as it is mapped here.
pub(crate) fn shared(places: &Places, mark: &MarkSlot, number: u64) -> Option<Segment> {
    let path = places.memory_dir.join(names::segment(number));
    let memory = SegmentMemory::open(&path, Access::Read, mark.segment_size as usize).ok()?;
    memory.hold(&path).then(|| Segment::shared(memory, number))
}
