//! A segment's file on disk: its header, and the whole of it read into memory of the caller's own. Never mapped.

use std::{fmt, io, ops::Range};

use crate::{
    error::ReadError,
    layout::{BLOCK, FIRST_FRAME, MarkSlot, SegmentHeader, VERSION},
    names,
    segment::Segment,
    storage::{Access, AlignedBuffer, DiskFile, Storage},
};

/// Why a segment was not read, in words with the remedy.
#[derive(Debug)]
pub(crate) enum LoadError {
    /// The system refuses this file.
    Refused(String),
    /// This says nothing about the file: another try may read it.
    Failed(String),
}

impl LoadError {
    /// What an error of the system means for segment `number`.
    pub(crate) fn of(number: u64, error: &io::Error) -> Self {
        Self::about(&names::segment(number), error)
    }

    /// What an error of the system means for what it was met at.
    pub(crate) fn about(what: &str, error: &io::Error) -> Self {
        let why = format!("cannot read: {what}: {error}; mend that and try again");
        if is_of_asker(error) { Self::Failed(why) } else { Self::Refused(why) }
    }
}

/// Whether an error tells what whoever asked lacks at the moment, and nothing about what was asked for.
pub(crate) fn is_of_asker(error: &io::Error) -> bool {
    let lacks = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOLCK, libc::EINTR, libc::EAGAIN];
    error.raw_os_error().is_some_and(|number| lacks.contains(&number))
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Refused(why) | Self::Failed(why)) = self;
        f.write_str(why)
    }
}

impl From<LoadError> for ReadError {
    fn from(error: LoadError) -> Self {
        Self::Failed(error.to_string())
    }
}

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

/// Reads a segment whole, of one without a header only the first block; `None` as in [`header`]. Blocks that the disk
/// cannot read are zeros, and so found to be damaged.
pub(crate) fn load(
    storage: &dyn Storage,
    mark: &MarkSlot,
    number: u64,
    access: Access,
) -> Result<Option<(Segment, SegmentHeader)>, LoadError> {
    let name = names::segment(number);
    let failed = |error: io::Error| LoadError::of(number, &error);
    let file = match storage.open(&name, access) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut segment = Segment::copied(AlignedBuffer::zeroed(mark.segment_size as usize), number);
    fill(file.as_ref(), &mut segment, 0..BLOCK).map_err(failed)?;
    // One that is made ready for the writer is looked at again and again, and its first block tells.
    let Some(header) = segment.header(&mark.journal) else { return Ok(None) };
    if header.version != VERSION {
        let found = header.version;
        let why = format!("unknown format version {found}: {name}; use the version that wrote it");
        return Err(LoadError::Failed(why));
    }
    let rest = BLOCK..segment.size();
    fill(file.as_ref(), &mut segment, rest).map_err(failed)?;
    Ok(Some((segment, header)))
}

/// Reads the blocks that hold a range of a segment anew into a copy of it; false where its file is gone.
pub(crate) fn read_range(
    storage: &dyn Storage,
    segment: &mut Segment,
    from: usize,
    to: usize,
) -> Result<bool, LoadError> {
    let (number, size) = (segment.number(), segment.size());
    let failed = |error: io::Error| LoadError::of(number, &error);
    let file = match storage.open(&names::segment(number), Access::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed(error)),
    };
    let (from, to) = (from / BLOCK * BLOCK, to.next_multiple_of(BLOCK).min(size));
    let Some(bytes) = segment.copy_mut().and_then(|bytes| bytes.get_mut(from..to)) else { return Ok(false) };
    file.read_at(bytes, from as u64).map(|read| read == bytes.len()).map_err(failed)
}

/// Reads whole blocks of a segment into a copy of it; zeros for those that the disk cannot read.
fn fill(file: &dyn DiskFile, segment: &mut Segment, blocks: Range<usize>) -> io::Result<()> {
    let from = blocks.start;
    let bytes = &mut segment.copy_mut().expect("the copy was made here")[blocks];
    match file.read_at(bytes, from as u64) {
        Err(error) if error.raw_os_error() == Some(libc::EIO) => salvage(file, bytes, from),
        read => drop(read?),
    }
    Ok(())
}

/// Reads what can be read, block by block.
fn salvage(file: &dyn DiskFile, bytes: &mut [u8], from: usize) {
    for (index, block) in bytes.chunks_mut(BLOCK).enumerate() {
        if file.read_at(block, (from + index * BLOCK) as u64).is_err() {
            block.fill(0);
        }
    }
}
