//! Why a trial failed or broke, and how one came to pass: the names. `judge::cause` finds them, `docs/judging.md` says from
//! which evidence.

use std::fmt;

use crate::model::words::words;

/// Why a trial failed, or why nothing can be concluded from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The main cause.
    pub cause: Cause,
    /// One sentence with the endpoints and times that prove it.
    pub detail: String,
}

/// The main cause of a failed trial, from evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Cause {
    /// SYNs went to a port that no mapping of the far NAT had.
    PredictedPortWrong,
    /// SYNs went to an external address of the far NAT that the far host's mappings did not have.
    PredictedAddressWrong,
    /// The mapping was there, and the far NAT's filter refused the SYN.
    Filtered,
    /// The far NAT refused a SYN from an endpoint that its inside had sent a SYN to.
    SynAfterSynRefused,
    /// The far NAT answered the SYN with a reset.
    ResetByNat,
    /// The far host answered the SYN with a reset.
    ResetByHost,
    /// The far NAT answered the SYN with an ICMP error.
    IcmpFromNat,
    /// A SYN was aimed at an address that the other side does not have where it can be reached.
    AddressUnreachable,
    /// A reset or an error ended the mapping that the other side's SYN needed.
    MappingDestroyed,
    /// A packet passed a NAT untranslated and could not be answered.
    InvalidUntranslated,
    /// A host's answer belonged to no connection that its own NAT knew, and the NAT dropped it.
    InvalidDropped,
    /// Two flows wanted the same tuple and the NAT dropped one.
    TupleClash,
    /// The NAT had no port left.
    PortsExhausted,
    /// The NAT refused one more mapping for this host.
    QuotaReached,
    /// One side sent its first punching SYN too late for the other.
    StartedTooLate,
    /// One side sent no punching SYN at all.
    PeerNeverStarted,
    /// A peer did not reach the rendezvous server.
    NoRendezvous,
    /// A connection stood, and neither side sent anything on it.
    NobodySpoke,
    /// A connection stood, and one side refused what the other had sent.
    AuthenticationRefused,
    /// The link lost what was needed.
    LostByLink,
    /// The NAT lost its state or its address.
    NatRebooted,
    /// The mapping's time ran out.
    MappingExpired,
    /// A program did nothing with what it had until the time was up.
    ProgramHung,
    /// A host left unanswered what it had to answer: its program's doing, or the machine's. An error.
    HostSilent,
    /// A program was ended by a signal. An error.
    ProgramCrashed,
    /// A program broke the contract. An error.
    ContractBroken,
    /// A program claimed a success of which there is no evidence. An error.
    ProgramLied,
    /// The programs' own processes had most of the processors, and something of the trial waited. An error.
    OverloadByProgram,
    /// The machine was too slow for the trial, for a reason that is not the programs'. An error if it stays so.
    MachineTooSlow,
    /// Evidence was lost, the lab does not do what it declares, or it could not be used. An error.
    LabError,
}

/// How a connection came about, from the wire and conntrack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum How {
    /// Both SYNs were under way at the same time.
    SynsCrossed,
    /// a's SYN was refused or lost before b's opened the way: to a, b was late.
    BLate,
    /// b's SYN was refused or lost before a's opened the way: to b, a was late.
    ALate,
    /// Only one side's SYN belongs to the connection; the other accepted it on a listener.
    Accepted,
    /// b came through a hole that a had opened by a SYN that died on its way.
    HoleByA,
    /// a came through a hole that b had opened by a SYN that died on its way.
    HoleByB,
    /// One of many SYNs met one of many mappings.
    Sprayed {
        /// The number of a's winning SYN among its SYNs to different endpoints, and how many these were.
        a: (u32, u32),
        /// The same of b.
        b: (u32, u32),
    },
}

words!(Cause {
    PredictedPortWrong => "predicted port wrong",
    PredictedAddressWrong => "predicted address wrong",
    Filtered => "filtered",
    SynAfterSynRefused => "SYN after SYN refused",
    ResetByNat => "reset by NAT",
    ResetByHost => "reset by host",
    IcmpFromNat => "ICMP from NAT",
    AddressUnreachable => "address unreachable",
    MappingDestroyed => "mapping destroyed",
    InvalidUntranslated => "invalid and untranslated",
    InvalidDropped => "invalid and dropped",
    TupleClash => "tuple clash",
    PortsExhausted => "ports exhausted",
    QuotaReached => "quota reached",
    StartedTooLate => "started too late",
    PeerNeverStarted => "peer never started",
    NoRendezvous => "no rendezvous",
    NobodySpoke => "nobody spoke",
    AuthenticationRefused => "authentication refused",
    LostByLink => "lost by link",
    NatRebooted => "NAT rebooted",
    MappingExpired => "mapping expired",
    ProgramHung => "program hung",
    HostSilent => "host silent",
    ProgramCrashed => "program crashed",
    ContractBroken => "contract broken",
    ProgramLied => "program lied",
    OverloadByProgram => "overload by program",
    MachineTooSlow => "machine too slow",
    LabError => "lab error",
});

/// What a cause says of the trial that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CauseKind {
    /// The punch did not succeed.
    Failure,
    /// A program or the lab broke: the trial says nothing of the NATs.
    Error,
    /// The machine was not able to play the trial, which is played again.
    Void,
}

impl Cause {
    /// What it says of the trial.
    #[must_use]
    pub const fn kind(self) -> CauseKind {
        match self {
            Self::PredictedPortWrong
            | Self::PredictedAddressWrong
            | Self::Filtered
            | Self::SynAfterSynRefused
            | Self::ResetByNat
            | Self::ResetByHost
            | Self::IcmpFromNat
            | Self::AddressUnreachable
            | Self::MappingDestroyed
            | Self::InvalidUntranslated
            | Self::InvalidDropped
            | Self::TupleClash
            | Self::PortsExhausted
            | Self::QuotaReached
            | Self::StartedTooLate
            | Self::PeerNeverStarted
            | Self::NoRendezvous
            | Self::NobodySpoke
            | Self::AuthenticationRefused
            | Self::LostByLink
            | Self::NatRebooted
            | Self::MappingExpired
            | Self::ProgramHung => CauseKind::Failure,
            Self::HostSilent
            | Self::ProgramCrashed
            | Self::ContractBroken
            | Self::ProgramLied
            | Self::OverloadByProgram
            | Self::LabError => CauseKind::Error,
            Self::MachineTooSlow => CauseKind::Void,
        }
    }

    /// What has this cause.
    #[must_use]
    pub fn because(self, detail: impl Into<String>) -> Failure {
        Failure { cause: self, detail: detail.into() }
    }
}

impl How {
    /// The name in `results.json`: without the numbers of a spray, so that like can be counted with like.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::SynsCrossed => "SYNs crossed",
            Self::ALate => "a late",
            Self::BLate => "b late",
            Self::Accepted => "accepted by a listener",
            Self::HoleByA => "through a hole by a's low TTL",
            Self::HoleByB => "through a hole by b's low TTL",
            Self::Sprayed { .. } => "by spraying",
        }
    }

    /// What the name leaves out.
    #[must_use]
    pub fn detail(self) -> Option<String> {
        match self {
            Self::Sprayed { a: (a, of_a), b: (b, of_b) } => {
                Some(format!("a's SYN {a} of {of_a} met b's SYN {b} of {of_b}"))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.cause, self.detail)
    }
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        self.detail().map_or(Ok(()), |detail| write!(f, ": {detail}"))
    }
}
