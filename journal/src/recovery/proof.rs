//! What a derived journal proves of its inputs: an effect reaches the disk only when its cause is durable.
//!
//! An effect names its cause by epoch and sequence, not by position, and its bytes come from another journal's files: what
//! they say is believed only as far as the input's own evidence does not speak against it. A wrong cause that is believed
//! makes up lost messages, at most as many as would fit into the segments that are there; it takes none away. One that is
//! not believed costs numbers of epochs, at most [`EPOCHS`] of them.

use std::io;

use super::{Recovery, decide, torn_length};
use crate::{
    disk_copy,
    layout::{FRAME_HEADER, MarkSlot, POSITION_MAX, SegmentHeader, is_epoch},
    mark,
    reader::Places,
    scan::{Evidence, scan},
    storage::{Access, Storage},
};

/// Segments of a derived journal that are searched for an effect of an input, from the newest back. What older ones prove
/// the input's own mark has proven since.
const SEGMENTS: usize = 4;
/// No input loses this many epochs.
const EPOCHS: u32 = 1 << 20;

/// What an effect on disk proves of its input: that these messages were durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Proof {
    /// The epoch of the newest of them.
    pub epoch: u32,
    /// The sequence behind it.
    pub sequence: u64,
}

/// What the newest effects on disk of a derived journal prove of an input, whose index in `Cause::input` this is. Reads a
/// few segments, changes nothing. `None` also where the journal cannot be read: then it proves nothing.
pub fn last_cause(storage: &dyn Storage, input: u16) -> Option<Proof> {
    let mark = mark::load(storage).ok().flatten()?;
    let mut numbers = super::numbers(storage).ok()?;
    numbers.reverse();
    let is_ours = |number: &u64| {
        disk_copy::header(storage, &mark.journal, *number).is_ok_and(|header| header.is_some())
    };
    numbers
        .into_iter()
        .filter(is_ours)
        .take(SEGMENTS)
        .find_map(|number| in_segment(storage, &mark, number, input))
}

fn in_segment(storage: &dyn Storage, mark: &MarkSlot, number: u64, input: u16) -> Option<Proof> {
    let (segment, header) = disk_copy::load(storage, mark, number, Access::Read).ok().flatten()?;
    let evidence = Evidence::of(mark);
    let kept = decide(&segment, &header, &scan(&segment, &header, evidence), evidence);
    let causes = kept.frames(&segment, header.sequence).filter_map(|(at, _, word)| segment.cause(at, word));
    let named =
        causes.filter(|cause| cause.input == input && is_epoch(cause.epoch) && cause.sequence < POSITION_MAX);
    named.map(|cause| Proof { epoch: cause.epoch, sequence: cause.sequence + 1 }).max()
}

/// What a journal's own evidence leaves of what effects prove.
pub(super) struct Believed {
    /// All messages below this sequence were durable.
    pub(super) sequence: u64,
    /// The newest epoch that anybody named.
    pub(super) epoch: u32,
}

/// Weighs what effects prove against the mark and the segments.
pub(super) fn believe(
    proven: &[Proof],
    mark: &MarkSlot,
    headers: &[SegmentHeader],
    numbers: &[u64],
    report: &mut Recovery,
) -> Believed {
    let known = headers.iter().map(|header| header.epoch).fold(mark.epoch, u32::max);
    let most = most(mark, headers, numbers);
    let mut believed = Believed { sequence: 0, epoch: known };
    // What later epochs have settled is settled.
    for proof in proven.iter().filter(|proof| proof.epoch >= known) {
        let is_of_this_life = if proof.epoch > known {
            // The mark of an epoch is durable before its first message; and where nothing is, nothing was lost.
            mark.turn == 0 && known > 0
        } else {
            let is_closed = mark.clean == 1 && mark.epoch == known;
            !is_closed || proof.sequence <= mark.sequence
        };
        let is_possible = proof.epoch - known <= EPOCHS && proof.sequence <= most;
        if is_of_this_life && is_possible {
            believed.sequence = believed.sequence.max(proof.sequence);
        } else {
            report.unbelieved.push(*proof);
        }
        if proof.epoch - known <= EPOCHS {
            believed.epoch = believed.epoch.max(proof.epoch);
        }
    }
    believed
}

/// No message of a higher sequence fits into the segments that there are.
fn most(mark: &MarkSlot, headers: &[SegmentHeader], numbers: &[u64]) -> u64 {
    let size = u64::from(mark.segment_size);
    let (number, sequence) = headers
        .last()
        .map_or((mark.durable / size, mark.sequence), |newest| (newest.number, newest.sequence));
    let last = numbers.last().copied().unwrap_or(0).max(mark.newest).max(number);
    let segments = (last - number).saturating_add(1);
    sequence.saturating_add(segments.saturating_mul(size / FRAME_HEADER as u64)).min(POSITION_MAX)
}

/// Behind the last segment from `next` on that has frames of an epoch, though no header; `None` if none has.
pub(super) fn behind_frames(
    places: &Places,
    mark: &MarkSlot,
    epoch: u32,
    numbers: &[u64],
    next: u64,
) -> Option<u64> {
    let mark = MarkSlot { epoch, ..*mark };
    let has_frames = |number: &&u64| {
        let length: io::Result<u64> = torn_length(places, &mark, **number);
        length.is_ok_and(|length| length > 0)
    };
    let last = POSITION_MAX / u64::from(mark.segment_size) - 1;
    let behind = numbers.iter().filter(|number| (next..=last).contains(*number));
    behind.rev().find(has_frames).map(|number| number + 1)
}
