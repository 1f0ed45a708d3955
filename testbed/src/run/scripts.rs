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
            .or_else(|| wrong_script(&first, arguments))
            .or_else(|| wrong_file(arguments, program, folder?))
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

/// What an interpreter takes for a script where it is given a folder.
const IN_A_FOLDER: [(&str, &[&str]); 2] =
    [("python", &["__main__.py"]), ("node", &["package.json", "index.js"])];

/// The script that an interpreter is to execute, if it cannot be there, or is none.
fn wrong_script(interpreter: &str, arguments: &[String]) -> Option<String> {
    let name = Path::new(interpreter).file_name()?.to_string_lossy();
    let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    let script = known_word(arguments.first()?, Path::new(PUNCHER))?;
    if !INTERPRETERS.contains(&name) || script.starts_with('-') || script.contains(PUNCHER) {
        return None;
    }
    let path = Path::new(&script);
    // Programs have others of these: /dev/stdin is their own.
    if ["/dev", "/proc"].iter().any(|own| path.starts_with(own)) {
        return None;
    }
    let is_program = || {
        let known = IN_A_FOLDER.iter().find(|(interpreter, _)| *interpreter == name);
        known.is_some_and(|(_, files)| files.iter().any(|file| path.join(file).is_file()))
    };
    let why = match (path.is_absolute(), kind(path)) {
        (false, _) => {
            "programs start in an empty folder; name it from the suite's folder, as {suite_dir}/NAME"
        }
        (true, PathIs::Missing) => "there is no such file",
        (true, PathIs::Folder) if !is_program() => "it is a folder",
        (true, PathIs::Other) => "it is not a regular file",
        (true, PathIs::File | PathIs::Folder) => return None,
    };
    Some(format!("cannot execute the script \"{script}\": {why}"))
}

/// An argument below the suite's folder where nothing is, and nothing can come, or where something is that programs get dead.
fn wrong_file(arguments: &[String], program: &Program, folder: &Path) -> Option<String> {
    let words = arguments.iter().filter_map(|word| known_word(word, Path::new(PUNCHER)));
    let is_read_only = |path: &Path| !program.writable.iter().any(|writable| path.starts_with(writable));
    let below = words.filter(|word| Path::new(word).starts_with(folder) && is_read_only(Path::new(word)));
    below.into_iter().find_map(|word| match kind(Path::new(&word)) {
        PathIs::Missing => Some(format!("there is no \"{word}\", which a command names")),
        PathIs::Other => Some(format!(
            "cannot show \"{word}\", which a command names, to programs: it is neither a file nor a folder"
        )),
        PathIs::File | PathIs::Folder => None,
    })
}

/// What is at a path of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PathIs {
    Missing,
    File,
    Folder,
    /// A pipe, a socket or a device.
    Other,
}

fn kind(path: &Path) -> PathIs {
    match std::fs::metadata(path) {
        Err(_) => PathIs::Missing,
        Ok(found) if found.is_file() => PathIs::File,
        Ok(found) if found.is_dir() => PathIs::Folder,
        Ok(_) => PathIs::Other,
    }
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
        std::fs::create_dir_all(path("package/folder")).expect("room on the disk");
        std::fs::write(path("package/__main__.py"), "").expect("room on the disk");
        // A pipe would do as well.
        let _socket = std::os::unix::net::UnixListener::bind(path("socket")).expect("a socket");
        let [there, missing, package, plain, socket] =
            ["there.py", "none", "package", "package/folder", "socket"]
                .map(|name| path(name).display().to_string());
        for (words, expected) in [
            (vec!["/bin/sh", there.as_str(), "{local_port}"], None),
            (vec!["/bin/sh", "/dev/stdin"], None),
            (vec!["/usr/bin/python3.11", package.as_str()], None),
            (vec!["/bin/echo", package.as_str()], None),
            (
                vec!["/bin/sh", package.as_str()],
                Some(format!("cannot execute the script \"{package}\": it is a folder")),
            ),
            (
                vec!["/usr/bin/python3", plain.as_str()],
                Some(format!("cannot execute the script \"{plain}\": it is a folder")),
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
