//! The methods that theory knows, and what each does: which port it aims at, and whether it dials again.
//!
//! A method is known by what its documentation says it does, never by what a program tells of itself. `pair` has the
//! chance of each.

use crate::model::words::words;

/// A way to punch that theory knows: those of our own puncher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "`docs/puncher.md` says what each does")]
pub enum Method {
    Auto,
    SimultaneousOpen,
    ObservedPort,
    PreservedPort,
    Sequential,
    LowTtl,
    Listen,
    LowPort,
    Spray,
    Private,
    Hairpin,
}

words!(Method {
    Auto => "auto",
    SimultaneousOpen => "simultaneous-open",
    ObservedPort => "observed-port",
    PreservedPort => "preserved-port",
    Sequential => "sequential",
    LowTtl => "low-ttl",
    Listen => "listen",
    LowPort => "low-port",
    Spray => "spray",
    Private => "private",
    Hairpin => "hairpin",
});

/// What a method takes for the external port that the other side's SYN comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PortGuess {
    /// The one that the server saw.
    Observed,
    /// The internal one.
    Internal,
    /// Whichever of these was seen to hold, or the next by the step that was seen, and at most this many further on.
    Predicted {
        /// Mappings of other hosts that it still finds its way among.
        window: u32,
    },
}

/// Which side dials again after a refusal, where a port is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RedialingSide {
    /// None.
    Never,
    /// The one that knows where the other is.
    TowardsKnown,
    /// Both: each takes the other's port for known.
    Both,
}

impl Method {
    /// What it aims at, where it dials one endpoint.
    pub(super) const fn aim(self) -> PortGuess {
        match self {
            Self::ObservedPort => PortGuess::Observed,
            Self::PreservedPort => PortGuess::Internal,
            Self::Sequential | Self::Auto => PortGuess::Predicted { window: WIDEST_WINDOW },
            Self::SimultaneousOpen
            | Self::LowTtl
            | Self::Listen
            | Self::LowPort
            | Self::Spray
            | Self::Private
            | Self::Hairpin => PortGuess::Predicted { window: 0 },
        }
    }

    /// Whether it tries the peer's internal endpoint.
    pub(super) const fn tries_internal(self) -> bool {
        match self {
            Self::Private | Self::Auto => true,
            Self::SimultaneousOpen
            | Self::ObservedPort
            | Self::PreservedPort
            | Self::Sequential
            | Self::LowTtl
            | Self::Listen
            | Self::LowPort
            | Self::Spray
            | Self::Hairpin => false,
        }
    }
}

/// Mappings of other hosts that the largest window still covers: it has 64 ports.
const WIDEST_WINDOW: u32 = 63;
