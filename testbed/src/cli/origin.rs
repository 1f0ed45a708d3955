//! Where a run comes from, as its results tell it: host, time, command, and the files of the programs under test.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};

use crate::kernel::host;
use crate::model::suite::Suite;
use crate::model::template;
use crate::report::origin::{Origin, TestedProgram};

/// Files that are named at most: a command may name a thousand.
const MOST_FILES: usize = 8;

/// Characters of a version that are kept.
const LONGEST_VERSION: usize = 60;

/// The puncher of a run.
#[derive(Debug, Clone)]
pub(super) struct Puncher {
    /// Where it is.
    pub(super) path: PathBuf,
    /// Whose it is.
    pub(super) owner: Owner,
}

/// Whose program something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// It came with testbed, and may be run outside of a sandbox.
    Testbed,
    /// The user named it.
    User,
}

/// The origin of a run that starts now.
pub(super) fn of_run(suite: Option<(&Suite, &Puncher)>) -> Origin {
    Origin {
        started: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        host: host::host_name(),
        command: std::env::args().collect(),
        programs: suite.map(|(suite, puncher)| programs(suite, puncher)).unwrap_or_default(),
    }
}

/// The files that the commands of a suite name.
fn programs(suite: &Suite, puncher: &Puncher) -> Vec<TestedProgram> {
    let mut files = BTreeSet::new();
    for part in &suite.parts {
        let words = part.program.rendezvous.iter().flatten().chain(&part.program.peer);
        for word in words {
            let path = match template::uses(word, "puncher") {
                true => puncher.path.clone(),
                false => PathBuf::from(word),
            };
            if path.is_absolute() && path.is_file() {
                files.insert(path);
            }
        }
    }
    files.iter().take(MOST_FILES).map(|path| tested(path, puncher)).collect()
}

fn tested(path: &Path, puncher: &Puncher) -> TestedProgram {
    let ours = puncher.owner == Owner::Testbed && path == puncher.path;
    TestedProgram {
        path: path.display().to_string(),
        sha256: digest(path).unwrap_or_default(),
        version: ours.then(|| version(path)).flatten(),
    }
}

fn digest(path: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    io::copy(&mut File::open(path)?, &mut hasher)?;
    Ok(hex::encode(hasher.finalize()))
}

/// What the puncher that comes with testbed says to `--version`.
fn version(path: &Path) -> Option<String> {
    let output =
        Command::new(path).arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.lines().next()?.trim();
    (!line.is_empty()).then(|| line.chars().take(LONGEST_VERSION).collect())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_is_known_by_its_digest_and_only_our_own_is_asked() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("program");
        fs::write(&path, "abc").expect("room on the disk");
        let puncher = Puncher { path: path.clone(), owner: Owner::User };
        let tested = tested(&path, &puncher);
        // FIPS 180-4, the example of one block.
        assert_eq!(tested.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(tested.version, None);
    }
}
