//! From a key to a slot: a hash table in cache lines, with a bound on every step whatever keys an outsider chooses.
//!
//! A bucket is one cache line of seven (tag, slot) cells. A key rests in its home bucket or one of the next
//! [`REACH`] − 1; each bucket counts the keys that passed it for lack of room, so that a search ends where none did
//! and a removal leaves no tombstone (the scheme of Folly's F14). Keys that find no room in reach although the table
//! is nearly empty were crafted: they go to an ordered map, so that no choice of keys costs more than O(log n).
//!
//! Neighbouring keys share a line, as venues count their order references. The table is split into shards that grow
//! one by one: no growth moves more than a small part of it.

use std::collections::BTreeMap;

/// No slot; slabs keep their slot 0 unused.
pub(crate) const NONE: u32 = 0;

const CELLS: usize = 7;
/// Buckets in which a key may rest.
const REACH: usize = 8;
const SHARD_BITS: u32 = 6;

/// What can be looked up: ordered, and spread over 32 bits.
pub(crate) trait Key: Copy + Ord {
    /// A hash whose high bits are well spread.
    fn tag(self) -> u32;
}

/// 2^64 divided by the golden ratio: the high bits of a product with it are well spread, best of all for counters.
pub(crate) const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

impl Key for u64 {
    /// Four neighbours share the high 30 bits, hence their home.
    fn tag(self) -> u32 {
        let home = ((self >> 2).wrapping_mul(SPREAD) >> 34) as u32;
        (home << 2) | (self & 3) as u32
    }
}

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Bucket {
    tags: [u32; CELLS],
    /// Keys of this or an earlier home that rest further on.
    passed: u32,
    slots: [u32; CELLS],
    _unused: u32,
}

impl Bucket {
    const EMPTY: Self = Self { tags: [0; CELLS], passed: 0, slots: [NONE; CELLS], _unused: 0 };

    /// Cells that may hold the key of `tag`, one bit each. An empty cell may be among them.
    #[inline]
    fn candidates(&self, tag: u32) -> Cells {
        Cells::where_equal(&self.tags, tag)
    }

    /// The first empty cell.
    #[inline]
    fn room(&self) -> Option<usize> {
        Cells::where_equal(&self.slots, NONE).next()
    }
}

/// A set of cells of a bucket. All are compared before any is looked at: that is one comparison of vectors.
struct Cells(u32);

impl Cells {
    #[inline]
    fn where_equal(values: &[u32; CELLS], wanted: u32) -> Self {
        Self(
            values
                .iter()
                .enumerate()
                .fold(0, |set, (cell, &value)| set | (u32::from(value == wanted) << cell)),
        )
    }
}

impl Iterator for Cells {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let cell = self.0.trailing_zeros() as usize;
        self.0 &= self.0.wrapping_sub(1);
        (cell < CELLS).then_some(cell)
    }
}

/// 2^`bits` homes and `REACH` − 1 buckets behind the last.
#[derive(Clone)]
struct Shard<K> {
    buckets: Vec<Bucket>,
    bits: u32,
    used: usize,
    /// Keys without room in reach.
    crowded: BTreeMap<K, u32>,
}

impl<K: Key> Shard<K> {
    fn new(bits: u32) -> Self {
        Self {
            buckets: vec![Bucket::EMPTY; (1 << bits) + REACH - 1],
            bits,
            used: 0,
            crowded: BTreeMap::new(),
        }
    }

    fn reach(&mut self, tag: u32) -> &mut [Bucket] {
        let home = home(tag, self.bits);
        &mut self.buckets[home..home + REACH]
    }

    /// Room by the load that the table is made for.
    fn is_loaded(&self) -> bool {
        self.used > self.buckets.len() * CELLS * 5 / 8
    }

    fn is_nearly_empty(&self) -> bool {
        self.used < self.buckets.len() * CELLS / 8
    }

    /// Puts the key into the first bucket with room; false if there is none in reach.
    fn put(&mut self, tag: u32, slot: u32) -> bool {
        let reach = self.reach(tag);
        let Some((distance, cell)) =
            reach.iter().enumerate().find_map(|(i, bucket)| Some((i, bucket.room()?)))
        else {
            return false;
        };
        reach[distance].tags[cell] = tag;
        reach[distance].slots[cell] = slot;
        pass(&mut reach[..distance]);
        self.used += 1;
        true
    }

    /// Reads the key only where there is no room.
    fn put_or_crowd(&mut self, tag: u32, slot: u32, key: impl FnOnce() -> K) {
        if !self.put(tag, slot) {
            pass(self.reach(tag));
            self.crowded.insert(key(), slot);
        }
    }

    /// Doubles the shard.
    #[cold]
    fn grow(&mut self, key_of: impl Fn(u32) -> K) {
        let smaller = std::mem::replace(self, Self::new(self.bits + 1));
        for bucket in &smaller.buckets {
            for (&tag, &slot) in bucket.tags.iter().zip(&bucket.slots).filter(|&(_, &slot)| slot != NONE) {
                self.put_or_crowd(tag, slot, || key_of(slot));
            }
        }
        for (key, slot) in smaller.crowded {
            self.put_or_crowd(key.tag(), slot, || key);
        }
    }

    #[cold]
    fn remove_crowded(&mut self, key: K) -> u32 {
        let Some(slot) = self.crowded.remove(&key) else { return NONE };
        unpass(self.reach(key.tag()));
        slot
    }
}

fn pass(buckets: &mut [Bucket]) {
    for bucket in buckets {
        bucket.passed += 1;
    }
}

fn unpass(buckets: &mut [Bucket]) {
    for bucket in buckets {
        bucket.passed -= 1;
    }
}

fn home(tag: u32, bits: u32) -> usize {
    (u64::from(tag << SHARD_BITS) >> (32 - bits)) as usize
}

/// The table. Keys themselves rest in the caller's slab: `key_of` reads the key of a slot.
#[derive(Clone)]
pub(crate) struct Index<K> {
    shards: Vec<Shard<K>>,
}

impl<K: Key> Index<K> {
    pub(crate) fn new() -> Self {
        Self { shards: vec![Shard::new(1); 1 << SHARD_BITS] }
    }

    /// The slot of `key`, or [`NONE`].
    #[inline]
    pub(crate) fn find(&self, key: K, key_of: impl Fn(u32) -> K) -> u32 {
        let tag = key.tag();
        let shard = &self.shards[shard(tag)];
        let home = home(tag, shard.bits);
        for bucket in &shard.buckets[home..home + REACH] {
            for cell in bucket.candidates(tag) {
                let slot = bucket.slots[cell];
                if slot != NONE && key_of(slot) == key {
                    return slot;
                }
            }
            if bucket.passed == 0 {
                return NONE;
            }
        }
        shard.crowded.get(&key).copied().unwrap_or(NONE)
    }

    /// Adds `key`, which must not be in the table.
    #[inline]
    pub(crate) fn insert(&mut self, key: K, slot: u32, key_of: impl Fn(u32) -> K) {
        let tag = key.tag();
        let shard = &mut self.shards[shard(tag)];
        if shard.is_loaded() {
            shard.grow(&key_of);
        }
        if !shard.put(tag, slot) {
            if !shard.is_nearly_empty() {
                shard.grow(&key_of);
            }
            shard.put_or_crowd(tag, slot, || key);
        }
    }

    /// Removes `key`; its slot, or [`NONE`] if it was not there.
    #[inline]
    pub(crate) fn remove(&mut self, key: K, key_of: impl Fn(u32) -> K) -> u32 {
        let tag = key.tag();
        let shard = &mut self.shards[shard(tag)];
        let reach = shard.reach(tag);
        for distance in 0..REACH {
            let bucket = &mut reach[distance];
            for cell in bucket.candidates(tag) {
                let slot = bucket.slots[cell];
                if slot != NONE && key_of(slot) == key {
                    bucket.slots[cell] = NONE;
                    unpass(&mut reach[..distance]);
                    shard.used -= 1;
                    return slot;
                }
            }
            if bucket.passed == 0 {
                return NONE;
            }
        }
        shard.remove_crowded(key)
    }
}

fn shard(tag: u32) -> usize {
    (tag >> (32 - SHARD_BITS)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A key and what it is asked to do.
    fn steps(keys: impl Strategy<Value = u64>) -> impl Strategy<Value = Vec<(bool, u64)>> {
        proptest::collection::vec((any::<bool>(), keys), 0..2_000)
    }

    /// The index says what an ordered map says, whatever is added and removed.
    fn agrees(steps: Vec<(bool, u64)>) {
        let (mut index, mut model, mut keys) = (Index::new(), BTreeMap::new(), vec![0u64]);
        for (add, key) in steps {
            let found = index.find(key, |slot| keys[slot as usize]);
            assert_eq!(found, model.get(&key).copied().unwrap_or(NONE));
            if add && found == NONE {
                let slot = keys.len() as u32;
                keys.push(key);
                model.insert(key, slot);
                index.insert(key, slot, |slot| keys[slot as usize]);
            } else if !add {
                assert_eq!(index.remove(key, |slot| keys[slot as usize]), model.remove(&key).unwrap_or(NONE));
            }
        }
        for (&key, &slot) in &model {
            assert_eq!(index.find(key, |slot| keys[slot as usize]), slot);
        }
        let held: usize = index.shards.iter().map(|shard| shard.used + shard.crowded.len()).sum();
        assert_eq!(held, model.len());
    }

    proptest! {
        #[test]
        fn neighbours(steps in steps(0u64..600)) {
            agrees(steps);
        }

        #[test]
        fn any_keys(steps in steps(prop_oneof![any::<u64>(), 0u64..64])) {
            agrees(steps);
        }

        #[test]
        fn crafted_keys(steps in steps((0u64..400).prop_map(crafted))) {
            agrees(steps);
        }
    }

    /// Keys of one home: multiples of 4 times the inverse of the multiplier have products with equal high bits.
    fn crafted(n: u64) -> u64 {
        let mut inverse = SPREAD;
        for _ in 0..6 {
            inverse = inverse.wrapping_mul(2u64.wrapping_sub(SPREAD.wrapping_mul(inverse)));
        }
        (n.wrapping_mul(inverse) & (u64::MAX >> 2)) << 2
    }

    #[test]
    fn crafted_keys_cost_memory_in_proportion_only() {
        let keys: Vec<u64> = (0..100_000).map(crafted).collect();
        let mut index = Index::new();
        for (i, &key) in keys.iter().enumerate().skip(1) {
            index.insert(key, i as u32, |slot| keys[slot as usize]);
        }
        let buckets: usize = index.shards.iter().map(|shard| shard.buckets.len()).sum();
        assert!(buckets < keys.len(), "{buckets} buckets");
        assert!(
            keys.iter()
                .enumerate()
                .skip(1)
                .all(|(i, &key)| index.find(key, |slot| keys[slot as usize]) == i as u32)
        );
    }
}
