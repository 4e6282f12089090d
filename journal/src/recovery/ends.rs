//! Ending segments on disk: the torn tail is kept beside, a SEAL closes what is kept.

use std::io;

use super::{Recovery, decide, effects::Cut};
use crate::{
    disk_copy,
    error::OpenError,
    layout::{BLOCK, MarkSlot, SEAL_FRAME, SegmentHeader},
    names,
    prepare::shorten,
    reader::Places,
    scan::{Evidence, scan},
    segment::Segment,
    storage::{Access, AlignedBuffer},
    writer::write_seal,
};

/// Where the newest segment ends.
pub(super) struct End {
    /// Sequence behind its last message.
    pub(super) sequence: u64,
    /// Whether all behind that message, to the segment's end, is damage; else a SEAL stands there, or there is no room for it.
    pub(super) is_damaged: bool,
}

/// Ends the newest segment on disk, if it has no seal, and says where.
pub(super) fn end_newest(
    places: &Places,
    mark: &MarkSlot,
    evidence: Evidence,
    header: &SegmentHeader,
    report: &mut Recovery,
) -> Result<End, OpenError> {
    let name = names::segment(header.number);
    let loaded = disk_copy::load(places.storage.as_ref(), mark, header.number, Access::Write)
        .map_err(|error| OpenError::Damaged { what: error.to_string() })?;
    let Some((segment, header)) = loaded else { return Err(OpenError::Damaged { what: name }) };
    let found = scan(&segment, &header, evidence);
    let kept = decide(&segment, &header, &found, evidence);
    let position = |offset| segment.position(offset);
    report.damage.extend(kept.holes.iter().map(|hole| (position(hole.from), position(hole.to))));
    let frames = kept.frames(&segment, header.sequence);
    let is_unproven = |at, sequence| at >= kept.proven && sequence >= evidence.caused;
    report.unproven = frames.filter(|(at, n, word)| word.is_user() && is_unproven(*at, *n)).count() as u64;
    let end = End { sequence: kept.sequence, is_damaged: !kept.is_sealed && kept.end < kept.proven };
    if end.is_damaged {
        report.damage.push((position(kept.end), position(kept.proven)));
    }
    if end.is_damaged || kept.is_sealed {
        return Ok(end);
    }
    let window = (header.window as usize).min(segment.size() - kept.end);
    let failed = OpenError::io("keep the torn tail of", &name);
    report.torn_bytes += keep_torn(places, &segment, kept.end, window).map_err(failed)?;
    if kept.end + SEAL_FRAME <= segment.size() {
        seal_at(places, &segment, &header, kept.end, kept.sequence, found.time)
            .map_err(OpenError::io("seal", &name))?;
        give_back(places, &segment, kept.end + SEAL_FRAME)?;
    }
    Ok(end)
}

/// Gives back what a segment that was ended early does not need: retention counts what its file holds, and who is killed
/// often leaves many.
pub(super) fn give_back(places: &Places, segment: &Segment, used: usize) -> Result<(), OpenError> {
    let name = names::segment(segment.number());
    let file = places.storage.open(&name, Access::Write);
    let shortened = file.and_then(|file| shorten(file.as_ref(), used, segment.size()));
    shortened.map(|_| ()).map_err(OpenError::io("shorten", &name))
}

/// Keeps up to `length` bytes from `from` on in a synced file beside, without the zeros at their end; says how many.
fn keep_torn(places: &Places, segment: &Segment, from: usize, length: usize) -> io::Result<u64> {
    assert!(from + length <= segment.size(), "a tail lies in its segment");
    // SAFETY: a private copy, in bounds.
    let bytes = unsafe { std::slice::from_raw_parts(segment.base().add(from), length) };
    let Some(last) = bytes.iter().rposition(|byte| *byte != 0) else { return Ok(0) };
    let mut buffer = AlignedBuffer::zeroed(last + 1);
    buffer[..=last].copy_from_slice(&bytes[..=last]);
    let name = names::torn(segment.position(from));
    let _ = places.storage.remove(&name);
    let file = places.storage.create(&name, buffer.len() as u64)?;
    file.write_at(&buffer, 0)?;
    file.sync()?;
    places.storage.sync()?;
    Ok(last as u64 + 1)
}

/// Writes a SEAL at `end`. Bytes before it stay identical in their block.
fn seal_at(
    places: &Places,
    segment: &Segment,
    header: &SegmentHeader,
    end: usize,
    sequence: u64,
    time: u64,
) -> io::Result<()> {
    let (first, behind) = (end / BLOCK * BLOCK, end + SEAL_FRAME);
    let mut frame = [0; SEAL_FRAME];
    write_seal(&mut frame, header, segment.position(end), sequence, time);
    let mut buffer = AlignedBuffer::zeroed(behind - first);
    // SAFETY: a private copy, in bounds.
    let before = unsafe { std::slice::from_raw_parts(segment.base().add(first), end - first) };
    buffer[..before.len()].copy_from_slice(before);
    buffer[before.len()..behind - first].copy_from_slice(&frame);
    let file = places.storage.open(&names::segment(segment.number()), Access::Write)?;
    file.write_durable_at(&buffer, first as u64)
}

/// Cuts a derived journal: the rest of the segment and all segments behind it are kept beside. Returns their bytes.
pub(super) fn cut(
    places: &Places,
    headers: &mut Vec<SegmentHeader>,
    cut: &Cut,
    now: u64,
) -> Result<u64, OpenError> {
    let later = set_aside_behind(places, headers, cut.header.number)?;
    places.storage.sync().map_err(OpenError::io("sync", "."))?;
    Ok(later + cut_tail(places, &cut.segment, &cut.header, cut.offset, cut.sequence, now)?)
}

/// Ends a segment at an offset of its choice; what follows there is kept beside, and the SEAL says when that was. Returns
/// its bytes.
pub(super) fn cut_tail(
    places: &Places,
    segment: &Segment,
    header: &SegmentHeader,
    end: usize,
    sequence: u64,
    now: u64,
) -> Result<u64, OpenError> {
    let name = names::segment(header.number);
    let bytes = keep_torn(places, segment, end, segment.size() - end)
        .map_err(OpenError::io("keep what is cut from", &name))?;
    seal_at(places, segment, header, end, sequence, now).map_err(OpenError::io("seal", &name))?;
    Ok(bytes)
}

/// Sets all segments behind a number aside. Returns their bytes.
pub(super) fn set_aside_behind(
    places: &Places,
    headers: &mut Vec<SegmentHeader>,
    last: u64,
) -> Result<u64, OpenError> {
    let mut bytes = 0;
    for header in headers.iter().filter(|header| header.number > last) {
        let size = u64::from(header.segment_size);
        rename_aside(places, header.number, size)?;
        bytes += size;
    }
    headers.retain(|header| header.number <= last);
    Ok(bytes)
}

/// Keeps the whole file of a segment beside, under the name of a torn tail.
pub(super) fn set_aside(places: &Places, mark: &MarkSlot, number: u64) -> Result<(), OpenError> {
    rename_aside(places, number, u64::from(mark.segment_size))
}

fn rename_aside(places: &Places, number: u64, segment_size: u64) -> Result<(), OpenError> {
    let name = names::segment(number);
    let aside = names::torn(number * segment_size);
    places.storage.rename(&name, &aside).map_err(OpenError::io("keep beside", &name))
}
