//! The venue session that the books belong to, and what is missing of it.

use std::collections::BTreeMap;

use bus::event::{Text, market};

use crate::book::Change;

/// Open gaps at most that are told apart.
pub const MAX_GAPS: usize = 1 << 16;
/// Changes at most that wait for the orders that a gap holds.
pub(crate) const MAX_WAITING: usize = 1 << 16;

/// A venue session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Identity {
    /// Name of the session; blank before the first.
    pub session: Text<16>,
    /// Date as the number YYYYMMDD, or 0.
    pub date: u32,
    /// Whether the venue has ended it.
    pub ended: bool,
}

/// Identity and open gaps.
#[derive(Clone, Default)]
pub(crate) struct Session {
    pub(crate) identity: Identity,
    /// Disjoint lost ranges: first venue sequence, and the one after the last.
    pub(crate) gaps: BTreeMap<u64, u64>,
    /// Some loss can no longer be repaired: stale until a new session.
    pub(crate) broken: bool,
    /// Changes of orders that nobody knows, met while a gap is open: the gap may hold the orders.
    pub(crate) waiting: Vec<(u64, Change)>,
}

impl Session {
    /// Of one that is taken up again behind another one, the books lack what came before.
    pub(crate) fn begin(start: &market::Session) -> Self {
        Self {
            identity: Identity { session: start.session, date: start.date, ended: false },
            broken: start.venue_sequence > 1,
            ..Self::default()
        }
    }

    /// Whether the books may differ from the venue's.
    pub(crate) fn is_stale(&self) -> bool {
        self.broken || !self.gaps.is_empty()
    }

    /// Notes that messages from `first` to before `end` are lost; false if there are too many gaps to tell apart.
    pub(crate) fn open(&mut self, mut first: u64, mut end: u64) -> bool {
        while let Some((&from, &to)) = self.gaps.range(..=end).next_back().filter(|&(_, &to)| to >= first) {
            self.gaps.remove(&from);
            (first, end) = (first.min(from), end.max(to));
        }
        if self.gaps.len() >= MAX_GAPS {
            self.broken = true;
            return false;
        }
        self.gaps.insert(first, end);
        true
    }

    /// Notes that a range has arrived after all, or was never sent; false if nothing of it was open.
    pub(crate) fn close(&mut self, first: u64, end: u64) -> bool {
        let mut found = false;
        while let Some((&from, &to)) = self.gaps.range(..end).next_back().filter(|&(_, &to)| to > first) {
            found = true;
            self.gaps.remove(&from);
            if from < first {
                self.gaps.insert(from, first);
            }
            if to > end {
                self.gaps.insert(end, to);
            }
        }
        found
    }

    /// Keeps a change until the gaps are closed; false if no gap is open or there are too many.
    pub(crate) fn wait(&mut self, order: u64, change: Change) -> bool {
        if self.gaps.is_empty() {
            return false;
        }
        if self.waiting.len() >= MAX_WAITING {
            self.broken = true;
            return false;
        }
        self.waiting.push((order, change));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        /// Open gaps are the set of missing numbers.
        #[test]
        fn gaps_are_a_set(steps in proptest::collection::vec((any::<bool>(), 0u64..60, 1u64..9), 0..60)) {
            let (mut session, mut missing) = (Session::default(), BTreeSet::new());
            for (open, first, count) in steps {
                let range = first..first + count;
                if open {
                    prop_assert!(session.open(first, range.end));
                    missing.extend(range);
                } else {
                    let met = range.clone().any(|number| missing.contains(&number));
                    prop_assert_eq!(session.close(first, range.end), met);
                    missing.retain(|number| !range.contains(number));
                }
                let open: BTreeSet<u64> = session.gaps.iter().flat_map(|(&from, &to)| from..to).collect();
                prop_assert_eq!(&open, &missing);
                prop_assert_eq!(session.is_stale(), !missing.is_empty());
            }
        }
    }

    #[test]
    fn more_gaps_than_can_be_told_apart_stay_open() {
        let mut session = Session::default();
        for n in 0..MAX_GAPS as u64 {
            assert!(session.open(n * 2, n * 2 + 1));
        }
        assert!(!session.open(u64::MAX - 1, u64::MAX));
        assert!(session.close(0, u64::MAX));
        assert!(session.is_stale());
    }
}
