//! The verdict on a segment that was read from disk.

use crate::{
    layout::{FIRST_FRAME, SegmentHeader, Word},
    scan::{Evidence, Hole, Scan},
    segment::Segment,
};

/// What of a scanned segment is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    /// Where it ends.
    pub(crate) end: usize,
    /// Sequence of the next message there.
    pub(crate) sequence: u64,
    /// Damage inside.
    pub(crate) holes: Vec<Hole>,
    /// Whether it ends with a SEAL.
    pub(crate) is_sealed: bool,
    /// Everything before this offset was durable. If it lies behind the end, which then is no seal, all between is damaged,
    /// and the next segment tells what messages that held.
    pub(crate) proven: usize,
}

impl Kept {
    /// The frames that are kept of a segment whose first message has sequence `first`: offset, sequence of the next message
    /// there, and word.
    pub(super) fn frames<'a>(
        &'a self,
        segment: &'a Segment,
        first: u64,
    ) -> impl Iterator<Item = (usize, u64, Word)> + 'a {
        let mut holes = self.holes.iter().peekable();
        let (mut at, mut sequence) = (FIRST_FRAME, first);
        std::iter::from_fn(move || {
            while let Some(hole) = holes.next_if(|hole| hole.from <= at) {
                (at, sequence) = (hole.to, hole.next);
            }
            let word = segment.frame(at).filter(|_| at < self.end)?.ok()?;
            let frame = (at, sequence, word);
            at += word.stride();
            sequence += u64::from(word.is_user());
            Some(frame)
        })
    }
}

/// Decides, by the table of recovery, what of a segment is kept, given the evidence of the mark and of effects.
///
/// An invalid range is a torn tail only if nothing in it is proven and all valid frames behind it can have been in flight
/// with it; everything else is damage and stays.
pub(crate) fn decide(segment: &Segment, header: &SegmentHeader, found: &Scan, evidence: Evidence) -> Kept {
    let proven = evidence.position.max(found.anchored);
    let offset_of = |position: u64| position.saturating_sub(segment.position(0)).min(segment.size() as u64);
    let proven_offset = usize::try_from(offset_of(proven)).expect("at most the size of a segment");
    let mut kept = Kept {
        end: found.end,
        sequence: found.sequence,
        holes: Vec::new(),
        is_sealed: found.sealed,
        proven: proven_offset,
    };
    for hole in &found.holes {
        let behind = found.last_valid.saturating_sub(hole.from);
        let is_proven = hole.from < proven_offset || hole.first < evidence.caused;
        if !is_proven && behind <= header.window as usize {
            return Kept { end: hole.from, sequence: hole.first, is_sealed: false, ..kept };
        }
        kept.holes.push(*hole);
    }
    let is_here = evidence.position == proven && evidence.position <= segment.position(segment.size());
    if !found.sealed && kept.end < proven_offset && is_here {
        let next = evidence.sequence.max(found.sequence);
        kept.holes.push(Hole { from: kept.end, to: proven_offset, first: found.sequence, next });
        (kept.end, kept.sequence) = (proven_offset, next);
    }
    if !found.sealed && kept.sequence < evidence.caused {
        // Effects name messages, not positions: these may have been anywhere in the rest.
        kept.proven = segment.size();
    }
    kept
}
