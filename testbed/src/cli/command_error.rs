//! Why a command could not be carried out: what is printed, and the exit code.

use std::fmt;

use crate::model::problem::Problems;

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

impl From<crate::kernel::error::Error> for CommandError {
    fn from(error: crate::kernel::error::Error) -> Self {
        Self::CouldNot { message: error.to_string(), help: error.help().map(str::to_owned) }
    }
}

/// Every message begins with the name of the program.
impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Problems(problems) => {
                for (index, problem) in problems.0.iter().enumerate() {
                    let gap = if index == 0 { "" } else { "\n" };
                    write!(f, "{gap}testbed: {problem}")?;
                }
                Ok(())
            }
            Self::CouldNot { message, help } | Self::NothingToRun { message, help } => {
                write!(f, "testbed: {message}")?;
                help.as_ref().map_or(Ok(()), |help| write!(f, "\n  help: {help}"))
            }
        }
    }
}
