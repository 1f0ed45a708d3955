//! The two directions of a connection, and the order of sequence numbers.

/// Which end of a connection sent a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Way {
    /// The end that opened it.
    Original,
    /// The other one.
    Reply,
}

impl Way {
    pub(super) fn other(self) -> Self {
        match self {
            Self::Original => Self::Reply,
            Self::Reply => Self::Original,
        }
    }
}

/// Whether one sequence number comes before another (RFC 9293, section 3.4).
pub(super) fn before(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) > 1 << 31
}

/// The other way round.
pub(super) fn after(a: u32, b: u32) -> bool {
    before(b, a)
}
