//! A day file that answers re-requests.

use std::path::{Path, PathBuf};

use super::{Capture, CaptureError, DayFile};
use crate::mold::{Blocks, Request};

/// Messages that are passed over at once.
const STRIDE: u64 = 4_096;

/// Looks messages up in a day file, going through it once as long as the requests ascend.
#[derive(Debug)]
pub struct Answers {
    path: PathBuf,
    day: DayFile,
    /// Number of the next message of the file.
    next: u64,
}

impl Answers {
    /// Answers from a day file.
    ///
    /// # Errors
    /// It cannot be read, or is none.
    pub fn open(path: &Path) -> Result<Self, CaptureError> {
        Ok(Self { path: path.into(), day: Capture::open_day(path)?, next: 1 })
    }

    /// The messages that are asked for, or as many of them as are at hand; `None` if the file does not have them.
    ///
    /// # Errors
    /// The file has to be read anew and cannot be.
    pub fn answer(&mut self, request: Request) -> Result<Option<Blocks<'_>>, CaptureError> {
        if request.sequence < self.next {
            (self.day, self.next) = (Capture::open_day(&self.path)?, 1);
        }
        while self.next < request.sequence {
            let stride = usize::try_from((request.sequence - self.next).min(STRIDE)).expect("a small number");
            let Some(passed) = self.day.next_blocks(stride) else { return Ok(None) };
            self.next += passed.count() as u64;
        }
        let found = self.day.next_blocks(usize::from(request.count));
        self.next += found.map_or(0, |found| found.count() as u64);
        Ok(found)
    }
}
