//! Which axes of a run are swept, and the curves along them.

use maud::{Markup, PreEscaped, html};

use crate::model::quantity;
use crate::report::escape::harmless;
use crate::report::html::chart::{self, Point};
use crate::report::results::{PunchCell, Results};
use crate::report::table::parts;

/// Points that a curve needs to say more than the table does.
const ENOUGH: usize = 3;

/// All curves along one axis of a part.
pub(super) struct Sweep {
    /// The part, the axis and its unit: `loss: success against jitter, ms`.
    pub(super) title: String,
    /// What all of them have in common.
    pub(super) common: String,
    /// One for each combination of the other axes.
    pub(super) curves: Vec<Curve>,
}

/// A curve with what all its points have in common and others have not.
pub(super) struct Curve {
    /// Those values of the other axes.
    pub(super) title: String,
    /// How often.
    pub(super) rates: String,
    /// How fast.
    pub(super) times: Option<String>,
}

/// The section of all curves.
pub(super) fn section(sweeps: &[Sweep]) -> Markup {
    html! {
        section id="curves" {
            h2 { "Curves" }
            p.quiet {
                "Success with exact 95 % intervals, theory as the dashed line; below it, where connections came about, the \
                 median time until both ends were established, from the shortest to the 95th percentile."
            }
            @for sweep in sweeps {
                h3 { (sweep.title) @if !sweep.common.is_empty() { " " span.quiet { (sweep.common) } } }
                div.charts {
                    @for curve in &sweep.curves {
                        figure {
                            @if !curve.title.is_empty() { figcaption { (curve.title) } }
                            (PreEscaped(&curve.rates))
                            @if let Some(times) = &curve.times { (PreEscaped(times)) }
                        }
                    }
                }
            }
        }
    }
}

/// The curves along each numeric axis of each part.
pub(super) fn sweeps(results: &Results) -> Vec<Sweep> {
    let along_all = |cells: &Vec<&PunchCell>| {
        cells[0].axes.keys().filter_map(|axis| along(cells, axis)).collect::<Vec<_>>()
    };
    parts(results).iter().flat_map(along_all).collect()
}

fn along(cells: &[&PunchCell], axis: &str) -> Option<Sweep> {
    let (shared, varying): (Vec<&String>, Vec<&String>) = cells[0]
        .axes
        .keys()
        .filter(|key| *key != axis)
        .partition(|key| cells.iter().all(|cell| cell.axes.get(*key) == cells[0].axes.get(*key)));
    let said = |cell: &PunchCell, keys: &[&String]| {
        let values = keys.iter().filter_map(|key| cell.axes.get(*key).map(|value| format!("{key}={value}")));
        harmless(&values.collect::<Vec<_>>().join(", ")).into_owned()
    };
    let mut unit = "";
    let mut groups: Vec<(String, Vec<Point>)> = Vec::new();
    for cell in cells {
        let (x, its_unit) = position(cell.axes.get(axis)?)?;
        unit = its_unit;
        let expected = cell.expected.as_ref().map(|e| e.probability);
        let point = Point { x, observed: cell.observed, expected, established: cell.established_ms };
        let title = said(cell, &varying);
        match groups.iter_mut().find(|(other, _)| *other == title) {
            Some((_, points)) => points.push(point),
            None => groups.push((title, vec![point])),
        }
    }
    let curve = |(title, mut points): (String, Vec<Point>)| {
        points.sort_by(|a, b| a.x.total_cmp(&b.x));
        Curve { title, rates: chart::rates(&points), times: chart::times(&points) }
    };
    let curves: Vec<_> = groups.into_iter().filter(|(_, p)| p.len() >= ENOUGH).map(curve).collect();
    let part = Some(cells[0].part.as_str()).filter(|part| !part.is_empty());
    let part = part.map_or_else(String::new, |part| format!("{part}: "));
    let title = harmless(&format!("{part}against {axis}{unit}")).into_owned();
    (!curves.is_empty()).then(|| Sweep { title, common: said(cells[0], &shared), curves })
}

/// Where a value lies on its axis, if it is a quantity: milliseconds of a duration, or a bare number.
fn position(value: &str) -> Option<(f64, &'static str)> {
    let number = value.parse::<f64>().ok().filter(|number| number.is_finite()).map(|number| (number, ""));
    number.or_else(|| quantity::offset(value).ok().map(|offset| (offset.as_secs_f64() * 1e3, ", ms")))
}
