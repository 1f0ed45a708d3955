//! Hands each event of a run to the folder, the progress display and the final result.

use std::io;
use std::path::{Path, PathBuf};

use crate::model::event::{Artefacts, Event};
use crate::report::artefacts;
use crate::report::collect::ResultsBuilder;
use crate::report::folder::Folder;
use crate::report::origin::Origin;
use crate::report::progress::Progress;
use crate::report::results::Results;

/// Records a run while it goes on.
#[derive(Debug)]
pub struct Recorder {
    collector: ResultsBuilder,
    folder: Folder,
    progress: Progress,
    /// The first thing that could not be written. The run goes on: what it finds is still shown.
    trouble: Option<io::Error>,
}

/// A run that is over.
#[derive(Debug)]
pub struct RecordedRun {
    /// Its results.
    pub results: Results,
    /// Where it lies.
    pub folder: PathBuf,
    /// Why the folder is not complete, if it is not.
    pub trouble: Option<io::Error>,
}

impl Recorder {
    /// Records a run of this origin into this folder.
    #[must_use]
    pub fn new(folder: Folder, origin: Origin, progress: Progress) -> Self {
        Self { collector: ResultsBuilder::of(origin), folder, progress, trouble: None }
    }

    /// Where the run is recorded.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Takes an event.
    pub fn event(&mut self, event: &Event) {
        self.progress.event(event);
        let written = match self.collector.event(event) {
            Some(cell) => self.folder.cell(cell),
            None if let Event::TrialKept { cell, number, artefacts } = event => {
                self.keep(cell, *number, artefacts)
            }
            None if matches!(event, Event::RunStarted(_)) => self.folder.started(&self.collector.results()),
            None => Ok(()),
        };
        self.note(written);
    }

    /// Writes everything that there is to be written.
    #[must_use]
    pub fn finish(self) -> RecordedRun {
        let Self { collector, folder, mut progress, trouble } = self;
        progress.clear();
        let (results, path) = (collector.results(), folder.path().to_owned());
        let written = folder.finish(&results);
        RecordedRun { results, folder: path, trouble: trouble.or(written.err()) }
    }

    fn keep(&self, cell: &str, number: u32, kept: &Artefacts) -> io::Result<()> {
        let folder = self.folder.path().join(Artefacts::folder(cell, number));
        artefacts::write(&folder, &format!("{cell}, trial {number}"), kept)
    }

    fn note(&mut self, written: io::Result<()>) {
        if let Err(why) = written
            && self.trouble.is_none()
        {
            self.progress.warn(&format!("cannot write to \"{}\": {why}", self.folder.path().display()));
            self.trouble = Some(why);
        }
    }
}
