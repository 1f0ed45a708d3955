//! How far a run is, on standard error: a bar where that is a terminal, else a line now and then; warnings in any case.

use std::fmt;
use std::io::{self, IsTerminal as _, Write};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use parking_lot::{Condvar, Mutex};

use crate::model::event::Event;
use crate::model::outcome::Outcome;
use crate::model::plural::counted;
use crate::report::charset::Charset;
use crate::report::escape::harmless;
use crate::report::results::{PunchCell, VerdictDoc};
use crate::report::tracker::Tracker;
use crate::report::view::{Detail, USUAL_WIDTH};

/// How often a bar is drawn anew, and how often a line is written where there is no terminal.
const BAR_PERIOD: Duration = Duration::from_millis(200);
const LINE_PERIOD: Duration = Duration::from_secs(10);

/// Shows how far a run is.
pub struct Progress {
    shared: Arc<Shared>,
    detail: Detail,
    charset: Charset,
    teller: Option<JoinHandle<()>>,
}

/// What the thread that tells shares with the run.
struct Shared {
    tracker: Mutex<Tracker>,
    over: Mutex<bool>,
    ended: Condvar,
    began: Instant,
    bar: ProgressBar,
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress").field("detail", &self.detail).finish_non_exhaustive()
    }
}

impl Progress {
    /// Progress on standard error, as far as so much detail wants it: brief is silent.
    ///
    /// # Panics
    /// Never: the template of the bar is a constant.
    #[must_use]
    pub fn on_stderr(detail: Detail, charset: Charset) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.set_style(ProgressStyle::with_template("{msg}").expect("the template is a constant"));
        let shared = Arc::new(Shared {
            tracker: Mutex::default(),
            over: Mutex::new(false),
            ended: Condvar::new(),
            began: Instant::now(),
            bar,
        });
        Self { shared, detail, charset, teller: None }
    }

    /// Takes an event.
    pub fn event(&mut self, event: &Event) {
        self.shared.tracker.lock().event(event, self.shared.began.elapsed());
        match event {
            Event::RunStarted(_) => self.start(),
            Event::TrialFinished { trial, .. } => {
                if let Outcome::Error(why) = &trial.outcome {
                    tracing::debug!(trial = trial.number, "error: {}", harmless(&why.to_string()));
                }
            }
            Event::CellFinished(cell) if self.detail == Detail::Everything => {
                self.cell(&PunchCell::from(cell));
            }
            Event::TrialsRepeated { count, at_a_time } if self.detail != Detail::Brief => {
                let trials = counted(*count, "trial");
                self.warn(&format!("the machine was too slow for {trials}: repeated, {at_a_time} at a time"));
            }
            Event::Warning(text) => self.warn(text),
            Event::RunFinished { .. } => self.clear(),
            _ => (),
        }
    }

    /// Takes the bar away, and tells nothing more.
    pub fn clear(&mut self) {
        *self.shared.over.lock() = true;
        self.shared.ended.notify_all();
        if let Some(teller) = self.teller.take() {
            // It only draws; what it could not draw is lost.
            let _ = teller.join();
        }
        self.shared.bar.finish_and_clear();
    }

    /// Writes a warning as a line above the bar, or simply as a line where there is none.
    pub fn warn(&self, text: &str) {
        self.line(&format!("testbed: {}", harmless(text)));
    }

    /// A finished cell, for those who want to see each.
    fn cell(&self, cell: &PunchCell) {
        let words = cell.verdict.words();
        let why = if cell.verdict == VerdictDoc::AsExpected { "" } else { cell.note.as_str() };
        let figure = format!("{}/{}", cell.passed, cell.trials);
        let line = format!("{figure:>9}  {words:14}  {}  {}", harmless(&cell.id), harmless(why));
        self.line(line.trim_end());
    }

    fn line(&self, text: &str) {
        self.shared.bar.suspend(|| tell(text, self.charset));
    }

    fn start(&mut self) {
        if self.detail == Detail::Brief || self.teller.is_some() {
            return;
        }
        let (shared, charset) = (Arc::clone(&self.shared), self.charset);
        let teller = thread::Builder::new().name("progress".to_owned());
        // Without the thread the run goes on untold.
        self.teller = teller.spawn(move || shared.tell_until_over(charset)).ok();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Shared {
    fn tell_until_over(&self, charset: Charset) {
        let bar = io::stderr().is_terminal() && !self.bar.is_hidden();
        let period = if bar { BAR_PERIOD } else { LINE_PERIOD };
        let mut over = self.over.lock();
        loop {
            let until = Instant::now() + period;
            while !*over && !self.ended.wait_until(&mut over, until).timed_out() {}
            if *over {
                return;
            }
            let now = self.began.elapsed();
            if bar {
                let width =
                    console::Term::stderr().size_checked().map_or(USUAL_WIDTH, |(_, columns)| columns.into());
                self.bar.set_message(self.tracker.lock().bar_line(now, width, charset));
                self.bar.tick();
            } else {
                let line = self.tracker.lock().log_line(now);
                tell(&format!("testbed: {line}"), charset);
            }
        }
    }
}

/// Writes a line on standard error.
fn tell(text: &str, charset: Charset) {
    // Nothing is left to be done when standard error is closed.
    let _ = writeln!(anstream::stderr(), "{}", charset.show(text));
}
