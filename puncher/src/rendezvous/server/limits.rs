//! How much the server takes upon itself.

use std::time::Duration;

use crate::fd_limit::Descriptors;
use crate::rendezvous::server::rate::Pace;
use crate::rendezvous::server::shares::Places;

/// A network (/24) may hold and do as much as this many addresses: several customers of one provider fit in, and a host with
/// a whole network does not get 256 times what others get.
const ADDRESSES_PER_NETWORK: usize = 4;

/// Seconds' worth of its rate that an address may use at once after a pause.
const BURST: u32 = 8;

/// Sockets that one unsolicited probe opens: from the address that was asked, and from another.
pub(super) const PROBE_SOCKETS: usize = 2;

/// Connections that may be on their way in or out beyond those that are admitted.
const TURNOVER: usize = 64;

/// How much the server takes upon itself. What is said of an address holds four times for a network (/24).
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections in all. When they are used up, newcomers replace clients of whoever holds most.
    pub connections: usize,
    /// Connections from one address; a carrier's NAT may stand for many peers.
    pub connections_per_address: usize,
    /// New connections a second from one address; after a pause eight seconds' worth at once.
    pub connections_per_second: u32,
    /// Meetings at once.
    pub meetings: usize,
    /// Sides of meetings that one address may hold.
    pub meetings_per_address: usize,
    /// Joins a second from one address; after a pause eight seconds' worth at once.
    pub joins_per_second: u32,
    /// Bytes a second that are read from one address, each request counting 256 more; after a pause eight seconds' worth
    /// at once. Beyond that they wait.
    pub bytes_per_second: u32,
    /// Bytes of messages that wait for their readers, in all.
    pub waiting_bytes: usize,
    /// The same of messages from one address.
    pub waiting_bytes_per_address: usize,
    /// Unsolicited probes at once, each of which takes two descriptors.
    pub probes: usize,
    /// Unsolicited probes at once for one address.
    pub probes_per_address: usize,
    /// Unsolicited probes a second for one address; after a pause eight seconds' worth at once.
    pub probes_per_second: u32,
    /// How long a connection may last.
    pub lifetime: Duration,
    /// How long a frame may take from its first byte to its last, and a new connection until it has said something.
    pub frame: Duration,
    /// How long the bytes of a reply may take to be acknowledged.
    pub write: Duration,
    /// How long meetings under way have left when the server is stopped.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            connections_per_address: 1024,
            connections_per_second: 128,
            meetings: 8192,
            meetings_per_address: 512,
            joins_per_second: 64,
            bytes_per_second: 256 * 1024,
            waiting_bytes: 32 * 1024 * 1024,
            waiting_bytes_per_address: 4 * 1024 * 1024,
            probes: 128,
            probes_per_address: 8,
            probes_per_second: 4,
            lifetime: Duration::from_secs(600),
            frame: Duration::from_secs(10),
            write: Duration::from_secs(5),
            grace: Duration::from_secs(5),
        }
    }
}

impl Limits {
    /// Lowers what the system has no descriptors for.
    pub(super) fn within(self, given: Descriptors) -> Self {
        Self { connections: given.connections, probes: given.probes / PROBE_SOCKETS, ..self }
    }

    pub(super) fn descriptors(&self) -> Descriptors {
        let probes = self.probes.saturating_mul(PROBE_SOCKETS);
        Descriptors { connections: self.connections, turnover: TURNOVER, probes }
    }

    pub(super) fn connection_places(&self) -> Places {
        places(self.connections, self.connections_per_address)
    }

    /// A meeting has two sides.
    pub(super) fn side_places(&self) -> Places {
        places(self.meetings.saturating_mul(2), self.meetings_per_address)
    }

    pub(super) fn waiting_places(&self) -> Places {
        places(self.waiting_bytes, self.waiting_bytes_per_address)
    }

    pub(super) fn probe_places(&self) -> Places {
        places(self.probes, self.probes_per_address)
    }
}

fn places(total: usize, per_address: usize) -> Places {
    Places { total, per_network: per_address.saturating_mul(ADDRESSES_PER_NETWORK), per_address }
}

/// The pace of an address and that of a network.
pub(super) fn paces(per_second: u32) -> (Pace, Pace) {
    let pace = Pace { per_second, burst: per_second.saturating_mul(BURST) };
    (pace, pace.times(ADDRESSES_PER_NETWORK as u32))
}
