//! The axes of a NAT: every property that the lab can build and the proof can measure.
//!
//! A NAT is a point in this space. Terms are those of RFC 4787 (mapping, filtering), RFC 5382 (TCP) and
//! RFC 7857 (updates). How a point becomes nftables rules is `lab::nat_rules`; named points are `model::catalogue`.

use std::time::Duration;

use crate::model::port_set::PortSet;

pub use crate::model::port_set::PortRange;

/// Everything a NAT is declared to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Behavior {
    /// Whether addresses are translated at all.
    pub translation: Translation,
    /// When an external endpoint is reused (RFC 4787 section 4.1, RFC 5382 REQ-1).
    pub mapping: Mapping,
    /// How the external port of a new mapping is chosen.
    pub allocation: Allocation,
    /// The port of a mapping that cannot keep its own, where ports are preserved (RFC 4787 section 4.2.1).
    pub collision: Collision,
    /// The external ports that allocation draws from.
    pub pool: Pool,
    /// The external addresses, and which of them a mapping gets (RFC 4787 REQ-2).
    pub addresses: ExternalAddresses,
    /// Who may send to an external endpoint (RFC 4787 section 5, RFC 5382 REQ-3).
    pub filtering: Filtering,
    /// The answer to a SYN that no mapping admits (RFC 5382 REQ-4).
    pub unsolicited_syn: UnsolicitedSyn,
    /// What happens to an incoming SYN from an endpoint that an outgoing SYN went to (RFC 5382 REQ-2a).
    pub syn_after_syn: SynAfterSyn,
    /// What happens to packets that connection tracking calls invalid.
    pub invalid_packets: InvalidPackets,
    /// Whether inside hosts reach each other through their external endpoints (RFC 5382 REQ-8).
    pub hairpinning: Hairpinning,
    /// Whether two inside endpoints may share one external endpoint (RFC 5382 REQ-7).
    pub overloading: Overloading,
    /// How closely sequence numbers are checked (`nf_conntrack_tcp_be_liberal`).
    pub strictness: Strictness,
    /// How long an idle mapping lives, by its TCP state.
    pub timeouts: Timeouts,
    /// The number of mappings that one inside host may hold at a time (RFC 6888 REQ-4); `None` for no limit.
    pub quota: Option<u32>,
}

/// Whether addresses are translated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Translation {
    /// Source addresses and ports are rewritten.
    Nat,
    /// A stateful firewall: mappings are identities, filtering is as declared.
    Firewall,
    /// A plain router: everything passes both ways.
    Router,
}

/// When two flows of one internal endpoint share an external endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mapping {
    /// Always (EIM).
    EndpointIndependent,
    /// When the remote address is the same (ADM).
    AddressDependent,
    /// When the remote address and port are the same (APDM): each flow has its own.
    AddressAndPortDependent,
}

/// How the port of a new mapping is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Allocation {
    /// The internal port, unless it is taken.
    Preserving,
    /// The last one plus a step; the step may be negative but not zero.
    Sequential {
        /// Distance between two consecutive mappings.
        step: i16,
    },
    /// Drawn at random.
    Random,
    /// A hash of whatever the mapping depends on, with a fixed seed: looks random, repeats exactly.
    Hash {
        /// Seed of the hash.
        seed: u32,
    },
}

/// The port that a port-preserving NAT gives to a mapping whose own port is taken, or lies outside the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Collision {
    /// Any free port of the pool.
    Random,
    /// The next free port of a counter through the pool.
    Sequential,
}

/// The external ports that a NAT hands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pool {
    /// What the kernel uses by itself: 1024 to 65535 for most source ports, smaller pools below 1024.
    Kernel,
    /// One range for all inside hosts.
    Range(PortRange),
    /// Several ranges for all inside hosts, with gaps between them (RFC 7597, section 5.1).
    Ranges(PortSet),
    /// One block for each inside host, cut from the range in order (RFC 7422).
    Blocks {
        /// The range that the blocks are cut from.
        range: PortRange,
        /// Ports in a block.
        size: u16,
    },
}

/// The external addresses of a NAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ExternalAddresses {
    /// How many there are: one, or a pool.
    pub count: u8,
    /// Which of them a new mapping gets. It means nothing where there is one.
    pub pooling: Pooling,
}

impl ExternalAddresses {
    /// One address for all.
    pub const ONE: Self = Self { count: 1, pooling: Pooling::Paired };

    /// Whether different mappings of one inside host may have different addresses.
    #[must_use]
    pub const fn are_arbitrary(self) -> bool {
        match self.pooling {
            Pooling::Paired => false,
            Pooling::Arbitrary => self.count > 1,
        }
    }
}

/// Which address of a pool a new mapping gets (RFC 4787 section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Pooling {
    /// The one that the inside host's other mappings have.
    Paired,
    /// Any of them: mappings of one inside host may have different ones.
    Arbitrary,
}

/// Who may send to an external endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Filtering {
    /// Anyone (EIF).
    EndpointIndependent,
    /// Addresses that the inside has sent to from this mapping (ADF).
    AddressDependent,
    /// Endpoints that the inside has sent to from this mapping (APDF).
    AddressAndPortDependent,
}

/// The answer to a SYN that no mapping admits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UnsolicitedSyn {
    /// Silence.
    Drop,
    /// A TCP reset.
    Reset,
    /// An ICMP error at once.
    Icmp(IcmpError),
    /// Whatever the NAT's own TCP stack says (a reset, on Linux), because nothing was configured.
    Kernel,
    /// Silence for six seconds, then ICMP port unreachable, unless the inside sent a SYN meanwhile (RFC 5382 REQ-4).
    IcmpAfterSixSeconds,
}

/// ICMP errors that a NAT may refuse a SYN with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IcmpError {
    /// Type 3 code 3: connect() fails with ECONNREFUSED.
    PortUnreachable,
    /// Type 3 code 1: connect() fails with EHOSTUNREACH.
    HostUnreachable,
    /// Type 3 code 0: connect() fails with ENETUNREACH.
    NetUnreachable,
    /// Type 3 code 2: connect() fails with ENOPROTOOPT.
    ProtocolUnreachable,
    /// Type 3 code 9: connect() fails with ENETUNREACH.
    NetProhibited,
    /// Type 3 code 10: connect() fails with EHOSTUNREACH.
    HostProhibited,
    /// Type 3 code 13: connect() fails with EHOSTUNREACH.
    AdminProhibited,
}

impl IcmpError {
    /// The code within ICMP type 3, destination unreachable (RFC 792, RFC 1122 section 3.2.2.1, RFC 1812).
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::NetUnreachable => 0,
            Self::HostUnreachable => 1,
            Self::ProtocolUnreachable => 2,
            Self::PortUnreachable => 3,
            Self::NetProhibited => 9,
            Self::HostProhibited => 10,
            Self::AdminProhibited => 13,
        }
    }
}

/// What happens to an incoming SYN from an endpoint that an outgoing SYN went to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SynAfterSyn {
    /// It passes, as simultaneous open needs.
    Accept,
    /// It vanishes.
    Drop,
    /// It is answered by a reset.
    Reset,
}

impl SynAfterSyn {
    /// Whether such a SYN passes.
    #[must_use]
    pub const fn passes(self) -> bool {
        match self {
            Self::Accept => true,
            Self::Drop | Self::Reset => false,
        }
    }

    /// Whether the NAT ends the state that the first SYN began when it refuses the second.
    #[must_use]
    pub const fn ends_the_first(self) -> bool {
        match self {
            Self::Accept | Self::Drop => false,
            Self::Reset => true,
        }
    }
}

/// What happens to packets that connection tracking calls invalid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InvalidPackets {
    /// They are dropped.
    Drop,
    /// They pass untranslated: private addresses leak to the outside.
    Leak,
}

/// Whether inside hosts reach each other through their external endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hairpinning {
    /// No.
    Off,
    /// Yes, and the destination sees the external endpoint of the source.
    On,
}

/// Whether two inside endpoints may share one external endpoint towards different remote endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Overloading {
    /// Never.
    Off,
    /// Yes, as long as the remote endpoints differ.
    On,
}

/// How closely sequence numbers are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Strictness {
    /// Out-of-window packets are invalid (`nf_conntrack_tcp_be_liberal=0`).
    Strict,
    /// Only out-of-window resets are invalid (`nf_conntrack_tcp_be_liberal=1`).
    Liberal,
}

/// How long a mapping lives: idle ones, by TCP state, where `None` leaves the kernel's default, and any at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Timeouts {
    /// After the first SYN; the kernel's default is 120 s.
    pub syn_sent: Option<Duration>,
    /// After a SYN from either side; default 120 s. There is no sysctl for it, so a rule sets it. Since Linux 6.3 it begins
    /// only with the second SYN from the other side: the first leaves what `syn_sent` has left.
    pub syn_sent2: Option<Duration>,
    /// After a SYN and a SYN/ACK; default 60 s.
    pub syn_recv: Option<Duration>,
    /// While the connection stands; default 432,000 s.
    pub established: Option<Duration>,
    /// After the first FIN; default 120 s.
    pub fin_wait: Option<Duration>,
    /// After a FIN from the side that did not open it; default 60 s.
    pub close_wait: Option<Duration>,
    /// After both FINs, until the last one is acknowledged; default 30 s.
    pub last_ack: Option<Duration>,
    /// After the last FIN was acknowledged; default 120 s.
    pub time_wait: Option<Duration>,
    /// After a reset; default 10 s.
    pub close: Option<Duration>,
    /// At most, while data waits for an acknowledgment; default 300 s.
    pub unacknowledged: Option<Duration>,
    /// At most, after three retransmissions of one segment; default 300 s.
    pub max_retrans: Option<Duration>,
    /// From the first packet of a connection until the NAT ends its entry, however busy it is; `None` for no such limit. The
    /// kernel has no timer of the kind.
    pub absolute: Option<Duration>,
    /// From one time that the NAT forgets everything it holds to the next, whatever passes; `None` if it never does. The kernel has no
    /// timer of the kind.
    pub flush_every: Option<Duration>,
}

/// How much later than its absolute timeout the entry of a connection may end.
pub const ABSOLUTE_LATE: Duration = Duration::from_millis(250);

/// How much sooner or later than its time a NAT may forget everything.
pub const FLUSH_OFF: Duration = Duration::from_millis(250);

impl Behavior {
    /// A NAT as most home routers are: everything the kernel's own `masquerade` does, and unsolicited SYNs dropped.
    #[must_use]
    pub fn port_preserving() -> Self {
        Self {
            translation: Translation::Nat,
            mapping: Mapping::EndpointIndependent,
            allocation: Allocation::Preserving,
            collision: Collision::Random,
            pool: Pool::Kernel,
            addresses: ExternalAddresses::ONE,
            filtering: Filtering::AddressAndPortDependent,
            unsolicited_syn: UnsolicitedSyn::Drop,
            syn_after_syn: SynAfterSyn::Accept,
            invalid_packets: InvalidPackets::Drop,
            hairpinning: Hairpinning::Off,
            overloading: Overloading::On,
            strictness: Strictness::Strict,
            timeouts: Timeouts::default(),
            quota: None,
        }
    }
}
