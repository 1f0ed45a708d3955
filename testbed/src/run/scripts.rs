//! Whether the scripts and files that commands name are there, and whether a program is more than a stand-in for another one,
//! looked at before the first trial. Whether a program can be executed at all is a matter of `first_words`.

use std::path::Path;

use crate::kernel::process::Command;
use crate::kernel::script;
use crate::kernel::user_file::{self, NotAFile};
use crate::model::suite::Program;
use crate::run::sandbox::{START_FOLDER, known_word};

/// The folder in which pyenv, rbenv, asdf and others keep scripts that start a program of another folder.
const SHIMS: &str = "shims";

/// What is wrong with a command of a part, if anything. `folder` is the suite's. Of programs with a root of their own, only what lies
/// in that folder is looked at: what else they name lies in their root.
#[must_use]
pub fn obstacle(program: &Program, folder: Option<&Path>) -> Option<String> {
    program.commands().find_map(|command| {
        let (first, arguments) = command.split_first()?;
        let first = known_word(first, None)?;
        let of_the_machine = || shim(&first, program).or_else(|| wrong_script(&first, arguments));
        let found = if program.root.is_none() { of_the_machine() } else { None };
        found.or_else(|| wrong_file(arguments, program, folder?))
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

/// The script that an interpreter is to execute, if it cannot be there, or is none.
fn wrong_script(interpreter: &str, arguments: &[String]) -> Option<String> {
    let word = known_word(arguments.first()?, None)?;
    let script = script::of_command(interpreter, &word)?;
    let why = match script.is_absolute() {
        true => script::obstacle(interpreter, script)?,
        false => START_FOLDER.to_owned(),
    };
    Some(format!("cannot execute the script \"{word}\": {why}"))
}

/// An argument below the suite's folder that names nothing, or something that cannot be shown to programs.
fn wrong_file(arguments: &[String], program: &Program, folder: &Path) -> Option<String> {
    let words = arguments.iter().filter_map(|word| known_word(word, None));
    let is_read_only = |path: &Path| !program.writable.iter().any(|writable| path.starts_with(writable));
    let below = words.filter(|word| Path::new(word).starts_with(folder) && is_read_only(Path::new(word)));
    below.into_iter().find_map(|word| match user_file::look_at(Path::new(&word)) {
        Err(NotAFile::Missing) => Some(format!("there is no \"{word}\", which a command names")),
        Err(NotAFile::Other) => Some(format!(
            "cannot show \"{word}\", which a command names, to programs: it is neither a file nor a folder"
        )),
        Err(NotAFile::Hidden(why)) => {
            let why = user_file::words(&why);
            Some(format!("cannot show \"{word}\", which a command names, to programs: {why}"))
        }
        Ok(_) | Err(NotAFile::Folder) => None,
    })
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
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("there.py"), "").expect("room on the disk");
        std::fs::create_dir(path("package")).expect("room on the disk");
        // A pipe would do as well.
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).expect("a socket");
        std::os::unix::fs::symlink(path("round"), path("round")).expect("room on the disk");
        let [there, missing, package, socket, round] =
            ["there.py", "none", "package", "socket", "round"].map(|name| path(name).display().to_string());
        for (words, expected) in [
            (vec!["/bin/sh", there.as_str(), "{local_port}"], None),
            (vec!["/bin/sh", "/dev/stdin"], None),
            (vec!["/bin/echo", package.as_str()], None),
            (
                vec!["/bin/sh", package.as_str()],
                Some(format!("cannot execute the script \"{package}\": it is a folder")),
            ),
            (
                vec!["/bin/sh", socket.as_str()],
                Some(format!("cannot execute the script \"{socket}\": it is not a regular file")),
            ),
            (
                vec!["/bin/sh", "-e", socket.as_str()],
                Some(format!("cannot show \"{socket}\", which a command names, to programs: it is neither")),
            ),
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
            (
                vec!["/bin/echo", round.as_str()],
                Some(format!(
                    "cannot show \"{round}\", which a command names, to programs: Too many symbolic"
                )),
            ),
        ] {
            let said = of_words(&words, folder.path());
            assert_eq!(said.is_some(), expected.is_some(), "{words:?}: {said:?}");
            assert!(said.unwrap_or_default().starts_with(&expected.unwrap_or_default()), "{words:?}");
        }
        let of_an_image = |words: [&str; 2]| {
            let peer = words.map(str::to_owned).to_vec();
            let root = Some("/image".to_owned());
            obstacle(
                &Program { peer, root, rendezvous: None, ..suite_file::own_puncher() },
                Some(folder.path()),
            )
        };
        assert_eq!(
            [of_an_image(["/bin/sh", "/in/there.sh"]), of_an_image(["/bin/sh", &there])],
            [None, None]
        );
        assert!(of_an_image(["/bin/sh", &socket]).is_some_and(|why| why.starts_with("cannot show ")));
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
