//! Hands each event of a run to the folder, the progress display and the final result.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::model::event::{Artefacts, Event};
use crate::report::artefacts;
use crate::report::collect::ResultsBuilder;
use crate::report::folder::Folder;
use crate::report::losses::Losses;
use crate::report::origin::Origin;
use crate::report::progress::Progress;
use crate::report::results::Results;

/// Records a run while it goes on.
#[derive(Debug)]
pub struct Recorder {
    collector: ResultsBuilder,
    folder: Folder,
    progress: Progress,
    /// What could not be written. The run goes on: what it finds is still shown.
    losses: Losses,
}

/// A run that is over.
#[derive(Debug)]
pub struct RecordedRun {
    /// Its results.
    pub results: Results,
    /// Where it lies.
    pub folder: PathBuf,
    /// What its folder lacks.
    pub losses: Losses,
}

impl Recorder {
    /// Records a run of this origin into this folder.
    #[must_use]
    pub fn new(folder: Folder, origin: Origin, progress: Progress) -> Self {
        Self { collector: ResultsBuilder::of(origin), folder, progress, losses: Losses::default() }
    }

    /// Where the run is recorded.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Takes an event.
    pub fn event(&mut self, event: &Event) {
        self.progress.event(event);
        let was_complete = self.losses.is_empty();
        match self.collector.event(event) {
            Some(cell) => {
                if let Err(why) = self.folder.cell(cell) {
                    self.losses.cell(why);
                }
            }
            None if let Event::TrialKept { cell, number, artefacts } = event => {
                if let Err(why) = self.keep(cell, *number, artefacts) {
                    self.losses.trial(cell, *number, why);
                }
            }
            None if matches!(event, Event::RunStarted(_)) => {
                if let Err(why) = self.folder.started(&self.collector.results()) {
                    self.losses.cell(why);
                }
            }
            None => (),
        }
        if let Some(why) = self.losses.why().filter(|_| was_complete) {
            let folder = self.folder.path().display();
            self.progress.warn(&format!("cannot write to \"{folder}\": {why}; the run goes on"));
        }
    }

    /// Writes everything that there is to be written.
    #[must_use]
    pub fn finish(self) -> RecordedRun {
        let Self { collector, folder, mut progress, mut losses } = self;
        progress.clear();
        let (mut results, path) = (collector.results(), folder.path().to_owned());
        losses.forget(&mut results);
        folder.finish(&results, &mut losses);
        RecordedRun { results, folder: path, losses }
    }

    fn keep(&self, cell: &str, number: u32, kept: &Artefacts) -> io::Result<()> {
        let folder = self.folder.path().join(Artefacts::folder(cell, number));
        artefacts::write(&folder, &format!("{cell}, trial {number}"), kept).inspect_err(|_| {
            // Half of a trial misleads, and where the disk is full its room is needed.
            let _ = fs::remove_dir_all(&folder);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::charset::Charset;
    use crate::report::format::{CELLS, RESULTS};
    use crate::report::sample::events;
    use crate::report::view::Detail;

    /// The sample, recorded into a folder that somebody spoils before its end.
    fn recorded(spoil: impl Fn(&Path)) -> (tempfile::TempDir, RecordedRun) {
        let parent = tempfile::tempdir().expect("a folder");
        let path = parent.path().join("run");
        let folder = Folder::create(&path).expect("room on the disk");
        let progress = Progress::on_stderr(Detail::Brief, Charset::Ascii);
        let mut recorder = Recorder::new(folder, Origin::default(), progress);
        for event in events() {
            if matches!(event, Event::RunFinished { .. }) {
                spoil(&path);
            }
            recorder.event(&event);
        }
        (parent, recorder.finish())
    }

    #[test]
    fn a_run_that_was_written_has_lost_nothing() {
        let (_parent, run) = recorded(|_| ());
        assert!(run.losses.is_empty());
        assert_eq!(run.losses.told("run"), None);
        assert!(!run.folder.join(CELLS).exists());
    }

    #[test]
    fn a_file_that_cannot_be_written_is_named_and_the_others_are_there() {
        let (_parent, run) = recorded(|path| fs::create_dir(path.join("report.html")).expect("a folder"));
        let (message, help) = run.losses.told("run").expect("a loss");
        assert!(message.ends_with("; lost: report.html"), "{message}");
        assert!(help.contains("run/results.json"), "{help}");
        assert!(run.folder.join(RESULTS).is_file() && run.folder.join("summary.md").is_file());
        assert!(!run.folder.join(".report.html.unfinished").exists());
    }

    #[test]
    fn without_results_the_finished_cells_remain() {
        let (_parent, run) = recorded(|path| fs::create_dir(path.join(RESULTS)).expect("a folder"));
        let (message, help) = run.losses.told("run").expect("a loss");
        assert!(message.ends_with("; lost: results.json"), "{message}");
        assert!(help.contains("run/cells.jsonl") && run.folder.join(CELLS).is_file(), "{help}");
    }
}
