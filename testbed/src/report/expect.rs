//! What a run supports as expectations of later ones: `[[expect]]` entries for the cells of which theory says nothing.
//!
//! An entry names the rates that the trials leave possible. A later run is told apart from it only if it refutes each of
//! them, so that the chance of this run does not count against that one.

use std::fmt::Write;

use statrs::distribution::{Beta, ContinuousCDF};

use crate::model::statistics::{Count, FALSE_ALARMS_PER_RUN, Rates, RejectionRegion};
use crate::report::escape::harmless;
use crate::report::results::{PunchCell, Results, VerdictDoc};

/// Probability that the rates of an entry leave out the true one, on each side. A false alarm needs that, and in the later
/// run a result that refutes even the nearest of these rates: a test adds up how rare both together are.
const LEFT_OUT: f64 = 0.005;

/// All entries.
#[must_use]
pub fn text(results: &Results) -> String {
    let mut out = format!("# What a run of the suite {} supports.\n", quoted(&results.suite));
    let (unknown, alpha) = (unknown(results), alpha(results));
    if unknown.is_empty() {
        out.push_str("# Every cell that was run has an expectation.\n");
    }
    for cell in unknown {
        match supported(cell, alpha) {
            Ok(rates) => entry(&mut out, cell, rates, &results.kernel),
            Err(why) => {
                // Writing to a string cannot fail.
                let _ = writeln!(out, "\n# {}: no entry, because {why}", harmless(&cell.id));
            }
        }
    }
    out
}

/// Whether there is an entry at all.
#[must_use]
pub fn supports_any(results: &Results) -> bool {
    let alpha = alpha(results);
    unknown(results).into_iter().any(|cell| supported(cell, alpha).is_ok())
}

/// The cells of which theory says nothing.
fn unknown(results: &Results) -> Vec<&PunchCell> {
    results.punches().filter(|cell| cell.verdict == VerdictDoc::NoExpectation).collect()
}

/// The error rate of the test of each cell.
fn alpha(results: &Results) -> f64 {
    FALSE_ALARMS_PER_RUN / results.part.cells.max(1) as f64
}

/// The rates that the trials of a cell support, or why they support none.
fn supported(cell: &PunchCell, alpha: f64) -> Result<Rates, String> {
    let count = Count { passed: cell.passed as u64, tried: (cell.passed + cell.failed) as u64 };
    if cell.trials < cell.asked {
        return Err(format!("it was interrupted after {} of {} trials", cell.trials, cell.asked));
    }
    if is_useful(count, alpha) {
        return Ok(possible(count));
    }
    let more = (count.tried + 1..=100_000).find(|tried| {
        let passed = (count.rate() * *tried as f64).round() as u64;
        is_useful(Count { passed, tried: *tried }, alpha)
    });
    let needed = more.map_or_else(String::new, |tried| format!("; {tried} trials could"));
    Err(format!("{} trials could not show even a total change from it{needed}", count.tried))
}

/// Whether as many trials again could show a total change from what these support.
fn is_useful(count: Count, alpha: f64) -> bool {
    let rates = possible(count);
    count.tried > 0 && RejectionRegion::binomial(count.tried, rates, alpha).sees_total_change(rates)
}

/// The rates that the trials leave possible (Clopper-Pearson), rounded outwards to what the file will say.
fn possible(count: Count) -> Rates {
    let (k, n) = (count.passed as f64, count.tried as f64);
    let quantile = |a: f64, b: f64, q: f64| Beta::new(a, b).map_or(f64::NAN, |beta| beta.inverse_cdf(q));
    let low = if count.passed == 0 { 0.0 } else { quantile(k, n - k + 1.0, LEFT_OUT) };
    let high = if count.passed == count.tried { 1.0 } else { quantile(k + 1.0, n - k, 1.0 - LEFT_OUT) };
    Rates { low: (low * 1e3).floor() / 1e3, high: (high * 1e3).ceil() / 1e3 }
}

fn entry(out: &mut String, cell: &PunchCell, Rates { low, high }: Rates, kernel: &str) {
    let axes = cell.axes.iter().map(|(axis, value)| format!("{} = {}", key(axis), quoted(value)));
    let (place, table) = match cell.part.as_str() {
        "" => (String::new(), "expect"),
        part => (format!("# in the part {}\n", quoted(part)), "part.expect"),
    };
    let because = format!("{} of {} trials passed, kernel {kernel}", cell.passed, cell.passed + cell.failed);
    let _ = write!(
        out,
        "\n{place}[[{table}]]\nwhere = {{ {} }}\nprobability = [{low:?}, {high:?}]\nbecause = {}\n",
        axes.collect::<Vec<_>>().join(", "),
        quoted(&because)
    );
}

/// A key, in quotes where TOML asks for them.
fn key(axis: &str) -> String {
    let is_bare = !axis.is_empty() && axis.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if is_bare { axis.to_owned() } else { quoted(axis) }
}

/// A TOML string on one line, whatever is in it.
fn quoted(text: &str) -> String {
    toml::Value::String(harmless(text).into_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::statistics::{at_least, at_most};
    use crate::report::results::CellDoc;
    use crate::report::sample::results;

    fn unknown(passed: usize, failed: usize) -> Results {
        let mut results = results();
        results.cells.retain(|cell| cell.id() == "even/even/auto");
        for cell in &mut results.cells {
            let CellDoc::Punch(cell) = cell else { continue };
            (cell.passed, cell.failed, cell.trials) = (passed, failed, passed + failed);
            (cell.asked, cell.expected, cell.verdict) = (passed + failed, None, VerdictDoc::NoExpectation);
        }
        results
    }

    #[test]
    fn an_entry_names_the_rates_that_the_trials_leave_possible() {
        insta::assert_snapshot!(text(&unknown(20, 0)), @r#"
        # What a run of the suite "sample" supports.

        [[expect]]
        where = { method = "auto", nat-a = "even", nat-b = "even" }
        probability = [0.767, 1.0]
        because = "20 of 20 trials passed, kernel 6.18"
        "#);
    }

    #[test]
    fn what_is_not_supported_says_what_would_be() {
        let said = text(&unknown(3, 2));
        assert!(said.contains("# even/even/auto: no entry, because 5 trials could not show"), "{said}");
        let needed: usize = said
            .split("from it; ")
            .nth(1)
            .and_then(|rest| rest.split(' ').next()?.parse().ok())
            .expect("a number");
        let passed = (needed as f64 * 0.6).round() as usize;
        assert!(text(&unknown(passed, needed - passed)).contains("probability"), "{said}");
    }

    /// Over all that this run and a later one can show: how often a true rate is first left out and then refuted.
    #[test]
    fn an_entry_is_a_false_alarm_no_more_often_than_a_cell_may_be() {
        let alpha = FALSE_ALARMS_PER_RUN / 121.0;
        for tried in [20_u64, 60, 200] {
            for rate in (1..100).map(|percent| f64::from(percent) / 100.0) {
                let exactly =
                    |k: u64| at_most(tried, rate, k) - if k == 0 { 0.0 } else { at_most(tried, rate, k - 1) };
                let alarm = |passed| {
                    let region = RejectionRegion::binomial(tried, possible(Count { passed, tried }), alpha);
                    region.probability(rate)
                };
                let size: f64 = (0..=tried).map(|passed| exactly(passed) * alarm(passed)).sum();
                assert!(size <= alpha, "{tried} trials at {rate}: {size}");
            }
            assert!(at_least(tried, 0.5, 0) >= 1.0);
        }
    }
}
