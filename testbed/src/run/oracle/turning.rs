//! NATs above both peers: what one sends to the other's outer endpoint has to be turned round there (hairpinning).
//!
//! Such a NAT is on no link that only one side uses. What it did is told by the peers' own links, on which a SYN left
//! and arrived or did not, and by the mappings that the NAT tracked.

use std::net::{Ipv4Addr, SocketAddrV4};

use super::{Admission, MARGIN};
use crate::model::behavior::{Behavior, Hairpinning, SynAfterSyn, Translation};
use crate::model::evidence::{CtChange, CtEvent, Nanos};
use crate::model::topology::NodeName;
use crate::run::story::Sighting;

/// A NAT above both peers.
#[derive(Debug, Clone, Copy)]
pub struct Turning<'a> {
    /// Its node.
    pub node: &'a NodeName,
    /// Its outer address.
    pub address: Ipv4Addr,
    /// What it declares.
    pub declared: &'a Behavior,
    /// What all NATs tracked.
    pub events: &'a [CtEvent],
}

impl Turning<'_> {
    /// When a mapping with this external endpoint came up first, if one did.
    fn mapped(&self, external: SocketAddrV4) -> Option<Nanos> {
        let of_it = self.events.iter().filter(|e| e.node == *self.node && e.change == CtChange::New);
        of_it.filter(|e| e.entry.reply.destination == external).map(|e| e.at).min()
    }
}

/// The NAT whose outer address a SYN went to.
fn addressed<'a, 'b>(syn: &Sighting, common: &'b [Turning<'a>]) -> Option<&'b Turning<'a>> {
    let is_target = |nat: &&Turning<'_>| {
        nat.address == *syn.tuple.destination.ip() && nat.declared.translation == Translation::Nat
    };
    common.iter().find(is_target)
}

/// Why a SYN did not arrive.
pub(super) fn admission(syn: &Sighting, common: &[Turning<'_>]) -> Admission {
    let Some(nat) = addressed(syn, common) else { return Admission::Lost };
    match (nat.declared.hairpinning, nat.mapped(syn.tuple.destination)) {
        (Hairpinning::Off, _) => Admission::NotTurned,
        (Hairpinning::On, None) => Admission::NoMapping,
        // It may have come up a moment too late.
        (Hairpinning::On, Some(at)) if at + MARGIN > syn.sent => Admission::NoMapping,
        (Hairpinning::On, Some(_)) if nat.declared.syn_after_syn != SynAfterSyn::Accept => {
            Admission::SynAfterSyn
        }
        (Hairpinning::On, Some(_)) => Admission::Lost,
    }
}

/// Where a SYN arrived that could not.
pub(super) fn contradiction(syn: &Sighting, common: &[Turning<'_>]) -> Option<String> {
    let nat = addressed(syn, common).filter(|_| syn.arrived.is_some())?;
    let what = match (nat.declared.hairpinning, nat.mapped(syn.tuple.destination)) {
        (Hairpinning::Off, _) => "was turned round, though it does not hairpin",
        (Hairpinning::On, None) => "was turned round to a host that has no mapping there",
        (Hairpinning::On, Some(_)) => return None,
    };
    Some(format!("NAT \"{}\": SYN {} {what}", nat.node, syn.tuple))
}
