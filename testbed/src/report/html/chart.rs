//! Small charts as SVG, without a library: times on a strip, rates against a swept axis.
//!
//! Colours are classes of the page's style, so that they follow light, dark and print.

use std::fmt::Write;

use crate::report::results::{QuantilesDoc, RateDoc};

/// Width of a strip, and of a curve, which is shown as large as it is drawn: in a column of the page, or on a phone.
const STRIP: f64 = 480.0;
const CURVE: f64 = 330.0;
/// Height of a curve.
const HEIGHT: f64 = 150.0;
/// Room for labels around the plot.
const LEFT: f64 = 48.0;
const RIGHT: f64 = 18.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = 24.0;
const PLOT: f64 = HEIGHT - TOP - BOTTOM;

/// One point of a curve.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Point {
    /// Where on the swept axis.
    pub(super) x: f64,
    /// What was seen, if a trial passed or failed.
    pub(super) observed: Option<RateDoc>,
    /// What theory says.
    pub(super) expected: Option<f64>,
    /// How long the connections took, where there were any.
    pub(super) established: Option<QuantilesDoc>,
}

/// Every value as a dot on a line from the smallest to the largest, and the median as a stroke.
///
/// Dots that would hide each other are stacked. They are one path, because a page has thousands.
pub(super) fn strip(values: &[f64]) -> Option<String> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (first, last) = (*sorted.first()?, *sorted.last()?);
    let scale = Scale::new(first, last, STRIP);
    let mut out = open(STRIP, 70.0, "times of all trials that passed");
    let _ = write!(out, r#"<path class="axis" d="M{LEFT} 50H{}"/><path class="dots" d=""#, STRIP - RIGHT);
    let mut stack: (i64, u32) = (i64::MIN, 0);
    for value in &sorted {
        let slot = (scale.x(*value) / 5.0).round() as i64;
        stack = if stack.0 == slot { (slot, stack.1 + 1) } else { (slot, 0) };
        let _ = write!(out, "M{:.0} {}h0", scale.x(*value), 45 - stack.1.min(7) * 5);
    }
    let middle = scale.x((sorted[(sorted.len() - 1) / 2] + sorted[sorted.len() / 2]) / 2.0);
    let _ = write!(out, r#""/><path class="median" d="M{middle:.1} 4V54"/><g text-anchor="middle">"#);
    for tick in scale.ticks() {
        let _ = write!(out, r#"<text x="{:.0}" y="66">{}</text>"#, scale.x(tick), number(tick));
    }
    Some(out + "</g></svg>")
}

/// Rates with their intervals against a swept axis, with theory's line.
pub(super) fn rates(points: &[Point]) -> String {
    let scale = Scale::along(points);
    let y = |rate: f64| TOP + (1.0 - rate) * PLOT;
    let mut out = open(CURVE, HEIGHT, "success against the swept axis");
    for rate in [0.0, 0.5, 1.0] {
        level(&mut out, y(rate), &format!("{:.0} %", rate * 100.0));
    }
    let theory =
        points.iter().filter_map(|p| p.expected.map(|rate| format!("{:.1},{:.1}", scale.x(p.x), y(rate))));
    let _ = write!(out, r#"<polyline class="theory" points="{}"/>"#, theory.collect::<Vec<_>>().join(" "));
    for point in points {
        if let Some(seen) = point.observed {
            dot(&mut out, scale.x(point.x), [seen.low, seen.probability, seen.high].map(y));
        }
    }
    scale.draw(&mut out);
    out + "</svg>"
}

/// Times until both ends were established against a swept axis: medians, from the shortest to the 95th of a hundred.
/// `None` where too few points have any.
pub(super) fn times(points: &[Point]) -> Option<String> {
    let timed: Vec<_> = points.iter().filter_map(|p| Some((p.x, p.established?))).collect();
    let most = timed.iter().map(|(_, q)| q.p95).fold(0.0, f64::max);
    if timed.len() < 3 || most <= 0.0 {
        return None;
    }
    let (scale, levels) = (Scale::along(points), Scale::new(0.0, most, CURVE));
    let y = |ms: f64| TOP + (1.0 - ms / most) * PLOT;
    let mut out = open(CURVE, HEIGHT, "time against the swept axis");
    for ms in levels.ticks() {
        level(&mut out, y(ms), &format!("{} ms", number(ms)));
    }
    for (x, q) in timed {
        dot(&mut out, scale.x(x), [q.min, q.median, q.p95].map(y));
    }
    scale.draw(&mut out);
    Some(out + "</svg>")
}

/// A line across, with its value.
fn level(out: &mut String, y: f64, value: &str) {
    let _ =
        write!(out, r#"<line class="axis" x1="{LEFT}" y1="{y:.1}" x2="{:.1}" y2="{y:.1}"/>"#, CURVE - RIGHT);
    let _ = write!(out, r#"<text x="{}" y="{:.1}" text-anchor="end">{value}</text>"#, LEFT - 6.0, y + 4.0);
}

/// A value between two others.
fn dot(out: &mut String, x: f64, [low, middle, high]: [f64; 3]) {
    let _ = write!(out, r#"<line class="whisker" x1="{x:.1}" y1="{low:.1}" x2="{x:.1}" y2="{high:.1}"/>"#);
    let _ = write!(out, r#"<circle class="dot" cx="{x:.1}" cy="{middle:.1}" r="3.5"/>"#);
}

fn open(width: f64, height: f64, label: &str) -> String {
    format!(r#"<svg viewBox="0 0 {width} {height}" role="img" aria-label="{label}">"#)
}

/// From values to places.
struct Scale {
    low: f64,
    high: f64,
    width: f64,
    spacing: Spacing,
}

/// How values are spaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spacing {
    Even,
    /// Equal ratios are equally far apart.
    Logarithmic,
}

/// Values that span more than this ratio are spaced logarithmically.
const WIDE: f64 = 12.0;

impl Scale {
    /// A scale over these values, with room around a single one.
    fn new(low: f64, high: f64, width: f64) -> Self {
        let room = if high > low { 0.0 } else { (low.abs() / 1e3).max(1.0) };
        let wide = low > 0.0 && high / low > WIDE;
        let spacing = if wide { Spacing::Logarithmic } else { Spacing::Even };
        Self { low: low - room, high: high + room, width, spacing }
    }

    /// The scale of the swept axis.
    fn along(points: &[Point]) -> Self {
        let low = points.iter().map(|p| p.x).fold(f64::INFINITY, f64::min);
        let high = points.iter().map(|p| p.x).fold(f64::NEG_INFINITY, f64::max);
        let scale = Self::new(low, high, CURVE);
        // An evenly spaced axis that begins near zero begins there.
        let begins_near_zero = (0.0..high / 2.0).contains(&low) && scale.spacing == Spacing::Even;
        if begins_near_zero { Self { low: 0.0, ..scale } } else { scale }
    }

    /// The values below a curve.
    fn draw(&self, out: &mut String) {
        for tick in self.ticks() {
            let (x, y) = (self.x(tick), HEIGHT - 6.0);
            let _ = write!(out, r#"<text x="{x:.1}" y="{y}" text-anchor="middle">{}</text>"#, number(tick));
        }
    }

    fn x(&self, value: f64) -> f64 {
        let share = match self.spacing {
            Spacing::Even => (value - self.low) / (self.high - self.low),
            Spacing::Logarithmic => (value / self.low).ln() / (self.high / self.low).ln(),
        };
        LEFT + share * (self.width - LEFT - RIGHT)
    }

    /// Round values, two to eight of them.
    fn ticks(&self) -> Vec<f64> {
        if self.spacing == Spacing::Logarithmic {
            return self.powers();
        }
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
    /// Powers of two or of ten, whichever are not too many.
    fn powers(&self) -> Vec<f64> {
        let of = |base: f64| -> Vec<f64> {
            let (first, last) =
                ((self.low.log(base) - 1e-9).ceil() as i32, (self.high.log(base) + 1e-9).floor() as i32);
            (first..=last).map(|n| base.powi(n)).collect()
        };
        [2.0, 4.0, 10.0, 100.0].into_iter().map(of).find(|ticks| ticks.len() <= 8).unwrap_or_default()
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
            let ticks = Scale::new(low, high, CURVE).ticks();
            assert!((2..=8).contains(&ticks.len()), "{low}..{high}: {ticks:?}");
        }
        assert_eq!(Scale::new(-50.0, 50.0, CURVE).ticks(), [-50.0, 0.0, 50.0]);
        assert_eq!(Scale::new(16.0, 512.0, CURVE).ticks(), [16.0, 32.0, 64.0, 128.0, 256.0, 512.0]);
        assert_eq!(Scale::new(1.0, 1e6, CURVE).ticks(), [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6]);
        let log = Scale::new(1.0, 100.0, CURVE);
        assert!((log.x(10.0) - (log.x(1.0) + log.x(100.0)) / 2.0).abs() < 1e-9);
        assert_eq!((number(0.25), number(-0.0), number(20.0)), ("0.25".into(), "0".into(), "20".into()));
    }

    #[test]
    fn a_strip_has_a_dot_for_each_value() {
        assert_eq!(strip(&[]), None);
        let svg = strip(&[20.0, 20.1, 25.0]).expect("values");
        assert_eq!((svg.matches("h0").count(), svg.matches("class=\"median\"").count()), (3, 1));
        assert!(strip(&[7.0]).is_some_and(|svg| !svg.contains("NaN")));
    }
    #[test]
    fn times_are_drawn_where_there_are_enough() {
        let q =
            |median: f64| QuantilesDoc { min: median - 1.0, median, p95: median + 2.0, max: median + 3.0 };
        let point =
            |x: f64, time: Option<f64>| Point { x, observed: None, expected: None, established: time.map(q) };
        let some = [point(0.0, Some(20.0)), point(10.0, None), point(20.0, Some(40.0))];
        assert_eq!(times(&some), None);
        let svg = times(&[&some[..], &[point(30.0, Some(60.0))]].concat()).expect("three times");
        assert_eq!(svg.matches("<circle").count(), 3);
        assert!(svg.contains(">60 ms<") && svg.contains(">30<") && !svg.contains("NaN"), "{svg}");
    }
}
