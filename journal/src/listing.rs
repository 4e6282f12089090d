//! Which segments a journal has now, in memory or on disk, and which of them holds a message.

use std::{cell::RefCell, fs, io};

use crate::{
    control::Control,
    disk_copy::{self, LoadError, is_of_asker},
    layout::{MarkSlot, SegmentHeader},
    memory::{MemoryError, SegmentMemory},
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
    /// Why the first segment of which the system refused the header was passed over, or why not all may be known.
    refused: RefCell<Option<LoadError>>,
}

impl<'a> Listing<'a> {
    pub(crate) fn new(places: &'a Places, mark: &'a MarkSlot) -> Self {
        let mut this = Self { places, mark, numbers: Vec::new(), refused: RefCell::new(None) };
        let unlisted = |error| LoadError::Failed(format!("cannot list the segments: {error}; try again"));
        match places.storage.names() {
            Ok(names) => this.numbers.extend(names.iter().filter_map(|name| names::segment_number(name))),
            Err(error) => this.refuse(unlisted(error)),
        }
        match fs::read_dir(&places.memory_dir) {
            Ok(entries) => {
                let number = |entry: fs::DirEntry| names::segment_number(entry.file_name().to_str()?);
                this.numbers.extend(entries.flatten().filter_map(number));
            }
            Err(error) if is_of_asker(&error) => this.refuse(unlisted(error)),
            // Where there is no memory, or none for this user, there is the disk.
            Err(_) => {}
        }
        this.numbers.retain(|number| *number >= mark.floor);
        this.numbers.sort_unstable();
        this.numbers.dedup();
        this
    }

    /// Keeps why something was passed over: the first reason, but rather one that says nothing about what is there.
    fn refuse(&self, error: LoadError) {
        let mut kept = self.refused.borrow_mut();
        if !matches!((&*kept, &error), (Some(LoadError::Failed(_)), _) | (Some(_), LoadError::Refused(_))) {
            *kept = Some(error);
        }
    }

    /// The header of a segment, from memory if it is there, else from disk.
    pub(crate) fn header(&self, number: u64) -> Option<SegmentHeader> {
        match shared(self.places, self.mark, number) {
            Ok(Some(segment)) => return segment.header(&self.mark.journal),
            Err(error @ LoadError::Failed(_)) => {
                self.refuse(error);
                return None;
            }
            // What may not be read there is read from disk.
            Ok(None) | Err(LoadError::Refused(_)) => {}
        }
        let header = disk_copy::header(self.places.storage.as_ref(), &self.mark.journal, number);
        header.unwrap_or_else(|error| {
            self.refuse(LoadError::of(number, &error));
            None
        })
    }

    /// Whether the system refused anything that was asked for so far.
    pub(crate) fn is_refused(&self) -> bool {
        self.refused.borrow().is_some()
    }

    /// Why.
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

/// A segment in shared memory, if it is there and neither another journal's nor of an older life than the mark knows: who
/// came then had its memory elsewhere, and the disk has all that is left of the life before. It stays what it is as long as
/// it is mapped here.
///
/// # Errors
/// What is there cannot be used, or for the moment nothing can be opened.
pub(crate) fn shared(places: &Places, mark: &MarkSlot, number: u64) -> Result<Option<Segment>, LoadError> {
    let name = names::segment(number);
    let path = places.memory_dir.join(&name);
    let failed = |error: &io::Error| LoadError::about(&format!("{name} in shared memory"), error);
    let memory = match SegmentMemory::open(&path, Access::Read, mark.segment_size as usize) {
        Ok(memory) => memory,
        Err(MemoryError::Io { source, .. }) => {
            let is_gone = matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
            return if is_gone { Ok(None) } else { Err(failed(&source)) };
        }
        // One that is just made has no length yet.
        Err(_) => return Ok(None),
    };
    let is_held = memory.hold(&path).map_err(|error| failed(&error))?;
    let segment = Segment::shared(memory, number);
    // One that is made ready has no header: the page tells who made it, which comes before all segments.
    let is_ours = || match segment.header(&mark.journal) {
        Some(header) => header.epoch >= mark.epoch,
        None => !Control::is_of_another(&places.memory_dir.join(Control::NAME), mark),
    };
    Ok((is_held && is_ours()).then_some(segment))
}
