//! Reading a segment that came from disk, where nothing but checksums is trusted.
//!
//! The scan is bounded by the segment's size whatever the bytes are: behind an invalid frame it looks only for frames of
//! evidence (ANCHOR, SEAL), which have fixed lengths, and only these, and the mark, carry the sequence that is needed to
//! go on.

use crate::{
    checksum::Salt,
    layout::{
        ANCHOR_FRAME, FIRST_FRAME, FLAG_MORE, FRAME_ALIGN, FRAME_HEADER, KIND_ANCHOR, KIND_SEAL, MarkSlot,
        SEAL_FRAME, SegmentHeader, Word,
    },
    segment::Segment,
};

/// More holes than this no writer's anchors allow; what lies behind them counts as one.
const MAX_HOLES: usize = 1024;

/// What is proven to have been durable: everything below a position, at which the next message has this sequence; and
/// messages, wherever they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Evidence {
    pub(crate) position: u64,
    pub(crate) sequence: u64,
    /// All messages below this sequence, because effects of them are on disk; 0 if that is not known.
    pub(crate) caused: u64,
}

impl Evidence {
    pub(crate) fn of(mark: &MarkSlot) -> Self {
        Self { position: mark.durable, sequence: mark.sequence, caused: 0 }
    }

    /// Where the evidence lies in a segment, if it does: frames begin anew there.
    fn offset_in(self, segment: &Segment) -> Option<usize> {
        let offset = usize::try_from(self.position.checked_sub(segment.position(0))?).ok()?;
        let is_frame = offset.is_multiple_of(FRAME_ALIGN) && offset > FIRST_FRAME && offset < segment.size();
        is_frame.then_some(offset)
    }
}

/// A range of a segment without valid frames, and the sequences that it should hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hole {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) first: u64,
    pub(crate) next: u64,
}

/// What a segment holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scan {
    /// Where the last valid, complete batch ends.
    pub(crate) end: usize,
    /// Sequence of the next message there.
    pub(crate) sequence: u64,
    /// Time of the last valid anchor.
    pub(crate) time: u64,
    /// Whether a SEAL ends it.
    pub(crate) sealed: bool,
    /// Invalid ranges with valid frames behind them.
    pub(crate) holes: Vec<Hole>,
    /// The highest durable position that an anchor names.
    pub(crate) anchored: u64,
    /// End of the last valid frame.
    pub(crate) last_valid: usize,
}

/// Scans a segment whose header is valid. Behind damage it goes on at the next frame of evidence, or where the mark says.
pub(crate) fn scan(segment: &Segment, header: &SegmentHeader, evidence: Evidence) -> Scan {
    let salt = Salt::new(&header.journal, header.epoch);
    let mut found = Scan {
        end: FIRST_FRAME,
        sequence: header.sequence,
        time: header.time,
        sealed: false,
        holes: Vec::new(),
        anchored: 0,
        last_valid: FIRST_FRAME,
    };
    let (mut at, mut sequence) = (FIRST_FRAME, header.sequence);
    while !found.sealed {
        let Some(word) = valid_frame(salt, segment, at) else {
            let Some(hole) = hole_behind(salt, segment, at, &found, evidence) else { break };
            found.holes.push(hole);
            (at, sequence) = (hole.to, hole.next);
            (found.end, found.sequence) = (at, sequence);
            continue;
        };
        if let Some(anchor) = segment.anchor(at, word) {
            found.anchored = found.anchored.max(anchor.durable);
            found.time = anchor.time;
        }
        found.sealed = word.kind == KIND_SEAL;
        at += word.stride();
        sequence += u64::from(word.is_user());
        found.last_valid = at;
        if word.flags & FLAG_MORE == 0 {
            (found.end, found.sequence) = (at, sequence);
        }
    }
    found
}

/// Where valid frames without a hole lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lead {
    /// End of the last of them.
    pub(crate) end: usize,
    /// Sequence of the next message there.
    pub(crate) sequence: u64,
    /// Whether the last is a SEAL.
    pub(crate) is_sealed: bool,
}

/// Goes from a frame's offset and sequence to `limit`, or to a SEAL before it. `None` where a frame is invalid, or a batch is
/// not whole there.
pub(crate) fn lead(
    salt: Salt,
    segment: &Segment,
    (at, sequence): (usize, u64),
    limit: usize,
) -> Option<Lead> {
    let (mut lead, mut is_whole) = (Lead { end: at, sequence, is_sealed: false }, true);
    while lead.end < limit && !lead.is_sealed {
        let word = valid_frame(salt, segment, lead.end)?;
        lead.end += word.stride();
        lead.sequence += u64::from(word.is_user());
        lead.is_sealed = word.kind == KIND_SEAL;
        is_whole = word.flags & FLAG_MORE == 0;
    }
    is_whole.then_some(lead)
}

/// The hole that begins where the last whole batch ended, if anything valid follows the invalid frame at `at`.
fn hole_behind(salt: Salt, segment: &Segment, at: usize, found: &Scan, evidence: Evidence) -> Option<Hole> {
    let (from, first) = (found.end, found.sequence);
    let marked = evidence.offset_in(segment).filter(|offset| *offset > at && evidence.sequence >= first);
    let limit = marked.unwrap_or(segment.size());
    let resumes = next_evidence(salt, segment, at, limit, first);
    let (to, next) = resumes.or(marked.map(|offset| (offset, evidence.sequence)))?;
    if found.holes.len() >= MAX_HOLES {
        return Some(Hole { from, to: segment.size(), first, next: first });
    }
    Some(Hole { from, to, first, next })
}

/// The word of the frame at `offset`, if its checksum proves it.
pub(crate) fn valid_frame(salt: Salt, segment: &Segment, offset: usize) -> Option<Word> {
    let word = segment.frame(offset)?.ok()?;
    if word.length as usize > segment.size() / 4 {
        return None;
    }
    let sum = salt.frame(segment.position(offset), word, segment.delta(offset), segment.body(offset, word));
    (segment.checksum(offset) == sum).then_some(word)
}

/// The next frame of evidence behind `offset` and below `limit`, and the sequence that it states, which cannot be below
/// `least`.
fn next_evidence(
    salt: Salt,
    segment: &Segment,
    offset: usize,
    limit: usize,
    least: u64,
) -> Option<(usize, u64)> {
    let mut at = offset + FRAME_ALIGN;
    while at + FRAME_HEADER <= segment.size() && at < limit {
        if let Some(sequence) = evidence_at(salt, segment, at).filter(|sequence| *sequence >= least) {
            return Some((at, sequence));
        }
        at += FRAME_ALIGN;
    }
    None
}

/// The sequence that a valid frame of evidence at `offset` states.
fn evidence_at(salt: Salt, segment: &Segment, offset: usize) -> Option<u64> {
    let word = segment.frame(offset)?.ok()?;
    let is_evidence =
        matches!((word.kind, word.length as usize), (KIND_ANCHOR, ANCHOR_FRAME) | (KIND_SEAL, SEAL_FRAME));
    if !is_evidence || valid_frame(salt, segment, offset).is_none() {
        return None;
    }
    let anchor = segment.anchor(offset, word).map(|anchor| anchor.sequence);
    anchor.or(segment.seal(offset, word).map(|seal| seal.sequence))
}

/// Whether a segment holds any evidence of this epoch, whatever its header says.
pub(crate) fn has_frames(salt: Salt, segment: &Segment) -> bool {
    evidence_at(salt, segment, FIRST_FRAME).is_some()
        || next_evidence(salt, segment, FIRST_FRAME, segment.size(), 0).is_some()
}
