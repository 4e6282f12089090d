//! Following a writer whose memory is not seen: what the mark proves, and no more.
//!
//! A segment is read whole when it is entered, and then on from where it was, as the mark moves: the blocks from the end of
//! what was proven to the end of what is proven now. That goes on only where valid frames fill all of it; else the segment is
//! read whole again and judged.

use super::{Copied, Reader, place::Left};
use crate::{
    checksum::Salt,
    disk_copy::{self, LoadError},
    error::ReadError,
    layout::{FIRST_FRAME, MarkSlot, SegmentHeader},
    listing::shared,
    names,
    scan::lead,
    segment::Segment,
};

impl Reader {
    /// Whether a writer is, or may be, at the journal whose shared memory is not seen. What it has made durable is then told
    /// by the mark alone, some milliseconds later.
    pub fn is_blind(&self) -> bool {
        self.control.is_none() && self.may_be_written()
    }

    /// Reads on in a disk copy that a writer was at, once the mark proves more, or nobody writes any more. False before that.
    pub(super) fn reopen(&mut self, left: &Left) -> Result<bool, ReadError> {
        self.try_refresh_mark()?;
        let is_behind = left.position < self.mark.durable || self.mark.epoch != left.epoch;
        if !is_behind && self.may_be_written() {
            return Ok(false);
        }
        if self.read_on(left)? {
            return Ok(true);
        }
        let fresh = match self.load(left.number) {
            Err(LoadError::Refused(_)) => None,
            fresh => fresh?.filter(|fresh| fresh.epoch == left.epoch),
        };
        let fresh = fresh.map(|fresh| fresh.from(left.offset, left.anchor_time));
        let is_open = fresh.as_ref().and_then(|fresh| fresh.copy.as_ref()).is_some_and(|copy| copy.is_open);
        let goes_on = fresh.as_ref().is_some_and(|fresh| fresh.reaches_beyond(left.offset));
        if fresh.is_some() {
            self.current = fresh;
        } else if let Some(copy) = self.current.as_mut().and_then(|current| current.copy.as_mut()) {
            // Retired, or gone: judged as one without a writer.
            copy.is_open = false;
        }
        Ok(goes_on || !is_open)
    }

    /// Reads behind the end of a disk copy what the mark proves by now. False unless that is all there: then the segment has to
    /// be read anew.
    fn read_on(&mut self, left: &Left) -> Result<bool, LoadError> {
        let (mark, storage) = (&self.mark, self.places.storage.as_ref());
        let Some(current) = &mut self.current else { return Ok(false) };
        let Some(copy) = current.copy.as_mut().filter(|copy| copy.end == left.offset) else {
            return Ok(false);
        };
        let proven = proven_in(&current.segment, mark);
        if mark.epoch != left.epoch || proven <= copy.end {
            return Ok(false);
        }
        match disk_copy::read_range(storage, &mut current.segment, copy.end, proven) {
            Ok(true) => {}
            Ok(false) | Err(LoadError::Refused(_)) => return Ok(false),
            Err(error) => return Err(error),
        }
        let salt = Salt::new(&mark.journal, left.epoch);
        let led = lead(salt, &current.segment, (copy.end, copy.sequence), proven);
        let led = led.filter(|led| led.is_sealed || (led.end, led.sequence) == (proven, mark.sequence));
        let Some(led) = led else { return Ok(false) };
        (copy.end, copy.sequence) = (led.end, led.sequence);
        (copy.is_sealed, copy.is_open) = (led.is_sealed, !led.is_sealed);
        Ok(true)
    }

    /// The sequence behind what a writer has proven whose memory is not seen, where it is at this segment, the newest. Reading
    /// that would tell the same.
    pub(super) fn marked_end(&mut self, newest: &SegmentHeader) -> Result<Option<u64>, LoadError> {
        let is_seen =
            self.control.is_some() || !matches!(shared(&self.places, &self.mark, newest.number), Ok(None));
        if is_seen || !self.asks_writer()? {
            return Ok(None);
        }
        let end = newest.number.saturating_add(1).saturating_mul(self.mark.segment_size.into());
        let is_at_it = end > self.mark.durable && newest.epoch >= self.mark.epoch;
        Ok(is_at_it.then(|| self.mark.sequence.max(newest.sequence)))
    }

    /// Whether a writer is, or may be, at the files, and then what it has proven so far. A file is read after that: what
    /// the mark proves is in it, and of all else nothing can be said while it is written.
    pub(super) fn asks_writer(&mut self) -> Result<bool, LoadError> {
        let is_written = self.may_be_written();
        self.try_refresh_mark()?;
        Ok(is_written)
    }

    /// Whether the journal has an owner. Where that cannot be asked, it may have one unless it was closed.
    fn may_be_written(&self) -> bool {
        self.places.storage.is_locked(names::LOCK).unwrap_or(self.mark.clean == 0)
    }
}

/// Where in a segment ends what the mark proves.
fn proven_in(segment: &Segment, mark: &MarkSlot) -> usize {
    let proven = mark.durable.saturating_sub(segment.position(0));
    usize::try_from(proven).map_or(segment.size(), |offset| offset.clamp(FIRST_FRAME, segment.size()))
}

impl Copied {
    /// Leaves out what the mark does not prove of a segment that is written at the moment: its blocks come in any order.
    pub(super) fn leave_open(&mut self, segment: &Segment, header: &SegmentHeader, mark: &MarkSlot) {
        let proven = proven_in(segment, mark);
        if self.is_sealed && self.end <= proven {
            return;
        }
        (self.is_open, self.is_sealed) = (true, false);
        if self.end > proven {
            (self.end, self.sequence) = (proven, mark.sequence.max(header.sequence));
        }
        self.holes.retain(|hole| hole.from < proven);
    }
}
