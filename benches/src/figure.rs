//! A measured figure and the form in which it is printed.

use bus::program::{Failure, print_json, print_line};
use serde_json::json;

/// One row of a result: a figure, and its ratio to something measured in the same run.
#[derive(Debug, Clone)]
pub(crate) struct Figure {
    pub(crate) figure: &'static str,
    pub(crate) system: String,
    pub(crate) unit: &'static str,
    pub(crate) value: f64,
    /// What it is compared with, and the ratio.
    pub(crate) ratio: Option<(&'static str, f64)>,
}

impl Figure {
    /// Prints it as a line of a table, or as a JSON object.
    pub(crate) fn print(&self, as_json: bool) -> Result<(), Failure> {
        let Self { figure, system, unit, value, ratio } = self;
        let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
        if as_json {
            return print_json(&json!({
                "figure": figure, "system": system, "unit": unit, "value": rounded(*value),
                "ratio_to": ratio.map(|(to, _)| to), "ratio": ratio.map(|(_, ratio)| rounded(ratio)),
            }));
        }
        let compared = ratio.map_or(String::new(), |(to, ratio)| format!("{ratio:>8.2} × {to}"));
        print_line(&format!("{figure:<28} {system:<12} {value:>14.1} {unit:<10} {compared}"))
    }
}

/// The middle value; 0 of nothing.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}
