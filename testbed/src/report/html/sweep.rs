//! Which axes of a run are swept, and the curves along them.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::model::quantity;
use crate::report::html::chart::{self, Point};
use crate::report::plain::harmless;
use crate::report::results::{PunchCell, Results};
use crate::report::table::parts;

/// Points that a curve needs to say more than the table does.
const ENOUGH: usize = 3;

/// A curve with what all its points have in common.
#[derive(Serialize)]
pub(super) struct Curve {
    /// The values of the other axes.
    pub(super) title: String,
    /// The picture.
    pub(super) svg: String,
}

/// A curve for each numeric axis and each combination of the others.
pub(super) fn curves(results: &Results) -> Vec<Curve> {
    let along_all = |cells: &Vec<&PunchCell>| {
        cells[0].axes.keys().flat_map(|axis| along(cells, axis)).collect::<Vec<_>>()
    };
    parts(results).iter().flat_map(along_all).collect()
}

fn along(cells: &[&PunchCell], axis: &str) -> Vec<Curve> {
    let mut unit = "";
    let mut groups: BTreeMap<String, Vec<Point>> = BTreeMap::new();
    for cell in cells {
        let Some((x, its_unit)) = cell.axes.get(axis).and_then(|value| position(value)) else {
            return Vec::new();
        };
        unit = its_unit;
        let others = cell.axes.iter().filter(|(key, _)| *key != axis);
        let part = Some(cell.part.as_str()).filter(|part| !part.is_empty());
        let title = part.into_iter().chain(others.map(|(_, value)| value.as_str())).collect::<Vec<_>>();
        let title = title.join(" · ");
        let expected = cell.expected.as_ref().map(|e| e.probability);
        groups.entry(title).or_default().push(Point { x, observed: cell.observed, expected });
    }
    let curve = |(title, mut points): (String, Vec<Point>)| {
        points.sort_by(|a, b| a.x.total_cmp(&b.x));
        Curve { title: harmless(&format!("{axis}: {title}")).into_owned(), svg: chart::curve(&points, unit) }
    };
    groups.into_iter().filter(|(_, points)| points.len() >= ENOUGH).map(curve).collect()
}

/// Where a value lies on its axis, if it is a quantity: milliseconds of a duration, or a bare number.
fn position(value: &str) -> Option<(f64, &'static str)> {
    let number = value.parse::<f64>().ok().filter(|number| number.is_finite()).map(|number| (number, ""));
    number.or_else(|| quantity::offset(value).ok().map(|offset| (offset.as_secs_f64() * 1e3, " ms")))
}
