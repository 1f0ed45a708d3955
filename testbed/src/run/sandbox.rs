//! What the programs of a run see of the machine: the files that the suite names, and nothing else of the user's.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::kernel::error::{Error, Result};
use crate::kernel::process::{Command, Limits};
use crate::kernel::sandbox::{Sandbox, ShownFiles, image};
use crate::model::suite::{Budget, Program, Section, Suite};
use crate::model::template;
use crate::run::request::RunRequest;

/// Descriptors of a program besides those of its budget: files, pipes, a rendezvous server's connections.
const FILES_BESIDES: u32 = 1024;

/// Those that it cannot do without.
const LEAST_FILES_BESIDES: u32 = 64;

/// Processes and threads of a program: some interpreters start a thread for each processor, wrappers start several programs.
const PROCESSES: u32 = 512;

/// The root folders of the programs of a run, by part of its suite: one for all that use the machine's system, and one for each
/// root of their own.
pub(super) fn of_run(request: &RunRequest) -> Result<Vec<Arc<Sandbox>>> {
    request.suite.parts.iter().map(|part| of_part(request, part.program.root.as_deref())).collect()
}

/// What keeps programs of a suite from being shown what it names, if anything. What lies at the puncher's path is not looked at.
#[must_use]
pub fn obstacle(suite: &Suite) -> Option<Error> {
    let roots = suite.parts.iter().map(|part| part.program.root.as_deref());
    roots.into_iter().find_map(|root| shown(suite, None, root).err())
}

/// The one of all parts with the same root.
fn of_part(request: &RunRequest, root: Option<&str>) -> Result<Arc<Sandbox>> {
    Sandbox::shared(&shown(&request.suite, Some(&request.puncher), root)?)
}

/// What programs see in all parts with the same root.
fn shown(suite: &Suite, puncher: Option<&Path>, root: Option<&str>) -> Result<ShownFiles> {
    let known = |word: &String| known_word(word, puncher);
    let folder = root.and_then(|root| known(&root.to_owned())).map(PathBuf::from);
    let mut shown = match &folder {
        Some(folder) => ShownFiles::with_root(folder)?,
        None => ShownFiles::default(),
    };
    if let Some(folder) = &suite.folder {
        shown.add(folder)?;
    }
    let same = |part: &&Arc<Section>| part.program.root.as_deref() == root;
    for part in suite.parts.iter().filter(same) {
        let Program { files, writable, .. } = &part.program;
        for file in files.iter().filter_map(known) {
            shown.add(Path::new(&file))?;
        }
        for folder in writable.iter().filter_map(known) {
            shown.add_writable(Path::new(&folder))?;
        }
        for command in part.program.commands() {
            let words: Vec<(usize, String)> =
                command.iter().enumerate().filter_map(|(at, word)| Some((at, known(word)?))).collect();
            show_words(&mut shown, &words, folder.as_deref())?;
        }
    }
    Ok(shown)
}

/// Shows the program, and whatever else a word of its command, with its place there, is the absolute path of. What programs have in
/// a root of their own is theirs.
fn show_words(shown: &mut ShownFiles, words: &[(usize, String)], root: Option<&Path>) -> Result<()> {
    for (at, word) in words {
        let path = Path::new(word);
        let is_in_root = |root: &Path| !word.contains('/') || image::resolve(root, path).is_some();
        let file = match at {
            _ if root.is_some_and(is_in_root) => None,
            0 => Command::new(word).path(),
            _ => Some(path.to_owned()).filter(|path| path.is_absolute() && (path.is_file() || path.is_dir())),
        };
        if let Some(file) = file {
            shown.add(&file)?;
        }
    }
    Ok(())
}

/// What is wrong with a program or a script that is named by a relative path.
pub(super) const START_FOLDER: &str =
    "programs start in an empty folder; name it from the suite's folder, as {suite_dir}/NAME";

/// A word of a command, where it is known before any trial; a word with the puncher is not without one.
pub(super) fn known_word(word: &str, puncher: Option<&Path>) -> Option<String> {
    let bound = match puncher {
        Some(puncher) => template::bind(word, "puncher", &puncher.to_string_lossy()).ok()?,
        None => word.to_owned(),
    };
    template::expand(&bound, &template::Values::new()).ok()
}

/// Where the programs of a root file system are, if the suite says no other `PATH`.
pub(super) const USUAL_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The path of a program that is called by its name alone, in a root file system of its own.
///
/// # Errors
/// That no folder of its `PATH` has one of that name.
pub(super) fn in_path_of_root(
    root: &Path,
    name: &str,
    environment: &[(String, String)],
) -> std::result::Result<String, String> {
    let own = environment.iter().find(|(name, _)| name == "PATH").map(|(_, value)| value.as_str());
    let mut places = own.unwrap_or(USUAL_PATH).split(':').map(|folder| format!("{folder}/{name}"));
    let found = places.find(|place| image::resolve(root, Path::new(place)).is_some());
    found.ok_or_else(|| format!("\"{}\" has no such program in its PATH", root.display()))
}

/// The descriptors that a program cannot do without: one for each SYN of its budget, and some for files and connections.
pub(super) fn least_files(budget: &Budget) -> u32 {
    budget.syns.saturating_add(LEAST_FILES_BESIDES)
}

/// What a program under test is granted besides its command: its limits and environment.
#[derive(Debug, Clone)]
pub(super) struct ProgramGrant {
    pub(super) limits: Limits,
    pub(super) environment: Vec<(String, String)>,
    /// The root file system of its own, if it has one.
    pub(super) root: Option<PathBuf>,
}

/// What a program under test is given by its part of the suite.
pub(super) fn grant(budget: &Budget, program: &Program, puncher: &Path) -> ProgramGrant {
    let puncher = Some(puncher);
    let known = |(name, value): &(String, String)| Some((name.clone(), known_word(value, puncher)?));
    ProgramGrant {
        limits: limits(budget),
        environment: program.environment.iter().filter_map(known).collect(),
        root: program.root.as_deref().and_then(|root| known_word(root, puncher)).map(PathBuf::from),
    }
}

/// What it may have.
fn limits(budget: &Budget) -> Limits {
    Limits { files: budget.syns.saturating_mul(2).saturating_add(FILES_BESIDES), processes: PROCESSES }
}
