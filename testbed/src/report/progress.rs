//! How far a run is, on standard error: a bar where that is a terminal, and warnings in any case.

use std::fmt;
use std::io::Write;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::model::event::Event;
use crate::model::outcome::{Outcome, Verdict};
use crate::report::escape::harmless;

/// Shows how far a run is.
pub struct Progress {
    bar: ProgressBar,
    /// Cells that are not as expected, so far.
    unexpected: usize,
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress").field("unexpected", &self.unexpected).finish_non_exhaustive()
    }
}

impl Progress {
    /// A bar on standard error; without a terminal there, it draws nothing.
    #[must_use]
    pub fn on_stderr() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        Self { bar, unexpected: 0 }
    }

    /// Takes an event.
    pub fn event(&mut self, event: &Event) {
        match event {
            Event::RunStarted(info) => self.start(info.trials_in_all),
            Event::NatProved(proof) => self.bar.set_message(format!("proved {}", harmless(&proof.nat))),
            Event::KernelChecked(check) => {
                self.bar.inc(1);
                self.bar.set_message(harmless(&check.id).into_owned());
            }
            Event::TrialStarted { cell, .. } => self.bar.set_message(self.message(cell)),
            Event::TrialFinished { trial, .. } => {
                self.bar.inc(1);
                if let Outcome::Error(why) = &trial.outcome {
                    tracing::debug!(trial = trial.number, "error: {}", harmless(&why.to_string()));
                }
            }
            Event::CellFinished(cell) => self.unexpected += usize::from(cell.verdict != Verdict::AsExpected),
            Event::Warning(text) => self.warn(text),
            Event::TrialKept { .. } => (),
            Event::PacketsJudged(_) => (),
            Event::RunFinished { .. } => self.clear(),
        }
    }

    /// Takes the bar away.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }

    /// Writes a line above the bar, or simply a line where there is none.
    pub fn warn(&self, text: &str) {
        self.bar.suspend(|| {
            // Nothing is left to be done when standard error is closed.
            let _ = writeln!(anstream::stderr(), "testbed: {}", harmless(text));
        });
    }

    fn start(&self, trials: u64) {
        let form = "{bar:24} {pos}/{len} trials, {elapsed} {wide_msg}";
        let style = ProgressStyle::with_template(form).expect("the template is a constant");
        self.bar.set_style(style.progress_chars("=> "));
        self.bar.set_length(trials);
        self.bar.enable_steady_tick(Duration::from_millis(200));
    }

    fn message(&self, cell: &str) -> String {
        match self.unexpected {
            0 => harmless(cell).into_owned(),
            n => format!("({n} not as expected) {}", harmless(cell)),
        }
    }
}
