//! A ladder as SVG, for the page of a run. Colours are classes of the page's style, so that they follow light, dark and
//! print; time runs downwards, a line for each step.

use std::fmt::Write;

use crate::report::escape::xml as escape;
use crate::report::ladder::{Ladder, Leg, LegEnd, Mark, Step, StepKind, Tone};

/// Places in units of the picture, which is as wide as its lanes need.
const LEFT: f64 = 86.0;
const GAP: f64 = 190.0;
const RIGHT: f64 = 90.0;
const TOP: f64 = 44.0;
const ROW: f64 = 26.0;
const MARK_ROW: f64 = 18.0;

/// The picture.
#[must_use]
pub fn text(ladder: &Ladder) -> String {
    let width = LEFT + GAP * ladder.lanes.len().saturating_sub(1) as f64 + RIGHT;
    let rows = ladder.steps.iter().map(height).sum::<f64>();
    let height = TOP + rows + 12.0;
    let mut out = format!(
        r#"<svg class="ladder" viewBox="0 0 {width} {height}" style="min-width: {}px" role="img" aria-label="{}">"#,
        (width * 0.8).round(),
        escape(&format!("{}: {}", ladder.title, ladder.judgement)),
    );
    let _ = write!(out, r#"<text class="time" x="{}" y="{TOP}" text-anchor="end">ms</text>"#, LEFT - 26.0);
    for (number, lane) in ladder.lanes.iter().enumerate() {
        let x = lane_x(number);
        let address = lane.address.map_or_else(String::new, |address| address.to_string());
        let _ = write!(
            out,
            r#"<line class="lane" x1="{x}" y1="{TOP}" x2="{x}" y2="{height}"/><text class="name" x="{x}" y="16" text-anchor="middle">{}</text><text x="{x}" y="32" text-anchor="middle">{address}</text>"#,
            escape(&lane.name)
        );
    }
    let mut y = TOP;
    for step in &ladder.steps {
        draw(&mut out, step, y + 18.0);
        y += self::height(step);
    }
    out + "</svg>"
}

fn height(step: &Step) -> f64 {
    ROW + step.marks.len() as f64 * MARK_ROW
}

fn lane_x(lane: usize) -> f64 {
    LEFT + GAP * lane as f64
}

fn draw(out: &mut String, step: &Step, y: f64) {
    let _ = write!(
        out,
        r#"<text class="time" x="{}" y="{}" text-anchor="end">{:.3}</text>"#,
        LEFT - 26.0,
        y + 4.0,
        step.at_ms
    );
    match &step.what {
        StepKind::Packet { tone, text, legs, end } => packet(out, step, (*tone, text), legs, *end, y),
        StepKind::Talk { from, to, text } => talk(out, (*from, *to), text, y),
        StepKind::State { lane, text } => state(out, *lane, &times(step, text), y),
    }
    for (number, mark) in step.marks.iter().enumerate() {
        note(out, mark, y + MARK_ROW * (number as f64 + 1.0));
    }
}

fn packet(out: &mut String, step: &Step, (tone, text): (Tone, &str), legs: &[Leg], end: LegEnd, y: f64) {
    let class = class(tone);
    let mut ports = "";
    for (number, leg) in legs.iter().enumerate() {
        let (from, to) = (lane_x(leg.from), lane_x(leg.to));
        let last = number + 1 == legs.len();
        let stop =
            if last && matches!(end, LegEnd::Lost | LegEnd::InFlight) { f64::midpoint(from, to) } else { to };
        let _ = write!(out, r#"<line class="{class}" x1="{from}" y1="{y}" x2="{stop}" y2="{y}"/>"#);
        if number > 0 && ports != leg.ports {
            let _ = write!(out, r#"<circle class="{class} dot" cx="{from}" cy="{y}" r="4"/>"#);
        }
        let mut label = Vec::new();
        if number == 0 {
            label.push(times(step, text));
        }
        if ports != leg.ports {
            ports = &leg.ports;
            label.push(leg.ports.clone());
        }
        if !label.is_empty() {
            caption(out, f64::midpoint(from, to), y - 5.0, &class, &label.join(" "));
        }
        if last {
            finish(out, (from, stop), end, &class, y);
        }
    }
    if let (LegEnd::Arrived, Some(until), Some(leg)) = (end, step.until_ms, legs.last()) {
        let (x, anchor) = if leg.from < leg.to { (8.0, "start") } else { (-8.0, "end") };
        let x = lane_x(leg.to) + x;
        // Left of the first lane stands the time of the step itself.
        if leg.to > 0 {
            let _ = write!(
                out,
                r#"<text class="time" x="{x}" y="{}" text-anchor="{anchor}">{until:.3}</text>"#,
                y + 4.0
            );
        }
    }
}

fn finish(out: &mut String, (from, stop): (f64, f64), end: LegEnd, class: &str, y: f64) {
    let side = if from < stop { -1.0 } else { 1.0 };
    let _ = match end {
        LegEnd::Arrived => {
            write!(out, r#"<path class="{class} head" d="M {stop} {y} l {} -4 l 0 8 z"/>"#, side * 8.0)
        }
        LegEnd::Dropped | LegEnd::Lost => {
            write!(out, r#"<path class="cross" d="M {} {} l 10 10 m 0 -10 l -10 10"/>"#, stop - 5.0, y - 5.0)
        }
        LegEnd::InFlight => write!(out, r#"<text x="{}" y="{}">…</text>"#, stop + 2.0, y + 4.0),
    };
}

fn talk(out: &mut String, (from, to): (usize, usize), text: &str, y: f64) {
    let (from, to) = (lane_x(from), lane_x(to));
    let _ = write!(out, r#"<line class="talk" x1="{from}" y1="{y}" x2="{to}" y2="{y}"/>"#);
    caption(out, f64::midpoint(from, to), y - 5.0, "talk", text);
}

fn state(out: &mut String, lane: usize, text: &str, y: f64) {
    let x = lane_x(lane);
    let _ = write!(out, r#"<circle class="state" cx="{x}" cy="{y}" r="3.5"/>"#);
    let _ = write!(out, r#"<text class="state" x="{}" y="{}">{}</text>"#, x + 8.0, y + 4.0, escape(text));
}

fn note(out: &mut String, mark: &Mark, y: f64) {
    let text = escape(&format!("frame {}: {}", mark.frame, mark.note));
    let _ = write!(out, r#"<text class="mark" x="{}" y="{}">{text}</text>"#, LEFT + 8.0, y + 2.0);
}

fn caption(out: &mut String, x: f64, y: f64, class: &str, text: &str) {
    let text = escape(text);
    let _ = write!(out, r#"<text class="{class}" x="{x}" y="{y}" text-anchor="middle">{text}</text>"#);
}

fn class(tone: Tone) -> String {
    let name = match tone {
        Tone::Syn => "syn",
        Tone::SynAck => "syn-ack",
        Tone::Reset => "reset",
        Tone::Icmp => "icmp",
        Tone::Data => "data",
        Tone::Other => "other",
    };
    format!("packet {name}")
}

fn times(step: &Step, text: &str) -> String {
    if step.count > 1 { format!("{} × {text}", step.count) } else { text.to_owned() }
}
