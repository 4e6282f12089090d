//! Segments read from disk, where they are copied and checked, never mapped.

use std::{collections::VecDeque, io};

use super::Places;
use crate::{
    error::ReadError,
    layout::{FIRST_FRAME, MarkSlot, SegmentHeader},
    names,
    scan::Hole,
    segment::Segment,
    storage::{Access, AlignedBuffer, Storage},
};

/// What a copy of a segment from disk holds.
#[derive(Debug)]
pub(super) struct DiskCopy {
    /// Nothing is expected behind this offset.
    pub(super) end: usize,
    /// Sequence of the next message there.
    pub(super) sequence: u64,
    pub(super) is_sealed: bool,
    /// Damaged ranges.
    pub(super) holes: VecDeque<Hole>,
}

/// The header of a segment on disk, of whatever journal.
pub(crate) fn disk_header(storage: &dyn Storage, number: u64) -> Option<SegmentHeader> {
    let file = storage.open(&names::segment(number), Access::Read).ok()?;
    let mut bytes = [0; FIRST_FRAME];
    file.read_at(&mut bytes, 0).ok()?;
    SegmentHeader::read(&bytes).filter(|header| header.number == number)
}

/// Reads a segment whole; `None` if it is not there or not (yet) this journal's.
pub(crate) fn load_from_disk(
    places: &Places,
    mark: &MarkSlot,
    number: u64,
) -> Result<Option<(Segment, SegmentHeader)>, ReadError> {
    let name = names::segment(number);
    let failed = |error: io::Error| {
        ReadError::Failed(format!("cannot read: {name}: {error}; mend that and try again"))
    };
    let file = match places.storage.open(&name, Access::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut buffer = AlignedBuffer::zeroed(mark.segment_size as usize);
    file.read_at(&mut buffer, 0).map_err(failed)?;
    let segment = Segment::copied(buffer, number);
    let Some(header) = segment.header(&mark.journal) else { return Ok(None) };
    if header.version != crate::layout::VERSION {
        let found = header.version;
        return Err(ReadError::Failed(format!(
            "unknown format version {found}: {name}; use the version that wrote it"
        )));
    }
    Ok(Some((segment, header)))
}
