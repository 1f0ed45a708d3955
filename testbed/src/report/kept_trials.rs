//! What is kept of trials while a run goes on. Where the disk is full it gives way to results: a verdict is worth more than
//! the packets of a trial.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::PathBuf;

use crate::model::event::Artefacts;
use crate::report::artefacts;
use crate::report::losses::Losses;
use crate::report::results::{PunchCell, Results};

/// The trials that are kept below the folder of a run.
#[derive(Debug)]
pub(super) struct KeptTrials {
    run: PathBuf,
    /// By cell and number, in the order in which they were written.
    written: Vec<(String, u32)>,
    /// Whether some had to give way. Then no more are written: they would take the room of the next verdict.
    gave_way: bool,
}

/// Whether there was no room on the disk.
pub(super) fn is_full(why: &io::Error) -> bool {
    matches!(why.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

impl KeptTrials {
    /// None yet, below this folder.
    pub(super) fn below(run: PathBuf) -> Self {
        Self { run, written: Vec::new(), gave_way: false }
    }

    /// Those that results name, below this folder.
    pub(super) fn of(results: &Results, run: PathBuf) -> Self {
        let of_cell = |cell: &PunchCell| {
            let kept = cell.each.iter().filter(|trial| trial.artefacts.is_some());
            kept.map(|trial| (cell.id.clone(), trial.number)).collect::<Vec<_>>()
        };
        Self { written: results.punches().flat_map(of_cell).collect(), ..Self::below(run) }
    }

    /// Writes what is kept of a trial, all of it or nothing.
    ///
    /// # Errors
    /// What the file system says.
    pub(super) fn write(&mut self, cell: &str, number: u32, kept: &Artefacts) -> io::Result<()> {
        if self.gave_way {
            return Err(ErrorKind::StorageFull.into());
        }
        let title = format!("{cell}, trial {number}");
        let written = artefacts::write(&self.folder(cell, number), &title, kept);
        match &written {
            Ok(()) => self.written.push((cell.to_owned(), number)),
            Err(_) => self.remove(cell, number),
        }
        written
    }

    /// Writes something else. While there is no room for it, trials give way.
    ///
    /// # Errors
    /// What the file system says when no trial is left.
    pub(super) fn after_making_room(
        &mut self,
        losses: &mut Losses,
        mut write: impl FnMut() -> io::Result<()>,
    ) -> io::Result<()> {
        loop {
            match write() {
                Err(why) if is_full(&why) && self.give_way(losses, &why) => {}
                done => return done,
            }
        }
    }

    /// Removes the last quarter of the trials and notes that they are lost; `false` where none is left.
    pub(super) fn give_way(&mut self, losses: &mut Losses, why: &io::Error) -> bool {
        if self.written.is_empty() {
            return false;
        }
        self.gave_way = true;
        for (cell, number) in self.written.split_off(self.written.len() * 3 / 4) {
            self.remove(&cell, number);
            losses.trial(&cell, number, why);
        }
        true
    }

    /// Removes a trial, and with the last trial of its cell what stands beside the trials. What cannot be removed stays.
    fn remove(&self, cell: &str, number: u32) {
        let folder = self.folder(cell, number);
        let _ = fs::remove_dir_all(&folder);
        let Some(cell) = folder.parent() else { return };
        let is_folder = |entry: io::Result<fs::DirEntry>| entry.is_ok_and(|entry| entry.path().is_dir());
        if fs::read_dir(cell).is_ok_and(|mut entries| !entries.any(is_folder)) {
            let _ = fs::remove_dir_all(cell);
        }
    }

    fn folder(&self, cell: &str, number: u32) -> PathBuf {
        self.run.join(Artefacts::folder(cell, number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_trials_give_way_until_there_is_room_and_no_more_are_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut trials = KeptTrials::below(folder.path().to_owned());
        let kept = Artefacts::default();
        for number in 1..=8 {
            trials.write("a/b", number, &kept).expect("room on the disk");
        }
        trials.write("c", 1, &kept).expect("room on the disk");
        let is_there = |cell: &str, number| folder.path().join(Artefacts::folder(cell, number)).is_dir();
        let cell_of =
            |cell: &str| folder.path().join(Artefacts::folder(cell, 1)).parent().expect("a cell").to_owned();
        let mut losses = Losses::default();
        let mut full = 1;
        let write = || {
            full -= 1;
            if full < 0 { Ok(()) } else { Err(ErrorKind::StorageFull.into()) }
        };
        trials.after_making_room(&mut losses, write).expect("room in the end");
        assert!(is_there("a/b", 6) && !is_there("a/b", 7) && !is_there("a/b", 8) && !cell_of("c").exists());
        let (message, _) = losses.told("run").expect("a loss");
        assert!(message.contains("the packets and logs of 3 trials"), "{message}");
        trials.write("d", 1, &kept).expect_err("no more are written");
        assert!(!is_there("d", 1));
        let refused = trials.after_making_room(&mut losses, || Err(ErrorKind::StorageFull.into()));
        refused.expect_err("no trial is left");
        assert!(!cell_of("a/b").exists());
        let other = trials.after_making_room(&mut losses, || Err(ErrorKind::PermissionDenied.into()));
        assert_eq!(other.expect_err("no matter of room").kind(), ErrorKind::PermissionDenied);
    }
}
