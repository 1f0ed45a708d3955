//! CSV (RFC 4180), a line for each cell of the suite: for spreadsheets and plotting.

use std::collections::BTreeSet;

use crate::report::escape::harmless;
use crate::report::results::{PunchCell, Results};

/// The columns after the axes.
const COLUMNS: [&str; 21] = [
    "trials",
    "passed",
    "failed",
    "error",
    "skipped",
    "asked",
    "expected",
    "expected_low",
    "expected_high",
    "fall_to",
    "rise_to",
    "observed",
    "low",
    "high",
    "verdict",
    "established_median_ms",
    "established_p95_ms",
    "authenticated_median_ms",
    "authenticated_p95_ms",
    "causes",
    "note",
];

/// The whole table.
#[must_use]
pub fn text(results: &Results) -> String {
    let axes: BTreeSet<&str> =
        results.punches().flat_map(|cell| cell.axes.keys().map(String::as_str)).collect();
    let header = ["id"].into_iter().chain(axes.iter().copied()).chain(COLUMNS).map(str::to_owned);
    let mut out = line(header);
    for cell in results.punches() {
        let values = axes.iter().map(|axis| cell.axes.get(*axis).cloned().unwrap_or_default());
        out += &line([cell.id.clone()].into_iter().chain(values).chain(figures(cell)));
    }
    out
}

fn figures(cell: &PunchCell) -> [String; 21] {
    let number = |value: Option<f64>| value.map_or_else(String::new, |value| value.to_string());
    let causes = cell.causes.iter().map(|(cause, n)| format!("{n} × {cause}")).collect::<Vec<_>>();
    [
        cell.trials.to_string(),
        cell.passed.to_string(),
        cell.failed.to_string(),
        cell.error.to_string(),
        cell.skipped.to_string(),
        cell.asked.to_string(),
        number(cell.expected.as_ref().map(|e| e.probability)),
        number(cell.expected.as_ref().map(|e| e.rates().low)),
        number(cell.expected.as_ref().map(|e| e.rates().high)),
        number(cell.sensitivity.and_then(|s| s.fall_to)),
        number(cell.sensitivity.and_then(|s| s.rise_to)),
        number(cell.observed.map(|seen| seen.probability)),
        number(cell.observed.map(|seen| seen.low)),
        number(cell.observed.map(|seen| seen.high)),
        cell.verdict.words().to_owned(),
        number(cell.established_ms.map(|q| q.median)),
        number(cell.established_ms.map(|q| q.p95)),
        number(cell.authenticated_ms.map(|q| q.median)),
        number(cell.authenticated_ms.map(|q| q.p95)),
        causes.join("; "),
        cell.note.clone(),
    ]
}

/// What a spreadsheet would take for a formula becomes text by an apostrophe in front. A quantity such as `-5ms` is none.
fn no_formula(field: &str) -> String {
    let begins_one = field.starts_with(['=', '+', '-', '@']);
    let is_quantity = field.chars().skip(1).all(|c| c.is_ascii_alphanumeric() || c == '.');
    let signed = field.starts_with(['+', '-']);
    if begins_one && !(signed && is_quantity) { format!("'{field}") } else { field.to_owned() }
}

/// One record; its fields are quoted where they must be.
fn line(fields: impl Iterator<Item = String>) -> String {
    let quoted = fields.map(|field| {
        let field = no_formula(&harmless(&field));
        let is_text = field.starts_with('\'');
        if is_text || field.contains([',', '"']) {
            format!("\"{}\"", field.replace('"', "\"\""))
        } else {
            field
        }
    });
    quoted.collect::<Vec<_>>().join(",") + "\r\n"
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn no_field_is_a_formula() {
        let fields = ["=1+1", "@x", "-cmd|' /C calc'!A0", "+A1*2", "-5ms", "+10", "-", "a=b", "1e-5", ""];
        let text = line(fields.into_iter().map(str::to_owned));
        assert_eq!(text, "\"'=1+1\",\"'@x\",\"'-cmd|' /C calc'!A0\",\"'+A1*2\",-5ms,+10,-,a=b,1e-5,\r\n");
    }
}
