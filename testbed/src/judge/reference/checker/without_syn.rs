//! A packet that begins no connection, at a NAT that keeps records of its own and has shown none of its connection.
//!
//! Such a NAT may know the connection by other packets than SYNs, or not know it and keep the packet. What passes has to pass as
//! declared all the same: through the filter on the way in, from an address of the NAT's on the way out.

use super::{Checker, Judged};
use crate::judge::reference::head::TcpHead;
use crate::judge::reference::mapping::Outgoing;
use crate::judge::reference::passage::{Passage, Side, Sighting};
use crate::judge::reference::rules::{BrokenRule, keeps, named as rules};
use crate::judge::reference::tracker::Tracked;
use crate::model::behavior::{Hairpinning, InvalidPackets, Translation};
use crate::model::doubt::Doubt;
use crate::model::evidence::Tuple;

impl Checker<'_> {
    pub(super) fn without_syn(&mut self, index: usize, head: &TcpHead) -> Result<Judged, BrokenRule> {
        let passage = &self.passages.all[index];
        let destination = *passage.input.head.tuple.destination.ip();
        let Some(output) = passage.output.filter(|output| !self.leaks(passage, output)) else {
            return Ok(Judged::Not(Doubt::Records));
        };
        let judged = match passage.input.side {
            Side::Outside => self.sent_in(index, head)?,
            Side::Inside if self.nat.is_own(destination) => match self.nat.declared.hairpinning {
                Hairpinning::Off => self.sent_to_nat(index, head)?,
                Hairpinning::On => Judged::Not(Doubt::Records),
            },
            Side::Inside if self.nat.is_below(destination) => Judged::Not(Doubt::Routed),
            Side::Inside => self.went_out(index, head, &output)?,
        };
        // It could have been kept as well.
        Ok(if judged == Judged::Must { Judged::Either(Doubt::Records) } else { judged })
    }

    /// Whether a packet went on as it was, through a NAT that declares to let such packets pass.
    fn leaks(&self, passage: &Passage, output: &Sighting) -> bool {
        self.nat.declared.invalid_packets == InvalidPackets::Leak
            && output.head.tuple == passage.input.head.tuple
    }

    /// It went out: from which address is declared. The mapping that it shows lets answers in.
    fn went_out(&mut self, index: usize, head: &TcpHead, output: &Sighting) -> Result<Judged, BrokenRule> {
        let passage = &self.passages.all[index];
        let Tuple { source: inside, destination: remote } = passage.input.head.tuple;
        let external = output.head.tuple.source;
        let of_nat = match self.nat.declared.translation {
            Translation::Nat => self.nat.outer.contains(*external.ip()),
            Translation::Firewall | Translation::Router => external == inside,
        };
        let paired = output.head.tuple.destination == remote && output.side == Side::Outside;
        self.rules
            .hold(rules::ADDRESS, keeps(of_nat && paired, || format!("passed as {}", output.head.tuple)))?;
        let reply = Tuple { source: remote, destination: external };
        // What is late of a connection whose endpoint another one has by now opens nothing.
        let tracked = Tracked::begin(head, passage.input.at, &self.how);
        if let Some(tracked) = tracked.filter(|_| !self.by_tuple.contains_key(&reply)) {
            let times = self.times(passage);
            self.open(index, reply, tracked);
            self.mappings.learn(self.nat, &self.how, Outgoing { inside, remote, external }, times);
        }
        Ok(Judged::Must)
    }
}
