//! The ports that allocation draws from: one pool for all, or a block for each subscriber, and counters through them.

use std::net::Ipv4Addr;

use crate::model::behavior::{Allocation, Behavior};
use crate::model::port_set::PortSet;

use super::NatSite;
use super::protocol::Protocol;

/// One pool and those who draw from it.
#[derive(Debug, Clone)]
pub(super) struct PoolShare {
    /// The subscriber, where each has a block.
    pub(super) subscriber: Option<Ipv4Addr>,
    /// Its ports; `None` is the kernel's own pool.
    pub(super) ports: Option<PortSet>,
    /// What the names of its map and chain end in: nothing, or `_3`.
    pub(super) suffix: String,
}

impl PoolShare {
    /// What a rule for this part begins with.
    pub(super) fn condition(&self) -> String {
        self.subscriber.map_or(String::new(), |address| format!("ip saddr {address} "))
    }

    /// The name of the map from positions to ports.
    pub(super) fn map(&self) -> String {
        format!("@ports{}", self.suffix)
    }

    /// The name of the chain that writes the next port into the packet.
    pub(super) fn chain(&self, l4: Protocol) -> String {
        format!("next_port{}{}", l4.suffix(), self.suffix)
    }
}

/// All pools of a NAT. Blocks go to the addresses .2, .3, … of each network below, as many as there are, the networks
/// taking turns; an address beyond the last block gets no mapping.
pub(super) fn parts(behavior: &Behavior, site: &NatSite) -> Vec<PoolShare> {
    let sets = behavior.pool.parts();
    if !matches!(behavior.pool, crate::model::behavior::Pool::Blocks { .. }) {
        let part = |ports| PoolShare { subscriber: None, ports, suffix: String::new() };
        return sets.into_iter().map(part).collect();
    }
    let lans = site.lans.len().max(1);
    let part = |(index, ports): (usize, Option<PortSet>)| {
        let lan = &site.lans.get(index % lans)?.1;
        let host = u32::try_from(index / lans).ok()? + 2;
        let address = Ipv4Addr::from(u32::from(lan.base().address) + host);
        lan.contains(address).then(|| PoolShare {
            subscriber: Some(address),
            ports,
            suffix: format!("_{index}"),
        })
    };
    sets.into_iter().enumerate().filter_map(part).collect()
}

/// The ports of a pool in the order in which positions 0, 1, 2, … stand for them.
pub(super) fn ports(allocation: Allocation, set: PortSet) -> Vec<u16> {
    let step = match allocation {
        Allocation::Sequential { step } => step,
        _ => 1,
    };
    let each = usize::from(step.unsigned_abs()).max(1);
    let all: Vec<u16> = set.ports().collect();
    if step > 0 {
        all.into_iter().step_by(each).collect()
    } else {
        all.into_iter().rev().step_by(each).collect()
    }
}

/// The declaration of the map from positions to ports.
pub(super) fn declaration(part: &PoolShare, ports: &[u16]) -> String {
    let name = part.map();
    // Blanks around the colons: without them, nft's lexer takes `0:1024` for one word.
    let pair = |(position, port): (usize, &u16)| format!("{position} : {port}");
    let pairs: Vec<String> = ports.iter().enumerate().map(pair).collect();
    let lines: Vec<String> = pairs.chunks(8).map(|line| line.join(", ")).collect();
    format!(
        "    # The pool: ports by position. A map, because nft writes the bare number of a counter in the wrong byte order.\n    \
         map {} {{\n        typeof numgen inc mod {} : tcp dport\n        elements = {{\n            {}\n        }}\n    }}\n",
        &name[1..],
        ports.len(),
        lines.join(",\n            "),
    )
}
