//! The mark: a small file that proves, after a power loss, how far the journal was durable.
//!
//! Two slots of a block each are written in turn, so that a torn write spoils the older evidence at most.

use std::{io, path::Path, sync::Arc};

use zerocopy::IntoBytes;

use crate::{
    error::OpenError,
    layout::{BLOCK, MARK_MAGIC, MarkSlot, SEGMENT_MAX, SEGMENT_MIN, SegmentHeader, VERSION},
    names,
    reader::disk_header,
    storage::{Access, AlignedBuffer, DiskFile, Storage},
};

/// The mark file of a journal that this process owns.
#[derive(Debug)]
pub(crate) struct Mark {
    file: Arc<dyn DiskFile>,
    slot: MarkSlot,
    block: AlignedBuffer,
}

/// The newer valid slot on disk; `Ok(None)` where there is no mark or no valid slot.
pub(crate) fn load(storage: &dyn Storage) -> io::Result<Option<MarkSlot>> {
    let file = match storage.open(names::MARK, Access::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = AlignedBuffer::zeroed(2 * BLOCK);
    let length = file.read_at(&mut bytes, 0)?;
    let slots = bytes[..length].chunks(BLOCK).filter_map(MarkSlot::read);
    Ok(slots.max_by_key(|slot| slot.turn))
}

/// The mark, or what takes its place where it is lost; `Ok(None)` where there is no journal.
pub(crate) fn find(storage: &dyn Storage) -> io::Result<Option<MarkSlot>> {
    match load(storage)? {
        Some(mark) => Ok(Some(mark)),
        None => from_segments(storage),
    }
}

/// What the headers of the segments say about a journal whose mark is lost. It proves nothing durable: only anchors do.
fn from_segments(storage: &dyn Storage) -> io::Result<Option<MarkSlot>> {
    let numbers = match storage.names() {
        Ok(names) => names.iter().filter_map(|name| names::segment_number(name)).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(error),
    };
    let headers: Vec<SegmentHeader> =
        numbers.into_iter().filter_map(|number| disk_header(storage, number)).collect();
    let Some(newest) = headers.iter().max_by_key(|header| (header.epoch, header.number)) else {
        return Ok(None);
    };
    let own = headers.iter().filter(|header| header.journal == newest.journal);
    Ok(Some(MarkSlot {
        epoch: newest.epoch,
        clean: 0,
        floor: own.map(|header| header.number).min().unwrap_or(newest.number),
        newest: newest.number,
        ..first(newest.journal, newest.segment_size as usize)
    }))
}

/// The mark of the journal in `directory`, checked.
pub(crate) fn read(storage: &dyn Storage, directory: &Path) -> Result<MarkSlot, OpenError> {
    let failed = |error| OpenError::Io { what: "read the mark", path: names::MARK.into(), error };
    let mark = find(storage).map_err(failed)?;
    let mark = mark.ok_or_else(|| OpenError::Missing { path: directory.into() })?;
    check(&mark)?;
    Ok(mark)
}

/// Refuses a mark of another format, or one that cannot be a writer's.
pub(crate) fn check(mark: &MarkSlot) -> Result<(), OpenError> {
    if mark.version != VERSION {
        return Err(OpenError::Version { what: "the journal's mark".into(), found: mark.version });
    }
    let size = mark.segment_size as usize;
    if !size.is_power_of_two() || !(SEGMENT_MIN..=SEGMENT_MAX).contains(&size) {
        return Err(OpenError::Damaged { what: format!("the mark states a segment size of {size} bytes") });
    }
    Ok(())
}

impl Mark {
    /// Opens or makes the mark file and writes `slot` durably, newer than any slot before.
    pub(crate) fn own(storage: &dyn Storage, slot: MarkSlot) -> io::Result<Self> {
        let turn = load(storage)?.map_or(0, |old| old.turn);
        let file = match storage.open(names::MARK, Access::Write) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = storage.create(names::MARK, 2 * BLOCK as u64)?;
                file.write_at(&AlignedBuffer::zeroed(2 * BLOCK), 0)?;
                file.sync()?;
                storage.sync()?;
                file
            }
            Err(error) => return Err(error),
        };
        let mut mark = Self { file, slot: MarkSlot { turn, ..slot }, block: AlignedBuffer::zeroed(BLOCK) };
        mark.write(|_| ())?;
        Ok(mark)
    }

    /// Changes the evidence and makes it durable, in the slot that is not the newest.
    pub(crate) fn write(&mut self, change: impl FnOnce(&mut MarkSlot)) -> io::Result<()> {
        let mut slot = self.slot;
        change(&mut slot);
        slot.turn += 1;
        let slot = slot.sealed();
        self.block[..size_of::<MarkSlot>()].copy_from_slice(slot.as_bytes());
        self.file.write_durable_at(&self.block, (slot.turn % 2) * BLOCK as u64)?;
        self.slot = slot;
        Ok(())
    }
}

/// The first slot of a new journal.
pub(crate) fn first(journal: [u8; 16], segment_size: usize) -> MarkSlot {
    MarkSlot {
        magic: MARK_MAGIC,
        version: VERSION,
        checksum: 0,
        journal,
        turn: 0,
        epoch: 0,
        clean: 1,
        floor: 0,
        newest: 0,
        durable: 0,
        sequence: 0,
        segment_size: segment_size as u32,
        reserved: [0; 44],
    }
}
