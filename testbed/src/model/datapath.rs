//! What carries the packets of a NAT across: connection tracking of the kernel, or something of the NAT's own beside it.

use crate::model::words::words;

/// What carries the packets of a NAT across.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Datapath {
    /// Connection tracking of the kernel, whose records say which mappings there are.
    #[default]
    Conntrack,
    /// A program, BPF or stateless rules that rewrite each packet. Only the packets on both sides say which mappings there are.
    Packets,
    /// A program that ends each connection of the inside and opens one of its own, as pasta and slirp4netns do. What is on both
    /// sides are different connections.
    Sockets,
}

words!(Datapath {
    Conntrack => "conntrack",
    Packets => "packets",
    Sockets => "sockets",
});
