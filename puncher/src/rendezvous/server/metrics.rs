//! Figures of a running server.

use serde::Serialize;

/// What a rendezvous server has to do, and has done since it started. [`rendezvous`](crate::rendezvous) has an example.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Metrics {
    /// Connections at present.
    pub connections: usize,
    /// Meetings at present.
    pub meetings: usize,
    /// Bytes of messages that wait for their readers at present.
    pub waiting_bytes: usize,
    /// Unsolicited probes at present.
    pub probes: usize,
    /// Connections accepted.
    pub accepted: u64,
    /// Connections closed at once, because a limit was reached.
    pub turned_away: u64,
    /// Connections ended because others had a better right to their place.
    pub evicted: u64,
    /// Connections ended for what they sent.
    pub refused: u64,
    /// Connections ended because what they were sent was not read.
    pub unread: u64,
    /// Sides of meetings that were taken over from a connection that had been lost.
    pub taken_over: u64,
    /// Messages handed from peer to peer.
    pub relayed: u64,
    /// Starts agreed.
    pub starts: u64,
}
