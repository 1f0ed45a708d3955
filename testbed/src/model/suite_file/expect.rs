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
    probability: Spanned<ProbabilityDoc>,
    because: String,
}

/// A probability, or the lowest and the highest that are possible.
#[derive(Deserialize)]
#[serde(untagged)]
enum ProbabilityDoc {
    Exactly(f64),
    Between([f64; 2]),
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
    let [low, high] = match *doc.probability.get_ref() {
        ProbabilityDoc::Exactly(probability) => [probability; 2],
        ProbabilityDoc::Between(range) => range,
    };
    let checked = match [low, high].into_iter().find(|end| !(0.0..=1.0).contains(end)) {
        Some(wrong) => Err(format!("a probability is a number from 0 to 1, not {wrong}")),
        None if low > high => Err(format!("{low} is above {high}: the lower probability comes first")),
        None => Ok(()),
    };
    checker.keep(doc.probability.span(), checked)?;
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
    let probability = f64::midpoint(low, high);
    let expected = Expectation { probability, low, high, because: doc.because.clone() };
    Some(RecordedExpectation { cells, expected })
}
