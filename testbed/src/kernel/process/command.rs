//! What to start: a program, its arguments and surroundings.

use std::collections::BTreeMap;
use std::env;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};

use super::protocol::{InitRequest, KEEP_USER, LONGEST, REQUEST, Spawn};
use crate::kernel::error::{Error, Result};

/// A program to start. Standard input is empty and the outputs are piped, unless said otherwise.
#[derive(Debug, Clone)]
pub struct Command {
    program: OsString,
    arguments: Vec<OsString>,
    variables: BTreeMap<OsString, OsString>,
    directory: Option<PathBuf>,
    capabilities: Capabilities,
    terminal: Terminal,
    limits: Limits,
    pub(super) stdin: Stdio,
    pub(super) stdout: Stdio,
    pub(super) stderr: Stdio,
}

/// Where a standard stream of a program goes.
#[derive(Debug, Clone, Default)]
pub enum Stdio {
    /// Nowhere.
    Null,
    /// To or from this process, through a pipe. What is piped out and not read blocks the program in the end.
    #[default]
    Pipe,
    /// To or from this file, terminal or socket.
    Descriptor(Arc<OwnedFd>),
}

/// What a program that runs as root may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Capabilities {
    /// Whatever this process may; nothing at all where it is confined.
    #[default]
    All,
    /// Only these: bit n stands for capability n of capabilities(7).
    Only(u64),
}

impl Capabilities {
    /// A bit for each.
    fn bits(self) -> u64 {
        match self {
            Self::All => u64::MAX,
            Self::Only(bits) => bits,
        }
    }

    /// The same of a program that is confined.
    pub(super) fn bits_if_confined(self) -> u64 {
        match self {
            Self::All => 0,
            Self::Only(bits) => bits,
        }
    }
}

/// What a confined program may have; 0 for as much as its init.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Open descriptors of each process.
    pub files: u32,
    /// Processes and threads of its user, all together.
    pub processes: u32,
}

/// The user that a confined program becomes; none where this process cannot give it another.
#[derive(Debug, Clone, Copy)]
pub(super) struct Identity(pub(super) Option<u32>);

/// Whether a program controls the terminal on its standard input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Terminal {
    /// No.
    #[default]
    None,
    /// Yes, for shells: Ctrl-C on that terminal is for the program.
    Controlling,
}

impl Command {
    /// A program without arguments, with the environment of this process. A name without a slash is looked up in
    /// `PATH`.
    pub fn new(program: impl Into<OsString>) -> Self {
        Self {
            program: program.into(),
            arguments: Vec::new(),
            variables: env::vars_os().collect(),
            directory: None,
            capabilities: Capabilities::default(),
            terminal: Terminal::default(),
            limits: Limits::default(),
            stdin: Stdio::Null,
            stdout: Stdio::Pipe,
            stderr: Stdio::Pipe,
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = A>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }

    /// Starts from an empty environment.
    #[must_use]
    pub fn env_clear(mut self) -> Self {
        self.variables.clear();
        self
    }

    /// Where the program starts; where this process is, unless said.
    #[must_use]
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Where standard input comes from.
    #[must_use]
    pub fn stdin(mut self, stdin: Stdio) -> Self {
        self.stdin = stdin;
        self
    }

    /// Where standard output goes.
    #[must_use]
    pub fn stdout(mut self, stdout: Stdio) -> Self {
        self.stdout = stdout;
        self
    }

    /// Where standard error goes.
    #[must_use]
    pub fn stderr(mut self, stderr: Stdio) -> Self {
        self.stderr = stderr;
        self
    }

    /// What the program may do.
    #[must_use]
    pub fn capabilities(mut self, capabilities: Capabilities) -> Self {
        self.capabilities = capabilities;
        self
    }

    /// Whether the program controls its terminal.
    #[must_use]
    pub fn terminal(mut self, terminal: Terminal) -> Self {
        self.terminal = terminal;
        self
    }

    /// What it may have, where it is confined.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// What to call it in messages.
    #[must_use]
    pub fn name(&self) -> String {
        self.program.to_string_lossy().into_owned()
    }

    /// Where the program is, as one would find it from where it starts; `None` where there is none.
    #[must_use]
    pub fn path(&self) -> Option<PathBuf> {
        let folder = self.directory.clone().or_else(|| env::current_dir().ok())?;
        self.find_program(&folder).filter(|path| path.is_file())
    }

    /// Where the program is said to be, as seen from a folder; `None` where `PATH` has none of its name.
    pub(super) fn path_from(&self, folder: &Path) -> Option<PathBuf> {
        self.find_program(folder)
    }

    /// The message that asks an init to start it, as somebody else if it is confined.
    pub(super) fn encode(&self, identity: Option<Identity>) -> Result<Vec<u8>> {
        let tried = || format!("start \"{}\"", self.name());
        let directory = match &self.directory {
            Some(directory) => std::path::absolute(directory),
            None => env::current_dir(),
        };
        let directory = directory.map_err(|e| Error::io(tried(), "getcwd", &e))?;
        let program = self.find_program(&directory).ok_or_else(|| {
            Error::call(tried(), "execve", Errno::ENOENT)
                .with_help("name it with its path, or add it to PATH")
        })?;
        let mut message = self.header(identity).encode().to_vec();
        debug_assert_eq!(message.len(), REQUEST);
        let variables = self.variables.iter().map(|(name, value)| {
            let mut assignment = name.clone();
            assignment.push("=");
            assignment.push(value);
            assignment
        });
        let text = [program.into_os_string(), directory.into_os_string(), self.program.clone()];
        for string in text.into_iter().chain(self.arguments.iter().cloned()).chain(variables) {
            let bytes = string.into_vec();
            if bytes.contains(&0) {
                return Err(Error::other(tried(), "an argument or variable holds a zero byte"));
            }
            message.extend(bytes);
            message.push(0);
        }
        if message.len() > LONGEST {
            return Err(Error::call(tried(), "execve", Errno::E2BIG)
                .with_help("clear the environment, or shorten the arguments"));
        }
        Ok(message)
    }

    fn header(&self, identity: Option<Identity>) -> InitRequest {
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        InitRequest::Spawn(Spawn {
            arguments: count(self.arguments.len() + 1),
            variables: count(self.variables.len()),
            capabilities: match identity {
                Some(_) => self.capabilities.bits_if_confined(),
                None => self.capabilities.bits(),
            },
            terminal: u32::from(self.terminal == Terminal::Controlling),
            confined: u32::from(identity.is_some()),
            user: identity.and_then(|identity| identity.0).unwrap_or(KEEP_USER),
            files: self.limits.files,
            processes: self.limits.processes,
        })
    }

    /// Where the program is: execve(2) wants a path.
    fn find_program(&self, directory: &Path) -> Option<PathBuf> {
        if self.program.as_bytes().contains(&b'/') {
            return Some(directory.join(&self.program));
        }
        let path = self.variables.get(OsStr::new("PATH"))?;
        env::split_paths(path)
            .map(|folder| folder.join(&self.program))
            .find(|file| file.is_file() && access(file, AccessFlags::X_OK).is_ok())
    }
}

/// A line as one would type it, without quotes: words separated by blanks.
impl From<&str> for Command {
    fn from(line: &str) -> Self {
        let mut words = line.split_whitespace();
        Self::new(words.next().unwrap_or_default()).args(words)
    }
}

impl From<&Command> for Command {
    fn from(command: &Command) -> Self {
        command.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_becomes_a_program_and_its_arguments() {
        let command = Command::from(" echo  a b ");
        assert_eq!(command.program, "echo");
        assert_eq!(command.arguments, ["a", "b"]);
    }

    #[test]
    fn a_program_that_does_not_exist_is_named() {
        let error = Command::new("no-such-program-here").encode(None).expect_err("no such program");
        assert_eq!(
            error.to_string(),
            "cannot start \"no-such-program-here\": execve: No such file or directory (ENOENT)"
        );
    }

    #[test]
    fn what_no_message_can_carry_is_refused() {
        let long = Command::new("/bin/true").arg("x".repeat(LONGEST));
        assert_eq!(long.encode(None).expect_err("too long").errno(), Some(Errno::E2BIG));
        let zero = Command::new("/bin/true").arg("a\0b");
        assert!(zero.encode(None).expect_err("a zero byte").to_string().contains("zero byte"));
    }
}
