//! What a run found, as small text that people review: a line for each cell, sorted, without anything that differs from
//! run to run of the same programs.
//!
//! [`compare`](crate::report::compare) compares two of them, wherever they come from: from such a file or straight
//! from a run's results.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Deserialize;
use serde_spanned::Spanned;

use crate::model::problem::{Checker, Problems};
use crate::model::statistics::Count;
use crate::report::escape::harmless;
use crate::report::results::{CellDoc, OutcomeDoc, PunchCell, Results, VerdictDoc};

/// Version of the format.
const SCHEMA: u32 = 2;

/// The oldest version that is read: its cells do not say which others they are like.
const OLDEST: u32 = 1;

/// What a run found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Baseline {
    /// Name of the suite.
    pub suite: String,
    /// Release of the kernel.
    pub kernel: String,
    /// What was found in each cell, by its id.
    pub cells: BTreeMap<String, Record>,
    /// What each check of the kernel saw, by its id.
    pub checks: BTreeMap<String, String>,
}

/// What was found in a cell.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Record {
    /// Trials that passed.
    pub passed: u64,
    /// Trials that failed.
    pub failed: u64,
    /// Trials that were neither, or 1 where the cell could not be run: nothing can be said of it. Never in a file.
    pub broken: u64,
    /// Trials that were asked for and not made. Never in a file.
    pub unfinished: u64,
    /// The cells that it is like; empty where that is not known.
    pub group: String,
    /// One way from peer to peer, in milliseconds.
    pub trip_ms: f64,
    /// How long it took until both ends were established, in trips, of each trial that passed; in order.
    pub trips: Vec<f64>,
    /// How often each cause of failure was seen.
    pub causes: BTreeMap<String, usize>,
    /// How often each way of winning was seen.
    pub won_by: BTreeMap<String, usize>,
}

impl Record {
    /// Passed, of those that passed or failed.
    #[must_use]
    pub fn count(&self) -> Count {
        Count { passed: self.passed, tried: self.passed + self.failed }
    }
}

impl From<&Results> for Baseline {
    fn from(results: &Results) -> Self {
        let checks = results.cells.iter().filter_map(|cell| match cell {
            CellDoc::Kernel(check) if check.verdict != VerdictDoc::Error => {
                Some((check.id.clone(), check.observed.clone()))
            }
            CellDoc::Punch(_) | CellDoc::Proof(_) | CellDoc::Kernel(_) => None,
        });
        Self {
            suite: results.suite.clone(),
            kernel: results.kernel.clone(),
            cells: results.punches().map(|cell| (cell.id.clone(), Record::from(cell))).collect(),
            checks: checks.collect(),
        }
    }
}

impl From<&PunchCell> for Record {
    fn from(cell: &PunchCell) -> Self {
        let passed = cell.each.iter().filter(|trial| trial.outcome == OutcomeDoc::Passed);
        let trip = cell.trip_ms.max(f64::MIN_POSITIVE);
        let mut trips: Vec<f64> =
            passed.filter_map(|trial| Some(two_digits(trial.established_ms? / trip))).collect();
        trips.sort_by(f64::total_cmp);
        Self {
            passed: cell.passed as u64,
            failed: cell.failed as u64,
            broken: if cell.verdict == VerdictDoc::Error { (cell.error as u64).max(1) } else { 0 },
            unfinished: cell.asked.saturating_sub(cell.trials) as u64,
            group: cell.group.clone(),
            trip_ms: cell.trip_ms,
            trips,
            causes: cell.causes.clone(),
            won_by: cell.won_by.clone(),
        }
    }
}

/// Rounded to two digits that count: what differs less is the machine's doing, and equal times share a place.
fn two_digits(trips: f64) -> f64 {
    if !trips.is_finite() || trips <= 0.0 {
        return 0.0;
    }
    // By text, so that the number is the one that the file will name.
    format!("{trips:.1e}").parse().unwrap_or(trips)
}

impl Baseline {
    /// The text of the file.
    #[must_use]
    pub fn to_text(&self) -> String {
        let (suite, kernel) = (quoted(&self.suite), quoted(&self.kernel));
        let mut out = format!(
            "# What the suite {suite} found. Compare a run with it: testbed run SUITE --baseline FILE\n\
             # Accept what a later run found: testbed baseline update RUN FILE\n\
             schema = {SCHEMA}\nsuite = {suite}\nkernel = {kernel}\n"
        );
        if !self.cells.is_empty() {
            out.push_str("\n[cells]\n");
        }
        for (id, record) in &self.cells {
            let _ = writeln!(out, "{} = {}", quoted(id), record.to_text());
        }
        if !self.checks.is_empty() {
            out.push_str("\n[checks]\n");
        }
        for (id, seen) in &self.checks {
            let _ = writeln!(out, "{} = {}", quoted(id), quoted(seen));
        }
        out
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(file: &str, text: &str) -> Result<Self, Problems> {
        let mut checker = Checker::new(file, text);
        let read: File = checker.read()?;
        if !(OLDEST..=SCHEMA).contains(read.schema.as_ref()) {
            let schema = read.schema.as_ref();
            let message = format!("it has schema {schema}, and this testbed reads {OLDEST} to {SCHEMA}");
            checker.report(read.schema.span(), message);
        }
        let mut cells = BTreeMap::new();
        for (id, line) in read.cells {
            let span = line.span();
            if let Some(record) = checker.keep(span, line.into_inner().record()) {
                cells.insert(id, record);
            }
        }
        checker.finish(Some(Self { suite: read.suite, kernel: read.kernel, cells, checks: read.checks }))
    }

    /// Adds the trials of another run of the same suite to what is known.
    pub fn add(&mut self, other: Self) {
        self.kernel = other.kernel;
        for (id, more) in other.cells {
            let known = self.cells.entry(id).or_default();
            known.passed += more.passed;
            known.failed += more.failed;
            known.trip_ms = more.trip_ms;
            known.group = more.group;
            known.trips.extend(more.trips);
            known.trips.sort_by(f64::total_cmp);
            more.causes.into_iter().for_each(|(cause, n)| *known.causes.entry(cause).or_default() += n);
            more.won_by.into_iter().for_each(|(way, n)| *known.won_by.entry(way).or_default() += n);
        }
        self.checks.extend(other.checks);
    }
}

impl Record {
    fn to_text(&self) -> String {
        let mut parts = vec![format!("passed = {}", self.passed), format!("failed = {}", self.failed)];
        if !self.group.is_empty() {
            parts.push(format!("group = {}", quoted(&self.group)));
        }
        parts.push(format!("trip-ms = {}", self.trip_ms));
        if !self.trips.is_empty() {
            parts.push(format!("trips = \"{}\"", runs(&self.trips)));
        }
        for (key, counts) in [("won-by", &self.won_by), ("causes", &self.causes)] {
            let counts: Vec<_> = counts.iter().map(|(what, n)| format!("{} = {n}", quoted(what))).collect();
            if !counts.is_empty() {
                parts.push(format!("{key} = {{ {} }}", counts.join(", ")));
            }
        }
        format!("{{ {} }}", parts.join(", "))
    }
}

/// `2.1*18 2.2 2.4`: equal times once, with their number.
fn runs(trips: &[f64]) -> String {
    let equal = trips.chunk_by(|a, b| a.total_cmp(b).is_eq());
    let run = |same: &[f64]| match same.len() {
        1 => same[0].to_string(),
        n => format!("{}*{n}", same[0]),
    };
    equal.map(run).collect::<Vec<_>>().join(" ")
}

/// A TOML string on one line, whatever is in it.
fn quoted(text: &str) -> String {
    toml::Value::String(harmless(text).into_owned()).to_string()
}

/// The file as TOML.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    schema: Spanned<u32>,
    suite: String,
    kernel: String,
    #[serde(default)]
    cells: BTreeMap<String, Spanned<Line>>,
    #[serde(default)]
    checks: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Line {
    passed: u64,
    failed: u64,
    #[serde(default)]
    group: String,
    trip_ms: f64,
    #[serde(default)]
    trips: String,
    #[serde(default)]
    causes: BTreeMap<String, usize>,
    #[serde(default)]
    won_by: BTreeMap<String, usize>,
}

impl Line {
    fn record(self) -> Result<Record, String> {
        let Self { passed, failed, group, trip_ms, trips, causes, won_by } = self;
        let mut times = Vec::new();
        for run in trips.split_whitespace() {
            times
                .extend(read_run(run).ok_or_else(|| {
                    format!("\"{run}\" is no time in one-way delays (trips), as in 2.1*18")
                })?);
        }
        times.sort_by(f64::total_cmp);
        if times.len() as u64 > passed {
            return Err(format!("{} times are named, and {passed} trials passed", times.len()));
        }
        if !(trip_ms.is_finite() && trip_ms >= 0.0) {
            return Err(format!("trip-ms must not be {trip_ms}"));
        }
        Ok(Record { passed, failed, group, trip_ms, trips: times, causes, won_by, ..Record::default() })
    }
}

/// More times than this are a damaged file.
const MOST_TIMES: usize = 1_000_000;

fn read_run(text: &str) -> Option<Vec<f64>> {
    let (time, count) = text.split_once('*').unwrap_or((text, "1"));
    let time: f64 = time.parse().ok().filter(|time: &f64| time.is_finite() && *time >= 0.0)?;
    let count: usize = count.parse().ok().filter(|count| (1..=MOST_TIMES).contains(count))?;
    Some(vec![time; count])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::results;

    #[test]
    fn a_run_is_a_line_for_each_cell() {
        insta::assert_snapshot!(Baseline::from(&results()).to_text(), @r#"
        # What the suite "sample" found. Compare a run with it: testbed run SUITE --baseline FILE
        # Accept what a later run found: testbed baseline update RUN FILE
        schema = 2
        suite = "sample"
        kernel = "6.18"

        [cells]
        "even/even/auto" = { passed = 3, failed = 0, group = "predictable + predictable, auto", trip-ms = 10, trips = "2*3", won-by = { "simultaneous-open: SYNs crossed" = 3 } }
        "even/odd/auto" = { passed = 2, failed = 1, group = "predictable + predictable, auto", trip-ms = 10, trips = "2*2", won-by = { "simultaneous-open: SYNs crossed" = 2 }, causes = { "predicted port wrong" = 1 } }
        "odd/even/auto" = { passed = 0, failed = 3, group = "predictable + predictable, auto", trip-ms = 10, causes = { "predicted port wrong" = 3 } }
        "odd/odd/auto" = { passed = 0, failed = 0, group = "predictable + predictable, auto", trip-ms = 10 }
        "#);
    }

    #[test]
    fn what_is_written_reads_back() {
        let baseline = Baseline::from(&results());
        let mut expected = baseline.clone();
        // What was broken or interrupted is not recorded.
        expected.cells.values_mut().for_each(|record| (record.broken, record.unfinished) = (0, 0));
        assert_eq!(Baseline::parse("b.toml", &baseline.to_text()), Ok(expected));
    }

    #[test]
    fn damage_is_named_with_its_line() {
        let good = Baseline::from(&results()).to_text();
        let spoiled = |from: &str, to: &str| {
            let bad = good.replacen(from, to, 1);
            assert_ne!(bad, good, "{from}");
            Baseline::parse("b.toml", &bad).expect_err(to).to_string()
        };
        for (from, to, said) in [
            ("schema = 2", "schema = 9", "b.toml:3: it has schema 9, and this testbed reads 1 to 2"),
            ("suite = ", "suit = ", "b.toml:4: unknown key \"suit\""),
            ("2*3", "2*x", "b.toml:8: \"2*x\" is no time in one-way delays (trips), as in 2.1*18"),
            ("2*3", "2*4", "b.toml:8: 4 times are named, and 3 trials passed"),
            ("passed = 3", "passed = -3", "b.toml:8: "),
            ("failed = 0", "failed = 0, lost = 1", "b.toml:8: unknown key \"lost\""),
            ("[cells]", "[cells", "b.toml:7: "),
        ] {
            let message = spoiled(from, to);
            assert!(message.starts_with(said), "expected {said}\nobserved {message}");
        }
    }

    #[test]
    fn a_file_of_the_first_version_is_read_without_groups() {
        let baseline = Baseline::from(&results());
        let old = baseline.to_text().replace("schema = 2", "schema = 1");
        let old = old.replace("group = \"predictable + predictable, auto\", ", "");
        let read = Baseline::parse("b.toml", &old).expect("an old file");
        assert_eq!(read.cells.len(), baseline.cells.len());
        assert!(read.cells.values().all(|record| record.group.is_empty()));
    }

    #[test]
    fn trials_of_two_runs_add_up() {
        let mut once = Baseline::from(&results());
        once.add(Baseline::from(&results()));
        let (single, double) = (Baseline::from(&results()), once);
        for (id, record) in &double.cells {
            let before = &single.cells[id];
            assert_eq!((record.passed, record.failed), (2 * before.passed, 2 * before.failed), "{id}");
            assert_eq!(record.trips.len(), 2 * before.trips.len(), "{id}");
        }
    }

    #[test]
    fn times_keep_two_digits() {
        for (exact, rounded) in [(2.0649, 2.1), (2.04, 2.0), (37.4, 37.0), (123.0, 120.0), (0.0, 0.0)] {
            assert!((two_digits(exact) - rounded).abs() < 1e-9, "{exact}");
        }
    }
}
