//! Why the reference NAT could not ask for one thing only: the names of its doubts.

use crate::model::words::words;

/// Why a packet is *either* or *not judged*.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Doubt {
    /// It and another packet of its connection reached the NAT from both sides within the margin.
    Order,
    /// Its connection or mapping may have ended just then.
    Expiry,
    /// The mapping that would let it in was made within the margin.
    Admission,
    /// The NAT may have had no port for it, or the one that a rule named was taken.
    Room,
    /// The NAT's connection tracking counted a failure of its own, which explains what became of it.
    Counted,
    /// Its connection may be in more states than are kept, or its NAT told that it gave the connection up.
    Lost,
    /// It went from one network below the NAT to another, or to a private address from outside.
    Routed,
    /// It is an ICMP message about nothing that the NAT tracks, or about a connection that may be gone.
    Icmp,
    /// It came so late that what became of it may not have been seen.
    End,
    /// Its NAT keeps records of its own, and nobody can tell what it takes such a packet for.
    Records,
}

words!(Doubt {
    Order => "order",
    Expiry => "expiry",
    Admission => "admission",
    Room => "room",
    Counted => "counted",
    Lost => "lost",
    Routed => "routed",
    Icmp => "icmp",
    End => "end",
    Records => "records",
});

impl Doubt {
    /// What it says of such packets, as it fits behind "because".
    #[must_use]
    pub const fn because(self) -> &'static str {
        match self {
            Self::Order => "their order at the NAT could not be told",
            Self::Expiry => "their mapping may have ended just then",
            Self::Admission => "the mapping that lets them in was made just then",
            Self::Room => "the NAT may have had no port for them",
            Self::Counted => "connection tracking counted a failure of its own",
            Self::Lost => "the state of their connection was no longer known",
            Self::Routed => "they went between networks that the NAT only routes",
            Self::Icmp => "they are ICMP messages about no connection that is known",
            Self::End => "they came at the end of the trial",
            Self::Records => "their NAT keeps records of its own, not connection tracking's",
        }
    }
}
