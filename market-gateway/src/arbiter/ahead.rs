//! Messages that are journalled although the lines have not come so far: those that a refuted jump brought.

use std::ops::Range;

use super::OpenGap;
use super::ranges::Ranges;

/// Ranges of messages that are journalled, all behind the next one that is to be: a refuted jump brought them.
#[derive(Debug, Clone, Default)]
pub struct Ahead(Ranges<()>);

impl Ahead {
    /// These ranges; `None` if they are not ascending.
    pub(crate) fn of(ranges: &[(u64, u64)]) -> Option<Self> {
        let mut all = Ranges::new();
        for &(start, end) in ranges {
            let is_behind = all.last().is_none_or(|(last, ())| last.end <= start);
            if !is_behind || end <= start {
                return None;
            }
            all.append(start..end, ());
        }
        Some(Self(all))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Range<u64>> {
        self.0.iter().map(|(range, ())| range)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Messages that are ahead.
    pub(super) fn count(&self) -> u64 {
        self.iter().map(|range| range.end - range.start).sum()
    }

    /// Takes from a gap what lies at or beyond `from`, where the journal goes on now. What is journalled of the messages
    /// from there to `next`, where it went on until now, is ahead.
    pub(crate) fn withdraw(&mut self, gap: &mut OpenGap, from: u64, next: u64) {
        let mut at = from;
        for void in gap.missing().filter(|void| void.end > from) {
            self.add(at..void.start);
            at = void.end;
        }
        self.add(at..next);
        gap.cut(from);
    }

    pub(super) fn add(&mut self, range: Range<u64>) {
        self.0.join(range, ());
    }

    /// What is ahead at or behind `number`, first.
    pub(super) fn first_from(&self, number: u64) -> Option<Range<u64>> {
        self.0.first_within(&(number..u64::MAX))
    }

    /// Whether nothing before `end` is ahead.
    #[inline]
    pub(super) fn is_clear(&self, end: u64) -> bool {
        self.0.first().is_none_or(|(first, ())| end <= first.start)
    }

    /// The journal goes on at `next`: nothing before it is ahead.
    pub(crate) fn pass(&mut self, next: u64) {
        while let Some(part) = self.0.first_within(&(0..next)) {
            self.0.remove(&part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::GapCause;
    use super::*;

    fn ranges(ahead: &Ahead) -> Vec<Range<u64>> {
        ahead.iter().collect()
    }

    #[test]
    fn what_came_of_a_withdrawn_range_and_behind_it_is_ahead_until_it_is_passed() {
        let mut ahead = Ahead::of(&[(40, 50)]).unwrap();
        let mut gap = OpenGap::new(10, 20, GapCause::Network);
        [12, 20, 21].into_iter().for_each(|number| gap.arrived(number));
        ahead.withdraw(&mut gap, 15, 33);
        assert_eq!(ranges(&ahead), [20..22, 30..33, 40..50]);
        assert_eq!((gap.from, gap.count), (10, 5));
        assert_eq!(gap.missing().collect::<Vec<_>>(), [10..12, 13..15]);
        assert!(ahead.is_clear(20) && !ahead.is_clear(21));
        assert_eq!(ahead.first_from(31), Some(31..33));
        ahead.pass(32);
        assert_eq!(ranges(&ahead), [32..33, 40..50]);
    }

    #[test]
    fn what_is_read_ascends() {
        assert_eq!(ranges(&Ahead::of(&[(5, 8), (10, 12)]).unwrap()), [5..8, 10..12]);
        assert!(Ahead::of(&[(5, 8), (7, 9)]).is_none() && Ahead::of(&[(5, 5)]).is_none());
    }
}
