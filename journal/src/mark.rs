//! The mark: a small file that proves, after a power loss, how far the journal was durable.
//!
//! Two slots of a block each are written in turn, so that a torn write spoils the older evidence at most.

use std::{io, path::Path, sync::Arc};

use zerocopy::IntoBytes;

use crate::{
    control::Control,
    disk_copy::LoadError,
    error::OpenError,
    layout::{BLOCK, FIRST_FRAME, MARK_MAGIC, MarkSlot, SEGMENT_MAX, SEGMENT_MIN, SegmentHeader, VERSION},
    names,
    reader::Places,
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
fn newest_slot(storage: &dyn Storage) -> io::Result<Option<MarkSlot>> {
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

/// The mark of a journal, checked. Where no slot is valid, or the mark is [foreign], it is made from what the segments
/// themselves prove; `None` where there are none either.
pub(crate) fn load(storage: &dyn Storage) -> Result<Option<MarkSlot>, OpenError> {
    let slot = slot(storage)?;
    checked(storage, slot.filter(|slot| !is_foreign(storage, slot)))
}

/// The same for the journal's owner, who must not go on from what may be the wrong half of two.
///
/// # Errors
/// [`OpenError::Damaged`] where the mark is [foreign].
pub(crate) fn load_to_write(storage: &dyn Storage) -> Result<Option<MarkSlot>, OpenError> {
    if let Some(journal) = foreign(storage)? {
        let what = format!("the mark: it is of journal {journal}, none of the segments is");
        return Err(OpenError::Damaged { what });
    }
    load(storage)
}

/// The mark of a journal that was loaded before.
pub(crate) fn reload(storage: &dyn Storage, journal: &[u8; 16]) -> Result<Option<MarkSlot>, OpenError> {
    let slot = slot(storage)?;
    checked(storage, slot.filter(|slot| slot.journal == *journal))
}

/// The journal that the mark is of, in hexadecimal digits, where there are segments and all are of others: one of them was
/// put into the wrong directory.
pub(crate) fn foreign(storage: &dyn Storage) -> Result<Option<String>, OpenError> {
    let slot = slot(storage)?.filter(|slot| is_foreign(storage, slot));
    Ok(slot.map(|slot| hexadecimal(&slot.journal)))
}

/// Which journal lies in `storage`, in hexadecimal digits: the same for as long as there is anything of it, and in its
/// copies. `None` where there is none, or none that can be told.
pub fn identity(storage: &dyn Storage) -> Option<String> {
    load(storage).ok().flatten().map(|mark| hexadecimal(&mark.journal))
}

fn hexadecimal(journal: &[u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(*journal))
}

fn slot(storage: &dyn Storage) -> Result<Option<MarkSlot>, OpenError> {
    let failed = |error| OpenError::Io { what: "read the mark", path: names::MARK.into(), error };
    newest_slot(storage).map_err(failed)
}

fn checked(storage: &dyn Storage, slot: Option<MarkSlot>) -> Result<Option<MarkSlot>, OpenError> {
    let mark = if slot.is_some() { slot } else { rebuilt(storage)? };
    mark.map(|mark| check(&mark).map(|()| mark)).transpose()
}

/// Whether there are segments that can be read, and none is of the mark's journal.
fn is_foreign(storage: &dyn Storage, slot: &MarkSlot) -> bool {
    let names = storage.names().unwrap_or_default();
    let numbers = names.iter().filter_map(|name| names::segment_number(name));
    let mut headers = numbers.filter_map(|number| any_header(storage, number).ok().flatten()).peekable();
    headers.peek().is_some() && headers.all(|header| header.journal != slot.journal)
}

/// Bytes of a segment of the journal in `storage`; `None` where there is none, or none that can be opened.
pub fn segment_size(storage: &dyn Storage) -> Option<u64> {
    load(storage).ok().flatten().map(|mark| mark.segment_size.into())
}

/// Whether a journal has to be recovered from disk: it was not closed, and there is no memory of its last owner, dead or
/// alive.
/// False where its mark is lost: nothing says then how it ended.
pub fn is_unrecovered(places: &Places) -> bool {
    let mark = load(places.storage.as_ref()).ok().flatten();
    let page = places.memory_dir.join(Control::NAME);
    mark.is_some_and(|mark| {
        mark.turn > 0 && mark.clean == 0 && (!page.exists() || Control::is_of_another(&page, &mark))
    })
}

/// The mark of the journal in `directory`, checked.
pub(crate) fn read(storage: &dyn Storage, directory: &Path) -> Result<MarkSlot, OpenError> {
    load(storage)?.ok_or_else(|| OpenError::Missing { path: directory.into() })
}

/// What the segments prove: whose they are, and that all before the newest one is durable, since a segment is written
/// only then. Of the files before the first that can be read it is damage that they cannot be, and no sign that they were
/// retired. A mark is durable before the first segment is made, so segments without one are damage, never a new journal.
fn rebuilt(storage: &dyn Storage) -> Result<Option<MarkSlot>, OpenError> {
    let failed = |error| OpenError::Io { what: "list the segments", path: ".".into(), error };
    let names = storage.names().map_err(failed)?;
    let numbers: Vec<u64> = names.iter().filter_map(|name| names::segment_number(name)).collect();
    let (mut headers, mut unread) = (Vec::new(), Vec::new());
    for number in &numbers {
        match any_header(storage, *number).map_err(|error| LoadError::of(*number, &error)) {
            Ok(Some(header)) => headers.push(header),
            // Of what it holds it proves as little as one that is gone.
            Ok(None) | Err(LoadError::Refused(_)) => unread.push(*number),
            Err(error) => return Err(failed(io::Error::other(error.to_string()))),
        }
    }
    let Some(newest) = headers.iter().max_by_key(|header| (header.epoch, header.number)) else {
        let what = "the mark and the headers of all segments";
        return if numbers.is_empty() { Ok(None) } else { Err(OpenError::Damaged { what: what.into() }) };
    };
    let ours = headers.iter().filter(|header| header.journal == newest.journal);
    Ok(Some(MarkSlot {
        epoch: newest.epoch,
        clean: 0,
        floor: ours.map(|header| header.number).chain(unread).min().unwrap_or(newest.number),
        newest: newest.number,
        durable: newest.number * u64::from(newest.segment_size),
        sequence: newest.sequence,
        unmarked_before: newest.epoch + 1,
        ..first(newest.journal, newest.segment_size as usize)
    }))
}

/// The header in a segment's file, of whatever journal.
fn any_header(storage: &dyn Storage, number: u64) -> io::Result<Option<SegmentHeader>> {
    let mut bytes = [0; FIRST_FRAME];
    storage.open(&names::segment(number), Access::Read)?.read_at(&mut bytes, 0)?;
    Ok(SegmentHeader::read(&bytes).filter(|header| header.number == number))
}

/// Refuses a mark of another format, or one that cannot be a writer's.
fn check(mark: &MarkSlot) -> Result<(), OpenError> {
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
        let turn = newest_slot(storage)?.map_or(0, |old| old.turn);
        let file = match storage.open(names::MARK, Access::Write) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let file = storage.create(names::MARK, 2 * BLOCK as u64)?;
                file.write_at(&AlignedBuffer::zeroed(2 * BLOCK), 0)?;
                file.sync()?;
                file
            }
            Err(error) => return Err(error),
        };
        // Also where it was there: whoever made it may not have got so far.
        storage.sync()?;
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
        unmarked_before: 0,
        reserved: [0; 40],
    }
}
