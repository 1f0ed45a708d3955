//! Table `nat`: which external endpoint an inside endpoint gets, and who is let in through it.

use crate::model::behavior::{Allocation, Behavior, Collision, Filtering, Mapping, PortRange};
use crate::model::port_set::PortSet;

use super::NatSite;
use super::addresses::Addresses;
use super::memory::{Memory, turns_round};
use super::pool::{self, PoolShare};
use super::protocol::Protocol;
use super::text::{Chain, OUTWARDS, table as write_table};

/// How often a port is drawn again when somebody has it, before the SYN is given up.
const TRIES: u32 = 8;

/// Table `nat` of a NAT that behaves so.
pub(super) fn table(behavior: &Behavior, site: &NatSite) -> String {
    let parts = pool::parts(behavior, site);
    let writers = Protocol::ALL.map(|l4| {
        let (memory, parts) = (Memory::of(behavior, l4), parts.clone());
        Writer { behavior, site, l4, memory, parts }
    });
    let [tcp, udp] = &writers;
    let mut sets = Vec::new();
    let mut prerouting = Chain::base("prerouting", "nat hook prerouting priority dstnat");
    let mut postrouting = Chain::base("postrouting", "nat hook postrouting priority srcnat");
    let mut chains = Vec::new();
    for writer in writers.iter().filter(|writer| writer.is_needed()) {
        sets.extend(writer.memory.declarations());
        writer.prerouting(&mut prerouting);
        chains.extend(writer.parts.iter().map(|part| writer.next_port(part)));
        chains.extend(writer.outwards(&mut postrouting));
    }
    for part in tcp.parts.iter().filter(|part| tcp.uses_map(part)) {
        let map = part.ports.map(|set| pool::declaration(part, &pool::ports(behavior.allocation, set)));
        sets.extend(map);
    }
    let addresses = Addresses::of(behavior, site);
    sets.extend(addresses.declaration());
    let others = if udp.is_needed() { "neither TCP nor UDP" } else { "not TCP" };
    postrouting
        .note(format!("What is {others} keeps its identifiers where it can."))
        .rule(addresses.of_others());
    chains.push(postrouting);
    for writer in writers.iter().filter(|writer| writer.is_needed()) {
        chains.extend(writer.memory.learn());
    }
    chains.insert(0, prerouting);
    write_table("nat", &sets, &chains)
}

/// Writes the rules of one protocol.
struct Writer<'a> {
    behavior: &'a Behavior,
    site: &'a NatSite,
    l4: Protocol,
    memory: Memory,
    parts: Vec<PoolShare>,
}

impl Writer<'_> {
    /// Whether the protocol has rules of its own: where the kernel alone preserves ports, the last rule does for UDP.
    fn is_needed(&self) -> bool {
        let plain = self.memory.objects().is_empty()
            && !self.memory.several
            && self.parts.iter().all(|part| part.ports.is_none());
        self.l4 == Protocol::Tcp || !(plain && self.behavior.allocation == Allocation::Preserving)
    }

    fn prerouting(&self, chain: &mut Chain) {
        let (wan, l4, end) = (self.site.external(self.behavior), self.l4, self.l4.suffix());
        let target = match self.memory.several {
            true => format!("ip daddr . {l4} dport"),
            false => format!("{l4} dport"),
        };
        match self.behavior.filtering {
            Filtering::AddressAndPortDependent => {}
            Filtering::AddressDependent => {
                chain
                    .note("Filtering: address-dependent. Whose address was sent to from a mapping may send to it.")
                    .rule(format!(
                        "iifname \"wan\" ip daddr {wan} meta l4proto {l4} {target} . ip saddr @admitted{end} \
                         dnat ip to {target} map @owner{end}"
                    ));
            }
            Filtering::EndpointIndependent => {
                chain.note("Filtering: endpoint-independent. Anyone may send to a mapping.").rule(format!(
                    "iifname \"wan\" ip daddr {wan} meta l4proto {l4} dnat ip to {target} map @owner{end}"
                ));
            }
        }
        if turns_round(self.behavior) {
            chain.note("Hairpinning: on. What the inside sends to a mapping goes to its owner.").rule(
                format!(
                    "iifname \"lan*\" ip daddr {wan} meta l4proto {l4} dnat ip to {target} map @owner{end}"
                ),
            );
        }
    }

    /// What happens to flows towards the outside: rules in `postrouting`, and the chain that they lead to, if there is one.
    fn outwards(&self, postrouting: &mut Chain) -> Option<Chain> {
        let (l4, end) = (self.l4, self.l4.suffix());
        let translate = self.translate();
        if !turns_round(self.behavior) && translate.rules() == 1 {
            postrouting.append(&translate.under("oifname \"wan\""));
            return None;
        }
        if l4 == Protocol::Tcp {
            postrouting.note("What comes from inside; the NAT's own answers leave as they are.");
        }
        postrouting.rule(format!("{OUTWARDS} meta l4proto {l4} goto translate{end}"));
        if turns_round(self.behavior) {
            postrouting
                .note("Hairpinning: on. The destination sees the external endpoint of the source.")
                .rule(format!(
                    "iifname \"lan*\" oifname \"lan*\" ct status dnat meta l4proto {l4} goto translate{end}"
                ));
        }
        Some(translate)
    }

    /// What every fresh flow towards the outside goes through.
    fn translate(&self) -> Chain {
        let mut chain = Chain::regular(self.l4.pick("translate", "translate_udp"));
        self.reuse(&mut chain);
        self.limit(&mut chain);
        self.memory.mark_fresh(&mut chain);
        Addresses::of(self.behavior, self.site).choose(&mut chain, self.l4);
        chain.note(self.about_allocation());
        for part in &self.parts {
            self.allocate(&mut chain, part);
        }
        if self.parts.iter().all(|part| part.subscriber.is_some()) {
            chain.note("Who has no block reaches nobody.").rule("drop");
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
            let (l4, key, end) = (self.l4, self.memory.key(), self.l4.suffix());
            let found = match self.memory.several {
                true => format!("{key} map @mapping{end}"),
                false => format!("{} : {key} map @mapping{end}", self.site.wan),
            };
            chain
                .note(format!("Mapping: {mapping}. {what}"))
                .rule(format!("meta l4proto {l4} snat ip to {found}"));
        }
    }

    /// The rule that refuses one mapping too many.
    fn limit(&self, chain: &mut Chain) {
        if let Some(quota) = self.behavior.quota {
            chain
                .note(format!("Quota: {quota} mappings for each inside host."))
                .rule(format!("add @holders{} {{ ip saddr ct count over {quota} }} drop", self.l4.suffix()));
        }
    }

    fn about_allocation(&self) -> String {
        let Behavior { mapping, allocation, collision, pool, overloading, .. } = self.behavior;
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
        let collision = match (allocation, collision) {
            (Allocation::Preserving, Collision::Sequential) => format!(" Collision: {collision}."),
            _ => String::new(),
        };
        format!("{who}Allocation: {allocation}.{collision} Ports: {pool}. Overloading: {overloading}.")
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
        self.memory.redraws && part.ports.is_some()
    }

    /// The chain that writes the next candidate into the packet, for pools in which taken ports are skipped.
    ///
    /// The packet carries its candidate for a moment only: the last rule of `translate` makes it the translation.
    fn next_port(&self, part: &PoolShare) -> Chain {
        let mut chain = Chain::regular(&part.chain(self.l4));
        let Some(size) = part.ports.map(|set| pool::ports(self.behavior.allocation, set).len()) else {
            return chain;
        };
        if self.memory.taken && self.uses_map(part) {
            let draw = match self.behavior.allocation {
                Allocation::Sequential { .. } => format!("numgen inc mod {size}"),
                Allocation::Preserving if self.behavior.collision == Collision::Sequential => {
                    format!("numgen inc mod {size}")
                }
                Allocation::Preserving | Allocation::Random => format!("numgen random mod {size}"),
                Allocation::Hash { .. } => return chain,
            };
            chain.rule(format!("{} sport set {draw} map {}", self.l4, part.map()));
        }
        chain
    }

    /// The rules that pick a fresh port from one pool.
    fn allocate(&self, chain: &mut Chain, part: &PoolShare) {
        let when = format!("{}meta l4proto {}", part.condition(), self.l4);
        let size = part.ports.map_or(0, |set| pool::ports(self.behavior.allocation, set).len());
        match self.behavior.allocation {
            Allocation::Preserving => self.preserve(chain, part, &when),
            Allocation::Random if !self.redraws(part) => {
                self.draw(chain, part.ports, &when);
            }
            Allocation::Sequential { .. } if !self.memory.taken => {
                chain.rule(format!("{when} {} : numgen inc mod {size} map {}", self.snat(), part.map()));
            }
            Allocation::Sequential { .. } | Allocation::Random => {
                chain.rule(format!("{when} jump {}", part.chain(self.l4)));
                self.skip_taken(chain, part, &when, TRIES - 1);
            }
            Allocation::Hash { seed } => self.hash(chain, part, &when, seed, size),
        }
    }

    /// Replaces the candidate in the packet as long as somebody has it, and makes it the translation.
    fn skip_taken(&self, chain: &mut Chain, part: &PoolShare, when: &str, times: u32) {
        let (l4, end, external) = (self.l4, self.l4.suffix(), self.memory.external());
        for _ in 0..times {
            chain.rule(format!("{when} {external} @taken{end} jump {}", part.chain(l4)));
        }
        chain.rule(format!("{when} {} : {l4} sport", self.snat()));
    }

    fn preserve(&self, chain: &mut Chain, part: &PoolShare, when: &str) {
        let range = part.ports.and_then(PortSet::as_range);
        if let (true, Some(range)) = (self.redraws(part), range) {
            let draw = format!("jump {}", part.chain(self.l4));
            if self.memory.busy {
                let (l4, end, inside) = (self.l4, self.l4.suffix(), self.memory.inside_address());
                chain.rule(format!("{when} {inside} . {l4} sport @busy{end} {draw}"));
            }
            chain.rule(format!("{when} {} sport != {range} {draw}", self.l4));
            self.skip_taken(chain, part, when, TRIES);
            return;
        }
        let elsewhere = self.by_kernel(range, PortSelection::Random);
        let (l4, end) = (self.l4, self.l4.suffix());
        if self.memory.taken {
            chain.rule(format!("{when} {} @taken{end} {elsewhere}", self.memory.external()));
        }
        if self.memory.busy {
            let inside = self.memory.inside_address();
            chain.rule(format!("{when} {inside} . {l4} sport @busy{end} {elsewhere}"));
        }
        chain.rule(format!("{when} {}", self.by_kernel(range, PortSelection::Preserving)));
    }

    fn hash(&self, chain: &mut Chain, part: &PoolShare, when: &str, seed: u32, size: usize) {
        let remote = self.memory.remote_key();
        let (l4, end) = (self.l4, self.l4.suffix());
        let (inside, external) = (self.memory.inside_address(), self.memory.external());
        let hash = |sport: &str, seed: u32| {
            format!("jhash {inside} . {sport}{remote} mod {size} seed {seed:#x} map {}", part.map())
        };
        if !self.memory.taken {
            chain.rule(format!("{when} {} : {}", self.snat(), hash(&format!("{l4} sport"), seed)));
            return;
        }
        // The packet's own port is overwritten by the first candidate, so the hash is over the original one.
        chain.rule(format!("{when} {l4} sport set {}", hash("ct original proto-src", seed)));
        for n in 1..TRIES {
            let again = hash("ct original proto-src", seed.wrapping_add(n));
            chain.rule(format!("{when} {external} @taken{end} {l4} sport set {again}"));
        }
        chain.rule(format!("{when} {} : {l4} sport", self.snat()));
    }

    fn snat(&self) -> String {
        match self.memory.several {
            // The packet carries the address that was chosen.
            true => "snat ip to ip saddr".to_owned(),
            false => format!("snat ip to {}", self.site.wan),
        }
    }

    /// The rules by which the kernel draws from these ports. Of several ranges, one is drawn first: each rule takes its share of what
    /// the rules before it have left, so that all ports are equally likely.
    fn draw(&self, chain: &mut Chain, ports: Option<PortSet>, when: &str) {
        let Some(ports) = ports else {
            chain.rule(format!("{when} {}", self.by_kernel(None, PortSelection::Random)));
            return;
        };
        let mut left = ports.size();
        for range in ports.ranges() {
            let statement = self.by_kernel(Some(*range), PortSelection::Random);
            let share = match range.size() {
                all if all == left => String::new(),
                size => format!("numgen random mod {left} < {size} "),
            };
            chain.rule(format!("{when} {share}{statement}"));
            left -= range.size();
        }
    }

    /// The statement that lets the kernel pick a port.
    fn by_kernel(&self, range: Option<PortRange>, draw: PortSelection) -> String {
        // Masquerading would take the address of the device that a hairpinned packet leaves by.
        let named = self.memory.several || turns_round(self.behavior);
        let mut text = match (named, range) {
            (true, None) => self.snat(),
            (true, Some(range)) if self.memory.several => format!("{} : {range}", self.snat()),
            (true, Some(range)) => format!("{}:{range}", self.snat()),
            (false, None) => "masquerade".to_owned(),
            (false, Some(range)) => format!("masquerade to :{range}"),
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
