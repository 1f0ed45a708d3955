//! What programs of a kept trial last said on standard error: the message of one that crashed.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use crate::report::kept;
use crate::report::results::{OutcomeDoc, TrialDoc};

/// Bytes of the end of a log that are read, lines that are shown, and characters of each.
const TAIL: u64 = 4096;
const LINES: usize = 3;
const LONGEST: usize = 240;

/// How the log of a program's standard error is called.
const ENDING: &str = ".stderr";

/// The last lines of one program.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct StderrTail {
    /// Who said them: `peer-a`.
    pub program: String,
    /// The lines, oldest first; not yet made harmless.
    pub lines: Vec<String>,
}

/// What the programs of a trial that was kept below `run` last said; nothing of a trial that passed.
#[must_use]
pub fn of_trial(run: &Path, trial: &TrialDoc) -> Vec<StderrTail> {
    let folder = trial.artefacts.as_deref().and_then(|named| kept::inside(run, named));
    let Some(folder) = folder.filter(|_| trial.outcome != OutcomeDoc::Passed) else { return Vec::new() };
    let Ok(entries) = folder.read_dir() else { return Vec::new() };
    let mut said: Vec<StderrTail> = entries.flatten().filter_map(|entry| of_log(&entry.path())).collect();
    said.retain(|words| has_to_do_with(&words.program, trial));
    said.sort_by(|a, b| a.program.cmp(&b.program));
    said
}

/// Whether a program has to do with how a trial ended: a peer has, and a service where it is named as the reason.
fn has_to_do_with(program: &str, trial: &TrialDoc) -> bool {
    let names = |text: &Option<String>| text.as_ref().is_some_and(|text| text.contains(program));
    PEERS.contains(&program)
        || trial.outcome == OutcomeDoc::Error && (names(&trial.how) || names(&trial.detail))
}

/// How the programs under test are called.
const PEERS: [&str; 2] = ["peer-a", "peer-b"];

fn of_log(path: &Path) -> Option<StderrTail> {
    let program = path.file_name()?.to_str()?.strip_suffix(ENDING)?.to_owned();
    let lines = tail(path)?;
    (!lines.is_empty()).then_some(StderrTail { program, lines })
}

/// The last lines of a file that are not blank.
fn tail(path: &Path) -> Option<Vec<String>> {
    // A named pipe would never be read to its end.
    if !path.metadata().ok()?.is_file() {
        return None;
    }
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(TAIL))).ok()?;
    let mut bytes = Vec::new();
    file.take(TAIL).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().map(str::trim_end).filter(|line| !line.trim().is_empty()).collect();
    let last = lines.len().saturating_sub(LINES);
    Some(lines[last..].iter().map(|line| line.chars().take(LONGEST).collect()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::results::Results;
    use crate::report::sample::results;

    #[test]
    fn the_last_lines_of_a_failed_trial_are_found() {
        let run = tempfile::tempdir().expect("a folder");
        let results: Results = results();
        let trial = results.punches().flat_map(|cell| &cell.each).find(|trial| trial.artefacts.is_some());
        let trial = trial.expect("a kept trial");
        let folder = run.path().join(trial.artefacts.as_deref().expect("a folder"));
        std::fs::create_dir_all(&folder).expect("a folder");
        std::fs::write(folder.join("peer-a.stderr"), "one\ntwo\n\nthree\nthread 'main' panicked\n")
            .expect("a file");
        std::fs::write(folder.join("peer-b.stderr"), "\n\n").expect("a file");
        std::fs::write(folder.join("rendezvous.stderr"), "WARN nothing to do with it\n").expect("a file");
        std::fs::write(folder.join("peer-b.stdout"), "not this").expect("a file");
        let lines = ["two", "three", "thread 'main' panicked"].map(str::to_owned).to_vec();
        assert_eq!(of_trial(run.path(), trial), [StderrTail { program: "peer-a".to_owned(), lines }]);
        let passed = TrialDoc { outcome: OutcomeDoc::Passed, ..trial.clone() };
        assert_eq!(of_trial(run.path(), &passed), []);
    }
}
