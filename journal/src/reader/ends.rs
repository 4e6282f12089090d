//! How far a journal is: where it begins, what is published, what is durable.

use super::{Current, Reader};
use crate::{
    disk_copy::LoadError,
    layout::{FIRST_FRAME, MarkSlot, SegmentHeader},
    listing::Listing,
    mark,
};

/// How far a journal is. Each is the next sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermarks {
    /// Oldest retained.
    pub first: u64,
    /// Published.
    pub published: u64,
    /// Durable.
    pub durable: u64,
    /// Newest epoch.
    pub epoch: u32,
}

/// Where a journal begins.
#[derive(Debug)]
pub(super) struct First {
    /// The oldest segment that can be read.
    pub(super) header: Option<SegmentHeader>,
    /// Why one before is refused.
    pub(super) refused: Option<String>,
    pub(super) mark: MarkSlot,
}

impl First {
    /// As [`Reader::begins`] says.
    pub(super) fn begins(&self) -> u64 {
        let Self { header, mark, .. } = self;
        let first = header.map_or(mark.sequence, |header| header.sequence);
        match mark.floor {
            0 => 0,
            _ if self.is_whole() => first,
            _ => first.saturating_sub(1),
        }
    }

    /// Whether nothing is missing before it.
    pub(super) fn is_whole(&self) -> bool {
        let Self { header, mark, .. } = self;
        let is_empty = mark.floor * u64::from(mark.segment_size) >= mark.durable;
        header.map_or(is_empty, |header| header.number == mark.floor)
    }
}

/// Where a journal ends.
#[derive(Debug)]
pub(super) struct End {
    /// The sequence behind its newest message.
    pub(super) sequence: u64,
    /// Whether that is known from the disk.
    pub(super) is_on_disk: bool,
    /// Whether another segment should follow.
    pub(super) is_sealed: bool,
}

impl Reader {
    /// How far the journal is now. Walks its newest segment.
    pub fn watermarks(&mut self) -> Watermarks {
        self.look();
        let listing = Listing::new(&self.places, &self.mark);
        let (first, newest) = (listing.first(), listing.newest());
        let first = first.map_or(self.mark.sequence, |header| header.sequence);
        let epoch = newest.map_or(0, |header| header.epoch).max(self.mark.epoch);
        let (written, is_on_disk) = self.end();
        // Nobody writes: what the mark proves was published, even if it is gone.
        let published = if self.control.is_none() { written.max(self.mark.sequence) } else { written };
        let durable = match &self.control {
            Some(control) => control.durable_sequence().min(published),
            None if is_on_disk => published,
            None => self.mark.sequence.min(published),
        };
        Watermarks { first, published, durable, epoch }
    }

    /// The oldest sequence that retention has left. A message from there on that cannot be read is lost, also one before
    /// [`Watermarks::first`]. Where retention has removed something and what comes next cannot be read, only the last
    /// message before the first readable one is known to be of that: it is the one answered, and more may be lost.
    pub fn begins(&self) -> u64 {
        // Where nothing can be told, nothing is called retired.
        let mark = self.newer_mark().ok().flatten().unwrap_or(self.mark);
        self.first(mark).map_or(0, |first| first.begins())
    }

    /// Whether there is evidence of how far the journal was durable: what lies beyond the last segment is not missed without.
    pub fn is_end_proven(&self) -> bool {
        // One that was ever written has turned.
        self.mark.turn > 0
    }

    /// Where a writer began that found no mark, or none that was whole: its epoch, and the sequence at which it began. What
    /// was there before may lack its last messages. `None` if no writer did, or nothing from before it is retained.
    pub fn began_unmarked(&self) -> Option<(u32, u64)> {
        let epoch = self.mark.unmarked_before;
        let listing = Listing::new(&self.places, &self.mark);
        let mut headers = listing.headers();
        let is_retained = epoch <= self.mark.epoch && headers.next().is_some_and(|first| first.epoch < epoch);
        let began = headers.find(|header| header.epoch >= epoch);
        is_retained.then(|| (epoch, began.map_or(self.mark.sequence, |header| header.epoch_sequence)))
    }

    /// The journal that the mark is of, in hexadecimal digits, where that is another than the segments': the mark, or they,
    /// were put into the wrong directory. The journal is read as without a mark.
    pub fn foreign_mark(&self) -> Option<String> {
        mark::foreign(self.places.storage.as_ref()).ok().flatten()
    }

    /// The sequence behind the last message of an epoch that the journal has, as far as it has been published, or is proven
    /// to have had: what was durable and is gone counts. `None` where the epoch lost its mark, and with it that proof.
    pub fn end_of(&mut self, epoch: u32) -> Option<u64> {
        self.look();
        if !self.is_end_proven() || epoch < self.mark.unmarked_before {
            return None;
        }
        let listing = Listing::new(&self.places, &self.mark);
        let later = listing.headers().rev().take_while(|header| header.epoch > epoch).last();
        Some(later.map_or_else(|| self.end().0.max(self.mark.sequence), |header| header.epoch_sequence))
    }

    /// The sequence behind the newest message, and whether that is known from the disk.
    pub(super) fn end(&mut self) -> (u64, bool) {
        let newest = Listing::new(&self.places, &self.mark).newest();
        let (end, _) = self.walk_to_end(newest);
        (end.sequence, end.is_on_disk)
    }

    /// The same, if all that is there can be looked at.
    pub(super) fn find_end(&mut self) -> Result<End, LoadError> {
        let (newest, _) = self.find(&self.mark, |listing| listing.newest())?;
        match self.walk_to_end(newest) {
            (_, Some(error @ LoadError::Failed(_))) => Err(error),
            (end, _) => Ok(end),
        }
    }

    /// Walks from a segment to the end, or as far as can be read, and says why not farther.
    fn walk_to_end(&mut self, newest: Option<SegmentHeader>) -> (End, Option<LoadError>) {
        let sequence = newest.map_or(self.mark.sequence, |header| header.sequence);
        let mut end = End { sequence, is_on_disk: true, is_sealed: false };
        let Some(newest) = newest else { return (end, None) };
        if let Ok(Some(sequence)) = self.marked_end(&newest) {
            return (End { sequence, ..end }, None);
        }
        let mut number = newest.number;
        loop {
            let current = match self.load(number) {
                Ok(Some(current)) => current,
                Ok(None) => return (end, None),
                Err(error) => return (end, Some(error)),
            };
            let (sequence, is_sealed) = current.end();
            end = End { sequence, is_on_disk: current.copy.is_some(), is_sealed };
            if !is_sealed {
                return (end, None);
            }
            number += 1;
        }
    }
}

impl Current {
    /// Sequence behind its last message, and whether it is sealed.
    pub(super) fn end(&self) -> (u64, bool) {
        if let Some(copy) = &self.copy {
            return (copy.sequence, copy.is_sealed);
        }
        let (mut offset, mut sequence) = (FIRST_FRAME, self.first);
        while let Some(Ok(word)) = self.segment.frame(offset) {
            if self.segment.seal(offset, word).is_some() {
                return (sequence, true);
            }
            sequence += u64::from(word.is_user());
            offset += word.stride();
        }
        (sequence, false)
    }
}
