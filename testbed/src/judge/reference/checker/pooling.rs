//! Which external address the connections of an inside host have.

use std::net::Ipv4Addr;

use super::{Checker, Entry};
use crate::judge::reference::mapping::Outgoing;
use crate::model::evidence::Nanos;

impl Checker<'_> {
    /// Another external address that the host of a new connection has at that moment, for a connection that surely lives, and with which
    /// the new one has to agree. A NAT may forget the address with the host's last connection, and a reset ends one long before its time.
    pub(super) fn address_elsewhere(&self, flow: &Outgoing, at: Nanos) -> Option<Ipv4Addr> {
        let addresses = self.nat.declared.addresses;
        if addresses.count <= 1 || addresses.are_arbitrary() {
            return None;
        }
        let elsewhere = |entry: &&Entry| {
            let (host, external) = (entry.original.source.ip(), entry.reply.destination.ip());
            host == flow.inside.ip() && external != flow.external.ip()
        };
        let lives =
            |entry: &&Entry| !entry.lost && entry.stood_by < at && entry.at(at).iter().all(Option::is_some);
        let found = self.entries.iter().rev().filter(elsewhere).find(lives)?;
        Some(*found.reply.destination.ip())
    }
}
