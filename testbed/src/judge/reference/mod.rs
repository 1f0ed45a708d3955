//! The reference NAT: what a NAT that behaves as declared does with each packet, as a checker. Pure.
//!
//! Made from a [`Behavior`], it takes what came to the NAT and what was seen of it on the other side, one packet after
//! another, and says where the two do not fit: *had to* against *did*. It is also the page on what a NAT does:
//!
//! | file | says |
//! |---|---|
//! | `checker` | what becomes of a packet: of a known connection, a new one from inside, one from outside |
//! | `mapping` | which external endpoint a connection gets, and who may come in through it |
//! | `rules` | every rule by its name and source, and how one is turned round |
//! | `tracker`, `tracking`, `table`, `window` | what a NAT knows of a TCP connection: states, timers, sequence numbers |
//! | `untracked` | what is asked instead of a NAT that keeps records of its own |
//! | `flush_window` | about what time a NAT forgot everything |
//! | `passage`, `head` | how the two sides of a NAT are put together, and what must not change on the way |
//!
//! What chance decides, such as the port drawn, is read from what came out. Two packets that reached the NAT from both
//! sides within the *margin* may have been handled in either order: then both states are kept, at most
//! [`MOST_STATES`] of them. The margin is measured: it is what packets of this trial needed through this NAT, by the
//! clocks of both sides, and then some. What cannot be told is counted as *not judged*.

mod checker;
mod draws;
mod duty;
mod flush_window;
mod head;
mod mapping;
mod order;
mod passage;
mod rules;
mod table;
#[cfg(test)]
mod tests;
mod tracker;
mod tracking;
mod untracked;
mod window;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::model::address_plan::Network;
use crate::model::address_pool::AddressPool;
use crate::model::behavior::{Behavior, Pool, PortRange};
use crate::model::datapath::Datapath;
use crate::model::doubt::Doubt;
use crate::model::evidence::{CtChange, CtEvent, Evidence, Nanos, Tuple};
use crate::model::kernel_rules::KernelRules;
use crate::model::port_set::PortSet;
use crate::model::topology::NodeName;

pub use draws::Draw;
pub use rules::{Decision, Negation, Rule, Rulebook};
pub use untracked::mappings_seen;

use checker::Checker;
use passage::Passages;

/// The most states of one connection that are kept where the order of packets cannot be told.
pub const MOST_STATES: usize = 8;

/// The margin is this many times the longest way through the NAT that was seen, and never less than [`LEAST_MARGIN`].
const MARGIN_FACTOR: Nanos = 4;

/// Below this the clocks of a wire and a tap cannot be compared: a tap's stamp is CLOCK_REALTIME and is converted.
const LEAST_MARGIN: Nanos = 500_000;

/// One NAT of a lab, as the reference sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct NatView<'a> {
    /// Its node.
    pub node: &'a NodeName,
    /// The name of its profile.
    pub profile: &'a str,
    /// What it declares.
    pub declared: &'a Behavior,
    /// Its outer addresses.
    pub outer: AddressPool,
    /// The link towards the core.
    pub up: u16,
    /// The links below it, each with its network: address is the NAT's own there.
    pub down: Vec<(u16, Network)>,
    /// What carries its packets across.
    pub datapath: Datapath,
    /// What its kernel does where kernels differ.
    pub kernel: KernelRules,
}

impl NatView<'_> {
    /// Whether an address is one of the NAT's own.
    fn is_own(&self, address: Ipv4Addr) -> bool {
        self.outer.contains(address) || self.down.iter().any(|(_, lan)| lan.address == address)
    }

    /// Whether an address belongs to a network right below it.
    fn is_below(&self, address: Ipv4Addr) -> bool {
        self.down.iter().any(|(_, lan)| lan.contains(address) && lan.address != address)
    }

    /// Whether a packet goes from one host to another of the same network, and is none of the NAT's business.
    fn stays_below(&self, tuple: &Tuple) -> bool {
        let both = |lan: &Network| {
            let ends = [*tuple.source.ip(), *tuple.destination.ip()];
            ends.iter().all(|end| lan.contains(*end) && lan.address != *end)
        };
        self.down.iter().any(|(_, lan)| both(lan))
    }

    /// The ports that an inside host may get: some of its own, everything, or nothing at all (RFC 7422, section 2;
    /// RFC 6888, section 4). Blocks go to the addresses .2, .3, … of each network below, the networks taking turns.
    fn ports_of(&self, inside: Ipv4Addr) -> Option<Option<PortSet>> {
        let Pool::Blocks { range, size } = self.declared.pool else {
            return Some(match self.declared.pool {
                Pool::Range(range) => Some(range.into()),
                Pool::Ranges(ports) => Some(ports),
                Pool::Kernel | Pool::Blocks { .. } => None,
            });
        };
        let (place, (_, lan)) = self.down.iter().enumerate().find(|(_, (_, lan))| lan.contains(inside))?;
        let host = u32::from(inside).checked_sub(u32::from(lan.base().address) + 2)?;
        let block = host.checked_mul(u32::try_from(self.down.len()).ok()?)? + u32::try_from(place).ok()?;
        let low = u32::from(range.low) + block.checked_mul(u32::from(size))?;
        let high = low + u32::from(size) - 1;
        let port = |number: u32| u16::try_from(number).ok().filter(|port| range.contains(*port));
        Some(Some(PortRange { low: port(low)?, high: port(high)? }.into()))
    }
}

/// A packet with which a NAT did something else than it had to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contradiction {
    /// The rule that it broke.
    pub rule: Rule,
    /// What it had to do, and did.
    pub sentence: String,
    /// The frames on both sides, by their index in the evidence, and what each shows.
    pub frames: Vec<(usize, String)>,
}

/// What the reference says of one NAT in one trial.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// The name of its profile.
    pub profile: String,
    /// Where it did not do what it had to.
    pub contradictions: Vec<Contradiction>,
    /// Packets that had to be handled so and were.
    pub judged: usize,
    /// Packets with which it could do either, by the reason.
    pub either: BTreeMap<Doubt, usize>,
    /// Packets that could not be judged, by the reason.
    pub not_judged: BTreeMap<Doubt, usize>,
    /// The ports that it drew by chance.
    pub draws: Vec<Draw>,
    /// How close two packets may lie before their order at the NAT is uncertain.
    pub margin: Nanos,
}

/// Holds everything that was seen on both sides of a NAT against what it declares. Ends with the first contradiction:
/// from there on the reference and the NAT are no longer in the same state.
#[must_use]
pub fn check(evidence: &Evidence, nat: &NatView<'_>) -> Findings {
    check_by(Rulebook::default(), evidence, nat)
}

/// The same by these rules, and by what the kernel of the NAT does where kernels differ.
#[must_use]
pub fn check_by(rules: Rulebook, evidence: &Evidence, nat: &NatView<'_>) -> Findings {
    let passages = Passages::read(evidence, nat);
    let margin = (MARGIN_FACTOR * passages.longest).max(LEAST_MARGIN);
    let mut checker = Checker::new(nat, evidence, (&passages, margin), rules.of_kernel(nat.kernel));
    let mut findings = Findings { profile: nat.profile.to_owned(), margin, ..Findings::default() };
    let contradiction = check_all(&mut checker, (evidence, nat), &passages, &mut findings);
    findings.contradictions.extend(contradiction.err());
    findings.draws = checker.draws();
    findings
}

/// Goes through all packets and ends of entries in their order, up to the first contradiction.
fn check_all(
    checker: &mut Checker<'_>,
    (evidence, nat): (&Evidence, &NatView<'_>),
    passages: &Passages,
    findings: &mut Findings,
) -> Result<(), Contradiction> {
    let ended = |event: &&CtEvent| event.node == *nat.node && event.change == CtChange::Destroy;
    let mut endings = evidence.conntrack.iter().filter(ended).peekable();
    for (index, passage) in passages.all.iter().enumerate() {
        while let Some(event) = endings.next_if(|event| event.at < passage.input.at) {
            checker.ended(event)?;
        }
        checker.forget_until(passage.input.at);
        match checker.step(index)? {
            checker::Judged::Must => findings.judged += 1,
            checker::Judged::Either(doubt) => *findings.either.entry(doubt).or_default() += 1,
            checker::Judged::Not(doubt) => *findings.not_judged.entry(doubt).or_default() += 1,
        }
    }
    let out_of_nothing = checker.out_of_nothing();
    endings.try_for_each(|event| checker.ended(event))?;
    checker.ended_at_absolute()?;
    checker.flushed_in_time()?;
    out_of_nothing
}
