//! `[[expect]]` of a suite or of a part of one: what is known of some cells from elsewhere than theory.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_spanned::Spanned;

use crate::model::axis_value;
use crate::model::outcome::Expectation;
use crate::model::problem::Checker;
use crate::model::suite::{AxisKey, RecordedExpectation};
use crate::model::topology::Topology;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExpectDoc {
    #[serde(rename = "where")]
    cells: BTreeMap<Spanned<String>, ValuesDoc>,
    probability: Spanned<f64>,
    because: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum ValuesDoc {
    One(String),
    Several(Vec<String>),
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
    let probability = *doc.probability.get_ref();
    let range = (0.0..=1.0).contains(&probability).then_some(probability);
    let refuse = || format!("a probability is a number from 0 to 1, not {probability}");
    let probability = checker.keep(doc.probability.span(), range.ok_or_else(refuse))?;
    let cells = doc.cells.iter().map(|(key, values)| {
        let unknown = || format!("unknown axis \"{}\"", key.get_ref());
        let found = axis_value::key(key.get_ref(), topology).ok_or_else(unknown);
        let values = match values {
            ValuesDoc::One(value) => vec![value.clone()],
            ValuesDoc::Several(values) => values.clone(),
        };
        Some((checker.keep(key.span(), found)?, values))
    });
    let cells: Vec<(AxisKey, Vec<String>)> = cells.collect::<Option<_>>()?;
    Some(RecordedExpectation { cells, expected: Expectation::exactly(probability, doc.because.clone()) })
}
