//! Which segments of a journal are gone or cut short, as far as names, headers and the length of files tell.

use super::{Reader, doubt::Doubt};
use crate::{disk_copy::LoadError, layout::SegmentHeader};

impl Reader {
    /// Numbers of segments that held messages and are not there: the first of each run, and the one behind its last.
    ///
    /// # Errors
    /// What is there cannot be told.
    pub(crate) fn missing(&mut self) -> Result<Vec<(u64, u64)>, LoadError> {
        let mut doubt = Doubt::new();
        loop {
            let missing = self.missing_now()?;
            if missing.is_empty() || !self.looks_again(&mut doubt, false) {
                return Ok(missing);
            }
        }
    }

    fn missing_now(&mut self) -> Result<Vec<(u64, u64)>, LoadError> {
        let proven = self.mark;
        let headers = self.headers()?;
        // Where nothing is left, the end is what the mark says, which is what is missed.
        let end = if headers.is_empty() { 0 } else { self.end().0 };
        // Retention may have moved it meanwhile.
        self.refresh_mark();
        let floor = self.mark.floor;
        let mut next = floor;
        let mut missing = Vec::new();
        for header in headers.iter().filter(|header| header.number >= floor) {
            if header.number > next && !self.adjoins(next, header) {
                missing.push((next, header.number));
            }
            next = header.number + 1;
        }
        let behind = proven.durable.div_ceil(u64::from(proven.segment_size));
        if end < proven.sequence && next < behind {
            missing.push((next, behind));
        }
        Ok(missing)
    }

    /// Whether the messages before segment `next` go on with `header`: numbers behind the cut of a derived journal are
    /// left out, and no message with them.
    fn adjoins(&mut self, next: u64, header: &SegmentHeader) -> bool {
        let before = next.checked_sub(1).filter(|before| *before >= self.mark.floor);
        let before = before.and_then(|before| self.load(before).ok().flatten());
        before.is_some_and(|before| before.end().0 >= header.sequence)
    }

    /// Whether a segment holds all that was written to it, up to its SEAL; also true where it is gone by now.
    pub(crate) fn is_sealed(&mut self, number: u64) -> bool {
        !matches!(self.load(number), Ok(Some(current)) if !current.end().1)
    }
}
