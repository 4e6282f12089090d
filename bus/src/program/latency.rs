//! Latencies: recorded in a histogram of three significant digits, printed as percentiles.

use hdrhistogram::Histogram;
use serde::ser::{Serialize, SerializeStruct, Serializer};

/// Longest latency that is told apart, an hour; longer ones count as that long, but for the maximum.
const LONGEST_NS: u64 = 3_600_000_000_000;

/// Records latencies in nanoseconds. Recording does not allocate.
#[derive(Debug, Clone)]
pub struct Latencies {
    histogram: Histogram<u64>,
    min: u64,
    max: u64,
}

/// What is printed of latencies, in nanoseconds. Percentiles are exact to 0.1 %. Where nothing was recorded all is 0 here,
/// and null in JSON but for the count: there is no latency, and no fast one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LatencySummary {
    /// Latencies recorded.
    pub count: u64,
    /// Smallest.
    pub min: u64,
    /// Median.
    pub p50: u64,
    /// 90 % are at most this.
    pub p90: u64,
    /// 99 % are at most this.
    pub p99: u64,
    /// 99.9 % are at most this.
    pub p99_9: u64,
    /// 99.99 % are at most this.
    pub p99_99: u64,
    /// Largest.
    pub max: u64,
}

impl LatencySummary {
    /// A figure of it, if anything was recorded.
    pub fn known(&self, figure: u64) -> Option<u64> {
        (self.count > 0).then_some(figure)
    }
}

impl Serialize for LatencySummary {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { count, min, p50, p90, p99, p99_9, p99_99, max } = *self;
        let mut object = serializer.serialize_struct("LatencySummary", 8)?;
        object.serialize_field("count", &count)?;
        object.serialize_field("min", &self.known(min))?;
        object.serialize_field("p50", &self.known(p50))?;
        object.serialize_field("p90", &self.known(p90))?;
        object.serialize_field("p99", &self.known(p99))?;
        object.serialize_field("p99_9", &self.known(p99_9))?;
        object.serialize_field("p99_99", &self.known(p99_99))?;
        object.serialize_field("max", &self.known(max))?;
        object.end()
    }
}

impl Default for Latencies {
    fn default() -> Self {
        Self::new()
    }
}

impl Latencies {
    /// Nothing recorded yet. Takes about a quarter of a mebibyte.
    pub fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("constant bounds are valid");
        Self { histogram, min: u64::MAX, max: 0 }
    }

    /// Records one latency.
    pub fn record(&mut self, nanoseconds: u64) {
        self.histogram.saturating_record(nanoseconds.min(LONGEST_NS));
        self.min = self.min.min(nanoseconds);
        self.max = self.max.max(nanoseconds);
    }

    /// Records all that `other` has recorded.
    pub fn add(&mut self, other: &Self) {
        self.histogram.add(&other.histogram).expect("equal bounds");
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// Latencies recorded.
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// The percentiles so far.
    pub fn summary(&self) -> LatencySummary {
        if self.count() == 0 {
            return LatencySummary::default();
        }
        let at = |quantile: f64| self.histogram.value_at_quantile(quantile).clamp(self.min, self.max);
        LatencySummary {
            count: self.count(),
            min: self.min,
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            p99_99: at(0.9999),
            max: self.max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_recorded_is_all_zero() {
        assert_eq!(Latencies::new().summary(), LatencySummary::default());
    }

    #[test]
    fn percentiles_are_ordered_and_the_ends_exact() {
        let mut latencies = Latencies::new();
        (1..=100_000).for_each(|ns| latencies.record(ns));
        let found = latencies.summary();
        assert_eq!((found.count, found.min, found.max), (100_000, 1, 100_000));
        for (value, want) in
            [(found.p50, 50_000), (found.p90, 90_000), (found.p99, 99_000), (found.p99_9, 99_900)]
        {
            assert!(u64::abs_diff(value, want) <= want / 1000 + 1, "{value} for {want}");
        }
    }

    #[test]
    fn longer_than_an_hour_is_kept_as_the_maximum() {
        let (mut latencies, mut more) = (Latencies::new(), Latencies::new());
        latencies.record(0);
        more.record(u64::MAX);
        latencies.add(&more);
        let found = latencies.summary();
        assert_eq!((found.count, found.min, found.max), (2, 0, u64::MAX));
    }

    #[test]
    fn its_json_has_the_promised_fields() {
        let json = |latencies: &Latencies| serde_json::to_string(&latencies.summary()).unwrap();
        let mut latencies = Latencies::new();
        let none = r#"{"count":0,"min":null,"p50":null,"p90":null,"p99":null,"p99_9":null,"p99_99":null,"max":null}"#;
        assert_eq!(json(&latencies), none);
        latencies.record(0);
        let one = r#"{"count":1,"min":0,"p50":0,"p90":0,"p99":0,"p99_9":0,"p99_99":0,"max":0}"#;
        assert_eq!(json(&latencies), one);
    }
}
