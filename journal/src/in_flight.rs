//! The writes of a journal that are in flight: begun in order, completed in any order, counted in order.

use std::{collections::VecDeque, io};

use crate::layout::{BLOCK, SEGMENT_MIN};

/// Writes of one journal in flight at once: one that the disk works on, and one that it goes on with.
pub(crate) const DEPTH: usize = 2;

/// What is not longer goes through a buffer, tail included, unless its segment is sealed.
pub(crate) const BOUNCE: usize = 64 * 1024;

// One buffer is enough: behind a write from there begins none that needs it.
const _: () = assert!(BOUNCE < group(SEGMENT_MIN));

/// Largest write from shared memory, in a segment of this size: what is in flight at once is a small part of it, so that
/// recovery tells a torn tail from damage.
pub(crate) const fn group(segment_size: usize) -> usize {
    let (part, most) = (segment_size / 8, 512 * 1024);
    if part < most { part } else { most }
}

/// Valid frames may lie this far behind the first invalid one: the largest batch, of which all but the end may be on disk,
/// and the writes in flight.
pub(crate) fn window(segment_size: usize) -> u32 {
    (segment_size / 4 + DEPTH * group(segment_size) + BLOCK) as u32
}

/// A write, by offsets in its segment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Group {
    /// Where it begins.
    pub(crate) offset: usize,
    /// Up to where the segment is on disk when it completes. Not at a block's end where it writes a block that is not
    /// full yet.
    pub(crate) end: usize,
    /// Bytes of it.
    pub(crate) length: usize,
}

impl Group {
    /// The next write of what waits from `offset` to `end`, `most` bytes at once. Its last block is written where nothing
    /// more comes into it, since nobody writes behind a SEAL, or where little waits.
    pub(crate) fn next(offset: usize, end: usize, most: usize, is_sealed: bool) -> Self {
        let pending = end - offset;
        let has_tail = is_sealed || pending <= BOUNCE;
        let blocks = if has_tail { pending.next_multiple_of(BLOCK) } else { pending / BLOCK * BLOCK };
        let length = blocks.min(most);
        Self { offset, end: end.min(offset + length), length }
    }
}

/// The writes in flight, in the order in which they were begun.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    groups: VecDeque<(Group, Option<io::Result<()>>)>,
    /// One failed: those begun behind it count for nothing, and none begins before they have ended.
    is_broken: bool,
}

impl InFlight {
    pub(crate) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Where the last one ends.
    pub(crate) fn end(&self) -> Option<usize> {
        self.groups.back().map(|(group, _)| group.end)
    }

    /// Whether another may begin behind the last one: never into a block that is being written.
    pub(crate) fn may_begin(&self) -> bool {
        let is_whole = self.end().is_none_or(|end| end.is_multiple_of(BLOCK));
        self.groups.len() < DEPTH && is_whole && !self.is_broken
    }

    pub(crate) fn begin(&mut self, group: Group) {
        debug_assert!(self.may_begin());
        self.groups.push_back((group, None));
    }

    /// Takes what became of the write at `offset`.
    pub(crate) fn complete(&mut self, offset: u64, result: io::Result<()>) {
        let mut groups = self.groups.iter_mut();
        if let Some((_, done)) = groups.find(|(group, done)| group.offset as u64 == offset && done.is_none())
        {
            *done = Some(result);
        }
    }

    /// The next one that has ended after all before it, and what became of it.
    pub(crate) fn pop(&mut self) -> Option<(Group, io::Result<()>)> {
        while let Some((group, result)) = self.groups.pop_front_if(|(_, done)| done.is_some()) {
            let was_broken = self.is_broken;
            self.is_broken = (was_broken || matches!(result, Some(Err(_)))) && !self.groups.is_empty();
            if !was_broken {
                return result.map(|result| (group, result));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(ends: &[usize]) -> InFlight {
        let mut in_flight = InFlight::default();
        let mut offset = 0;
        for end in ends {
            in_flight.begin(Group { offset, end: *end, length: end - offset });
            offset = *end;
        }
        in_flight
    }

    fn pops(in_flight: &mut InFlight) -> Vec<(usize, bool)> {
        std::iter::from_fn(|| in_flight.pop()).map(|(group, result)| (group.end, result.is_ok())).collect()
    }

    #[test]
    fn writes_count_in_the_order_in_which_they_began() {
        let mut in_flight = begun(&[BLOCK, 3 * BLOCK]);
        assert!(!in_flight.may_begin());
        in_flight.complete(BLOCK as u64, Ok(()));
        assert_eq!(pops(&mut in_flight), []);
        in_flight.complete(0, Ok(()));
        assert_eq!(pops(&mut in_flight), [(BLOCK, true), (3 * BLOCK, true)]);
        assert!(in_flight.is_empty() && in_flight.may_begin());
    }

    #[test]
    fn what_began_behind_a_failed_write_counts_for_nothing() {
        let mut in_flight = begun(&[BLOCK, 2 * BLOCK]);
        in_flight.complete(0, Err(io::ErrorKind::StorageFull.into()));
        assert_eq!(pops(&mut in_flight), [(BLOCK, false)]);
        assert!(!in_flight.may_begin() && !in_flight.is_empty());
        in_flight.complete(BLOCK as u64, Ok(()));
        assert_eq!(pops(&mut in_flight), []);
        assert!(in_flight.is_empty() && in_flight.may_begin());
    }

    #[test]
    fn a_write_has_the_last_block_only_where_little_waits_or_nothing_more_comes() {
        let next = |pending: usize, is_sealed| {
            let Group { offset, end, length } = Group::next(BLOCK, BLOCK + pending, 2 * BOUNCE, is_sealed);
            assert_eq!(offset, BLOCK);
            (end - offset, length)
        };
        assert_eq!(next(100, false), (100, BLOCK));
        assert_eq!(next(BOUNCE, false), (BOUNCE, BOUNCE));
        assert_eq!(next(BOUNCE + 100, false), (BOUNCE, BOUNCE));
        assert_eq!(next(BOUNCE + 100, true), (BOUNCE + 100, BOUNCE + BLOCK));
        assert_eq!(next(2 * BOUNCE + 100, true), (2 * BOUNCE, 2 * BOUNCE));
    }

    #[test]
    fn nothing_begins_behind_a_block_that_is_not_full() {
        assert!(!begun(&[100]).may_begin() && begun(&[BLOCK]).may_begin());
    }
}
