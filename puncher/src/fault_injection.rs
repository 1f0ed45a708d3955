//! Faults that are built in on purpose, with the feature `fault-injection` only: so that it can be tried whether a puncher that got
//! worse is noticed. Without the feature nothing of this is in the program.

use std::time::Duration;

/// A way to be worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The next mapping of a NAT that counts is taken for the one after it.
    WrongDelta,
    /// A socket is dropped before an answer can have come.
    EarlyDrop,
    /// What was refused is not dialled again.
    NoRedial,
}

/// How soon a socket is dropped.
pub(crate) const EARLY: Duration = Duration::from_millis(5);

/// Whether this program is to be worse in this way.
pub(crate) fn is(fault: Fault) -> bool {
    let name = match fault {
        Fault::WrongDelta => "wrong-delta",
        Fault::EarlyDrop => "early-drop",
        Fault::NoRedial => "no-redial",
    };
    cfg!(feature = "fault-injection")
        && std::env::var_os("PUNCHER_FAULT").is_some_and(|wanted| wanted == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_spoilt_unless_it_is_asked_for() {
        for fault in [Fault::WrongDelta, Fault::EarlyDrop, Fault::NoRedial] {
            assert!(!is(fault), "{fault:?}");
        }
    }
}
