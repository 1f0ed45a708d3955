//! How far a run is, in numbers and as one line: percentage, time left, what the finished cells came to. Pure: the time is
//! passed in.

use std::time::Duration;

use crate::model::event::{Event, RunInfo};
use crate::model::plural::counted;
use crate::report::charset::Charset;
use crate::report::escape::harmless;
use crate::report::remaining::RemainingTime;
use crate::report::results::VerdictDoc;
use crate::report::totals::Totals;

/// Columns of the bar, and the least columns in which there is room for it.
const BAR: usize = 12;
const ROOM_FOR_BAR: usize = 72;

/// How far a run is.
#[derive(Debug, Default)]
pub(super) struct Tracker {
    suite: String,
    nats: PhaseProgress,
    controls: PhaseProgress,
    trials: PhaseProgress,
    full_proofs: PhaseProgress,
    remaining: RemainingTime,
    /// When the first trial started.
    playing_since: Option<Duration>,
    /// The verdicts so far.
    pub(super) verdicts: Totals,
    /// The last thing that was begun.
    at: String,
}

/// How many were made, of all.
#[derive(Debug, Default, Clone, Copy)]
struct PhaseProgress {
    made: usize,
    of: usize,
}

impl PhaseProgress {
    fn is_under_way(self) -> bool {
        self.made < self.of
    }
}

impl Tracker {
    /// Takes an event, so long after the begin.
    pub(super) fn event(&mut self, event: &Event, now: Duration) {
        match event {
            Event::RunStarted(info) => self.start(info),
            Event::NatProved(proof) => {
                self.nats.made += 1;
                self.at = harmless(&proof.nat).into_owned();
            }
            Event::KernelChecked(check) => {
                self.playing_since.get_or_insert(now);
                self.trials.made += 1;
                self.remaining.ended(&check.id, 1);
                self.verdicts.count(crate::report::results::KernelCell::from(check).verdict);
                self.at = harmless(&check.id).into_owned();
            }
            Event::ControlMade { made, of } => self.controls = PhaseProgress { made: *made, of: *of },
            Event::FullProofs { made, of } => self.full_proofs = PhaseProgress { made: *made, of: *of },
            Event::TrialStarted { cell, number } => {
                self.playing_since.get_or_insert(now);
                self.remaining.begun(cell, *number, now);
                self.at = harmless(cell).into_owned();
            }
            Event::TrialFinished { cell, trial } => {
                self.trials.made += 1;
                self.remaining.ended(cell, trial.number);
            }
            Event::CellFinished(cell) => self.verdicts.count(VerdictDoc::from(cell.verdict)),
            Event::TrialKept { .. }
            | Event::TrialsRepeated { .. }
            | Event::PacketsJudged(_)
            | Event::Warning(_)
            | Event::RunFinished { .. } => (),
        }
    }

    fn start(&mut self, info: &RunInfo) {
        *self = Self {
            suite: harmless(&info.suite).into_owned(),
            nats: PhaseProgress { made: 0, of: info.nats },
            trials: PhaseProgress { made: 0, of: usize::try_from(info.trials_in_all).unwrap_or(usize::MAX) },
            remaining: RemainingTime::new(info),
            ..Self::default()
        };
    }

    /// What the run does just now, without the verdicts: `proving NATs 3/22`, or `43 %, 12 s left`.
    fn stage(&self, now: Duration) -> String {
        if self.playing_since.is_none() && self.controls.of > 0 {
            return format!("negative controls {}/{}", self.controls.made, self.controls.of);
        }
        if self.playing_since.is_none() && self.nats.of > 0 {
            return format!("proving NATs {}/{}", self.nats.made, self.nats.of);
        }
        // Sums of tenths are a little less than what they stand for.
        let percent = (self.remaining.share() * 100.0 + 1e-6).floor();
        let left = self.remaining.left(now, self.playing_since);
        let rest = match (self.trials.is_under_way(), left.is_zero()) {
            (true, true) => String::new(),
            (true, false) => format!(", {} left", span(left)),
            (false, _) if self.full_proofs.is_under_way() => String::new(),
            // `--until-sure` adds trials, and nobody knows how many.
            (false, _) => ", more trials until sure".to_owned(),
        };
        let PhaseProgress { made, of } = self.full_proofs;
        let proofs = match self.full_proofs.is_under_way() {
            true => format!(", proving NATs in full {made}/{of}"),
            false => String::new(),
        };
        format!("{percent:.0} %{rest}{proofs}")
    }

    /// What the cells came to: `97 as expected, 1 differs, 2 undecided`.
    fn cells_so_far(&self) -> String {
        let counts = self.verdicts.by_verdict();
        let counts = counts.map(|(verdict, count)| format!("{count} {}", verdict.words_of(count)));
        counts.collect::<Vec<_>>().join(", ")
    }

    /// The line for a log: everything in words.
    pub(super) fn log_line(&self, now: Duration) -> String {
        let mut line = format!("{}: {}", self.suite, self.stage(now));
        if self.playing_since.is_some() {
            let PhaseProgress { made, of } = self.trials;
            line += &format!("; {made} of {}", counted(of.max(made), "trial"));
            if self.verdicts.cells > 0 {
                line += &format!("; {}: {}", counted(self.verdicts.cells, "cell"), self.cells_so_far());
            }
        }
        line
    }

    /// The line for a terminal: a bar, the time left, the verdicts so far and the cell that began last, which is cut to fit.
    pub(super) fn bar_line(&self, now: Duration, width: usize, charset: Charset) -> String {
        let mut line = String::new();
        if width >= ROOM_FOR_BAR {
            let full = (self.remaining.share() * BAR as f64).round() as usize;
            line += &format!("{}{} ", "━".repeat(full), "─".repeat(BAR - full));
        }
        line += &self.stage(now);
        let cells = self.cells_so_far();
        if !cells.is_empty() {
            line += &format!("; {cells}");
        }
        let room = width.saturating_sub(console::measure_text_width(&line) + 3);
        if room >= 8 && !self.at.is_empty() {
            line += &format!("  {}", console::truncate_str(&self.at, room, "…"));
        }
        let line = console::truncate_str(&line, width.saturating_sub(1), "…").into_owned();
        charset.show(&line).into_owned()
    }
}

/// A duration in the two largest units: `12 s`, `1 min 12 s`, `2 h 5 min`.
fn span(duration: Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..60 => format!("{} s", seconds.max(1)),
        seconds @ 60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::events;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// A run of which half is done.
    fn halfway() -> Tracker {
        let mut tracker = Tracker::default();
        for event in events().iter().filter(|event| !matches!(event, Event::RunFinished { .. })) {
            tracker.event(event, at(1));
        }
        tracker.event(&Event::ControlMade { made: 4, of: 4 }, at(2));
        tracker.event(&Event::TrialStarted { cell: "even/odd/auto".to_owned(), number: 1 }, at(3));
        let Event::CellFinished(cell) = &events()[3] else { panic!("the first cell") };
        for trial in cell.trials.iter().cycle().take(6) {
            let cell = cell.cell.id.clone();
            tracker.event(&Event::TrialFinished { cell, trial: trial.clone() }, at(9));
        }
        tracker
    }

    #[test]
    fn each_stage_says_what_it_does() {
        let mut tracker = Tracker::default();
        tracker.event(&events()[0], at(0));
        assert_eq!(tracker.log_line(at(0)), "sample: proving NATs 0/2");
        tracker.event(&events()[1], at(1));
        assert_eq!(tracker.log_line(at(1)), "sample: proving NATs 1/2");
        tracker.event(&Event::ControlMade { made: 1, of: 4 }, at(2));
        assert_eq!(tracker.log_line(at(2)), "sample: negative controls 1/4");
        // Theory says 12 trials of 0.1 s, two at a time.
        tracker.event(&Event::TrialStarted { cell: "even/even/auto".to_owned(), number: 1 }, at(3));
        assert_eq!(tracker.log_line(at(3)), "sample: 0 %, 1 s left; 0 of 12 trials");
    }

    #[test]
    fn the_speed_so_far_says_how_long_the_rest_takes() {
        assert_eq!(
            halfway().log_line(at(9)),
            "sample: 50 %, 4 s left; 6 of 12 trials; 4 cells: 1 as expected, 1 differs, 1 undecided, 1 error"
        );
    }

    #[test]
    fn full_proofs_are_told_beside_trials_and_after_them() {
        let mut tracker = halfway();
        tracker.event(&Event::FullProofs { made: 1, of: 2 }, at(9));
        let said = "proving NATs in full 1/2";
        assert!(
            tracker.log_line(at(9)).starts_with(&format!("sample: 50 %, 4 s left, {said}; 6 of 12 trials;"))
        );
        let bar = tracker.bar_line(at(9), 160, Charset::Unicode);
        assert!(bar.contains(&format!("50 %, 4 s left, {said}; 1 as expected")), "{bar}");
        let Event::CellFinished(cell) = &events()[3] else { panic!("the first cell") };
        for trial in cell.trials.iter().cycle().take(6) {
            let cell = cell.cell.id.clone();
            tracker.event(&Event::TrialFinished { cell, trial: trial.clone() }, at(18));
        }
        assert!(tracker.log_line(at(18)).starts_with(&format!("sample: 99 %, {said}; 12 of 12 trials")));
        tracker.event(&Event::FullProofs { made: 2, of: 2 }, at(20));
        assert!(tracker.log_line(at(20)).starts_with("sample: 99 %, more trials until sure; 12 of"));
    }

    #[test]
    fn the_bar_fits_every_width() {
        let tracker = halfway();
        assert_eq!(
            tracker.bar_line(at(9), 120, Charset::Unicode),
            "━━━━━━────── 50 %, 4 s left; 1 as expected, 1 differs, 1 undecided, 1 error  even/odd/auto"
        );
        assert_eq!(
            tracker.bar_line(at(9), 86, Charset::Ascii),
            "======------ 50 %, 4 s left; 1 as expected, 1 differs, 1 undecided, 1 error  even/od~"
        );
        for width in 2..130 {
            let line = tracker.bar_line(at(9), width, Charset::Unicode);
            assert!(console::measure_text_width(&line) < width, "{width}: {line}");
        }
    }

    #[test]
    fn spans_have_two_units() {
        let spans = [0, 59, 72, 7500].map(|seconds| span(at(seconds)));
        assert_eq!(spans, ["1 s", "59 s", "1 min 12 s", "2 h 5 min"]);
    }
}
