//! A measured figure and the form in which it is printed.

use bus::program::{Failure, LatencySummary, print_json, print_line};
use serde_json::json;

/// What a figure is compared with, measured in the same run, and the ratio.
pub(crate) type Compared = Option<(&'static str, f64)>;

/// One row of a result: a figure, and its ratio to something measured in the same run.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    pub(crate) figure: &'static str,
    pub(crate) system: String,
    pub(crate) unit: &'static str,
    pub(crate) value: f64,
    pub(crate) ratio: Compared,
}

impl Figure {
    /// Prints it as a line of a table, or as a JSON object.
    pub(crate) fn print(&self, as_json: bool) -> Result<(), Failure> {
        let Self { figure, system, unit, value, ratio } = self;
        if as_json {
            return print_json(&json!({
                "figure": figure, "system": system, "unit": unit, "value": rounded(*value),
                "ratio_to": ratio.map(|(to, _)| to), "ratio": ratio.map(|(_, ratio)| rounded(ratio)),
            }));
        }
        print_line(&format!("{figure:<34} {system:<12} {value:>14.1} {unit:<10} {}", compared(*ratio)))
    }
}

/// Latencies in nanoseconds, recorded each; in a table they are printed in microseconds.
#[derive(Debug, Clone)]
pub(crate) struct LatencyFigure {
    pub(crate) figure: &'static str,
    pub(crate) system: &'static str,
    pub(crate) latency: LatencySummary,
    /// Of the medians.
    pub(crate) ratio: Compared,
}

impl LatencyFigure {
    /// Prints the line that names the columns; nothing where the output is JSON.
    pub(crate) fn print_head(as_json: bool) -> Result<(), Failure> {
        if as_json {
            return Ok(());
        }
        let columns =
            ["count", "p50", "p90", "p99", "p99.9", "max"].map(|name| format!("{name:>10}")).concat();
        print_line(&format!("{:<34} {:<12} {columns}", "µs", ""))
    }

    /// Prints it as a line of a table, or as a JSON object.
    pub(crate) fn print(&self, as_json: bool) -> Result<(), Failure> {
        let Self { figure, system, latency, ratio } = self;
        if as_json {
            return print_json(&json!({
                "figure": figure, "system": system, "unit": "ns", "latency": latency,
                "ratio_to": ratio.map(|(to, _)| to), "ratio": ratio.map(|(_, ratio)| rounded(ratio)),
            }));
        }
        let LatencySummary { count, p50, p90, p99, p99_9, max, .. } = *latency;
        let columns = [p50, p90, p99, p99_9, max].map(|ns| format!("{:>10.1}", ns as f64 / 1e3)).concat();
        print_line(&format!("{figure:<34} {system:<12} {count:>10}{columns} {}", compared(*ratio)))
    }
}

fn compared(ratio: Compared) -> String {
    ratio.map_or(String::new(), |(to, ratio)| format!("{ratio:>8.2} × {to}"))
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// The middle value; 0 of nothing.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// How many times the other's median this one's is; none where one recorded nothing.
pub(crate) fn ratio_of_medians(of: &LatencySummary, to: &'static str, other: &LatencySummary) -> Compared {
    (of.p50 > 0 && other.p50 > 0).then(|| (to, of.p50 as f64 / other.p50 as f64))
}
