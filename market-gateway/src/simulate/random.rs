//! Numbers that look random and depend on their seed alone, on every machine and in every version.

/// A sequence of numbers: SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014).
#[derive(Debug, Clone)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        scramble(self.0)
    }

    /// A number from 0 to `bound` − 1; 0 if `bound` is 0.
    pub(super) fn below(&mut self, bound: u32) -> u32 {
        // The high half of the product is below the bound; its bias is far below what a simulation shows.
        ((u64::from(self.next() as u32) * u64::from(bound)) >> 32) as u32
    }

    /// True `count` times in `of`, on average.
    pub(super) fn chance(&mut self, count: u32, of: u32) -> bool {
        self.below(of) < count
    }
}

/// A number that depends on all of `parts` and their order.
pub(super) fn mix(parts: &[u64]) -> u64 {
    parts
        .iter()
        .fold(0, |sum, &part| scramble(sum ^ part.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_add(1))
}

fn scramble(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_the_published_one() {
        let mut random = Random::new(1_234_567);
        let first = [random.next(), random.next(), random.next()];
        assert_eq!(first, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }

    #[test]
    fn draws_stay_below_their_bound_and_reach_it() {
        let mut random = Random::new(7);
        let mut seen = [0u32; 10];
        for _ in 0..1_000 {
            seen[random.below(10) as usize] += 1;
        }
        assert!(seen.iter().all(|&count| count > 50), "{seen:?}");
        assert_eq!(random.below(0), 0);
    }

    #[test]
    fn mixing_depends_on_each_part_and_their_order() {
        let mixed = [mix(&[]), mix(&[0]), mix(&[1]), mix(&[0, 1]), mix(&[1, 0]), mix(&[0, 0])];
        for (i, a) in mixed.iter().enumerate() {
            assert!(mixed[i + 1..].iter().all(|b| a != b), "{mixed:?}");
        }
    }
}
