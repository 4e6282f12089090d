//! The prices of one side of a book, in order.
//!
//! The best [`NEAR`] levels rest in a small sorted array with the best at its end, where nearly all changes happen;
//! the others in an ordered map. So the touch costs a few neighbouring cells, and no level of a deep book costs more
//! than O(log n).
//!
//! A rank orders prices of both sides alike: greater is better ([`rank`]).

use std::collections::BTreeMap;

use bus::event::{Price, Side};

/// Levels in the array.
const NEAR: usize = 64;
/// Levels from the best that are looked at one by one.
const TOUCH: usize = 8;

/// Where a price stands on its side: greater is better.
pub(crate) fn rank(side: Side, price: Price) -> i64 {
    // `!` reverses the order without overflow.
    if side == Side::SELL { !price.0 } else { price.0 }
}

/// The price of a rank.
pub(crate) fn price(side: Side, rank: i64) -> Price {
    Price(if side == Side::SELL { !rank } else { rank })
}

/// A level of the array.
#[derive(Clone, Copy)]
struct Near {
    rank: i64,
    level: u32,
}

/// Level slots by rank.
#[derive(Clone, Default)]
pub(crate) struct Ladder {
    /// Ascending, the best last.
    near: Vec<Near>,
    /// All worse than the array's; empty where the array is.
    far: BTreeMap<i64, u32>,
}

impl Ladder {
    pub(crate) fn len(&self) -> usize {
        self.near.len() + self.far.len()
    }

    /// The slot of the best level.
    pub(crate) fn best(&self) -> Option<u32> {
        self.near.last().map(|near| near.level)
    }

    /// All level slots, from the best.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.near.iter().rev().map(|near| near.level).chain(self.far.values().rev().copied())
    }

    /// The level of `rank`; where there is none, the one that `create` gives.
    #[inline]
    pub(crate) fn find_or_insert(&mut self, rank: i64, create: impl FnOnce() -> u32) -> u32 {
        let place = self.place(rank);
        match place.checked_sub(1).map(|cell| self.near[cell]) {
            Some(near) if near.rank == rank => near.level,
            None if !self.far.is_empty() => *self.far.entry(rank).or_insert_with(create),
            _ => {
                let level = create();
                self.insert_near(place, Near { rank, level });
                level
            }
        }
    }

    /// Cells of the array that are not better than `rank`.
    #[inline]
    fn place(&self, rank: i64) -> usize {
        let touch = self.near.len().saturating_sub(TOUCH);
        match self.near[touch..].iter().rposition(|near| near.rank <= rank) {
            Some(place) => touch + place + 1,
            None => self.near[..touch].partition_point(|near| near.rank <= rank),
        }
    }

    fn insert_near(&mut self, place: usize, new: Near) {
        if self.near.len() < NEAR {
            self.near.insert(place, new);
        } else if place == 0 {
            self.far.insert(new.rank, new.level);
        } else {
            self.far.insert(self.near[0].rank, self.near[0].level);
            self.near.copy_within(1..place, 0);
            self.near[place - 1] = new;
        }
    }

    /// Takes the level of `rank` away.
    #[inline]
    pub(crate) fn remove(&mut self, rank: i64) {
        let place = self.place(rank);
        if place == 0 {
            self.far.remove(&rank);
            return;
        }
        self.near.remove(place - 1);
        if self.near.len() < NEAR / 4 && !self.far.is_empty() {
            self.refill();
        }
    }

    /// Brings the best of the far levels near.
    #[cold]
    fn refill(&mut self) {
        for _ in 0..NEAR / 4 {
            let Some((rank, level)) = self.far.pop_last() else { return };
            self.near.insert(0, Near { rank, level });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// A ladder holds what an ordered map holds, in the same order.
        #[test]
        fn agrees_with_an_ordered_map(steps in proptest::collection::vec((any::<bool>(), -150i64..150), 0..1_500)) {
            let (mut ladder, mut model) = (Ladder::default(), BTreeMap::new());
            for (next, (add, rank)) in (1..).zip(steps) {
                if add {
                    let level = *model.entry(rank).or_insert(next);
                    prop_assert_eq!(ladder.find_or_insert(rank, || next), level);
                } else if model.remove(&rank).is_some() {
                    ladder.remove(rank);
                }
                prop_assert_eq!(ladder.best(), model.values().last().copied());
                prop_assert_eq!(ladder.len(), model.len());
            }
            prop_assert!(ladder.iter().eq(model.values().rev().copied()));
        }
    }

    #[test]
    fn ranks_order_both_sides_from_worst_to_best() {
        assert!(rank(Side::BUY, Price(2)) > rank(Side::BUY, Price(1)));
        assert!(rank(Side::SELL, Price(1)) > rank(Side::SELL, Price(2)));
        for value in [i64::MIN, -1, 0, i64::MAX] {
            assert_eq!(price(Side::SELL, rank(Side::SELL, Price(value))), Price(value));
        }
    }
}
