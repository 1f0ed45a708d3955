//! The folder of a run, written while the run goes on.
//!
//! Each finished cell is appended to `cells.jsonl` as it finishes, so that whatever happens later it is not lost. At
//! the end `results.json` and the formats made from it take its place, each at once by a rename.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::kernel::user_file;
use crate::model::event::Artefacts;
use crate::model::plain_words::of_json_line;
use crate::report::format::{CELLS, Format, RESULTS};
use crate::report::kept;
use crate::report::kept_trials::is_full;
use crate::report::losses::Losses;
use crate::report::results::{CellDoc, Results, Totals};
use crate::report::view::{Detail, RunView, USUAL_WIDTH};

/// The folder of a run that goes on.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    cells: File,
    /// What is known of the run before its first cell, until it is noted.
    heading: Vec<u8>,
}

impl Folder {
    /// Makes the folder, which must be empty if it exists.
    ///
    /// # Errors
    /// What the file system says, or that the folder holds files.
    pub fn create(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        if fs::read_dir(path)?.next().is_some() {
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, "it already holds files"));
        }
        let cells = OpenOptions::new().append(true).create_new(true).open(path.join(CELLS))?;
        Ok(Self { path: path.to_owned(), cells, heading: Vec::new() })
    }

    /// Makes a new folder `NAME-1`, `NAME-2`, … below `parent`, whichever is free first.
    ///
    /// # Errors
    /// What the file system says.
    pub fn create_numbered(parent: &Path, name: &str) -> io::Result<Self> {
        fs::create_dir_all(parent)?;
        for number in 1.. {
            let path = parent.join(format!("{name}-{number}"));
            match fs::create_dir(&path) {
                Ok(()) => return Self::create(&path),
                Err(why) if why.kind() == io::ErrorKind::AlreadyExists => (),
                Err(why) => return Err(why),
            }
        }
        unreachable!("the numbers do not end")
    }

    /// Takes it away, as long as nothing but notes of a run is in it.
    pub(super) fn discard(self) {
        self.drop_notes();
        self.remove_if_empty();
    }

    /// Takes the notes away of a run that has none worth keeping: a folder with nothing but them would pass for an interrupted run.
    pub(super) fn drop_notes(&self) {
        let _ = fs::remove_file(self.path.join(CELLS));
    }

    /// Takes it away if nothing is in it, not even a trial.
    pub(super) fn remove_if_empty(&self) {
        let _ = fs::remove_dir(self.path.join(Artefacts::FOLDER));
        let _ = fs::remove_dir(&self.path);
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Notes what is known of the run before its first cell.
    ///
    /// # Errors
    /// What the file system says.
    pub fn started(&mut self, results: &Results) -> io::Result<()> {
        self.heading = line(&Results { cells: Vec::new(), ..results.clone() })?;
        self.note(&[])
    }

    /// Notes a finished cell.
    ///
    /// # Errors
    /// What the file system says.
    pub fn cell(&mut self, cell: &CellDoc) -> io::Result<()> {
        let line = line(cell)?;
        self.note(&line)
    }

    /// Copies what another run kept of its trials; their folders are named after their cells.
    ///
    /// # Errors
    /// What the file system says.
    pub fn take_artefacts(&self, other: &Path) -> io::Result<()> {
        let kept = other.join(Artefacts::FOLDER);
        if kept.is_dir() { copy(&kept, &self.path.join(Artefacts::FOLDER)) } else { Ok(()) }
    }

    /// Writes every file that can be written, and takes away what was only for the meantime; what cannot is noted.
    pub fn finish(self, results: &Results, losses: &mut Losses) {
        self.write(results).iter().for_each(|(name, why)| losses.file(name, why));
    }

    /// Writes every file that can be written, and returns the others. Without `results.json`, the finished cells remain where
    /// they were noted.
    pub(super) fn write(&self, results: &Results) -> Vec<(&'static str, io::Error)> {
        let mut unwritten = Vec::new();
        let shown =
            RunView { run: &self.path, folder: Some(&self.path), width: USUAL_WIDTH, detail: Detail::Usual };
        let mut files: Vec<_> =
            Format::ALL.iter().filter_map(|format| Some((format, format.file()?))).collect();
        // What all others can be made from comes first.
        files.sort_by_key(|(_, name)| *name != RESULTS);
        for (format, name) in files {
            let mut text = Vec::new();
            let written = format.write(results, shown, &mut text).and_then(|()| self.replace(name, &text));
            match written {
                // If they cannot be removed, only a file too many is left.
                Ok(()) if name == RESULTS => self.drop_notes(),
                Ok(()) => (),
                Err(why) => unwritten.push((name, why)),
            }
        }
        unwritten
    }

    /// Appends a line; before the first, what is known of the run, without which no line can be read.
    fn note(&mut self, line: &[u8]) -> io::Result<()> {
        let before = self.cells.metadata()?.len();
        let text = [self.heading.as_slice(), line].concat();
        self.cells.write_all(&text).inspect_err(|_| {
            // Half a line would spoil the next one.
            let _ = self.cells.set_len(before);
        })?;
        self.heading.clear();
        Ok(())
    }

    /// Writes a file that is there as a whole or not at all. On a full disk, what was written under its name before makes room for it.
    fn replace(&self, name: &str, text: &[u8]) -> io::Result<()> {
        let unfinished = self.path.join(format!(".{name}.unfinished"));
        let write = || {
            let mut file = File::create(&unfinished)?;
            file.write_all(text)?;
            file.sync_all()?;
            fs::rename(&unfinished, self.path.join(name))
        };
        let write = || {
            write().inspect_err(|_| {
                // Where the disk is full its room is needed.
                let _ = fs::remove_file(&unfinished);
            })
        };
        match write() {
            Err(why) if is_full(&why) && fs::remove_file(self.path.join(name)).is_ok() => write(),
            done => done,
        }
    }
}

fn line(value: &impl serde::Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    Ok(line)
}

/// Copies a folder with all that is in it.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Reads the results of a run from its folder, or from a `results.json` itself.
///
/// # Errors
/// A sentence that names the file.
pub fn read(path: &Path) -> Result<Results, String> {
    let (whole, partial) =
        if path.is_dir() { (path.join(RESULTS), path.join(CELLS)) } else { (path.into(), path.into()) };
    let refuse = |file: &Path, why: String| format!("cannot read \"{}\": {why}", file.display());
    if !whole.exists() && partial.is_file() {
        let recovered = user_file::read(&partial).and_then(|text| recover(&text));
        return recovered
            .map(|mut results| {
                forget_what_is_gone(&mut results, path);
                results
            })
            .map_err(|why| refuse(&partial, why));
    }
    user_file::read(&whole).and_then(|text| Results::from_json(&text)).map_err(|why| refuse(&whole, why))
}

/// Takes the folders of trials out of results where they are no longer there: notes are older than what gave way on a full disk.
fn forget_what_is_gone(results: &mut Results, run: &Path) {
    let is_gone = |folder: &String| !kept::inside(run, folder).is_some_and(|folder| folder.is_dir());
    results.forget_artefacts(|_, trial| trial.artefacts.as_ref().is_some_and(is_gone));
}

/// What an unfinished run left behind; a last line that was cut off is not counted.
fn recover(text: &str) -> Result<Results, String> {
    let complete = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut lines = complete.lines();
    let mut results = Results::from_json(lines.next().unwrap_or_default())?;
    for (number, line) in lines.enumerate() {
        let refuse = |why| format!("line {}: {}", number + 2, of_json_line(&why));
        results.cells.push(serde_json::from_str(line).map_err(refuse)?);
    }
    results.totals = Totals::of(&results.cells);
    // The first line is older than any cell.
    let finished: HashSet<String> = results.punches().map(|cell| cell.id.clone()).collect();
    results.unreached.iter_mut().for_each(|unreached| unreached.retain(|id| !finished.contains(id)));
    Ok(results)
}
