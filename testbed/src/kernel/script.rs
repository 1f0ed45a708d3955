//! Whether what an interpreter is given can be a script, as far as one can tell without reading it.

use std::fs;
use std::path::Path;

/// Programs whose first argument is a file that they execute, without the version in their names.
const INTERPRETERS: [&str; 8] = ["bash", "lua", "node", "perl", "python", "ruby", "sh", "php"];

/// What an interpreter takes for a script where it is given a folder.
const IN_A_FOLDER: [(&str, &[&str]); 2] =
    [("python", &["__main__.py"]), ("node", &["package.json", "index.js"])];

/// What is at a path of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathIs {
    /// Nothing.
    Missing,
    /// A regular file.
    File,
    /// A folder.
    Folder,
    /// A pipe, a socket or a device.
    Other,
}

/// What is at a path, or where its symbolic links lead to.
#[must_use]
pub fn what_is(path: &Path) -> PathIs {
    match fs::metadata(path) {
        Err(_) => PathIs::Missing,
        Ok(found) if found.is_file() => PathIs::File,
        Ok(found) if found.is_dir() => PathIs::Folder,
        Ok(_) => PathIs::Other,
    }
}

/// The interpreter that a program is by its name, without a version.
fn interpreter(program: &str) -> Option<&'static str> {
    let name = Path::new(program).file_name()?.to_string_lossy();
    let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    INTERPRETERS.into_iter().find(|known| *known == name)
}

/// The first argument of a program, if that is an interpreter and the argument a script for it, not an option.
#[must_use]
pub fn of_command<'a>(program: &str, first_argument: &'a str) -> Option<&'a Path> {
    let path = Path::new(first_argument);
    // Programs have others of these: /dev/stdin is their own.
    let is_own = ["/dev", "/proc"].iter().any(|own| path.starts_with(own));
    (interpreter(program).is_some() && !first_argument.starts_with('-') && !is_own).then_some(path)
}

/// Why the program cannot execute this script; `None` where nothing speaks against it.
#[must_use]
pub fn obstacle(program: &str, script: &Path) -> Option<&'static str> {
    let is_program = || {
        let known = IN_A_FOLDER.iter().find(|(name, _)| interpreter(program) == Some(name));
        known.is_some_and(|(_, files)| files.iter().any(|file| script.join(file).is_file()))
    };
    match what_is(script) {
        PathIs::Missing => Some("there is no such file"),
        PathIs::Folder if !is_program() => Some("it is a folder"),
        PathIs::Other => Some("it is not a regular file"),
        PathIs::File | PathIs::Folder => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_a_file_or_a_folder_that_its_interpreter_knows() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        fs::write(path("script"), "").expect("room on the disk");
        fs::create_dir_all(path("package/folder")).expect("room on the disk");
        fs::write(path("package/__main__.py"), "").expect("room on the disk");
        nix::unistd::mkfifo(&path("pipe"), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        for (program, name, why) in [
            ("sh", "script", None),
            ("/usr/bin/python3.11", "package", None),
            ("/usr/bin/python3.11", "package/folder", Some("it is a folder")),
            ("/bin/sh", "package", Some("it is a folder")),
            ("/bin/sh", "pipe", Some("it is not a regular file")),
            ("/bin/sh", "none", Some("there is no such file")),
        ] {
            assert_eq!(obstacle(program, &path(name)), why, "{program} {name}");
        }
    }

    #[test]
    fn only_interpreters_have_scripts() {
        for (program, argument, is_script) in [
            ("/bin/sh", "x", true),
            ("python3.11", "/x/y.py", true),
            ("/bin/sh", "-c", false),
            ("/bin/sh", "/dev/stdin", false),
            ("/bin/cat", "x", false),
        ] {
            assert_eq!(of_command(program, argument).is_some(), is_script, "{program} {argument}");
        }
    }
}
