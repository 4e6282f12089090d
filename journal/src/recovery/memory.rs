//! Shared memory that a dead owner left: the truth within one boot.

use std::{io, path::PathBuf};

use super::{Recovery, effects::Causes, ends};
use crate::{
    checksum::Salt,
    error::OpenError,
    layout::{BLOCK, FIRST_FRAME, FLAG_MORE, MarkSlot, SEAL_FRAME, SegmentHeader},
    memory::{MemoryError, SegmentMemory},
    names,
    progress::stamp,
    reader::Places,
    readers,
    segment::Segment,
    storage::{Access, AlignedBuffer, DiskFile},
    writer::seal,
};

/// Bytes written at once.
const CHUNK: usize = 256 * 1024;

/// Removes what completed memory and dead readers left: the disk is whole now.
pub(crate) fn forget(places: &Places) {
    for (path, _) in files(places) {
        // Should removing fail, the next owner discards the file by its epoch.
        let _ = std::fs::remove_file(path);
    }
    for entry in std::fs::read_dir(&places.memory_dir).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(names::is_spare) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
    readers::remove_stale(&places.memory_dir);
}

/// The files of segments in memory, in order.
fn files(places: &Places) -> Vec<(PathBuf, u64)> {
    let Ok(entries) = std::fs::read_dir(&places.memory_dir) else { return Vec::new() };
    let mut files: Vec<_> = entries
        .flatten()
        .filter_map(|entry| Some((entry.path(), names::segment_number(entry.file_name().to_str()?)?)))
        .collect();
    files.sort_unstable_by_key(|(_, number)| *number);
    files
}

/// The segments in memory that a writer had entered; those made ready and those of older lives are removed.
pub(super) fn live_segments(
    places: &Places,
    mark: &MarkSlot,
    report: &mut Recovery,
) -> Result<Vec<(Segment, SegmentHeader)>, OpenError> {
    let mut live = Vec::new();
    for (path, number) in files(places) {
        let segment = match SegmentMemory::open(&path, Access::Write, mark.segment_size as usize) {
            Ok(memory) => Some(Segment::shared(memory, number)),
            // Killed while it was made: nothing was ever in it.
            Err(MemoryError::TooShort { .. }) => None,
            Err(error) => {
                let error = io::Error::other(error.to_string());
                return Err(OpenError::Io { what: "open shared memory", path, error });
            }
        };
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

/// Completes all live segments on disk. If an effect comes whose cause its input lacks, that segment ends before it and
/// none behind it is completed; its number is the answer.
pub(super) fn complete_all(
    places: &Places,
    live: &[(Segment, SegmentHeader)],
    causes: &mut Causes<'_>,
    now: u64,
    report: &mut Recovery,
) -> Result<Option<u64>, OpenError> {
    for (segment, header) in live {
        let name = names::segment(segment.number());
        let failed = OpenError::io("complete from shared memory", &name);
        let walked = walk(segment, header, causes);
        causes.wait_until_durable()?;
        stamp_to(segment, header, walked.end);
        report.completed += 1;
        if walked.is_cut {
            write_twin(places, segment, walked.end).map_err(&failed)?;
            report.without_cause +=
                ends::cut_tail(places, segment, header, walked.end, walked.sequence, now)?;
            return Ok(Some(segment.number()));
        }
        if let Some(garbage) = walked.garbage {
            report.damage.push((segment.position(garbage), segment.position(segment.size())));
        }
        let end =
            if walked.is_sealed { walked.end } else { close(segment, header, &walked).map_err(&failed)? };
        write_twin(places, segment, end).map_err(&failed)?;
        ends::give_back(places, segment, end)?;
    }
    Ok(None)
}

/// What a live segment holds.
struct Walked {
    /// End of the last whole batch, or of the SEAL.
    end: usize,
    sequence: u64,
    time: u64,
    is_sealed: bool,
    /// Where something stands that no writer leaves.
    garbage: Option<usize>,
    /// Whether an effect without cause follows.
    is_cut: bool,
}

/// Walks a segment of a dead epoch.
fn walk(segment: &Segment, header: &SegmentHeader, causes: &mut Causes<'_>) -> Walked {
    let (mut at, mut sequence) = (FIRST_FRAME, header.sequence);
    let mut walked =
        Walked { end: at, sequence, time: header.time, is_sealed: false, garbage: None, is_cut: false };
    while !walked.is_sealed
        && let Some(frame) = segment.frame(at)
    {
        let Ok(word) = frame else {
            walked.garbage = Some(walked.end);
            break;
        };
        if segment.cause(at, word).is_some_and(|cause| causes.is_missing(cause)) {
            walked.is_cut = true;
            break;
        }
        walked.time = segment.anchor(at, word).map_or(walked.time, |anchor| anchor.time);
        walked.is_sealed = segment.seal(at, word).is_some();
        at += word.stride();
        sequence += u64::from(word.is_user());
        if word.flags & FLAG_MORE == 0 {
            (walked.end, walked.sequence) = (at, sequence);
        }
    }
    walked
}

/// Stamps the frames before `end`, whose causes are durable: a checksum says so of an effect.
fn stamp_to(segment: &Segment, header: &SegmentHeader, end: usize) {
    let salt = Salt::new(&header.journal, header.epoch);
    let mut at = FIRST_FRAME;
    while at < end
        && let Some(Ok(word)) = segment.frame(at)
    {
        stamp(salt, segment, at, word);
        at += word.stride();
    }
}

/// Seals a live segment where its last whole batch ends; readers that are there go on. Answers where it ends now.
fn close(segment: &Segment, header: &SegmentHeader, walked: &Walked) -> io::Result<usize> {
    let end = walked.end + SEAL_FRAME;
    if end > segment.size() {
        let what = format!("no room for the seal at {}", segment.position(walked.end));
        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
    }
    seal(segment, walked.end, walked.sequence, header.epoch, walked.time);
    if let Some(Ok(word)) = segment.frame(walked.end) {
        stamp(Salt::new(&header.journal, header.epoch), segment, walked.end, word);
    }
    Ok(end)
}

/// Writes the first `end` bytes of a segment to its twin; if that file fails, to a new one in its place.
fn write_twin(places: &Places, segment: &Segment, end: usize) -> io::Result<()> {
    let storage = places.storage.as_ref();
    let name = names::segment(segment.number());
    let twin = storage.open(&name, Access::Write);
    let written = twin.and_then(|file| file.barrier().and_then(|()| write_all(file.as_ref(), segment, end)));
    if written.is_err() {
        let spare = format!("{name}{}", names::REPLACEMENT);
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
