//! Why a command could not be carried out: what is printed, and the exit code.

use std::fmt;

use crate::kernel::error::Error;
use crate::model::problem::Problems;
use crate::report::escape::harmless_lines;
use crate::run::RunError;

/// Why a command could not be carried out.
#[derive(Debug)]
pub enum CommandError {
    /// A file is wrong.
    Problems(Problems),
    /// Something else is wrong.
    CouldNot {
        /// What was tried, on what, and why it did not work.
        message: String,
        /// What to do about it.
        help: Option<String>,
    },
    /// Nothing was left to be run.
    NothingToRun {
        /// Why.
        message: String,
        /// What to do about it.
        help: Option<String>,
    },
}

impl CommandError {
    /// A failure without advice.
    pub fn new(message: impl Into<String>) -> Self {
        Self::CouldNot { message: message.into(), help: None }
    }

    /// A failure with advice.
    pub fn with_help(message: impl Into<String>, help: impl Into<String>) -> Self {
        Self::CouldNot { message: message.into(), help: Some(help.into()) }
    }

    /// That something else could not be done because of this.
    pub(super) fn because(what: impl fmt::Display, why: &Error) -> Self {
        Self::CouldNot { message: format!("{what}: {why}"), help: why.help().map(str::to_owned) }
    }

    /// 4 when nothing ran because nothing was asked for, else 2.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NothingToRun { .. } => 4,
            Self::Problems(_) | Self::CouldNot { .. } => 2,
        }
    }
}

impl From<Problems> for CommandError {
    fn from(problems: Problems) -> Self {
        Self::Problems(problems)
    }
}

impl From<Error> for CommandError {
    fn from(error: Error) -> Self {
        Self::CouldNot { message: error.to_string(), help: error.help().map(str::to_owned) }
    }
}

impl From<RunError> for CommandError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Kernel(error) => Self::from(error),
            other => Self::new(other.to_string()),
        }
    }
}

/// Every message begins with the name of the program. What comes from files and programs in it is made harmless.
impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Problems(problems) => {
                problems.0.iter().map(|problem| format!("testbed: {problem}")).collect::<Vec<_>>().join("\n")
            }
            Self::CouldNot { message, help } | Self::NothingToRun { message, help } => {
                let help = help.as_ref().map(|help| format!("\n  help: {help}")).unwrap_or_default();
                format!("testbed: {message}{help}")
            }
        };
        f.write_str(&harmless_lines(&text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_advice_of_a_reason_is_not_lost() {
        let why = || Error::other("load the rules", "no memory").with_help("free some");
        let expected = "testbed: cannot measure \"x\": cannot load the rules: no memory\n  help: free some";
        assert_eq!(CommandError::because("cannot measure \"x\"", &why()).to_string(), expected);
        let of_a_run = CommandError::from(RunError::Kernel(why())).to_string();
        assert!(of_a_run.ends_with("no memory\n  help: free some"), "{of_a_run}");
    }

    #[test]
    fn what_a_file_says_hides_no_line() {
        let printed = CommandError::new("no NAT \"\u{1b}[1A\u{1b}[2K\"").to_string();
        assert_eq!(printed, "testbed: no NAT \"\\u{1b}[1A\\u{1b}[2K\"");
    }
}
