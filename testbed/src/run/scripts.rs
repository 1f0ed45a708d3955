//! Whether the scripts and files that commands name are there, and whether a program is more than a stand-in for another one,
//! looked at before the first trial. Whether a program can be executed at all is a matter of `first_words`.

use std::path::Path;

use crate::kernel::process::Command;
use crate::model::suite::Program;
use crate::run::sandbox::known_word;

/// Programs whose first argument is a file that they execute, without the version in their names.
const INTERPRETERS: [&str; 8] = ["bash", "lua", "node", "perl", "python", "ruby", "sh", "php"];

/// The folder in which pyenv, rbenv, asdf and others keep scripts that start a program of another folder.
const SHIMS: &str = "shims";

/// Stands in for a puncher: what a command gives to it is not looked at.
const PUNCHER: &str = "\0";

/// What is wrong with a command of a part, if anything. `folder` is the suite's. Programs with a root of their own are not
/// looked at: what they name lies in there.
#[must_use]
pub fn obstacle(program: &Program, folder: Option<&Path>) -> Option<String> {
    if program.root.is_some() {
        return None;
    }
    program.commands().find_map(|command| {
        let (first, arguments) = command.split_first()?;
        let first = known_word(first, Path::new(PUNCHER)).filter(|word| !word.contains(PUNCHER))?;
        shim(&first, program)
            .or_else(|| missing_script(&first, arguments))
            .or_else(|| missing_file(arguments, program, folder?))
    })
}

/// A script of a version manager, whose programs lie where programs under test see nothing, unless the suite shows it.
fn shim(word: &str, program: &Program) -> Option<String> {
    let found = Command::new(word).path()?;
    let folder = found.parent().filter(|folder| folder.ends_with(SHIMS))?;
    let is_shown = |file: &String| folder.starts_with(file) || folder.parent() == Some(Path::new(file));
    let name = found.file_name()?.to_string_lossy();
    (!program.files.iter().any(is_shown)).then(|| {
        format!(
            "cannot execute the program \"{word}\": {} is a shim of a version manager, which starts a program of a folder that programs under test do not see. \
             Name the program itself (pyenv which {name}, asdf which {name}), or the system's, as /usr/bin/{name}",
            found.display()
        )
    })
}

/// The script that an interpreter is to execute, if it cannot be there.
fn missing_script(interpreter: &str, arguments: &[String]) -> Option<String> {
    let name = Path::new(interpreter).file_name()?.to_string_lossy();
    let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    let script = known_word(arguments.first()?, Path::new(PUNCHER))?;
    if !INTERPRETERS.contains(&name) || script.starts_with('-') || script.contains(PUNCHER) {
        return None;
    }
    let path = Path::new(&script);
    let why = match path.is_absolute() {
        true if path.exists() => return None,
        true => "there is no such file",
        false => "programs start in an empty folder; name it from the suite's folder, as {suite_dir}/NAME",
    };
    Some(format!("cannot execute the script \"{script}\": {why}"))
}

/// An argument below the suite's folder where nothing is, and nothing can come.
fn missing_file(arguments: &[String], program: &Program, folder: &Path) -> Option<String> {
    let words = arguments.iter().filter_map(|word| known_word(word, Path::new(PUNCHER)));
    let may_come = |path: &Path| program.writable.iter().any(|writable| path.starts_with(writable));
    let is_missing = |path: &Path| path.starts_with(folder) && !path.exists() && !may_come(path);
    let missing = words.into_iter().find(|word| is_missing(Path::new(word)))?;
    Some(format!("there is no \"{missing}\", which a command names"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::suite_file;

    /// What is said of a command whose suite lies in that folder.
    fn of_words(words: &[&str], folder: &Path) -> Option<String> {
        let peer = words.iter().map(|&word| word.to_owned()).collect();
        let program = Program { peer, rendezvous: None, ..suite_file::own_puncher() };
        obstacle(&program, Some(folder))
    }

    #[test]
    fn scripts_and_files_of_the_suite_that_are_not_there_are_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let there = folder.path().join("there.py");
        std::fs::write(&there, "").expect("room on the disk");
        let [there, missing] = [there, folder.path().join("none")].map(|path| path.display().to_string());
        for (words, expected) in [
            (vec!["/bin/sh", there.as_str(), "{local_port}"], None),
            (vec!["/bin/sh", "-c", "exit"], None),
            (vec!["/bin/sh", "{peer_ip}"], None),
            (vec!["/bin/echo", "none.py"], None),
            (
                vec!["/bin/sh", "none.py"],
                Some("cannot execute the script \"none.py\": programs start in an".to_owned()),
            ),
            (
                vec!["/bin/sh", missing.as_str()],
                Some(format!("cannot execute the script \"{missing}\": there is no")),
            ),
            (vec!["/bin/echo", missing.as_str()], Some(format!("there is no \"{missing}\""))),
        ] {
            let said = of_words(&words, folder.path());
            assert_eq!(said.is_some(), expected.is_some(), "{words:?}: {said:?}");
            assert!(said.unwrap_or_default().starts_with(&expected.unwrap_or_default()), "{words:?}");
        }
    }

    #[test]
    fn a_shim_of_a_version_manager_says_what_to_name_instead() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let shims = folder.path().join("shims");
        std::fs::create_dir(&shims).expect("a folder");
        let shim = shims.join("python3");
        std::fs::write(&shim, "#!/bin/sh\nexec pyenv exec python3\n").expect("room on the disk");
        std::fs::set_permissions(&shim, std::fs::Permissions::from_mode(0o755)).expect("our file");
        let said = of_words(&[&shim.display().to_string()], folder.path()).unwrap_or_default();
        assert!(
            said.contains("is a shim of a version manager") && said.contains("pyenv which python3"),
            "{said}"
        );
        let shown = Program {
            peer: vec![shim.display().to_string()],
            rendezvous: None,
            files: vec![folder.path().display().to_string()],
            ..suite_file::own_puncher()
        };
        assert_eq!(obstacle(&shown, None), None);
    }
}
