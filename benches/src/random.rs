//! Numbers that are the same on every machine.

/// Marsaglia's xorshift64*: the same flow on every machine.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// 0, 1, 2 … each half as likely as `mean` steps before.
    pub(crate) fn distance(&mut self, mean: u64) -> u64 {
        let uniform = self.below(1 << 20) + 1;
        ((20 - u64::from(uniform.ilog2())) * mean + self.below(mean)) / 2
    }
}
