//! Segments that were written once and are gone.

use super::{GLANCE_EVERY, Reader};
use crate::{error::ReadError, layout::SegmentHeader, mark};

impl Reader {
    /// The damage that segments between the floor and the first one that is there are gone.
    pub(super) fn missing_before(&mut self, first: &SegmentHeader) -> Option<ReadError> {
        // The mark is written before retention removes anything, so it is asked after the segments were listed.
        if let Ok(Some(mark)) = mark::load(self.places.storage.as_ref()) {
            self.mark = mark;
        }
        let sequence = if self.mark.floor == 0 { 0 } else { first.sequence };
        (first.number > self.mark.floor)
            .then(|| self.missing((self.mark.floor, first.number), (sequence, first.sequence)))
    }

    /// Goes on behind segments that were entered once and are gone now, where something proves that.
    pub(super) fn pass_missing(&mut self) -> Result<bool, ReadError> {
        if self.idle % GLANCE_EVERY != 1 {
            return Ok(false);
        }
        let headers = self.headers();
        let later = headers.iter().find(|header| header.number > self.next);
        let (number, sequence) = match later {
            Some(header) => (header.number, header.sequence),
            // Nobody writes, and the mark knows of more.
            None if self.control.is_none() && self.mark.sequence > self.sequence => {
                (self.mark.newest.max(self.next) + 1, self.mark.sequence)
            }
            None => return Ok(false),
        };
        // It may have come, or moved from memory to disk, while we looked; now it cannot any more.
        if self.load(self.next)?.is_some() {
            return Ok(true);
        }
        let fault = self.missing((self.next, number), (self.sequence, sequence.max(self.sequence)));
        (self.next, self.sequence) = (number, sequence.max(self.sequence));
        Err(fault)
    }

    fn missing(&self, segments: (u64, u64), sequences: (u64, u64)) -> ReadError {
        let position = |number: u64| number.saturating_mul(self.mark.segment_size.into());
        ReadError::Damage { from: position(segments.0), to: position(segments.1), sequences }
    }
}
