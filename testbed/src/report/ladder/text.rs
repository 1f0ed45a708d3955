//! A ladder for a terminal: a column for each node, a line for each step.
//!
//! Colours are written as ANSI sequences; the caller's writer decides whether they stay. Nothing is lost
//! without them. Where the columns do not fit, each step is written in words.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

use crate::report::escape::harmless;
use crate::report::ladder::{Ladder, Leg, LegEnd, Step, StepKind, Tone};
use crate::report::plural::counted;

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
    writeln!(out, "{BOLD}{}{BOLD:#}", harmless(&ladder.title))?;
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
        writeln!(out, "{DIM}only in the capture: {packets} of other hosts{DIM:#}")?;
    }
    writeln!(out)?;
    paragraph(&ladder.judgement, "", BOLD, width, out)?;
    match &ladder.theory {
        Some(theory) => paragraph(theory, "", Style::new(), width, out),
        None => writeln!(out, "theory says nothing of this cell"),
    }
}

/// Where the lanes are.
struct Layout {
    lanes: Vec<usize>,
    width: usize,
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
        let mut names = self.blank();
        let mut addresses = self.blank();
        put(&mut names, BEFORE - 3, "ms", DIM);
        for (lane, x) in ladder.lanes.iter().zip(&self.lanes) {
            let name = harmless(&lane.name);
            put(&mut names, centred(*x, &name), &name, BOLD);
            let address = lane.address.map_or_else(String::new, |address| address.to_string());
            put(&mut addresses, centred(*x, &address), &address, DIM);
        }
        write_line(&names, out)?;
        write_line(&addresses, out)
    }

    fn step(&self, step: &Step, out: &mut impl Write) -> io::Result<()> {
        let mut row = self.blank();
        for x in &self.lanes {
            row[*x] = ('│', DIM);
        }
        let time = format!("{:.3}", step.at_ms);
        put(&mut row, (BEFORE - 1).saturating_sub(time.chars().count()), &time, Style::new());
        match &step.what {
            StepKind::Packet { tone, text, legs, end } => {
                self.packet(&mut row, step, (*tone, text), legs, *end)
            }
            StepKind::Talk { from, to, text } => self.talk(&mut row, *from, *to, text),
            StepKind::State { lane, text } => self.state(&mut row, *lane, &times(step, text)),
        }
        write_line(&row, out)?;
        for mark in &step.marks {
            let text = format!("frame {}: {}", mark.frame, mark.note);
            paragraph(&text, &format!("{:BEFORE$}╰ ", ""), MARK, self.width, out)?;
        }
        Ok(())
    }

    fn packet(&self, row: &mut [Glyph], step: &Step, (tone, text): (Tone, &str), legs: &[Leg], end: LegEnd) {
        let style = tone_style(tone);
        let mut waiting = vec![times(step, text)];
        let mut ports = "";
        for (number, leg) in legs.iter().enumerate() {
            let (from, to) = (self.lanes[leg.from], self.lanes[leg.to]);
            let last = number + 1 == legs.len();
            let broken = last && matches!(end, LegEnd::Lost | LegEnd::InFlight);
            let stop = if broken { from.midpoint(to) } else { to };
            for cell in &mut row[from.min(stop) + 1..from.max(stop)] {
                *cell = ('─', style);
            }
            let translated = number > 0 && ports != leg.ports;
            if ports != leg.ports {
                ports = &leg.ports;
                waiting.push(leg.ports.clone());
            }
            row[from] = match (number, from < to, translated) {
                (0, true, _) => ('├', style),
                (0, false, _) => ('┤', style),
                (_, _, true) => ('●', style),
                (_, _, false) => ('┼', style),
            };
            label(row, (from, stop), &mut waiting, style);
            if last {
                finish(row, (from, stop), end, style);
            }
        }
        if let (LegEnd::Arrived, Some(until)) = (end, step.until_ms) {
            let time = format!("{until:.3}");
            put(row, self.width.saturating_sub(time.chars().count()), &time, DIM);
        }
    }

    fn talk(&self, row: &mut [Glyph], from: usize, to: usize, text: &str) {
        let (from, to) = (self.lanes[from], self.lanes[to]);
        let (left, right) = (from.min(to), from.max(to));
        for cell in &mut row[left + 1..right] {
            *cell = ('╌', DIM);
        }
        row[left] = ('◄', DIM);
        row[right] = ('►', DIM);
        let text: String = harmless(text).chars().take((right - left).saturating_sub(4)).collect();
        put(row, left + 2, &format!(" {text} "), DIM);
    }

    fn state(&self, row: &mut [Glyph], lane: usize, text: &str) {
        let x = self.lanes[lane];
        let text = harmless(text);
        row[x] = ('○', Style::new());
        let fits = x + 2 + text.chars().count() <= self.width;
        let start = if fits { x + 2 } else { x.saturating_sub(text.chars().count() + 1).max(BEFORE) };
        put(row, start, &text, Style::new());
    }

    fn blank(&self) -> Vec<Glyph> {
        vec![(' ', Style::new()); self.width]
    }
}

/// As many of the waiting texts as fit between two lanes; one that does not is cut off where nothing is left to come.
fn label(row: &mut [Glyph], (from, to): (usize, usize), waiting: &mut Vec<String>, style: Style) {
    let (left, right) = (from.min(to) + 2, from.max(to).saturating_sub(1));
    let room = right.saturating_sub(left + 1);
    let mut text = String::new();
    while let Some(next) = waiting.first() {
        let joined = if text.is_empty() { next.clone() } else { format!("{text} {next}") };
        if joined.chars().count() > room && !text.is_empty() {
            break;
        }
        text = joined.chars().take(room).collect();
        waiting.remove(0);
    }
    if !text.is_empty() {
        put(row, left, &format!("{} ", harmless(&text)), style);
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

/// A word, cut where it is longer than a line.
fn pieces(word: &str, room: usize) -> Vec<String> {
    let letters: Vec<char> = word.chars().collect();
    if letters.is_empty() {
        vec![String::new()]
    } else {
        letters.chunks(room).map(|c| c.iter().collect()).collect()
    }
}
