//! A segment's file on disk: its header, and the whole of it read into memory of the caller's own. Never mapped.

use std::io;

use crate::{
    error::ReadError,
    layout::{BLOCK, FIRST_FRAME, MarkSlot, SegmentHeader, VERSION},
    names,
    segment::Segment,
    storage::{Access, AlignedBuffer, DiskFile, Storage},
};

/// The header of a segment on disk; `None` where there is no such file, or it holds no segment of this journal (yet).
pub(crate) fn header(
    storage: &dyn Storage,
    journal: &[u8; 16],
    number: u64,
) -> io::Result<Option<SegmentHeader>> {
    let file = match storage.open(&names::segment(number), Access::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = [0; FIRST_FRAME];
    file.read_at(&mut bytes, 0)?;
    Ok(SegmentHeader::read(&bytes).filter(|header| header.journal == *journal && header.number == number))
}

/// Reads a segment whole; `None` as in [`header`]. Blocks that the disk cannot read are zeros, and so found to be damaged.
pub(crate) fn load(
    storage: &dyn Storage,
    mark: &MarkSlot,
    number: u64,
    access: Access,
) -> Result<Option<(Segment, SegmentHeader)>, ReadError> {
    let name = names::segment(number);
    let failed = |error: io::Error| {
        ReadError::Failed(format!("cannot read: {name}: {error}; mend that and try again"))
    };
    let file = match storage.open(&name, access) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut buffer = AlignedBuffer::zeroed(mark.segment_size as usize);
    match file.read_at(&mut buffer, 0) {
        Err(error) if error.raw_os_error() == Some(libc::EIO) => salvage(file.as_ref(), &mut buffer),
        read => drop(read.map_err(failed)?),
    }
    let segment = Segment::copied(buffer, number);
    let Some(header) = segment.header(&mark.journal) else { return Ok(None) };
    if header.version != VERSION {
        let found = header.version;
        return Err(ReadError::Failed(format!(
            "unknown format version {found}: {name}; use the version that wrote it"
        )));
    }
    Ok(Some((segment, header)))
}

/// Reads what can be read, block by block.
fn salvage(file: &dyn DiskFile, buffer: &mut [u8]) {
    for (index, block) in buffer.chunks_mut(BLOCK).enumerate() {
        if file.read_at(block, (index * BLOCK) as u64).is_err() {
            block.fill(0);
        }
    }
}
