//! Derived journals: no effect stays whose cause its input lacks, and none reaches the disk before its cause.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use super::decide;
use crate::{
    disk_copy,
    error::OpenError,
    layout::{Cause, FIRST_FRAME, FLAG_MORE, MarkSlot, SegmentHeader, Word},
    progress::Input,
    reader::Places,
    scan::{Evidence, scan},
    segment::Segment,
    storage::Access,
};

/// How long a derived journal waits for the causes of what it holds in memory to become durable.
const PATIENCE: Duration = Duration::from_secs(3);
/// Between two looks meanwhile.
const STEP: Duration = Duration::from_micros(200);

/// What is known of the causes of a derived journal's messages.
pub(super) struct Causes<'a> {
    inputs: &'a mut [Box<dyn Input>],
    /// Where an epoch of an input ends, as far as it was asked.
    ends: BTreeMap<(u16, u32), Option<u64>>,
    /// Of each input, the sequence below which all must be durable.
    needed: Vec<u64>,
}

impl<'a> Causes<'a> {
    pub(super) fn new(inputs: &'a mut [Box<dyn Input>]) -> Self {
        Self { needed: vec![0; inputs.len()], inputs, ends: BTreeMap::new() }
    }

    /// Whether an input is known to lack a cause. One that it has is noted as needed.
    pub(super) fn is_missing(&mut self, cause: Cause) -> bool {
        let Some(input) = self.inputs.get_mut(usize::from(cause.input)) else { return false };
        // An epoch that was not told cannot have ended: then only what the input has as a whole counts.
        let epoch = if cause.epoch == 0 { u32::MAX } else { cause.epoch };
        let end = *self.ends.entry((cause.input, epoch)).or_insert_with(|| input.end_of(epoch));
        if end.is_some_and(|end| cause.sequence >= end) {
            return true;
        }
        if let Some(needed) = self.needed.get_mut(usize::from(cause.input)) {
            *needed = (*needed).max(cause.sequence.saturating_add(1));
        }
        false
    }

    /// Waits until all causes that were noted are durable.
    pub(super) fn wait_until_durable(&mut self) -> Result<(), OpenError> {
        let start = Instant::now();
        for (index, (input, needed)) in self.inputs.iter_mut().zip(&self.needed).enumerate() {
            while input.durable_sequence() < *needed {
                if start.elapsed() > PATIENCE {
                    return Err(OpenError::NotDurable { input: index, needed: *needed });
                }
                thread::sleep(STEP);
            }
        }
        Ok(())
    }
}

/// Where a derived journal is to be cut.
pub(super) struct Cut {
    pub(super) header: SegmentHeader,
    pub(super) segment: Segment,
    pub(super) offset: usize,
    /// Sequence of the first message that goes.
    pub(super) sequence: u64,
}

/// The first batch on disk with an effect whose cause its input lacks. Looks from the newest segment back, until one
/// follows wholly from what the inputs have.
pub(super) fn first_without_cause(
    places: &Places,
    mark: &MarkSlot,
    evidence: Evidence,
    headers: &[SegmentHeader],
    causes: &mut Causes<'_>,
) -> Result<Option<Cut>, OpenError> {
    let mut cut = None;
    if causes.inputs.is_empty() {
        return Ok(cut);
    }
    for header in headers.iter().rev() {
        let Some((segment, header)) = load(places, mark, header.number)? else { continue };
        match look(&segment, &header, evidence, causes) {
            Looked::Missing { offset, sequence } => {
                cut = Some(Cut { header, segment, offset, sequence });
            }
            Looked::Whole => break,
            Looked::NoEffects => {}
        }
    }
    Ok(cut)
}

/// The batch on disk with the first message from a sequence on.
pub(super) fn first_from(
    places: &Places,
    mark: &MarkSlot,
    evidence: Evidence,
    headers: &[SegmentHeader],
    from: u64,
) -> Result<Option<Cut>, OpenError> {
    let begun = headers.partition_point(|header| header.sequence <= from).saturating_sub(1);
    for header in &headers[begun..] {
        let Some((segment, header)) = load(places, mark, header.number)? else { continue };
        if let Some((offset, sequence)) =
            find_batch(&segment, &header, evidence, |_, sequence, word| word.is_user() && sequence >= from)
        {
            return Ok(Some(Cut { header, segment, offset, sequence }));
        }
    }
    Ok(None)
}

fn load(
    places: &Places,
    mark: &MarkSlot,
    number: u64,
) -> Result<Option<(Segment, SegmentHeader)>, OpenError> {
    disk_copy::load(places.storage.as_ref(), mark, number, Access::Write)
        .map_err(|error| OpenError::Damaged { what: error.to_string() })
}

/// What a look at a segment's causes found.
enum Looked {
    Whole,
    NoEffects,
    Missing { offset: usize, sequence: u64 },
}

fn look(segment: &Segment, header: &SegmentHeader, evidence: Evidence, causes: &mut Causes<'_>) -> Looked {
    let mut has_effects = false;
    let missing = find_batch(segment, header, evidence, |at, _, word| {
        let cause = segment.cause(at, word);
        has_effects |= cause.is_some();
        cause.is_some_and(|cause| causes.is_missing(cause))
    });
    match missing {
        Some((offset, sequence)) => Looked::Missing { offset, sequence },
        None if has_effects => Looked::Whole,
        None => Looked::NoEffects,
    }
}

/// Offset and sequence of the first batch with a frame that is wanted, by its offset, sequence and word.
fn find_batch(
    segment: &Segment,
    header: &SegmentHeader,
    evidence: Evidence,
    mut is_wanted: impl FnMut(usize, u64, Word) -> bool,
) -> Option<(usize, u64)> {
    let found = scan(segment, header, evidence);
    let kept = decide(segment, header, &found, evidence);
    let mut batch = (FIRST_FRAME, header.sequence);
    let (mut next, mut is_first) = (FIRST_FRAME, true);
    for (at, sequence, word) in kept.frames(segment, header.sequence) {
        if is_first || at != next {
            batch = (at, sequence);
        }
        if is_wanted(at, sequence, word) {
            return Some(batch);
        }
        (next, is_first) = (at + word.stride(), word.flags & FLAG_MORE == 0);
    }
    None
}
