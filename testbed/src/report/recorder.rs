//! Hands each event of a run to the folder, the progress display and the final result.

use std::io;
use std::path::{Path, PathBuf};

use crate::model::event::Event;
use crate::report::collect::ResultsBuilder;
use crate::report::folder::Folder;
use crate::report::format::RESULTS;
use crate::report::kept_trials::{KeptTrials, is_full};
use crate::report::losses::Losses;
use crate::report::origin::Origin;
use crate::report::progress::Progress;
use crate::report::results::Results;

/// Records a run while it goes on.
#[derive(Debug)]
pub struct Recorder {
    collector: ResultsBuilder,
    folder: Folder,
    trials: KeptTrials,
    progress: Progress,
    has_begun: bool,
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
        let trials = KeptTrials::below(folder.path().to_owned());
        let (collector, losses) = (ResultsBuilder::of(origin), Losses::default());
        Self { collector, folder, trials, progress, has_begun: false, losses }
    }

    /// Where the run is recorded.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Takes an event.
    pub fn event(&mut self, event: &Event) {
        self.progress.event(event);
        self.has_begun = true;
        let was_complete = self.losses.is_empty();
        match self.collector.event(event) {
            Some(cell) => {
                let note = || self.folder.cell(cell);
                let noted = self.trials.after_making_room(&mut self.losses, note);
                self.losses.cell(cell, noted);
            }
            None if let Event::TrialKept { cell, number, artefacts } = event => {
                if let Err(why) = self.trials.write(cell, *number, artefacts) {
                    self.losses.trial(cell, *number, &why);
                }
            }
            None if matches!(event, Event::RunStarted(_)) => {
                // What cannot be noted yet is noted with the first cell.
                let _ = self.folder.started(&self.collector.results());
            }
            None => (),
        }
        if let Some(why) = self.losses.why().filter(|_| was_complete) {
            let folder = self.folder.path().display();
            self.progress.warn(&format!("cannot write to \"{folder}\": {why}; the run goes on"));
        }
    }

    /// Whether the run has begun, so that there is something to record.
    #[must_use]
    pub fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Takes the folder away again, of a run that could not begin.
    pub fn discard(self) {
        self.folder.discard();
    }

    /// Writes everything that there is to be written.
    #[must_use]
    pub fn finish(self) -> RecordedRun {
        let Self { collector, folder, trials, mut progress, losses, .. } = self;
        progress.clear();
        write(&folder, collector.results(), trials, losses)
    }
}

/// Records the whole of a run whose parts lie in these folders, with the trials that they kept: all of those or none.
#[must_use]
pub fn record_merged(folder: &Folder, results: Results, parts: &[PathBuf]) -> RecordedRun {
    let mut trials = KeptTrials::of(&results, folder.path().to_owned());
    let mut losses = Losses::of_merge();
    if let Err(why) = parts.iter().try_for_each(|part| folder.take_artefacts(part)) {
        while trials.give_way(&mut losses, &why) {}
    }
    write(folder, results, trials, losses)
}

/// Writes the files of a run. While there is no room for them, trials give way.
fn write(folder: &Folder, mut results: Results, mut trials: KeptTrials, mut losses: Losses) -> RecordedRun {
    let unwritten = loop {
        losses.forget(&mut results);
        let unwritten = folder.write(&results);
        let full = unwritten.iter().map(|(_, why)| why).find(|why| is_full(why));
        // The files name the trials that are kept, so that all are written again without those that gave way.
        if !full.is_some_and(|why| trials.give_way(&mut losses, why)) {
            break unwritten;
        }
    };
    let lacks_results = |unwritten: &[(&str, io::Error)]| unwritten.iter().any(|(name, _)| *name == RESULTS);
    let unwritten = if lacks_results(&unwritten) && !losses.has_notes() {
        // What is known of no cell only takes room.
        folder.drop_notes();
        folder.write(&results)
    } else {
        unwritten
    };
    if lacks_results(&unwritten) {
        folder.remove_if_empty();
    }
    unwritten.iter().for_each(|(name, why)| losses.file(name, why));
    RecordedRun { results, folder: folder.path().to_owned(), losses }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::report::charset::Charset;
    use crate::report::format::CELLS;
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
    fn parts_whose_trials_cannot_be_copied_are_merged_without_them() {
        let parent = tempfile::tempdir().expect("a folder");
        let (part, whole) = (parent.path().join("part"), parent.path().join("whole"));
        fs::create_dir_all(part.join("cells/x/trial-1")).expect("room on the disk");
        let folder = Folder::create(&whole).expect("room on the disk");
        let results = crate::report::sample::results();
        let kept = |results: &Results| {
            results.punches().flat_map(|cell| &cell.each).filter(|trial| trial.artefacts.is_some()).count()
        };
        assert!(kept(&results) > 0);
        let merged = record_merged(&folder, results.clone(), std::slice::from_ref(&part));
        assert!(merged.losses.is_empty() && kept(&merged.results) == kept(&results));
        fs::remove_dir_all(whole.join("cells")).expect("it is there");
        fs::write(whole.join("cells"), "in the way").expect("room on the disk");
        let merged = record_merged(&folder, results, &[part]);
        let (message, _) = merged.losses.told("whole").expect("a loss");
        assert!(message.contains("the packets and logs of ") && whole.join(RESULTS).is_file(), "{message}");
        assert_eq!(kept(&merged.results), 0);
    }

    #[test]
    fn a_run_that_could_not_begin_leaves_no_folder() {
        let parent = tempfile::tempdir().expect("a folder");
        let folder = Folder::create(&parent.path().join("run")).expect("room on the disk");
        let recorder =
            Recorder::new(folder, Origin::default(), Progress::on_stderr(Detail::Brief, Charset::Ascii));
        assert!(!recorder.has_begun());
        recorder.discard();
        assert!(!parent.path().join("run").exists());
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
