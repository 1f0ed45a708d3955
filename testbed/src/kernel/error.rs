//! The one error of this layer: what was tried, on which named thing, and the kernel's own answer.
//!
//! The layers above add the node or file that it happened to; `report` prints the help.

use std::io;

pub use nix::errno::Errno;

pub use crate::kernel::refusal::Refusal;

/// What went wrong when the kernel was asked for something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
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
    /// Something went wrong at a named place.
    #[error("{place}: {source}")]
    At {
        /// Where: `node "nat-a"`.
        place: String,
        /// What.
        source: Box<Error>,
    },
    /// This kernel has no code for it, or the code is not loaded.
    #[error("cannot {tried}: {why}")]
    Lacking {
        /// What was tried and on what, so that it fits behind "cannot".
        tried: String,
        /// What is not there.
        why: String,
    },
    /// nft did not accept a ruleset.
    #[error(transparent)]
    Refused(Box<Refusal>),
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(Box::new(refusal))
    }
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

    /// What this kernel has no code for.
    pub(crate) fn lacking(tried: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Lacking { tried: tried.into(), why: why.into() }
    }

    /// The same error, said to have happened at a place.
    pub(crate) fn at(self, place: impl ToString) -> Self {
        Self::At { place: place.to_string(), source: Box::new(self) }
    }

    /// The same error for rules whose first line had so many bytes put before it.
    pub(crate) fn moved_left(self, bytes: usize) -> Self {
        match self {
            Self::Refused(refusal) => refusal.moved_left(bytes).into(),
            other => other,
        }
    }

    /// The same error with a hint.
    pub(crate) fn with_help(mut self, hint: impl Into<String>) -> Self {
        match &mut self {
            Self::Call { help, .. } | Self::Other { help, .. } => *help = Some(hint.into()),
            Self::At { .. } | Self::Lacking { .. } | Self::Refused(_) => {}
        }
        self
    }

    /// A command or hint that helps, where one is known.
    #[must_use]
    pub fn help(&self) -> Option<&str> {
        match self {
            Self::Call { help, .. } | Self::Other { help, .. } => help.as_deref(),
            Self::At { source, .. } => source.help(),
            Self::Lacking { .. } | Self::Refused(_) => None,
        }
    }

    /// Whether the kernel lacks what was asked for, or nft refused rules that it may have no code for.
    #[must_use]
    pub(crate) fn may_be_unsupported(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.may_be_unsupported(),
            Self::Lacking { .. } => true,
            Self::At { source, .. } => source.may_be_unsupported(),
            Self::Call { .. } | Self::Other { .. } => false,
        }
    }

    /// The kernel's answer, if it was the kernel that refused.
    #[must_use]
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Call { errno, .. } => Some(*errno),
            Self::At { source, .. } => source.errno(),
            Self::Other { .. } | Self::Lacking { .. } | Self::Refused(_) => None,
        }
    }
}
