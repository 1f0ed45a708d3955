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
