//! What was measured, as a table for people or as JSON.

use std::io::Write as _;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// All figures, in the order in which they were measured.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Table {
    figures: Vec<Figure>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Figure {
    what: String,
    unit: String,
    median: f64,
    /// The tenth and the ninetieth of a hundred, if it was measured more than once.
    spread: Option<(f64, f64)>,
    samples: usize,
}

impl Table {
    /// Adds what was measured several times; returns its median.
    pub(crate) fn add(&mut self, what: impl Into<String>, unit: &str, mut samples: Vec<f64>) -> f64 {
        assert!(!samples.is_empty(), "something was measured");
        samples.sort_by(f64::total_cmp);
        let at = |share: f64| samples[((samples.len() - 1) as f64 * share).round() as usize];
        let spread = (samples.len() > 1).then(|| (at(0.1), at(0.9)));
        let figure = Figure {
            what: what.into(),
            unit: unit.to_owned(),
            median: at(0.5),
            spread,
            samples: samples.len(),
        };
        let median = figure.median;
        say(&format!("  {}", figure.line(figure.what.len())));
        self.figures.push(figure);
        median
    }

    /// Adds durations, in milliseconds.
    pub(crate) fn add_times(&mut self, what: impl Into<String>, times: &[Duration]) -> f64 {
        self.add(what, "ms", times.iter().map(|time| time.as_secs_f64() * 1e3).collect())
    }

    /// Adds what another table has.
    pub(crate) fn append(&mut self, other: Self) {
        self.figures.extend(other.figures);
    }

    /// Prints all of it on standard output.
    pub(crate) fn print(&self, as_table: bool) {
        let text = if as_table {
            let width = self.figures.iter().map(|figure| figure.what.len()).max().unwrap_or(0);
            self.figures.iter().map(|figure| figure.line(width) + "\n").collect()
        } else {
            serde_json::to_string_pretty(self).expect("numbers and names") + "\n"
        };
        let _ = std::io::stdout().write_all(text.as_bytes());
    }
}

impl Figure {
    fn line(&self, width: usize) -> String {
        let spread = self.spread.map(|(low, high)| format!("  {} .. {}", short(low), short(high)));
        format!("{:width$}  {:>8} {}{}", self.what, short(self.median), self.unit, spread.unwrap_or_default())
    }
}

/// Three digits that count.
fn short(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        v if v >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// Progress, on standard error.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
