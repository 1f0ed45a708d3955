//! A ladder for a terminal: a column for each node, a line for each step.
//!
//! Colours are written as ANSI sequences; the caller's writer decides whether they stay. Nothing is lost
//! without them. Where a text does not fit on its line, it stands on a row below; where the columns do not fit, each step is
//! written in words.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

use crate::model::plural::counted;
use crate::report::escape::harmless;
use crate::report::ladder::label::{self, Room, pieces, shortened};
use crate::report::ladder::{Ladder, Lane, Leg, LegEnd, NO_THEORY, Step, StepKind, Tone};

/// Columns where nobody says how many there are.
pub const USUAL_WIDTH: usize = 100;

/// Room for the time before the lanes, and for the time of arrival behind them.
const BEFORE: usize = 11;
const BEHIND: usize = 10;

/// Columns between two lanes: fewer show nothing, more are hard to follow.
const NARROWEST: usize = 13;
const WIDEST: usize = 24;

const DIM: Style = Style::new().dimmed();
const BOLD: Style = Style::new().bold();
const MARK: Style = AnsiColor::Yellow.on_default().bold();

/// Writes the ladder in this many columns.
///
/// # Errors
/// What the writer says.
pub fn write(ladder: &Ladder, width: usize, out: &mut impl Write) -> io::Result<()> {
    paragraph(&ladder.title, "", BOLD, width, out)?;
    match Layout::new(ladder, width) {
        Some(layout) => {
            layout.heading(ladder, out)?;
            for step in &ladder.steps {
                layout.step(step, out)?;
            }
        }
        None => ladder.steps.iter().try_for_each(|step| in_words(ladder, step, width, out))?,
    }
    if ladder.elsewhere > 0 {
        let packets = counted(ladder.elsewhere, "packet");
        paragraph(&format!("only in the capture: {packets} of other hosts"), "", DIM, width, out)?;
    }
    writeln!(out)?;
    paragraph(&ladder.judgement, "", BOLD, width, out)?;
    paragraph(ladder.theory.as_deref().unwrap_or(NO_THEORY), "", Style::new(), width, out)
}

/// Where the lanes are.
struct Layout {
    lanes: Vec<usize>,
    width: usize,
}

/// A text that stands below the line of its step, beside a lane.
struct Below {
    left: usize,
    text: String,
    style: Style,
}

/// A character and how it looks.
type Glyph = (char, Style);

impl Layout {
    fn new(ladder: &Ladder, width: usize) -> Option<Self> {
        let gaps = ladder.lanes.len().checked_sub(1).filter(|gaps| *gaps > 0)?;
        // Names are centred on their lanes, so half of the first and the last stand out.
        let room = width.checked_sub(BEFORE + BEHIND + 4)?;
        let gap = (room / gaps).min(WIDEST);
        let lanes = (0..=gaps).map(|lane| BEFORE + 3 + lane * gap).collect();
        (gap >= NARROWEST).then_some(Self { lanes, width })
    }

    fn heading(&self, ladder: &Ladder, out: &mut impl Write) -> io::Result<()> {
        let names = ladder.lanes.iter().map(|lane| harmless(&lane.name).into_owned()).collect();
        let address = |lane: &Lane| lane.address.map_or_else(String::new, |address| address.to_string());
        let addresses = ladder.lanes.iter().map(address).collect();
        self.above_lanes(names, "ms", BOLD, out)?;
        self.above_lanes(addresses, "", DIM, out)
    }

    /// A text above each lane; every second one on a row of its own where neighbours would touch.
    fn above_lanes(
        &self,
        texts: Vec<String>,
        unit: &str,
        style: Style,
        out: &mut impl Write,
    ) -> io::Result<()> {
        let gap = self.gap();
        let texts: Vec<String> =
            texts.iter().map(|text| shortened(text, (2 * gap).min(2 * BEHIND) - 2)).collect();
        let rows = if texts.iter().any(|text| text.chars().count() >= gap) { 2 } else { 1 };
        for row in 0..rows {
            let mut glyphs = self.blank();
            if row == 0 {
                put(&mut glyphs, BEFORE - 3, unit, DIM);
            }
            for (lane, text) in texts.iter().enumerate().filter(|(lane, _)| lane % rows == row) {
                put(&mut glyphs, centred(self.lanes[lane], text), text, style);
            }
            write_line(&glyphs, out)?;
        }
        Ok(())
    }

    fn step(&self, step: &Step, out: &mut impl Write) -> io::Result<()> {
        let mut row = self.lanes_only();
        let time = format!("{:.3}", step.at_ms);
        put(&mut row, (BEFORE - 1).saturating_sub(time.chars().count()), &time, Style::new());
        let below = match &step.what {
            StepKind::Packet { tone, text, legs, end } => {
                self.packet(&mut row, step, (*tone, text), legs, *end)
            }
            StepKind::Talk { from, to, text } => self.talk(&mut row, *from, *to, text),
            StepKind::State { lane, text } => self.state(&mut row, *lane, &times(step, text)),
        };
        write_line(&row, out)?;
        self.below(below, out)?;
        for mark in &step.marks {
            let text = format!("frame {}: {}", mark.frame, mark.note);
            paragraph(&text, &format!("{:BEFORE$}╰ ", ""), MARK, self.width, out)?;
        }
        Ok(())
    }

    /// Rows for the texts that did not fit on their line: one for all that fit between two lanes, and one for each longer one.
    fn below(&self, texts: Vec<Below>, out: &mut impl Write) -> io::Result<()> {
        let room = self.width - BEFORE;
        let (short, long): (Vec<Below>, Vec<Below>) =
            texts.into_iter().partition(|below| below.text.chars().count() < self.gap());
        let rows = Some(short).filter(|short| !short.is_empty());
        for texts in rows.into_iter().chain(long.into_iter().map(|below| vec![below])) {
            let mut row = self.lanes_only();
            for Below { left, text, style } in texts {
                let text = shortened(&text, room);
                let start = (left + 1).min(self.width - text.chars().count());
                put(&mut row, start, &text, style);
            }
            write_line(&row, out)?;
        }
        Ok(())
    }

    fn packet(
        &self,
        row: &mut [Glyph],
        step: &Step,
        (tone, text): (Tone, &str),
        legs: &[Leg],
        end: LegEnd,
    ) -> Vec<Below> {
        let style = tone_style(tone);
        let mut below = Vec::new();
        let mut waiting = vec![harmless(&times(step, text)).into_owned()];
        let mut number = 0;
        // Each text stands where it is true: ports on the links where the packet has them.
        for alike in legs.chunk_by(|a, b| a.ports == b.ports) {
            waiting.push(harmless(&alike[0].ports).into_owned());
            waiting.retain(|text| !text.is_empty());
            for (place, leg) in alike.iter().enumerate() {
                let last = number + 1 == legs.len();
                let room = self.line(row, leg, last.then_some(end), (number, place), style);
                if let Some((start, text)) = label::next(&mut waiting, room, place + 1 == alike.len()) {
                    let (before, behind) =
                        (start > room.left + 1, start + text.chars().count() + 1 < room.right);
                    let text = if before && behind { format!("{text} ") } else { text };
                    put(row, start, &text, style);
                }
                if last {
                    finish(row, (self.lanes[leg.from], self.stop(leg, Some(end))), end, style);
                }
                number += 1;
            }
            if !waiting.is_empty() {
                let left = self.lanes[alike[0].from.min(alike[0].to)];
                below.push(Below { left, text: std::mem::take(&mut waiting).join(" "), style });
            }
        }
        if let (LegEnd::Arrived, Some(until)) = (end, step.until_ms) {
            let time = format!("{until:.3}");
            put(row, self.width.saturating_sub(time.chars().count()), &time, DIM);
        }
        below
    }

    /// Draws the line of a leg, and says where its text may stand. The leg is the `number`th of all and the `place`th of those
    /// with its ports.
    fn line(
        &self,
        row: &mut [Glyph],
        leg: &Leg,
        end: Option<LegEnd>,
        (number, place): (usize, usize),
        style: Style,
    ) -> Room {
        let (from, stop) = (self.lanes[leg.from], self.stop(leg, end));
        let (left, right) = (from.min(stop), from.max(stop));
        for cell in &mut row[left + 1..right] {
            *cell = ('─', style);
        }
        row[from] = match (number, leg.from < leg.to, place) {
            (0, true, _) => ('├', style),
            (0, false, _) => ('┤', style),
            (_, _, 0) => ('●', style),
            (_, _, _) => ('┼', style),
        };
        let head = usize::from(end == Some(LegEnd::Arrived));
        Room { left, right, heads: if from < stop { (0, head) } else { (head, 0) } }
    }

    /// Where the line of a leg ends.
    fn stop(&self, leg: &Leg, end: Option<LegEnd>) -> usize {
        let (from, to) = (self.lanes[leg.from], self.lanes[leg.to]);
        if matches!(end, Some(LegEnd::Lost | LegEnd::InFlight)) { from.midpoint(to) } else { to }
    }

    fn talk(&self, row: &mut [Glyph], from: usize, to: usize, text: &str) -> Vec<Below> {
        let (from, to) = (self.lanes[from], self.lanes[to]);
        let (left, right) = (from.min(to), from.max(to));
        for cell in &mut row[left + 1..right] {
            *cell = ('╌', DIM);
        }
        row[left] = ('◄', DIM);
        row[right] = ('►', DIM);
        let text = harmless(text).into_owned();
        if text.chars().count() + 4 > right - left {
            return vec![Below { left, text, style: DIM }];
        }
        put(row, left + 2, &format!(" {text} "), DIM);
        Vec::new()
    }

    fn state(&self, row: &mut [Glyph], lane: usize, text: &str) -> Vec<Below> {
        let x = self.lanes[lane];
        let text = harmless(text).into_owned();
        let length = text.chars().count();
        row[x] = ('○', Style::new());
        if x + 2 + length <= self.width {
            put(row, x + 2, &text, Style::new());
        } else if BEFORE + length < x {
            put(row, x - length - 1, &text, Style::new());
        } else {
            return vec![Below { left: x, text, style: Style::new() }];
        }
        Vec::new()
    }

    fn blank(&self) -> Vec<Glyph> {
        vec![(' ', Style::new()); self.width]
    }

    fn lanes_only(&self) -> Vec<Glyph> {
        let mut row = self.blank();
        for x in &self.lanes {
            row[*x] = ('│', DIM);
        }
        row
    }

    /// Columns between two lanes.
    fn gap(&self) -> usize {
        self.lanes[1] - self.lanes[0]
    }
}

fn finish(row: &mut [Glyph], (from, stop): (usize, usize), end: LegEnd, style: Style) {
    let before = if from < stop { stop - 1 } else { stop + 1 };
    match end {
        LegEnd::Arrived => row[before] = (if from < stop { '►' } else { '◄' }, style),
        LegEnd::Dropped => row[stop] = ('✗', tone_style(Tone::Reset)),
        LegEnd::Lost => row[stop] = ('✗', tone_style(Tone::Reset)),
        LegEnd::InFlight => row[stop] = ('…', style),
    }
}

/// `761 × SYN` for several alike.
fn times(step: &Step, text: &str) -> String {
    if step.count > 1 { format!("{} × {text}", step.count) } else { text.to_owned() }
}

fn centred(x: usize, text: &str) -> usize {
    x.saturating_sub(text.chars().count() / 2)
}

fn put(row: &mut [Glyph], start: usize, text: &str, style: Style) {
    for (cell, c) in row.iter_mut().skip(start).zip(text.chars()) {
        *cell = (c, style);
    }
}

/// Writes a row without the blanks at its end, each run of one style at once.
fn write_line(row: &[Glyph], out: &mut impl Write) -> io::Result<()> {
    let length = row.iter().rposition(|(c, _)| *c != ' ').map_or(0, |last| last + 1);
    for run in row[..length].chunk_by(|(_, a), (_, b)| a == b) {
        let (text, style): (String, Style) = (run.iter().map(|(c, _)| *c).collect(), run[0].1);
        write!(out, "{style}{text}{style:#}")?;
    }
    writeln!(out)
}

fn tone_style(tone: Tone) -> Style {
    match tone {
        Tone::Syn => AnsiColor::Cyan.on_default(),
        Tone::SynAck => AnsiColor::Green.on_default(),
        Tone::Reset => AnsiColor::Red.on_default().bold(),
        Tone::Icmp => AnsiColor::Magenta.on_default(),
        Tone::Data | Tone::Other => Style::new(),
    }
}

/// A step where there is no room for lanes.
fn in_words(ladder: &Ladder, step: &Step, width: usize, out: &mut impl Write) -> io::Result<()> {
    let name = |lane: usize| ladder.lanes[lane].name.as_str();
    let text = match &step.what {
        StepKind::Packet { text, legs, end, .. } => {
            let way = step.what.lanes().into_iter().map(name).collect::<Vec<_>>().join(" → ");
            let mut ports: Vec<&str> = legs.iter().map(|leg| leg.ports.as_str()).collect();
            ports.dedup();
            let end = match end {
                LegEnd::Arrived => "",
                LegEnd::Dropped => ", dropped",
                LegEnd::Lost => ", lost",
                LegEnd::InFlight => ", still on its way",
            };
            format!("{way}: {} {}{end}", times(step, text), ports.join(", then "))
        }
        StepKind::Talk { from, to, text } => format!("{} ⇄ {}: {text}", name(*from), name(*to)),
        StepKind::State { lane, text } => format!("{}: {}", name(*lane), times(step, text)),
    };
    paragraph(&text, &format!("{:10.3} ", step.at_ms), Style::new(), width, out)?;
    for mark in &step.marks {
        paragraph(&format!("frame {}: {}", mark.frame, mark.note), "           ╰ ", MARK, width, out)?;
    }
    Ok(())
}

/// A text broken between words; `prefix` stands before it, and blanks before its other lines.
fn paragraph(text: &str, prefix: &str, style: Style, width: usize, out: &mut impl Write) -> io::Result<()> {
    let text = harmless(text);
    let indent = prefix.chars().count();
    let room = width.saturating_sub(indent).max(20);
    let mut lines = vec![String::new()];
    for word in text.split(' ').flat_map(|word| pieces(word, room)) {
        let line = lines.last_mut().expect("there is always one");
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > room {
            lines.push(word);
        } else {
            line.push_str(if line.is_empty() { "" } else { " " });
            line.push_str(&word);
        }
    }
    for (number, line) in lines.iter().enumerate() {
        let prefix = if number == 0 { prefix.to_owned() } else { " ".repeat(indent) };
        writeln!(out, "{prefix}{style}{line}{style:#}")?;
    }
    Ok(())
}
