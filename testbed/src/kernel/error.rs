//! The one error of this layer: what was tried, on which named thing, and the kernel's own answer.
//!
//! The layers above add the node or file that it happened to; `report` prints the help.

use std::io;

use nix::errno::Errno;

use crate::kernel::ruleset::Refusal;

/// What went wrong when the kernel was asked for something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed.
    #[error("cannot {tried}: {call}: {} ({errno:?})", errno.desc())]
    Call {
        /// What was tried and on what, so that it fits behind "cannot".
        tried: String,
        /// The call or file that failed.
        call: String,
        /// The kernel's answer.
        errno: Errno,
        /// A command or hint that helps, where one is known.
        help: Option<String>,
    },
    /// Something else than a system call failed: a thread, a program, a protocol.
    #[error("cannot {tried}: {why}")]
    Other {
        /// What was tried and on what, so that it fits behind "cannot".
        tried: String,
        /// Why it did not work.
        why: String,
        /// A command or hint that helps, where one is known.
        help: Option<String>,
    },
    /// nft did not accept a ruleset.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// What this layer's functions return.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A failed system call.
    pub(crate) fn call(tried: impl Into<String>, call: impl Into<String>, errno: Errno) -> Self {
        Self::Call { tried: tried.into(), call: call.into(), errno, help: None }
    }

    /// A failed system call whose error comes from the standard library.
    pub(crate) fn io(tried: impl Into<String>, call: impl Into<String>, error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(number) => Self::call(tried, call, Errno::from_raw(number)),
            None => Self::other(tried, format!("{}: {error}", call.into())),
        }
    }

    /// Anything but a system call.
    pub(crate) fn other(tried: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Other { tried: tried.into(), why: why.into(), help: None }
    }

    /// The same error with a hint.
    pub(crate) fn with_help(mut self, hint: impl Into<String>) -> Self {
        match &mut self {
            Self::Call { help, .. } | Self::Other { help, .. } => *help = Some(hint.into()),
            Self::Refused(_) => {}
        }
        self
    }

    /// A command or hint that helps, where one is known.
    #[must_use]
    pub fn help(&self) -> Option<&str> {
        match self {
            Self::Call { help, .. } | Self::Other { help, .. } => help.as_deref(),
            Self::Refused(_) => None,
        }
    }

    /// The kernel's answer, if it was the kernel that refused.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Call { errno, .. } => Some(*errno),
            _ => None,
        }
    }
}
