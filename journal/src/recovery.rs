//! Recovery: what a journal still holds after its writer died, and how it is made whole.
//!
//! Within one boot the shared memory is the truth: it completes and repairs the disk. After a power loss there is only
//! the disk, and evidence that was written ahead says how far it was durable. D is the highest durable position that
//! any evidence names: the mark, or an anchor. p is the first invalid frame of the newest segment.
//!
//! | memory | disk | p | behind p | verdict |
//! | --- | --- | --- | --- | --- |
//! | same epoch as the mark | any | – | – | completed from memory; nothing published is lost |
//! | older epoch than the mark | any | – | – | memory discarded, then as without |
//! | newer epoch than the mark | any | – | – | refused: this disk is not the one that the memory belongs to |
//! | none | sealed segment, no invalid frame | – | – | whole |
//! | none | newest segment | p ≥ D | nothing valid, or valid within the window | torn tail: cut at the last whole batch, bytes kept beside |
//! | none | newest segment | p ≥ D | valid beyond the window | damage: reported with its range, never cut |
//! | none | any | p < D | any | damage: reported with its range, never cut |
//! | none | segment gone, which a later one or the mark proves | – | – | damage: reported with its range; its name and sequences are not used again |
//! | none | no mark, no segment | – | – | a new journal |
//! | none | segments, no valid mark | – | – | as with D from the anchors alone |
//!
//! Valid messages from D to the end are kept and counted as unproven: zeros are never evidence.

use std::{collections::VecDeque, io, path::Path};

use crate::{
    checksum::Salt,
    error::OpenError,
    layout::{BLOCK, FIRST_FRAME, FLAG_MORE, MarkSlot, SEAL_FRAME, SegmentHeader},
    memory::SegmentMemory,
    names,
    reader::{Places, disk_header, load_from_disk},
    readers,
    scan::{Hole, Scan, scan},
    segment::Segment,
    storage::{Access, AlignedBuffer, DiskFile},
    write_out::{Retired, stamp},
    writer::seal,
};

/// Bytes written at once.
const CHUNK: usize = 256 * 1024;

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
}

/// Where the next epoch begins.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) epoch: u32,
    pub(crate) next_segment: u64,
    pub(crate) sequence: u64,
    pub(crate) retired: VecDeque<Retired>,
    pub(crate) report: Recovery,
}

/// What of a scanned segment is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Where it ends.
    pub(crate) end: usize,
    pub(crate) sequence: u64,
    /// Damage inside.
    pub(crate) holes: Vec<Hole>,
    /// Whether a torn tail was cut.
    pub(crate) is_cut: bool,
}

/// Decides, by the table above, what of a segment is kept, given the evidence of the mark.
pub(crate) fn decide(
    segment: &Segment,
    header: &SegmentHeader,
    found: &Scan,
    durable: u64,
    sequence: u64,
) -> Kept {
    let proven = durable.max(found.evidence);
    let mut kept =
        Kept { end: found.end, sequence: found.sequence, holes: Vec::new(), is_cut: !found.sealed };
    for hole in &found.holes {
        let is_torn = segment.position(hole.from) >= proven && hole.to - hole.from <= header.window as usize;
        if is_torn {
            return Kept { end: hole.from, sequence: hole.first, is_cut: true, ..kept };
        }
        kept.holes.push(*hole);
    }
    let missing_to = proven.saturating_sub(segment.position(0)).min(segment.size() as u64) as usize;
    if !found.sealed && kept.end < missing_to {
        let next = if proven == durable { sequence.max(found.sequence) } else { found.sequence };
        kept.holes.push(Hole { from: kept.end, to: missing_to, first: found.sequence, next });
        (kept.end, kept.sequence) = (missing_to, next);
    }
    kept
}

/// Recovers a journal whose lock this process holds.
pub(crate) fn recover(places: &Places, mark: &MarkSlot) -> Result<Recovered, OpenError> {
    let io = |what, path: &str| {
        let path = path.into();
        move |error| OpenError::Io { what, path, error }
    };
    let numbers: Vec<u64> = places
        .storage
        .names()
        .map_err(io("list the journal's directory", "."))?
        .iter()
        .filter_map(|name| names::segment_number(name))
        .collect();
    let mut report = Recovery::default();
    let live = live_segments(places, mark, &mut report)?;
    for (segment, _) in &live {
        complete(places, mark, segment)
            .map_err(io("complete from shared memory", &names::segment(segment.number())))?;
        report.completed += 1;
    }
    let mut headers = Vec::new();
    for number in numbers.iter().copied().chain(live.iter().map(|(segment, _)| segment.number())) {
        let header = disk_header(places.storage.as_ref(), number);
        headers.extend(header.filter(|header| header.journal == mark.journal));
    }
    headers.sort_unstable_by_key(|header| header.number);
    headers.dedup_by_key(|header| header.number);
    let newest = headers.last().copied();
    let (next_segment, sequence) = match newest {
        None => (0, 0),
        Some(header) => (header.number + 1, end_newest(places, mark, &header, &mut report)?),
    };
    let (next_segment, sequence) = beyond_missing(mark, (next_segment, sequence), &mut report);
    remove_spares(places, &numbers, &headers, next_segment).map_err(io("remove spare segments", "."))?;
    let epoch = headers.iter().map(|header| header.epoch).fold(mark.epoch, u32::max);
    let retired = retired(places, &headers, mark.floor, sequence);
    Ok(Recovered { epoch, next_segment, sequence, retired, report })
}

/// Where the next epoch begins if the mark proves more than any segment holds: neither a segment's name nor a sequence
/// is used twice.
fn beyond_missing(mark: &MarkSlot, (next, sequence): (u64, u64), report: &mut Recovery) -> (u64, u64) {
    if sequence >= mark.sequence {
        return (next, sequence);
    }
    let end = next.max(mark.newest.saturating_add(1));
    let size = u64::from(mark.segment_size);
    report.damage.push((next.saturating_mul(size), end.saturating_mul(size)));
    (end, mark.sequence)
}

/// Removes what completed memory and dead readers left: the disk is whole now.
pub(crate) fn forget_memory(places: &Places) {
    for (path, _) in memory_files(&places.memory_dir) {
        // Should removing fail, the next owner discards the file by its epoch.
        let _ = std::fs::remove_file(path);
    }
    readers::remove_stale(&places.memory_dir);
}

fn memory_files(directory: &Path) -> Vec<(std::path::PathBuf, u64)> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut files: Vec<_> = entries
        .flatten()
        .filter_map(|entry| Some((entry.path(), names::segment_number(entry.file_name().to_str()?)?)))
        .collect();
    files.sort_unstable_by_key(|(_, number)| *number);
    files
}

/// The segments in memory that a writer had entered; spares and older lives are removed.
fn live_segments(
    places: &Places,
    mark: &MarkSlot,
    report: &mut Recovery,
) -> Result<Vec<(Segment, SegmentHeader)>, OpenError> {
    let mut live = Vec::new();
    for (path, number) in memory_files(&places.memory_dir) {
        let opened = SegmentMemory::open(&path, Access::Write, mark.segment_size as usize).ok();
        let segment = opened.map(|memory| Segment::shared(memory, number));
        let header = segment.as_ref().and_then(|segment| segment.header(&mark.journal));
        match (segment, header) {
            (Some(segment), Some(header)) if header.epoch == mark.epoch => live.push((segment, header)),
            (_, Some(header)) if header.epoch > mark.epoch => {
                let what = format!("{}: of a newer life than the disk, which was replaced", path.display());
                return Err(OpenError::Damaged { what });
            }
            (_, header) => {
                report.discarded += u64::from(header.is_some());
                let _ = std::fs::remove_file(&path);
            }
        }
    }
    Ok(live)
}

/// Ends a segment of a dead epoch in memory and writes all of it to its twin.
fn complete(places: &Places, mark: &MarkSlot, segment: &Segment) -> io::Result<()> {
    let Some(header) = segment.header(&mark.journal) else { return Ok(()) };
    let salt = Salt::new(&header.journal, header.epoch);
    let (mut at, mut end, mut sequence, mut ended) =
        (FIRST_FRAME, FIRST_FRAME, header.sequence, header.sequence);
    let (mut time, mut is_sealed) = (header.time, false);
    while let Some(Ok(word)) = segment.frame(at) {
        stamp(salt, segment, at, word);
        time = segment.anchor(at, word).map_or(time, |anchor| anchor.time);
        is_sealed = segment.seal(at, word).is_some();
        at += word.stride();
        sequence += u64::from(word.is_user());
        if word.flags & FLAG_MORE == 0 {
            (end, ended) = (at, sequence);
        }
        if is_sealed {
            break;
        }
    }
    if !is_sealed {
        seal(segment, end, ended, header.epoch, time);
        let Some(Ok(word)) = segment.frame(end) else { return Err(io::ErrorKind::InvalidData.into()) };
        stamp(salt, segment, end, word);
        end += SEAL_FRAME;
    }
    write_twin(places, segment, end)
}

/// Writes the first `end` bytes of a segment to its twin; if that file fails, to a new one in its place.
fn write_twin(places: &Places, segment: &Segment, end: usize) -> io::Result<()> {
    let storage = places.storage.as_ref();
    let name = names::segment(segment.number());
    let first_try = match storage.open(&name, Access::Write) {
        Ok(file) => file.barrier().and_then(|()| write_all(file.as_ref(), segment, end)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(error),
        Err(error) => return Err(error),
    };
    if first_try.is_err() {
        let spare = format!("{name}.replacement");
        let _ = storage.remove(&spare);
        let file = storage.create(&spare, segment.size() as u64)?;
        write_all(file.as_ref(), segment, end)?;
        storage.rename(&spare, &name)?;
    }
    storage.sync()
}

fn write_all(file: &dyn DiskFile, segment: &Segment, end: usize) -> io::Result<()> {
    let mut buffer = AlignedBuffer::zeroed(CHUNK);
    let mut offset = 0;
    while offset < end {
        let length = CHUNK.min(end - offset);
        // SAFETY: committed bytes of a dead epoch, inside the mapping; nobody changes them any more.
        buffer[..length]
            .copy_from_slice(unsafe { std::slice::from_raw_parts(segment.base().add(offset), length) });
        buffer[length..].fill(0);
        file.write_at(&buffer[..length.next_multiple_of(BLOCK)], offset as u64)?;
        offset += length;
    }
    file.sync()
}

/// Ends the newest segment on disk, if it has no seal, and says at which sequence.
fn end_newest(
    places: &Places,
    mark: &MarkSlot,
    header: &SegmentHeader,
    report: &mut Recovery,
) -> Result<u64, OpenError> {
    let loaded = load_from_disk(places, mark, header.number)
        .map_err(|error| OpenError::Damaged { what: error.to_string() })?;
    let Some((segment, header)) = loaded else {
        return Err(OpenError::Damaged { what: names::segment(header.number) });
    };
    let found = scan(&segment, &header);
    let kept = decide(&segment, &header, &found, mark.durable, mark.sequence);
    report
        .damage
        .extend(kept.holes.iter().map(|hole| (segment.position(hole.from), segment.position(hole.to))));
    if found.sealed && !kept.is_cut {
        return Ok(kept.sequence);
    }
    report.unproven = kept.sequence.saturating_sub(mark.sequence);
    let io = |error| OpenError::Io {
        what: "end the torn tail",
        path: names::segment(header.number).into(),
        error,
    };
    report.torn_bytes = keep_torn(places, &segment, &header, &kept).map_err(io)?;
    if kept.end + SEAL_FRAME <= segment.size() {
        seal_on_disk(places, segment, &header, &kept, found.time).map_err(io)?;
    }
    Ok(kept.sequence)
}

/// Keeps the bytes of a torn tail in a synced file beside; returns how many there were.
fn keep_torn(places: &Places, segment: &Segment, header: &SegmentHeader, kept: &Kept) -> io::Result<u64> {
    let window = (header.window as usize).min(segment.size() - kept.end);
    // SAFETY: a private copy, in bounds.
    let bytes = unsafe { std::slice::from_raw_parts(segment.base().add(kept.end), window) };
    let Some(last) = bytes.iter().rposition(|byte| *byte != 0) else { return Ok(0) };
    let mut buffer = AlignedBuffer::zeroed((last + 1).next_multiple_of(BLOCK));
    buffer[..=last].copy_from_slice(&bytes[..=last]);
    let name = names::torn(segment.position(kept.end));
    let _ = places.storage.remove(&name);
    let file = places.storage.create(&name, buffer.len() as u64)?;
    file.write_at(&buffer, 0)?;
    file.sync()?;
    places.storage.sync()?;
    Ok(last as u64 + 1)
}

/// Writes a SEAL behind what is kept. Bytes that were durable stay identical in their block.
fn seal_on_disk(
    places: &Places,
    segment: Segment,
    header: &SegmentHeader,
    kept: &Kept,
    time: u64,
) -> io::Result<()> {
    let (first, end) = (kept.end / BLOCK * BLOCK, kept.end + SEAL_FRAME);
    let mut frame = [0; SEAL_FRAME];
    crate::writer::write_seal(&mut frame, header, segment.position(kept.end), kept.sequence, time);
    let mut buffer = AlignedBuffer::zeroed((end - first).next_multiple_of(BLOCK));
    // SAFETY: a private copy, in bounds.
    let kept_bytes = unsafe { std::slice::from_raw_parts(segment.base().add(first), kept.end - first) };
    buffer[..kept_bytes.len()].copy_from_slice(kept_bytes);
    buffer[kept.end - first..end - first].copy_from_slice(&frame);
    let file = places.storage.open(&names::segment(segment.number()), Access::Write)?;
    file.barrier()?;
    file.write_durable_at(&buffer, first as u64)
}

/// Removes twins that no message ever reached, replacements that were not finished, and what retention had given up.
fn remove_spares(places: &Places, numbers: &[u64], headers: &[SegmentHeader], next: u64) -> io::Result<()> {
    for number in numbers.iter().filter(|number| **number >= next) {
        if !headers.iter().any(|header| header.number == *number) {
            places.storage.remove(&names::segment(*number))?;
        }
    }
    for name in places.storage.names()?.iter().filter(|name| name.ends_with(".replacement")) {
        places.storage.remove(name)?;
    }
    places.storage.sync()
}

fn retired(places: &Places, headers: &[SegmentHeader], floor: u64, sequence: u64) -> VecDeque<Retired> {
    let ends = headers.iter().skip(1).map(|header| header.sequence).chain([sequence]);
    headers
        .iter()
        .zip(ends)
        .filter(|(header, _)| header.number >= floor)
        .map(|(header, end)| {
            let file = places.storage.open(&names::segment(header.number), Access::Read);
            let bytes = file.and_then(|file| file.length()).unwrap_or(0);
            Retired { number: header.number, end, bytes }
        })
        .collect()
}
