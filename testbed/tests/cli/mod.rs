//! The command line: exit code, standard output and standard error, wrong input first.

use std::path::Path;
use std::process::{Command, Output};

/// What is refused before anything runs.
mod bad_input;
/// Runs compared with earlier ones.
mod baseline;
/// What CI systems run.
mod ci;
/// From a red cell to the packet.
mod explain;
/// What the kernel does of itself.
mod kernel;
/// What the machine may lack.
mod machine;
/// Completions and manual pages.
mod manual;
/// NATs of the user.
mod own_nats;
/// The page of a run, in a browser.
mod page;
/// What needs no rights: plans and lists.
mod plan;
/// Programs in the place of puncher.
mod programs;
/// Runs split over machines.
mod shards;
/// Shells and commands in a lab.
mod shell;
/// What is told to stop, or paused.
mod signals;
/// Terminals of all sizes, and none.
mod terminal;
/// What NATs do to UDP.
mod udp;

/// Makes a named pipe, which nobody writes to.
pub(crate) fn make_pipe(path: &Path) {
    nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).expect("a named pipe");
}

/// Copies a program, in a process of its own: what this one has open for writing, a child of another test would keep open until its
/// `exec`, and the copy could not be started meanwhile (ETXTBSY).
#[track_caller]
pub(crate) fn copy_program(from: &str, to: &Path) {
    let copied = Command::new("cp").arg(from).arg(to).status().expect("cp starts");
    assert!(copied.success(), "{from}: {copied}");
}

/// A finished program.
pub(crate) struct Done {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs testbed with these arguments in an empty folder.
pub(crate) fn testbed(arguments: &[&str]) -> Done {
    let folder = tempfile::tempdir().expect("a folder");
    testbed_in(folder.path(), arguments)
}

/// Runs testbed with these arguments in this folder.
pub(crate) fn testbed_in(folder: &Path, arguments: &[&str]) -> Done {
    let mut command = Command::new(env!("CARGO_BIN_EXE_testbed"));
    let output =
        command.args(arguments).current_dir(folder).env("NO_COLOR", "1").env("LC_ALL", "C.UTF-8").output();
    Done::from(output.expect("testbed starts"))
}

impl From<Output> for Done {
    fn from(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }
}

impl Done {
    /// Asserts that it was refused with this exit code and message, and that nothing was printed as a result.
    #[track_caller]
    pub(crate) fn refused(&self, code: i32, message: &str) {
        assert!(self.stderr.contains(message), "expected {message}\nobserved {}", self.stderr);
        assert_eq!((self.code, self.stdout.as_str()), (code, ""), "{}", self.stderr);
    }
}
