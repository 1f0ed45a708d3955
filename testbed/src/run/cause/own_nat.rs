//! SYNs that came to their own NAT and never left it: no port was free, the host had all it may have, or two flows
//! wanted the same.

use std::collections::BTreeSet;
use std::net::SocketAddrV4;

use crate::model::behavior::{Behavior, Pool};
use crate::model::evidence::{CtChange, CtEntry, Nanos};
use crate::model::outcome::Cause;
use crate::model::topology::NodeName;
use crate::run::cause::inside::{InnerSyn, is_server};
use crate::run::cause::{Found, Inquiry};
use crate::run::story::Who;

impl Inquiry<'_> {
    /// The cause of most of a side's SYNs, or of all to the rendezvous server, being kept by their own NAT.
    pub(super) fn kept_by_own_nat(&self) -> Option<Found> {
        Who::BOTH.into_iter().find_map(|who| self.kept_of(who))
    }

    fn kept_of(&self, who: Who) -> Option<Found> {
        let inside = self.inside(who);
        if !inside.watched || self.vantage(who).nats.is_empty() {
            return None;
        }
        let kept = |server: bool| {
            let all = inside.syns.iter().filter(move |s| is_server(*s.tuple.destination.ip()) == server);
            let (kept, left): (Vec<&InnerSyn>, Vec<_>) = all.partition(|syn| !syn.left);
            (kept.len() > left.len()).then_some(kept).filter(|kept| !kept.is_empty())
        };
        let kept =
            kept(false).or_else(|| kept(true).filter(|_| !self.story.met_rendezvous.contains(&who)))?;
        let syn = kept[0];
        let at = syn.passed.min(self.vantage(who).nats.len() - 1);
        let declared = if who == Who::A { self.case.declared.a } else { self.case.declared.b };
        let (cause, why) = self.why_kept(&self.vantage(who).nats[at], declared.get(at)?, syn);
        let node = &self.vantage(who).nats[at];
        let many = if kept.len() > 1 { format!(", the first of {}", kept.len()) } else { String::new() };
        let detail = format!("{node} let {}'s SYN {}{many} not out: {why}", who.letter(), syn.tuple);
        Some(Found::new(cause, detail).mark(syn.frame, format!("never left {node}: {why}")))
    }

    fn why_kept(&self, node: &NodeName, nat: &Behavior, syn: &InnerSyn) -> (Cause, String) {
        let live = self.live(node, syn.at);
        let of_host: Vec<&CtEntry> =
            live.iter().filter(|e| e.original.source.ip() == syn.tuple.source.ip()).collect();
        if let Some(quota) = nat.quota.filter(|quota| of_host.len() >= *quota as usize) {
            return (
                Cause::QuotaReached,
                format!("the host had {} mappings, and may have {quota}", of_host.len()),
            );
        }
        let ports = |entries: &mut dyn Iterator<Item = &CtEntry>| {
            entries.map(|e| e.reply.destination.port()).collect::<BTreeSet<u16>>().len()
        };
        let (used, room) = match nat.pool {
            Pool::Kernel => (0, usize::MAX),
            Pool::Range(range) => {
                let inside = |e: &&CtEntry| range.contains(e.reply.destination.port());
                (ports(&mut live.iter().filter(inside)), range.size() as usize)
            }
            Pool::Blocks { size, .. } => (ports(&mut of_host.iter().copied()), usize::from(size)),
        };
        if used >= room {
            return (Cause::PortsExhausted, format!("all its {room} ports were taken"));
        }
        let remote = |e: &&CtEntry| e.reply.source == syn.tuple.destination;
        let taken: Option<SocketAddrV4> = live.iter().find(remote).map(|e| e.reply.destination);
        match (taken, live.is_empty()) {
            (Some(taken), _) => (
                Cause::TupleClash,
                format!("{taken} to {} was already another flow's", syn.tuple.destination),
            ),
            (None, false) => {
                (Cause::TupleClash, "another flow had the port that it would have got".to_owned())
            }
            (None, true) => (Cause::LabError, "it had room, and nothing was in the way".to_owned()),
        }
    }

    /// The entries of a NAT at a moment.
    fn live(&self, node: &NodeName, moment: Nanos) -> Vec<CtEntry> {
        let mut live: Vec<CtEntry> = Vec::new();
        // What the packet itself did is read after it.
        for event in self.evidence.conntrack.iter().filter(|e| e.node == *node && e.at <= moment) {
            match event.change {
                CtChange::New => live.push(event.entry),
                CtChange::Update => {}
                CtChange::Destroy => live.retain(|e| e.original != event.entry.original),
            }
        }
        live
    }
}
