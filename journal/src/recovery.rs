//! Recovery: what a journal still holds after its writer died, and how it is made whole.
//!
//! Within one boot the shared memory is the truth: it completes and repairs the disk. After a power loss there is only
//! the disk, and evidence that was written ahead says how far it was durable. D is the highest durable position that
//! any evidence names: the mark, an anchor, or an effect in a derived journal, which is on disk only if its cause was
//! durable. An effect names no position but its cause's sequence: D lies behind that message, wherever it was. p is the
//! first invalid frame of the newest segment.
//!
//! | # | memory | disk | p | behind p | verdict |
//! | --- | --- | --- | --- | --- | --- |
//! | 1 | epoch of the mark | any | – | – | completed from memory; nothing published is lost |
//! | 2 | epoch of the mark, a file that fails | any | – | – | completed into a new file in its place |
//! | 3 | older epoch than the mark | any | – | – | memory discarded, then as without |
//! | 4 | newer epoch than the mark | any | – | – | refused: this disk is not the one that the memory belongs to |
//! | 5 | without header: made ready, or half written | any | – | – | removed: nothing was committed there |
//! | 6 | a frame that no writer leaves | any | – | – | completed up to it; the rest is damage |
//! | 7 | none | sealed, no invalid frame | – | – | whole |
//! | 8 | none | not sealed | p ≥ D | nothing valid, or valid within the window | torn tail: cut at the last whole batch, bytes kept beside |
//! | 9 | none | any | p ≥ D | valid beyond the window | damage: reported with its range, never cut |
//! | 10 | none | any | p < D | any | damage: reported with its range, never cut |
//! | 11 | none | header invalid, base ≥ D | – | frames | torn: kept beside |
//! | 12 | none | header invalid, base ≥ D | – | none | a segment made ready: removed |
//! | 13 | none | header invalid, no file, or a link or directory in its place, base < D | – | – | damage, never removed; the journal goes on behind it |
//! | 14 | none | one slot of the mark invalid | – | – | D from the other slot and the anchors |
//! | 15 | none | both slots invalid | – | – | D from the anchors and from the headers: a segment is written when all before it is durable; told, and remembered in the mark |
//! | 16 | none | both slots and all headers invalid | – | – | refused: nothing says whose the segments are |
//! | 17 | any | neither mark nor segment | – | – | a new journal |
//! | 18 | any | an effect whose cause its input lacks and was never proven to have | – | – | a derived journal is cut there, bytes kept beside; told for good where it had been durable |
//! | 19 | any | files below the floor, unfinished replacements | – | – | removed |
//! | 20 | none | not sealed | p ≥ mark and anchors, an effect's cause is lost at p or behind | any | damage, as row 10; if nothing valid follows, to the segment's end |
//! | 21 | none | sealed, header invalid, or no file | – | an effect's cause is lost behind all that is there | damage, as row 13; no sequence that an effect names is used again |
//! | 22 | any | an effect names what the journal cannot have had: more than its segments can hold, behind its clean end, of an epoch that its whole mark does not know | – | – | not believed, and told; the next epoch is numbered behind it, so that no name has two meanings |
//!
//! Valid messages from D to the end are kept and counted as unproven: zeros are never evidence.

mod aside;
mod decide;
mod effects;
mod ends;
mod memory;
mod proof;

use std::{collections::VecDeque, io};

pub use aside::{SetAside, set_aside};
pub(crate) use decide::decide;
pub(crate) use memory::forget as forget_memory;
pub use proof::{Proof, last_cause};

use crate::retention::remove_disk;
use crate::{
    checksum::Salt,
    disk_copy,
    error::OpenError,
    journal::Options,
    layout::{MarkSlot, SegmentHeader},
    names,
    reader::Places,
    retention::Retired,
    scan::{Evidence, has_frames},
    segment::Segment,
    storage::{Access, AlignedBuffer, Storage},
};
use effects::Causes;
use ends::End;
use proof::Believed;

/// What the opening of a journal found and mended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Segments that were completed on disk from shared memory.
    pub completed: u64,
    /// Bytes of a torn tail that were cut and kept in a file beside.
    pub torn_bytes: u64,
    /// Messages kept although no evidence proves that they were durable.
    pub unproven: u64,
    /// Damaged ranges of positions.
    pub damage: Vec<(u64, u64)>,
    /// Segments of shared memory that belonged to an older life and were discarded.
    pub discarded: u64,
    /// Bytes cut from a derived journal, and kept beside, because its input lacks what caused them.
    pub without_cause: u64,
    /// Those of the messages cut so that had been durable, which [`set_aside`] goes on telling: an input is not what it was.
    /// The others never were durable, and went with what shared memory lost.
    pub set_aside: Vec<SetAside>,
    /// The segments had no mark, or none that is whole: nothing proves that messages are not missing where they end, and
    /// those would be numbered again. The new mark remembers it: see [`Reader::began_unmarked`](crate::Reader::began_unmarked).
    pub mark_lost: bool,
    /// What effects prove of this journal, but for that its own evidence speaks against it: one of the two is an older copy,
    /// or not the other's.
    pub unbelieved: Vec<Proof>,
}

/// Where the next epoch begins.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) epoch: u32,
    pub(crate) next_segment: u64,
    pub(crate) sequence: u64,
    /// Sequence of the oldest message.
    pub(crate) first: u64,
    pub(crate) retired: VecDeque<Retired>,
    pub(crate) report: Recovery,
}

/// Recovers a journal whose lock this process holds.
pub(crate) fn recover(
    places: &Places,
    mark: &MarkSlot,
    options: &mut Options,
) -> Result<Recovered, OpenError> {
    let (now, cut_from) = (options.now, options.cut_from);
    let mut report = Recovery { mark_lost: mark.unmarked_before > mark.epoch, ..Recovery::default() };
    let mut causes = Causes::new(&mut options.inputs);
    let beside = aside::kept(places.storage.as_ref())?;
    let live = memory::live_segments(places, mark, &mut report)?;
    let cut_behind = memory::complete_all(places, &live, &mut causes, now, &mut report)?;
    let numbers = numbers(places.storage.as_ref())?;
    settle(places, mark, &numbers, &live)?;
    let mut headers = headers(places, mark, &numbers)?;
    if let Some(last) = cut_behind {
        report.without_cause += ends::set_aside_behind(places, &mut headers, last)?;
    }
    let mut next_segment = headers.last().map_or(0, |newest| newest.number + 1);
    let believed = proof::believe(&options.proven, mark, &headers, &numbers, &mut report);
    let evidence = Evidence { caused: believed.sequence, ..Evidence::of(mark) };
    let end = match headers.last() {
        Some(newest) => Some(ends::end_newest(places, mark, evidence, newest, &mut report)?),
        None => None,
    };
    if live.iter().any(|(segment, _)| segment.number() + 1 == next_segment) {
        report.unproven = 0;
    }
    let mut sequence;
    (sequence, next_segment) = lost_behind(places, mark, &believed, &numbers, end, next_segment, &mut report);
    let without = effects::first_without_cause(places, mark, evidence, &headers, &mut causes)?;
    let asked = match cut_from {
        Some(from) => effects::first_from(places, mark, evidence, &headers, from)?,
        None => None,
    };
    if let Some(cut) = without.into_iter().chain(asked).min_by_key(|cut| (cut.header.number, cut.offset)) {
        sequence = cut.sequence;
        report.without_cause += ends::cut(places, &mut headers, &cut, now)?;
    }
    tidy(places, mark, &headers, next_segment, &mut report)?;
    if report.without_cause > 0 {
        report.set_aside = aside::told(places, mark, &aside::kept(places.storage.as_ref())?).0;
        // The file may be there from a start that was cut short before its SEAL.
        report
            .set_aside
            .retain(|messages| messages.time == Some(now) || !beside.contains(&messages.positions.0));
    }
    let retired = retired(places, mark, &headers, sequence);
    let first = headers.iter().find(|header| header.number >= mark.floor).map_or(sequence, |h| h.sequence);
    Ok(Recovered { epoch: believed.epoch, next_segment, sequence, first, retired, report })
}

/// Reports what is proven to have been durable behind all that is there. Answers the sequence behind it, and the first
/// number of a segment behind it.
fn lost_behind(
    places: &Places,
    mark: &MarkSlot,
    believed: &Believed,
    numbers: &[u64],
    end: Option<End>,
    mut next: u64,
    report: &mut Recovery,
) -> (u64, u64) {
    let size = u64::from(mark.segment_size);
    let (mut sequence, is_damaged) = end.map_or((0, false), |end| (end.sequence, end.is_damaged));
    if mark.durable > 0 {
        let proven = (mark.durable - 1) / size;
        // Only what held messages is missed: the numbers behind a cut are not used again.
        if next <= proven && sequence < mark.sequence {
            report.damage.push((next.max(mark.floor) * size, mark.durable));
            sequence = mark.sequence;
        }
        next = next.max(proven + 1);
    }
    if sequence < believed.sequence {
        sequence = believed.sequence;
        // They were in what is damaged at the end of the newest segment, else behind it.
        let least = if is_damaged { next } else { next + 1 };
        let behind = proof::behind_frames(places, mark, believed.epoch, numbers, next);
        let behind = behind.map_or(least, |behind| behind.max(least));
        if next < behind {
            report.damage.push((next * size, behind * size));
            next = behind;
        }
    }
    (sequence, next)
}

/// The numbers of the segments' files on disk, in order.
fn numbers(storage: &dyn Storage) -> Result<Vec<u64>, OpenError> {
    let names = storage.names().map_err(OpenError::io("list the segments", "."))?;
    Ok(names.iter().filter_map(|name| names::segment_number(name)).collect())
}

/// Waits for what a dead owner still has in flight, and makes all of it durable before it is looked at: what recovery
/// keeps is acknowledged. Only segments at and behind D can be concerned.
fn settle(
    places: &Places,
    mark: &MarkSlot,
    numbers: &[u64],
    live: &[(Segment, SegmentHeader)],
) -> Result<(), OpenError> {
    let from = mark.durable / u64::from(mark.segment_size);
    for number in numbers.iter().filter(|number| **number >= from) {
        if live.iter().all(|(segment, _)| segment.number() != *number) {
            let name = names::segment(*number);
            let file = places.storage.open(&name, Access::Write);
            file.and_then(|file| file.barrier().and_then(|()| file.sync()))
                .map_err(OpenError::io("settle", &name))?;
        }
    }
    Ok(())
}

/// The valid headers on disk, in order. A header at or behind D that cannot be read is an error: to pass it over would be
/// to give its segment up. Before that, it is damage for whoever reads it.
fn headers(places: &Places, mark: &MarkSlot, numbers: &[u64]) -> Result<Vec<SegmentHeader>, OpenError> {
    let proven = mark.durable / u64::from(mark.segment_size);
    let mut headers = Vec::new();
    for number in numbers {
        match disk_copy::header(places.storage.as_ref(), &mark.journal, *number) {
            Ok(header) => headers.extend(header),
            Err(error) if *number < proven && is_beyond_repair(&error) => {}
            Err(error) => return Err(OpenError::io("read", &names::segment(*number))(error)),
        }
    }
    Ok(headers)
}

/// Whether an error says that a file is lost: the disk cannot read it, or it is a link, or no file at all.
fn is_beyond_repair(error: &io::Error) -> bool {
    let is_lost = matches!(error.raw_os_error(), Some(libc::EIO | libc::ELOOP | libc::ENXIO));
    is_lost || error.kind() == io::ErrorKind::InvalidInput
}

/// Removes what nobody needs: segments made ready, replacements not finished, and all below the floor.
fn tidy(
    places: &Places,
    mark: &MarkSlot,
    headers: &[SegmentHeader],
    next: u64,
    report: &mut Recovery,
) -> Result<(), OpenError> {
    let storage = places.storage.as_ref();
    let names = storage.names().map_err(OpenError::io("list the segments", "."))?;
    let floor = mark.floor * u64::from(mark.segment_size);
    for name in &names {
        let failed = OpenError::io("remove", name);
        let number = names::segment_number(name);
        let is_torn_below = names::torn_position(name).is_some_and(|position| position < floor);
        if name.ends_with(names::REPLACEMENT)
            || is_torn_below
            || number.is_some_and(|number| number < mark.floor)
        {
            remove_disk(storage, name).map_err(failed)?;
        } else if let Some(number) = number.filter(|number| *number >= next)
            && !headers.iter().any(|header| header.number == number)
        {
            match torn_length(places, mark, number).map_err(OpenError::io("read", name))? {
                0 => storage.remove(name).map_err(failed)?,
                length => {
                    ends::set_aside(places, mark, number)?;
                    report.torn_bytes += length;
                }
            }
        }
    }
    storage.sync().map_err(OpenError::io("sync", "."))
}

/// Bytes of a segment without header that holds frames of the mark's epoch all the same; 0 for one made ready.
fn torn_length(places: &Places, mark: &MarkSlot, number: u64) -> io::Result<u64> {
    let mut buffer = AlignedBuffer::zeroed(mark.segment_size as usize);
    let file = places.storage.open(&names::segment(number), Access::Write)?;
    let length = file.read_at(&mut buffer, 0)?;
    let segment = Segment::copied(buffer, number);
    let is_torn = has_frames(Salt::new(&mark.journal, mark.epoch), &segment);
    Ok(if is_torn { length as u64 } else { 0 })
}

/// What the disk holds from the floor on, oldest first. What is damaged or gone stays in its place, also where nothing else
/// is left, and goes when its turn comes: only what retention removed is below the floor.
fn retired(places: &Places, mark: &MarkSlot, headers: &[SegmentHeader], sequence: u64) -> VecDeque<Retired> {
    let newest = headers.last().map_or(mark.floor, |newest| newest.number);
    let numbers = numbers(places.storage.as_ref()).unwrap_or_default();
    let placeholder = (!numbers.contains(&mark.floor)).then_some(mark.floor);
    let kept = numbers.into_iter().filter(|number| *number >= mark.floor);
    let held_messages = !headers.is_empty() || mark.floor * u64::from(mark.segment_size) < mark.durable;
    placeholder
        .into_iter()
        .chain(kept)
        .filter(|number| held_messages && *number <= newest)
        .map(|number| {
            let file = places.storage.open(&names::segment(number), Access::Read);
            // A file that somebody made longer holds no more than its segment.
            let bytes = file.and_then(|file| file.length()).unwrap_or(0).min(mark.segment_size.into());
            let behind = headers.partition_point(|header| header.number <= number);
            let end = headers.get(behind).map_or(sequence, |next| next.sequence);
            Retired { number, end, bytes }
        })
        .collect()
}
