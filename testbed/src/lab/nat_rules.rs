//! A behaviour and an address become nftables rules that a network engineer can read, and the sysctls they rely on.
//!
//! Pure text: loading is `kernel::ruleset`. Names are fixed, so that users can write rulesets of their own: the way up
//! is the device `wan`, the ways down are `lan0`, `lan1`, …; table `ip nat` translates, table `ip filter` decides who
//! may pass. What must be remembered between packets lies in named sets and maps:
//!
//! | name | key | what it remembers |
//! |---|---|---|
//! | `mapping` | inside endpoint, and the remote one as far as the mapping depends on it | the external port |
//! | `owner` | external port | the inside endpoint that packets from outside go to |
//! | `taken` | external port | that somebody has it |
//! | `busy` | inside endpoint | that its own port serves one of its mappings already |
//! | `admitted` | external port and remote address | that the inside has sent there |
//! | `open` | inside endpoint (and remote address) | the same, for a firewall |
//! | `held`, `seen` | both endpoints of an unsolicited SYN | that it came less than 6 s, or 60 s, ago |
//! | `holders` | inside address | its mappings, for the quota |
//!
//! Where a NAT has several addresses, an external endpoint takes the place of the external port.
//!
//! Those are TCP's. A NAT gives UDP ports in the same way, with sets of its own whose names end in `_udp`: both protocols have
//! all ports to themselves.

mod addresses;
mod filter;
pub(crate) mod foreign;
mod memory;
mod own;
mod pool;
mod protocol;
mod sysctls;
mod text;
mod translate;

#[cfg(test)]
mod tests;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use crate::kernel::error::Error;
use crate::kernel::ruleset::RulesSource;
use crate::model::address_plan::{AddressPlan, Network};
use crate::model::address_pool::AddressPool;
use crate::model::behavior::{Behavior, Translation};
use crate::model::datapath::Datapath;
use crate::model::port_set::PortSet;
use crate::model::topology::NodeName;

use memory::DynamicObject;
pub use own::{NatCommand, by_program, render_own};
use protocol::Protocol;

/// Where a NAT stands: all that its rules need to know of its surroundings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatSite {
    /// Its external address, on the device `wan`.
    pub wan: Ipv4Addr,
    /// The networks below it, by device: `lan0`, `lan1`, …
    pub lans: Vec<(String, Network)>,
}

/// What makes a node this NAT.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NatConfig {
    /// Rules in the language of nft. Empty for a router.
    pub ruleset: String,
    /// The definitions that a user's rules may need, which stand before them on their first line.
    pub definitions: Vec<String>,
    /// Who wrote the rules, or writes them by a program.
    pub source: RulesSource,
    /// The external addresses that it has beside the one of its site.
    pub further: Vec<Ipv4Addr>,
    /// Sysctls and their values, by dotted name, in the order in which they are to be set.
    pub sysctls: Vec<(String, String)>,
    /// How long after its first packet each connection is ended, whatever passes; rules cannot do that.
    pub absolute: Option<Duration>,
    /// From one time that it is to forget everything to the next; rules cannot do that either.
    pub flush_every: Option<Duration>,
    /// A program of the user's that does the rest, if there is one.
    pub command: Option<NatCommand>,
    /// What carries its packets across.
    pub datapath: Datapath,
    /// The file that the rules come from, if a user wrote one.
    pub file: Option<PathBuf>,
}

impl NatConfig {
    /// Text for `nft -f`: the rules with their definitions.
    pub(crate) fn script(&self) -> String {
        self.definitions.concat() + &self.ruleset
    }

    /// Says where in the user's file the rules are that nft refused.
    pub(crate) fn at_file(&self) -> impl Fn(Error) -> Error {
        let file = self.file.as_ref().map(|file| file.display().to_string());
        let definitions = self.definitions.iter().map(String::len).sum();
        move |error| {
            let error = error.moved_left(definitions);
            match &file {
                Some(file) => error.at(file),
                None => error,
            }
        }
    }
}

impl NatSite {
    /// The surroundings of `node`; `None` if the plan gives it no address.
    #[must_use]
    pub fn of(plan: &AddressPlan, node: &NodeName) -> Option<Self> {
        Some(Self { wan: plan.address(node)?, lans: plan.networks_below(node) })
    }

    /// The external addresses of a NAT that behaves so.
    #[must_use]
    pub fn external(&self, behavior: &Behavior) -> AddressPool {
        AddressPool { first: self.wan, count: behavior.addresses.count }
    }

    /// Those beside its own.
    fn further(&self, behavior: &Behavior) -> Vec<Ipv4Addr> {
        self.external(behavior).iter().skip(1).collect()
    }
}

/// The rules and sysctls of a NAT that behaves so.
///
/// `behavior` is taken to have passed [`Behavior::check`]; rules for an impossible one mean nothing.
#[must_use]
pub fn render(behavior: &Behavior, site: &NatSite) -> NatConfig {
    // Every axis, with the module that makes rules of it: one more does not compile until that is decided.
    let Behavior {
        translation,
        // `translate` and `memory`.
        mapping: _,
        allocation: _,
        collision: _,
        pool: _,
        addresses: _,
        hairpinning: _,
        overloading: _,
        // `filter`.
        filtering: _,
        unsolicited_syn: _,
        syn_after_syn: _,
        invalid_packets: _,
        quota: _,
        // `sysctls`, and `absolute_timeout` and `periodic_flush` for those that the kernel has not.
        strictness: _,
        timeouts,
    } = behavior;
    let ruleset = match translation {
        Translation::Router => String::new(),
        Translation::Firewall => filter::table(behavior),
        Translation::Nat => format!("{}\n{}", translate::table(behavior, site), filter::table(behavior)),
    };
    let (further, sysctls) = (site.further(behavior), sysctls::sysctls(behavior));
    let (absolute, flush_every) = (timeouts.absolute, timeouts.flush_every);
    NatConfig { ruleset, further, sysctls, absolute, flush_every, ..NatConfig::default() }
}

/// The ports that the host at `address` gets; `None` where the kernel picks from its own pool, and for a host that has
/// no block.
#[must_use]
pub fn pool_of(behavior: &Behavior, site: &NatSite, address: Ipv4Addr) -> Option<PortSet> {
    let parts = pool::parts(behavior, site);
    let own = parts.into_iter().find(|part| part.subscriber.is_none_or(|subscriber| subscriber == address));
    own.and_then(|part| part.ports)
}

/// Whether a mapping is remembered apart from the connections that use it, and so outlives a reset.
#[must_use]
pub fn remembers_mappings(behavior: &Behavior) -> bool {
    behavior.translation == Translation::Nat && memory::Memory::of(behavior, Protocol::Tcp).mapping
}

/// The sets and maps that traffic fills.
fn dynamic_objects(behavior: &Behavior) -> Vec<DynamicObject> {
    match behavior.translation {
        Translation::Router => Vec::new(),
        Translation::Firewall => filter::objects(behavior),
        Translation::Nat => {
            let memory = Protocol::ALL.map(|l4| memory::Memory::of(behavior, l4).objects());
            memory.concat().into_iter().chain(filter::objects(behavior)).collect()
        }
    }
}

/// How many mappings a NAT of such rules can have at a time; `None` where its rules remember none, and the kernel has room for more
/// than there are ports.
#[must_use]
pub fn most_mappings(behavior: &Behavior) -> Option<u32> {
    let of_each =
        |object: &DynamicObject| !object.name.ends_with(Protocol::Udp.suffix()) && object.name != "holders";
    dynamic_objects(behavior).iter().any(of_each).then_some(memory::SIZE)
}
