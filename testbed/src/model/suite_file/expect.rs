//! `[[expect]]` of a suite or of a part of one: what is known of some cells from elsewhere than theory.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_spanned::Spanned;
use toml::Value;

use crate::model::axis_value;
use crate::model::outcome::Expectation;
use crate::model::problem::{Checker, suggestion};
use crate::model::suite::{AxisKey, Cell, RecordedExpectation, Suite};
use crate::model::topology::Topology;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectDoc {
    #[serde(rename = "where")]
    cells: Spanned<BTreeMap<Spanned<String>, Spanned<Value>>>,
    probability: Spanned<Value>,
    because: String,
}

/// All of them; problems are noted.
pub(super) fn read(
    checker: &mut Checker<'_>,
    docs: &[ExpectDoc],
    topology: &Topology,
) -> Vec<RecordedExpectation> {
    docs.iter().filter_map(|doc| one(checker, doc, topology)).collect()
}

fn one(checker: &mut Checker<'_>, doc: &ExpectDoc, topology: &Topology) -> Option<RecordedExpectation> {
    let (low, high) = checker.keep(doc.probability.span(), probabilities(doc.probability.get_ref()))?;
    let cells = doc.cells.get_ref().iter().map(|(key, values)| {
        let unknown = || format!("unknown axis \"{}\"", key.get_ref());
        let found = axis_value::key(key.get_ref(), topology).ok_or_else(unknown);
        let values = checker.keep(values.span(), texts(key.get_ref(), values.get_ref()));
        Some((checker.keep(key.span(), found)?, values?))
    });
    let cells: Vec<(AxisKey, Vec<String>)> = cells.collect::<Option<_>>()?;
    let probability = f64::midpoint(low, high);
    let expected = Expectation { probability, low, high, because: doc.because.clone() };
    Some(RecordedExpectation { cells, expected })
}

/// A probability, or the lowest and the highest that are possible.
fn probabilities(value: &Value) -> Result<(f64, f64), String> {
    let number = |value: &Value| value.as_float().or_else(|| value.as_integer().map(|number| number as f64));
    let read = match value {
        Value::Array(ends) => match ends.as_slice() {
            [low, high] => number(low).zip(number(high)),
            _ => None,
        },
        one => number(one).map(|one| (one, one)),
    };
    let form =
        || format!("probability must be a number, or the lowest and the highest: [0.2, 0.4], not {value}");
    let (low, high) = read.ok_or_else(form)?;
    match [low, high].into_iter().find(|end| !(0.0..=1.0).contains(end)) {
        Some(wrong) => Err(format!("a probability is a number from 0 to 1, not {wrong}")),
        None if low > high => Err(format!("{low} is above {high}: the lower probability comes first")),
        None => Ok((low, high)),
    }
}

/// One value of an axis, or several, as the axis writes them.
fn texts(key: &str, value: &Value) -> Result<Vec<String>, String> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        _ => None,
    };
    let read = match value {
        Value::Array(values) => values.iter().map(text).collect::<Option<Vec<_>>>(),
        one => text(one).map(|one| vec![one]),
    };
    let form = || format!("{key} must be a value of that axis, or a list of some, not {value}");
    read.filter(|values| !values.is_empty()).ok_or_else(form)
}

/// Notes what is said of cells that the suite does not have: it would never count. What a part says is of its cells alone.
pub(super) fn check_cells<'a>(
    checker: &mut Checker<'_>,
    (of_suite, of_parts): (&[ExpectDoc], impl Iterator<Item = &'a [ExpectDoc]>),
    suite: &Suite,
) {
    let cells = suite.cells();
    check_some(checker, of_suite, &cells);
    for (number, docs) in of_parts.enumerate().filter(|(_, docs)| !docs.is_empty()) {
        let own: Vec<Cell> = cells.iter().filter(|cell| cell.part.number == number).cloned().collect();
        check_some(checker, docs, &own);
    }
}

fn check_some(checker: &mut Checker<'_>, docs: &[ExpectDoc], cells: &[Cell]) {
    for doc in docs {
        let before = checker.found();
        for (key, value) in doc.cells.get_ref() {
            let name = key.get_ref();
            let known = known_values(cells, name);
            let texts = texts(name, value.get_ref()).unwrap_or_default();
            if known.is_empty() {
                checker.report(key.span(), format!("no cell that this is about has an axis \"{name}\""));
            }
            for text in texts.iter().filter(|text| !known.is_empty() && !known.contains(&text.as_str())) {
                let listed = format!("there are {}", known.join(", "));
                let help = suggestion(text, known.iter().copied(), listed);
                checker.report_with_help(value.span(), format!("no cell has {name} = \"{text}\""), help);
            }
        }
        let fits = |cell: &Cell| {
            doc.cells.get_ref().iter().all(|(key, value)| {
                let texts = texts(key.get_ref(), value.get_ref()).unwrap_or_default();
                value_of(cell, key.get_ref()).is_some_and(|has| texts.iter().any(|text| text == has))
            })
        };
        if checker.found() == before && !cells.iter().any(fits) {
            checker.report(doc.cells.span(), "no cell has all of these values");
        }
    }
}

/// The values that cells have along an axis, in their order.
fn known_values<'a>(cells: &'a [Cell], axis: &str) -> Vec<&'a str> {
    let mut known = Vec::new();
    for value in cells.iter().filter_map(|cell| value_of(cell, axis)) {
        if !known.contains(&value) {
            known.push(value);
        }
    }
    known
}

fn value_of<'a>(cell: &'a Cell, axis: &str) -> Option<&'a str> {
    cell.values.iter().find(|(key, _)| key.to_string() == axis).map(|(_, value)| value.as_str())
}
