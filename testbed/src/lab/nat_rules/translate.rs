//! Table `nat`: which external endpoint an inside endpoint gets, and who is let in through it.

use crate::model::behavior::{Allocation, Behavior, Filtering, Hairpinning, Mapping, PortRange};

use super::NatSite;
use super::memory::{Memory, turns_round};
use super::pool::{self, PoolShare};
use super::text::{Chain, table as write_table};

/// How often a port is drawn again when somebody has it, before the SYN is given up.
const TRIES: u32 = 8;

/// Table `nat` of a NAT that behaves so.
pub(super) fn table(behavior: &Behavior, site: &NatSite) -> String {
    let writer = Writer { behavior, site, memory: Memory::of(behavior), parts: pool::parts(behavior, site) };
    writer.table()
}

struct Writer<'a> {
    behavior: &'a Behavior,
    site: &'a NatSite,
    memory: Memory,
    parts: Vec<PoolShare>,
}

impl Writer<'_> {
    fn table(&self) -> String {
        let mut sets = self.memory.declarations();
        for part in &self.parts {
            if let (true, Some(range)) = (self.uses_map(part), part.range) {
                sets.push(pool::declaration(part, &pool::ports(self.behavior.allocation, range)));
            }
        }
        let mut chains = vec![self.prerouting()];
        chains.extend(self.parts.iter().map(|part| self.next_port(part)));
        let translate = self.translate();
        let simple = !turns_round(self.behavior) && translate.rules() == 1;
        if simple {
            chains.push(self.postrouting(&translate.under("oifname \"wan\"")));
        } else {
            let mut enter = Chain::regular("");
            enter.rule("oifname \"wan\" meta l4proto tcp goto translate");
            chains.push(translate);
            chains.push(self.postrouting(&enter));
        }
        chains.extend(self.memory.learn());
        write_table("nat", &sets, &chains)
    }

    fn prerouting(&self) -> Chain {
        let mut chain = Chain::base("prerouting", "nat hook prerouting priority dstnat");
        let wan = self.site.wan;
        match self.behavior.filtering {
            Filtering::AddressAndPortDependent => {}
            Filtering::AddressDependent => {
                chain
                    .note("Filtering: address-dependent. Whose address was sent to from a mapping may send to it.")
                    .rule(format!(
                        "iifname \"wan\" ip daddr {wan} meta l4proto tcp tcp dport . ip saddr @admitted \
                         dnat ip to tcp dport map @owner"
                    ));
            }
            Filtering::EndpointIndependent => {
                chain.note("Filtering: endpoint-independent. Anyone may send to a mapping.").rule(format!(
                    "iifname \"wan\" ip daddr {wan} meta l4proto tcp dnat ip to tcp dport map @owner"
                ));
            }
        }
        if turns_round(self.behavior) {
            chain.note("Hairpinning: on. What the inside sends to a mapping goes to its owner.").rule(
                format!("iifname \"lan*\" ip daddr {wan} meta l4proto tcp dnat ip to tcp dport map @owner"),
            );
        }
        chain
    }

    /// `outwards` is what happens to TCP connections towards the outside.
    fn postrouting(&self, outwards: &Chain) -> Chain {
        let mut chain = Chain::base("postrouting", "nat hook postrouting priority srcnat");
        chain.append(outwards);
        if turns_round(self.behavior) {
            chain
                .note("Hairpinning: on. The destination sees the external endpoint of the source.")
                .rule("iifname \"lan*\" oifname \"lan*\" ct status dnat meta l4proto tcp goto translate");
        }
        chain.note("What is not TCP keeps its identifiers where it can.").rule("oifname \"wan\" masquerade");
        chain
    }

    /// What every fresh TCP connection towards the outside goes through.
    fn translate(&self) -> Chain {
        let mut chain = Chain::regular("translate");
        self.reuse(&mut chain);
        self.limit(&mut chain);
        self.memory.mark_fresh(&mut chain);
        chain.note(self.about_allocation());
        for part in &self.parts {
            self.allocate(&mut chain, part);
        }
        if self.parts.iter().all(|part| part.subscriber.is_some()) {
            let others = format!("ip saddr != {} drop", self.site.wan);
            chain.note("Who has no block reaches nobody; the NAT itself needs none.").rule(others);
        }
        chain
    }

    /// The rule that finds an existing mapping.
    fn reuse(&self, chain: &mut Chain) {
        let mapping = self.behavior.mapping;
        if self.memory.mapping {
            let what = match mapping {
                Mapping::EndpointIndependent => "An inside endpoint keeps its external port.",
                Mapping::AddressDependent => {
                    "An inside endpoint keeps its external port for each remote address."
                }
                Mapping::AddressAndPortDependent => {
                    "Only the same two endpoints get the same external port again."
                }
            };
            chain.note(format!("Mapping: {mapping}. {what}")).rule(format!(
                "meta l4proto tcp snat ip to {} : {} map @mapping",
                self.site.wan,
                self.memory.key()
            ));
        }
    }

    /// The rule that refuses one mapping too many.
    fn limit(&self, chain: &mut Chain) {
        if let Some(quota) = self.behavior.quota {
            chain
                .note(format!("Quota: {quota} mappings for each inside host."))
                .rule(format!("add @holders {{ ip saddr ct count over {quota} }} drop"));
        }
    }

    fn about_allocation(&self) -> String {
        let Behavior { mapping, allocation, pool, overloading, .. } = self.behavior;
        let who = match (self.memory.mapping, allocation) {
            (true, _) => String::new(),
            (false, Allocation::Preserving) => format!(
                "Mapping: {mapping}. The kernel gives an endpoint that it knows the same port again.\n"
            ),
            (false, Allocation::Hash { .. }) => {
                format!("Mapping: {mapping}. The same endpoints make the same hash.\n")
            }
            (false, _) => format!("Mapping: {mapping}. Every connection gets a port of its own.\n"),
        };
        format!("{who}Allocation: {allocation}. Ports: {pool}. Overloading: {overloading}.")
    }

    /// Whether positions of this pool are turned into ports by a map.
    fn uses_map(&self, part: &PoolShare) -> bool {
        match self.behavior.allocation {
            Allocation::Sequential { .. } | Allocation::Hash { .. } => true,
            Allocation::Preserving | Allocation::Random => self.redraws(part),
        }
    }

    /// Whether a random port that is taken can be drawn again at once.
    fn redraws(&self, part: &PoolShare) -> bool {
        self.memory.redraws && part.range.is_some()
    }

    /// The chain that writes the next candidate into the packet, for pools in which taken ports are skipped.
    ///
    /// The packet carries its candidate for a moment only: the last rule of `translate` makes it the translation.
    fn next_port(&self, part: &PoolShare) -> Chain {
        let mut chain = Chain::regular(&part.chain());
        let Some(size) = part.range.map(|r| pool::ports(self.behavior.allocation, r).len()) else {
            return chain;
        };
        if self.memory.taken && self.uses_map(part) {
            let draw = match self.behavior.allocation {
                Allocation::Sequential { .. } => format!("numgen inc mod {size}"),
                Allocation::Preserving | Allocation::Random => format!("numgen random mod {size}"),
                Allocation::Hash { .. } => return chain,
            };
            chain.rule(format!("tcp sport set {draw} map {}", part.map()));
        }
        chain
    }

    /// The rules that pick a fresh port from one pool.
    fn allocate(&self, chain: &mut Chain, part: &PoolShare) {
        let when = format!("{}meta l4proto tcp", part.condition());
        let size = part.range.map_or(0, |r| pool::ports(self.behavior.allocation, r).len());
        match self.behavior.allocation {
            Allocation::Preserving => self.preserve(chain, part, &when),
            Allocation::Random if !self.redraws(part) => {
                chain.rule(format!("{when} {}", self.by_kernel(part.range, PortSelection::Random)));
            }
            Allocation::Sequential { .. } if !self.memory.taken => {
                chain.rule(format!("{when} {} : numgen inc mod {size} map {}", self.snat(), part.map()));
            }
            Allocation::Sequential { .. } | Allocation::Random => {
                chain.rule(format!("{when} jump {}", part.chain()));
                self.skip_taken(chain, part, &when, TRIES - 1);
            }
            Allocation::Hash { seed } => self.hash(chain, part, &when, seed, size),
        }
    }

    /// Replaces the candidate in the packet as long as somebody has it, and makes it the translation.
    fn skip_taken(&self, chain: &mut Chain, part: &PoolShare, when: &str, times: u32) {
        for _ in 0..times {
            chain.rule(format!("{when} tcp sport @taken jump {}", part.chain()));
        }
        chain.rule(format!("{when} {} : tcp sport", self.snat()));
    }

    fn preserve(&self, chain: &mut Chain, part: &PoolShare, when: &str) {
        if let (true, Some(range)) = (self.redraws(part), part.range) {
            let draw = format!("jump {}", part.chain());
            chain.rule(format!("{when} tcp sport != {range} {draw}"));
            self.skip_taken(chain, part, when, TRIES);
            return;
        }
        let elsewhere = self.by_kernel(part.range, PortSelection::Random);
        if self.memory.taken {
            chain.rule(format!("{when} tcp sport @taken {elsewhere}"));
        }
        if self.memory.busy {
            chain.rule(format!("{when} ip saddr . tcp sport @busy {elsewhere}"));
        }
        chain.rule(format!("{when} {}", self.by_kernel(part.range, PortSelection::Preserving)));
    }

    fn hash(&self, chain: &mut Chain, part: &PoolShare, when: &str, seed: u32, size: usize) {
        let remote = self.memory.remote_key();
        let hash = |sport: &str, seed: u32| {
            format!("jhash ip saddr . {sport}{remote} mod {size} seed {seed:#x} map {}", part.map())
        };
        if !self.memory.taken {
            chain.rule(format!("{when} {} : {}", self.snat(), hash("tcp sport", seed)));
            return;
        }
        // The packet's own port is overwritten by the first candidate, so the hash is over the original one.
        chain.rule(format!("{when} tcp sport set {}", hash("ct original proto-src", seed)));
        for n in 1..TRIES {
            let again = hash("ct original proto-src", seed.wrapping_add(n));
            chain.rule(format!("{when} tcp sport @taken tcp sport set {again}"));
        }
        chain.rule(format!("{when} {} : tcp sport", self.snat()));
    }

    fn snat(&self) -> String {
        format!("snat ip to {}", self.site.wan)
    }

    /// The statement that lets the kernel pick a port.
    fn by_kernel(&self, range: Option<PortRange>, draw: PortSelection) -> String {
        // Masquerading would take the address of the device that a hairpinned packet leaves by.
        let mut text = match (self.behavior.hairpinning, range) {
            (Hairpinning::On, None) => self.snat(),
            (Hairpinning::On, Some(range)) => format!("{}:{range}", self.snat()),
            (Hairpinning::Off, None) => "masquerade".to_owned(),
            (Hairpinning::Off, Some(range)) => format!("masquerade to :{range}"),
        };
        if draw == PortSelection::Random {
            text += " fully-random";
        }
        text
    }
}

/// How the kernel is to pick a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PortSelection {
    /// The source port if it lies in the range and nobody uses the tuple.
    Preserving,
    /// At random.
    Random,
}
