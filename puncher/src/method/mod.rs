//! The ways to punch. Each is a decision in itself: told what happened, it says what to do, and knows neither sockets
//! nor the clock. `punch` carries out what it says.

pub mod simultaneous_open;

use std::net::SocketAddrV4;
use std::time::Duration;

use crate::socket::{Reach, Refusal};

/// One SYN to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dial {
    /// The local port; the address is the peer's own.
    pub port: u16,
    /// Where to.
    pub remote: SocketAddrV4,
    /// How far it may go.
    pub reach: Reach,
    /// How much later than now.
    pub after: Duration,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    /// The agreed start.
    Go,
    /// A dial came to nothing; its socket is gone.
    Refused(Dial, Refusal),
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Send a SYN. Those of one answer leave in its order. The socket is kept until the punch is over.
    Dial(Dial),
    /// Expect nothing more after so long.
    GiveUpIn(Duration),
}

/// A way to punch, for one punch.
pub trait Method: std::fmt::Debug + Send {
    /// Its name on the command line and in results.
    fn name(&self) -> &'static str;

    /// What to do now that this has happened.
    fn on(&mut self, happening: Happening) -> Vec<Action>;
}

/// A method by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum MethodName {
    /// [`simultaneous_open`].
    #[default]
    SimultaneousOpen,
}

impl MethodName {
    /// All methods.
    pub const ALL: [Self; 1] = [Self::SimultaneousOpen];

    /// As on the command line and in results.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SimultaneousOpen => simultaneous_open::NAME,
        }
    }
}

impl std::fmt::Display for MethodName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for MethodName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|method| method.name() == text).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|method| method.name()).collect();
            format!("unknown method \"{text}\", expected one of: {}", known.join(", "))
        })
    }
}
