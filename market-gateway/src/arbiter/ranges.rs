//! Disjoint ranges of message numbers, each with a value.

use std::collections::BTreeMap;
use std::ops::Range;

/// Disjoint, non-empty ranges in ascending order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ranges<T> {
    /// From the first number of each range to its end and value.
    by_first: BTreeMap<u64, (u64, T)>,
}

impl<T: Copy> Ranges<T> {
    pub(crate) fn new() -> Self {
        Self { by_first: BTreeMap::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_first.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_first.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Range<u64>, T)> {
        self.by_first.iter().map(|(&first, &(end, value))| (first..end, value))
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = (Range<u64>, &mut T)> {
        self.by_first.iter_mut().map(|(&first, (end, value))| (first..*end, value))
    }

    pub(crate) fn first(&self) -> Option<(Range<u64>, T)> {
        self.iter().next()
    }

    pub(crate) fn pop_first(&mut self) -> Option<(Range<u64>, T)> {
        self.by_first.pop_first().map(|(first, (end, value))| (first..end, value))
    }

    /// The part of the first range that overlaps `within`.
    pub(crate) fn first_within(&self, within: &Range<u64>) -> Option<Range<u64>> {
        let before =
            self.by_first.range(..=within.start).next_back().filter(|(_, (end, _))| *end > within.start);
        let (&first, &(end, _)) = before
            .or_else(|| self.by_first.range(within.start..).next())
            .filter(|(first, _)| **first < within.end)?;
        Some(first.max(within.start)..end.min(within.end)).filter(|part| !part.is_empty())
    }

    /// The value of the range that begins at `first`.
    pub(crate) fn value_mut(&mut self, first: u64) -> Option<&mut T> {
        self.by_first.get_mut(&first).map(|(_, value)| value)
    }

    pub(crate) fn contains(&self, number: u64) -> bool {
        self.by_first.range(..=number).next_back().is_some_and(|(_, (end, _))| *end > number)
    }

    pub(crate) fn last(&self) -> Option<(Range<u64>, T)> {
        self.by_first.last_key_value().map(|(&first, &(end, value))| (first..end, value))
    }

    /// Adds a range behind all others.
    pub(crate) fn append(&mut self, range: Range<u64>, value: T) {
        assert!(self.last().is_none_or(|(last, _)| last.end <= range.start), "ranges are appended in order");
        if !range.is_empty() {
            self.by_first.insert(range.start, (range.end, value));
        }
    }

    /// Adds a range and joins it with all that it overlaps or touches.
    pub(crate) fn join(&mut self, mut range: Range<u64>, value: T) {
        if range.is_empty() {
            return;
        }
        let touching = |(first, (end, _)): (&u64, &(u64, T))| (*first, *end);
        while let Some((first, end)) = self.by_first.range(..=range.end).next_back().map(touching)
            && end >= range.start
        {
            self.by_first.remove(&first);
            range = range.start.min(first)..range.end.max(end);
        }
        self.by_first.insert(range.start, (range.end, value));
    }

    /// Drops all numbers from `at` on; returns how many.
    pub(crate) fn truncate(&mut self, at: u64) -> u64 {
        let beyond = self.by_first.split_off(&at);
        let mut count = beyond.iter().map(|(first, (end, _))| end - first).sum();
        if let Some(mut last) = self.by_first.last_entry().filter(|last| last.get().0 > at) {
            count += last.get().0 - at;
            last.get_mut().0 = at;
        }
        count
    }

    /// Moves the end of the last range, if there is one, to `end`.
    pub(crate) fn extend_last(&mut self, end: u64) {
        if let Some(mut last) = self.by_first.last_entry() {
            let last = &mut last.get_mut().0;
            *last = end.max(*last);
        }
    }

    /// Takes `part`, which lies within one range, out of it; what is left keeps the value.
    pub(crate) fn remove(&mut self, part: &Range<u64>) {
        let (&first, &(end, value)) =
            self.by_first.range(..=part.start).next_back().expect("the part lies within a range");
        assert!(part.end <= end, "the part lies within a range");
        if first < part.start {
            self.by_first.insert(first, (part.start, value));
        } else {
            self.by_first.remove(&first);
        }
        if part.end < end {
            self.by_first.insert(part.end, (end, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_as_a_set_of_numbers(
            appended in prop::collection::vec((0u64..4, 1u64..6), 0..12),
            removed in prop::collection::vec((0u64..60, 1u64..10), 0..12),
            inserted in prop::collection::vec((0u64..60, 1u64..10), 0..12), cut in 0u64..70,
        ) {
            let (mut ranges, mut model, mut at) = (Ranges::new(), BTreeSet::new(), 0);
            for (skip, length) in appended {
                at += skip;
                ranges.append(at..at + length, ());
                model.extend(at..at + length);
                at += length;
            }
            for (first, length) in removed {
                let within = first..first + length;
                while let Some(part) = ranges.first_within(&within) {
                    prop_assert!(part.start >= within.start && part.end <= within.end);
                    ranges.remove(&part);
                    part.for_each(|n| assert!(model.remove(&n), "{n} was not there"));
                }
                prop_assert!(!model.iter().any(|n| within.contains(n)));
            }
            for (first, length) in inserted {
                let range = first..first + length;
                ranges.join(range.clone(), ());
                let around = (first + length).min(69);
                prop_assert!(!ranges.iter().any(|(its, ())| its.start == around), "it is joined");
                model.extend(range);
            }
            prop_assert_eq!(ranges.truncate(cut), model.split_off(&cut).len() as u64);
            prop_assert!((0..70).all(|n| ranges.contains(n) == model.contains(&n)));
            let listed: Vec<u64> = ranges.iter().flat_map(|(range, ())| range).collect();
            prop_assert!(model.iter().eq(listed.iter()));
        }
    }
}
