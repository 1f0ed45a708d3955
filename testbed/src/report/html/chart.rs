//! Small charts as SVG, without a library: times on a strip, rates against a swept axis.
//!
//! Colours are classes of the page's style, so that they follow light, dark and print.

use std::fmt::Write;

use crate::report::results::RateDoc;

/// Width and height of a chart in its own units.
const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 180.0;
/// Room for labels around the plot.
const LEFT: f64 = 44.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 24.0;

/// One point of a curve.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Point {
    /// Where on the swept axis.
    pub(super) x: f64,
    /// What was seen, if a trial passed or failed.
    pub(super) observed: Option<RateDoc>,
    /// What theory says.
    pub(super) expected: Option<f64>,
}

/// Every value as a dot on a line from the smallest to the largest, and the median as a stroke.
///
/// Dots that would hide each other are stacked.
pub(super) fn strip(values: &[f64]) -> Option<String> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (first, last) = (*sorted.first()?, *sorted.last()?);
    let scale = Scale::new(first, last);
    let mut out = open("times", 70.0);
    let _ = write!(out, r#"<line class="axis" x1="{LEFT}" y1="50" x2="{}" y2="50"/>"#, WIDTH - RIGHT);
    let mut stack: (i64, u32) = (i64::MIN, 0);
    for value in &sorted {
        let x = scale.x(*value);
        let slot = (x / 5.0).round() as i64;
        stack = if stack.0 == slot { (slot, stack.1 + 1) } else { (slot, 0) };
        let y = 45.0 - f64::from(stack.1.min(7)) * 5.0;
        let _ = write!(out, r#"<circle class="dot" cx="{x:.1}" cy="{y:.1}" r="2.5"/>"#);
    }
    let middle = scale.x((sorted[(sorted.len() - 1) / 2] + sorted[sorted.len() / 2]) / 2.0);
    let _ = write!(out, r#"<line class="median" x1="{middle:.1}" y1="4" x2="{middle:.1}" y2="54"/>"#);
    for tick in scale.ticks() {
        let x = scale.x(tick);
        let _ = write!(out, r#"<text x="{x:.1}" y="66" text-anchor="middle">{}</text>"#, number(tick));
    }
    Some(out + "</svg>")
}

/// Rates with their intervals against a swept axis, with theory's line.
pub(super) fn curve(points: &[Point], unit: &str) -> String {
    let low = points.iter().map(|p| p.x).fold(f64::INFINITY, f64::min);
    let high = points.iter().map(|p| p.x).fold(f64::NEG_INFINITY, f64::max);
    let scale = Scale::new(low, high);
    let y = |rate: f64| TOP + (1.0 - rate) * (HEIGHT - TOP - BOTTOM);
    let mut out = open("success against the swept axis", HEIGHT);
    for rate in [0.0, 0.5, 1.0] {
        let (y, percent) = (y(rate), rate * 100.0);
        let _ = write!(
            out,
            r#"<line class="axis" x1="{LEFT}" y1="{y:.1}" x2="{:.1}" y2="{y:.1}"/>"#,
            WIDTH - RIGHT
        );
        let _ = write!(
            out,
            r#"<text x="{}" y="{:.1}" text-anchor="end">{percent:.0} %</text>"#,
            LEFT - 6.0,
            y + 4.0
        );
    }
    let theory =
        points.iter().filter_map(|p| p.expected.map(|rate| format!("{:.1},{:.1}", scale.x(p.x), y(rate))));
    let _ = write!(out, r#"<polyline class="theory" points="{}"/>"#, theory.collect::<Vec<_>>().join(" "));
    for point in points {
        let Some(seen) = point.observed else { continue };
        let x = scale.x(point.x);
        let (low, high) = (y(seen.low), y(seen.high));
        let _ =
            write!(out, r#"<line class="whisker" x1="{x:.1}" y1="{low:.1}" x2="{x:.1}" y2="{high:.1}"/>"#);
        let _ = write!(out, r#"<circle class="dot" cx="{x:.1}" cy="{:.1}" r="3.5"/>"#, y(seen.probability));
    }
    for tick in scale.ticks() {
        let _ = write!(
            out,
            r#"<text x="{:.1}" y="{}" text-anchor="middle">{}{unit}</text>"#,
            scale.x(tick),
            HEIGHT - 6.0,
            number(tick)
        );
    }
    out + "</svg>"
}

fn open(label: &str, height: f64) -> String {
    format!(r#"<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{label}">"#)
}

/// From values to places.
struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    /// A scale over these values, with room around a single one.
    fn new(low: f64, high: f64) -> Self {
        if high > low { Self { low, high } } else { Self { low: low - 1.0, high: high + 1.0 } }
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + (value - self.low) / (self.high - self.low) * (WIDTH - LEFT - RIGHT)
    }

    /// Round values, three to six of them.
    fn ticks(&self) -> Vec<f64> {
        let rough = (self.high - self.low) / 4.0;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|m| m * power).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(power);
        let first = (self.low / step).ceil() as i64;
        (first..)
            .map(|n| n as f64 * step)
            .take_while(|tick| *tick <= self.high + step * 1e-6)
            .take(8)
            .collect()
    }
}

/// A number without needless digits.
fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_few() {
        for (low, high) in [(20.1, 22.4), (-50.0, 50.0), (0.0, 0.3), (3.0, 3.0), (0.0, 1e6)] {
            let ticks = Scale::new(low, high).ticks();
            assert!((2..=8).contains(&ticks.len()), "{low}..{high}: {ticks:?}");
        }
        assert_eq!(Scale::new(-50.0, 50.0).ticks(), [-50.0, 0.0, 50.0]);
        assert_eq!((number(0.25), number(-0.0), number(20.0)), ("0.25".into(), "0".into(), "20".into()));
    }

    #[test]
    fn a_strip_has_a_dot_for_each_value() {
        assert_eq!(strip(&[]), None);
        let svg = strip(&[20.0, 20.1, 25.0]).expect("values");
        assert_eq!((svg.matches("<circle").count(), svg.matches("class=\"median\"").count()), (3, 1));
        assert!(strip(&[7.0]).is_some_and(|svg| !svg.contains("NaN")));
    }
}
