//! What positions held before some of their retained fills, so that a bust or correction computes its position again from
//! the nearest of these only, not from the oldest fill.
//!
//! Each follows from the fills and is left behind where a position is computed again; a position none of whose fills is ever
//! amended has none. So they are neither in a snapshot nor in a hash: a state without them gives the same, later.

use std::collections::BTreeMap;

use crate::position::Holding;

/// Fills of a position from one to the next: what is computed twice at most, against 80 bytes each.
const APART: usize = 256;

/// By position and place of the fill: what the position holds before it.
#[derive(Clone, Default)]
pub(crate) struct Checkpoints(BTreeMap<(u32, u64), Holding>);

/// Those that a position passes while it is computed again.
#[derive(Default)]
pub(crate) struct Passed {
    fills: usize,
    /// Places and what is held before them, in order.
    holdings: Vec<(u64, Holding)>,
}

impl Passed {
    /// The next fill stands at `place`, and this is held before it.
    pub(crate) fn pass(&mut self, place: impl FnOnce() -> u64, before: Holding) {
        if self.fills > 0 && self.fills.is_multiple_of(APART) {
            self.holdings.push((place(), before));
        }
        self.fills += 1;
    }
}

impl Checkpoints {
    /// The last one of a position that a change of the fill at `place` leaves as it is.
    pub(crate) fn before(&self, position: u32, place: u64) -> Option<(u64, Holding)> {
        let last = self.0.range((position, 0)..=(position, place)).next_back();
        last.map(|(&(_, place), &holding)| (place, holding))
    }

    /// A position was computed again from `place` on, where it began or has its last one that is still right.
    pub(crate) fn replace(&mut self, position: u32, place: u64, passed: Passed) {
        let behind = self.0.range((position, place + 1)..=(position, u64::MAX));
        let behind: Vec<_> = behind.map(|(key, _)| *key).collect();
        for key in behind {
            self.0.remove(&key);
        }
        self.0.extend(passed.holdings.into_iter().map(|(place, holding)| ((position, place), holding)));
    }

    /// The fill at `place` is no longer retained.
    pub(crate) fn forget(&mut self, position: u32, place: u64) {
        self.0.remove(&(position, place));
    }
}
