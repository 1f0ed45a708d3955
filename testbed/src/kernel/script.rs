//! Whether what an interpreter is given can be a script, as far as one can tell without reading it.

use std::path::Path;

use crate::kernel::user_file::{self, NotAFile};

/// Programs whose first argument is a file that they execute, without the version in their names.
const INTERPRETERS: [&str; 8] = ["bash", "lua", "node", "perl", "python", "ruby", "sh", "php"];

/// What an interpreter takes for a script where it is given a folder.
const IN_A_FOLDER: [(&str, &[&str]); 2] =
    [("python", &["__main__.py"]), ("node", &["package.json", "index.js"])];

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
pub fn obstacle(program: &str, script: &Path) -> Option<String> {
    let is_program = || {
        let known = IN_A_FOLDER.iter().find(|(name, _)| interpreter(program) == Some(name));
        known.is_some_and(|(_, files)| files.iter().any(|file| script.join(file).is_file()))
    };
    match user_file::look_at(script) {
        Err(NotAFile::Folder) if is_program() => None,
        found => found.err().map(|why| why.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_script_is_a_file_or_a_folder_that_its_interpreter_knows() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        fs::write(path("script"), "").expect("room on the disk");
        fs::create_dir_all(path("package/folder")).expect("room on the disk");
        fs::write(path("package/__main__.py"), "").expect("room on the disk");
        nix::unistd::mkfifo(&path("pipe"), nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        std::os::unix::fs::symlink(path("loop"), path("loop")).expect("room on the disk");
        for (program, name, why) in [
            ("sh", "script", None),
            ("/usr/bin/python3.11", "package", None),
            ("/usr/bin/python3.11", "package/folder", Some("it is a folder")),
            ("/bin/sh", "package", Some("it is a folder")),
            ("/bin/sh", "pipe", Some("it is not a regular file")),
            ("/bin/sh", "none", Some("there is no such file")),
            ("/bin/sh", "script/below", Some("Not a directory (ENOTDIR)")),
            ("/bin/sh", "loop", Some("Too many symbolic links encountered (ELOOP)")),
        ] {
            assert_eq!(obstacle(program, &path(name)).as_deref(), why, "{program} {name}");
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
