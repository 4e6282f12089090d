//! Reading a segment that came from disk, where nothing but checksums is trusted.
//!
//! The scan is bounded by the segment's size whatever the bytes are: behind an invalid frame it looks only for frames of
//! evidence (ANCHOR, SEAL), which have fixed lengths, and only these carry the sequence that is needed to go on.

use crate::{
    checksum::Salt,
    layout::{
        ANCHOR_FRAME, FIRST_FRAME, FLAG_MORE, FRAME_ALIGN, FRAME_HEADER, KIND_ANCHOR, KIND_SEAL, SEAL_FRAME,
        SegmentHeader, Word,
    },
    segment::Segment,
};

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
    pub(crate) evidence: u64,
    /// End of the last bytes that look like a valid frame.
    pub(crate) last_valid: usize,
}

/// Scans a segment whose header is valid.
pub(crate) fn scan(segment: &Segment, header: &SegmentHeader) -> Scan {
    let salt = Salt::new(&header.journal, header.epoch);
    let mut found = Scan {
        end: FIRST_FRAME,
        sequence: header.sequence,
        time: header.time,
        sealed: false,
        holes: Vec::new(),
        evidence: 0,
        last_valid: FIRST_FRAME,
    };
    let (mut at, mut sequence) = (FIRST_FRAME, header.sequence);
    while !found.sealed {
        let Some(word) = valid_frame(salt, segment, at) else {
            let Some((to, next)) = next_evidence(salt, segment, at) else { break };
            found.holes.push(Hole { from: found.end, to, first: found.sequence, next });
            (at, sequence) = (to, next);
            (found.end, found.sequence) = (to, next);
            continue;
        };
        if let Some(anchor) = segment.anchor(at, word) {
            found.evidence = found.evidence.max(anchor.durable);
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

/// The word of the frame at `offset`, if its checksum proves it.
pub(crate) fn valid_frame(salt: Salt, segment: &Segment, offset: usize) -> Option<Word> {
    let word = segment.frame(offset)?.ok()?;
    let sum = salt.frame(segment.position(offset), word, segment.delta(offset), segment.body(offset, word));
    (segment.checksum(offset) == sum).then_some(word)
}

/// The next frame of evidence behind `offset` and the sequence that it states.
fn next_evidence(salt: Salt, segment: &Segment, offset: usize) -> Option<(usize, u64)> {
    let mut at = offset + FRAME_ALIGN;
    while at + FRAME_HEADER <= segment.size() {
        if let Some(Ok(word)) = segment.frame(at) {
            let is_evidence = matches!(
                (word.kind, word.length as usize),
                (KIND_ANCHOR, ANCHOR_FRAME) | (KIND_SEAL, SEAL_FRAME)
            );
            if is_evidence && valid_frame(salt, segment, at).is_some() {
                let anchor = segment.anchor(at, word).map(|anchor| anchor.sequence);
                return anchor
                    .or(segment.seal(at, word).map(|seal| seal.sequence))
                    .map(|sequence| (at, sequence));
            }
        }
        at += FRAME_ALIGN;
    }
    None
}
