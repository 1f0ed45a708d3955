//! The ways to punch. Each is a decision in itself: told what happened, it says what to do, and knows neither sockets
//! nor the clock. `driver` carries out what it says.
//!
//! A punch goes in rounds. Before each, both sides measure what may have changed and tell each other; then both start
//! at the same moment. What earlier rounds began goes on.

pub(crate) mod auto;
pub(crate) mod listen;
pub(crate) mod low_port;
pub(crate) mod low_ttl;
pub(crate) mod pool;
pub(crate) mod private;
pub(crate) mod redial;
pub(crate) mod simultaneous_open;
pub(crate) mod spray;
pub(crate) mod view;

use std::net::SocketAddrV4;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::platform::{Host, System as _};
use crate::predict::Prediction;
use crate::socket::{DialFailure, SynTtl};
use view::RoundView;

/// One SYN to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dial {
    /// The local port, 0 for any; the address is the peer's own.
    pub port: u16,
    /// Where to.
    pub remote: SocketAddrV4,
    /// How far it may go.
    pub ttl: SynTtl,
    /// How much later than now.
    pub after: Duration,
    /// The method that wants it.
    pub by: MethodName,
}

impl Dial {
    /// A SYN to send now, all the way.
    #[must_use]
    pub fn now(by: MethodName, port: u16, remote: SocketAddrV4) -> Self {
        Self { port, remote, ttl: SynTtl::Full, after: Duration::ZERO, by }
    }
}

/// What one side tells the other within a round, under seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RoundNote {
    /// The holes that the other waits for are open.
    Open,
}

/// What a method expects of a round. Part of an [`AttemptLog`](crate::AttemptLog).
#[derive(Debug, Clone, PartialEq)]
pub struct Outlook {
    /// Where the peer is expected, when it is one endpoint.
    pub peer: Option<SocketAddrV4>,
    /// The chance that the round succeeds, as far as theory knows.
    pub probability: f64,
    /// Why, in words.
    pub because: String,
}

impl From<Prediction> for Outlook {
    fn from(prediction: Prediction) -> Self {
        let Prediction { endpoint, probability, because } = prediction;
        Self { peer: Some(endpoint), probability, because }
    }
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Say what is expected.
    Expect(Outlook),
    /// Send a SYN. Those of one answer leave in its order. The socket is kept until the punch is over.
    Dial(Dial),
    /// Accept connections on a local port, for a method.
    Listen {
        /// The port.
        port: u16,
        /// The method.
        by: MethodName,
    },
    /// Tell the other side.
    Tell(RoundNote),
    /// This round is over in so long, unless something comes up: prepare the next.
    NextRoundIn(Duration),
    /// Nothing more is expected after so long.
    GiveUpIn(Duration),
}

impl Action {
    /// The SYN that is to be sent, if it is one.
    pub(crate) fn dial(&self) -> Option<Dial> {
        match self {
            Self::Dial(dial) => Some(*dial),
            _ => None,
        }
    }
}

/// A way to punch, for one meeting.
pub trait Method: std::fmt::Debug + Send {
    /// What to do at the agreed start of a round.
    fn begin(&mut self, view: &RoundView) -> Vec<Action>;

    /// What to do now that a dial has come to nothing. Its socket is gone.
    fn refused(&mut self, dial: Dial, why: DialFailure) -> Vec<Action>;

    /// What to do now that the other side has said this.
    fn told(&mut self, note: RoundNote) -> Vec<Action>;

    /// How many more mappings should be measured before this round, when the NAT draws.
    fn samples(&self, round: u32) -> u8 {
        let _ = round;
        0
    }

    /// Whether this round should start from a fresh local port, because what went before may have spoilt the old one.
    fn wants_fresh_port(&self, round: u32) -> bool {
        let _ = round;
        false
    }

    /// Whether a mapping that seems to be kept should be looked at again before this round, from another port.
    fn wants_second_look(&self, round: u32) -> bool {
        round > 1
    }

    /// Whether this round may open holes with a low TTL, so that the distance to the own outermost NAT matters.
    fn wants_hops(&self, round: u32) -> bool {
        round > 1
    }

    /// Whether a mapping of a port below 1024 should be measured before this round.
    fn wants_low_port(&self, round: u32) -> bool {
        let _ = round;
        false
    }
}

/// A method by its name.
///
/// ```
/// use puncher::MethodName;
///
/// assert_eq!("low-ttl".parse(), Ok(MethodName::LowTtl));
/// assert!(MethodName::ALL.contains(&MethodName::default()));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, strum::VariantArray)]
pub enum MethodName {
    /// The cheapest that will do.
    #[default]
    Auto,
    /// Both dial the predicted endpoint.
    SimultaneousOpen,
    /// Both dial the observed endpoint.
    ObservedPort,
    /// Both dial the other's internal port at its external address.
    PreservedPort,
    /// With a window around the predicted port.
    Sequential,
    /// One opens the hole without being heard, the other dials.
    LowTtl,
    /// Many ports at once.
    Spray,
    /// Few ports, because source ports below 1024 have a small pool.
    LowPort,
    /// One dials, the other listens.
    Listen,
    /// By way of the common network.
    Private,
    /// By way of the common NAT.
    Hairpin,
}

impl MethodName {
    /// All methods.
    pub const ALL: &'static [Self] = <Self as strum::VariantArray>::VARIANTS;

    /// Why this system cannot do it; `None` where it can.
    #[must_use]
    pub fn absent_because(self) -> Option<&'static str> {
        if self == Self::LowTtl { Host::CANNOT_LIMIT_HOPS } else { None }
    }

    /// As on the command line and in results.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::SimultaneousOpen => "simultaneous-open",
            Self::ObservedPort => "observed-port",
            Self::PreservedPort => "preserved-port",
            Self::Sequential => "sequential",
            Self::LowTtl => "low-ttl",
            Self::Spray => "spray",
            Self::LowPort => "low-port",
            Self::Listen => "listen",
            Self::Private => "private",
            Self::Hairpin => "hairpin",
        }
    }

    /// The method itself; its random decisions follow from the seed.
    #[must_use]
    pub fn build(self, seed: u64) -> Box<dyn Method> {
        match self {
            Self::Auto => Box::new(auto::Auto::new(seed)),
            Self::SimultaneousOpen => Box::new(simultaneous_open::SimultaneousOpen::predicted_port(seed)),
            Self::ObservedPort => Box::new(simultaneous_open::SimultaneousOpen::observed_port(seed)),
            Self::PreservedPort => Box::new(simultaneous_open::SimultaneousOpen::preserved_port(seed)),
            Self::Sequential => Box::new(simultaneous_open::SimultaneousOpen::sequential(seed)),
            Self::LowTtl => Box::new(low_ttl::LowTtl::new(seed)),
            Self::Spray => Box::new(spray::Spray::new(seed)),
            Self::LowPort => Box::new(low_port::LowPort::new(seed)),
            Self::Listen => Box::new(listen::Listen::new(seed)),
            Self::Private => Box::new(private::Private::internal(seed)),
            Self::Hairpin => Box::new(private::Private::external(seed)),
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
        Self::ALL.iter().copied().find(|method| method.name() == text).ok_or_else(|| {
            let known: Vec<_> = Self::ALL.iter().map(|method| method.name()).collect();
            format!("unknown method \"{text}\", expected one of: {}", known.join(", "))
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The SYNs among these actions.
    pub(crate) fn dials(actions: &[Action]) -> Vec<Dial> {
        actions.iter().filter_map(Action::dial).collect()
    }

    #[test]
    fn every_method_is_found_by_its_name() {
        for &method in MethodName::ALL {
            assert_eq!(method.name().parse(), Ok(method));
        }
        assert!("simultaneus-open".parse::<MethodName>().unwrap_err().contains("simultaneous-open"));
    }
}
