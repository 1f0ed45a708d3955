//! From what was seen of a NAT to what it does: a behaviour, and how each axis of it is known. Pure.

use std::collections::BTreeSet;

use crate::model::axis::NatAxis;
use crate::model::behavior::{
    Behavior, InvalidPackets, Mapping, Overloading, Timeouts, Translation, UnsolicitedSyn,
};
use crate::model::datapath::Datapath;
use crate::model::description::{DescribedAxis, Known, axes_of};
use crate::model::statistics::at_least;
use crate::probe::prove::address_draws::AddressDraws;
use crate::probe::prove::addresses::AddressesSeen;
use crate::probe::prove::datapath::BY_NUMBER;
use crate::probe::prove::lifetimes::is_reached;
use crate::probe::prove::mapping::{Quartet, classify};
use crate::probe::prove::reading::Reading;
use crate::probe::prove::room;

use super::inference::{Inference, measured};
use super::survey::{Answers, ENDPOINTS, Survey, Translating};
use super::timers::TimersSeen;
use super::{infer_ports, timers};

/// A behaviour, and how each axis of it is known.
pub(super) type Inferred = (Behavior, Vec<DescribedAxis>);

/// What a NAT does that was seen so.
pub(super) fn infer(survey: &Survey) -> Inferred {
    let (translation, known) = translation(&survey.translation);
    let mut inferred = Inference { behavior: of_kind(translation), axes: Vec::new() };
    inferred.note(NatAxis::Translation, known);
    if let Some(translating) = &survey.translating {
        inferred.translating(translating);
    }
    if let Some(answers) = &survey.answers {
        if translation == Translation::Nat {
            infer_ports::infer(&answers.connections, &mut inferred);
            inferred.mapping_to_one_port();
            inferred.second_mappings(survey.translating.as_ref());
        }
        inferred.answers(answers, survey);
    }
    inferred.finish()
}

/// The plainest NAT of a kind.
fn of_kind(translation: Translation) -> Behavior {
    match translation {
        Translation::Nat => Behavior::port_preserving(),
        Translation::Firewall => Behavior::firewall(),
        Translation::Router => Behavior::router(),
    }
}

fn translation(reading: &Reading<Translation>) -> (Translation, Known) {
    match reading {
        Reading::Value(Translation::Nat) => {
            (Translation::Nat, measured("a SYN from inside comes out from the external address"))
        }
        Reading::Value(Translation::Firewall) => {
            let by = "a SYN from inside comes out as it was, and one to an unused endpoint does not come in";
            (Translation::Firewall, measured(by))
        }
        Reading::Value(Translation::Router) => {
            (Translation::Router, measured("SYNs pass both ways as they were"))
        }
        Reading::Other(seen) => (Translation::Nat, Known::Undeclarable { seen: seen.clone() }),
    }
}

impl Inference {
    fn translating(&mut self, seen: &Translating) {
        match &seen.quartets {
            Reading::Value(quartets) => {
                self.behavior.mapping = classify(quartets);
                self.note(NatAxis::Mapping, mapping(quartets, self.behavior.mapping));
            }
            Reading::Other(seen) => self.note(NatAxis::Mapping, Known::Untold { why: seen.clone() }),
        }
        self.addresses(&seen.addresses, seen.draws.as_ref());
        let by = "a SYN from one host to the external endpoint of another";
        self.take(NatAxis::Hairpinning, &seen.hairpinning, by, |b, value| b.hairpinning = value);
    }

    fn addresses(&mut self, seen: &AddressesSeen, draws: Option<&AddressDraws>) {
        match seen.reading() {
            Reading::Value(addresses) => {
                self.behavior.addresses = addresses;
                let wrong = draws.and_then(|draws| draws.wrong_addresses(addresses.count));
                let by = || measured(seen.told_by());
                self.note(NatAxis::Addresses, wrong.map_or_else(by, |seen| Known::Undeclarable { seen }));
            }
            Reading::Other(seen) => self.note(NatAxis::Addresses, Known::Undeclarable { seen }),
        }
    }

    /// What was concluded from the first mapping of each inside endpoint need not be true of a second one at another address.
    fn second_mappings(&mut self, seen: Option<&Translating>) {
        let draws = seen.and_then(|seen| seen.draws.as_ref());
        let Some(seen) = draws.and_then(|draws| draws.wrong_ports(&self.behavior)) else { return };
        self.axes.retain(|described| described.axis != NatAxis::Allocation);
        self.note(NatAxis::Allocation, Known::Undeclarable { seen });
    }

    /// Where all connections have the same port, nothing tells one mapping from another.
    fn mapping_to_one_port(&mut self) {
        let is_shared =
            self.behavior.overloading == Overloading::On && !self.behavior.addresses.are_arbitrary();
        if is_shared && infer_ports::is_one_port(self.behavior.pool) {
            self.axes.retain(|described| described.axis != NatAxis::Mapping);
            self.note(
                NatAxis::Mapping,
                measured("one port that all connections share: every mapping looks so"),
            );
        }
    }

    fn answers(&mut self, seen: &Answers, survey: &Survey) {
        let by = "SYNs from another port and from another address";
        self.take(NatAxis::Filtering, &seen.filtering, by, |b, value| b.filtering = value);
        self.unsolicited_syn(seen, survey.tracked);
        let by = "a SYN from an endpoint that the inside had sent a SYN to";
        self.take(NatAxis::SynAfterSyn, &seen.syn_after_syn, by, |b, value| b.syn_after_syn = value);
        let by = "a SYN/ACK from inside that answers nothing";
        self.take(NatAxis::InvalidPackets, &seen.invalid_packets, by, |b, value| b.invalid_packets = value);
        self.strictness(seen, survey.datapath);
        self.timers(seen, survey.tracked);
        self.quota(seen);
    }

    fn unsolicited_syn(&mut self, seen: &Answers, tracked: bool) {
        let axis = NatAxis::UnsolicitedSyn;
        let set = |b: &mut Behavior, value| b.unsolicited_syn = value;
        match (&seen.unsolicited_syn, &seen.late_answer) {
            (Reading::Value(UnsolicitedSyn::Drop), late) => {
                self.take(axis, late, "the same SYN at 0 s, 3 s and 6.3 s", set);
            }
            (Reading::Value(UnsolicitedSyn::Reset), _) if !tracked => {
                self.behavior.unsolicited_syn = UnsolicitedSyn::Reset;
                let by = "a SYN that no mapping lets in is reset; whether by a rule or by the NAT's own stack cannot be seen";
                self.note(axis, measured(by));
            }
            (now, _) => self.take(axis, now, "a SYN that no mapping lets in", set),
        }
    }

    fn strictness(&mut self, seen: &Answers, datapath: Datapath) {
        if datapath == Datapath::Sockets {
            self.note(NatAxis::Strictness, Known::Untold { why: BY_NUMBER.to_owned() });
            return;
        }
        let passes_anyway = self.behavior.translation == Translation::Firewall
            && self.behavior.invalid_packets == InvalidPackets::Leak;
        if passes_anyway {
            let why = "nothing is translated and nothing dropped, so that no packet shows it".to_owned();
            self.note(NatAxis::Strictness, Known::Untold { why });
            return;
        }
        let by = "data 2^29 bytes beyond the window of an established connection";
        self.take(NatAxis::Strictness, &seen.strictness, by, |b, value| b.strictness = value);
    }

    fn timers(&mut self, seen: &Answers, tracked: bool) {
        if !tracked {
            let why = "connection tracking, which would say it, does not know the connections of this NAT"
                .to_owned();
            self.note(NatAxis::Timeouts, Known::Untold { why });
            return;
        }
        let unseen = |(name, value): &(&'static str, Option<_>)| value.is_none().then_some(*name);
        // A NAT whose reset ends the connection has no mapping in the state that begins with a second SYN.
        let reached = |(name, _): &&(&'static str, Option<_>)| is_reached(name, &self.behavior);
        let timers: TimersSeen = seen.timers.iter().filter(reached).copied().collect();
        let unseen: Vec<&str> = timers.iter().filter_map(unseen).collect();
        self.behavior.timeouts =
            Timeouts { absolute: seen.absolute, flush_every: seen.flush_every, ..timers::declare(&timers) };
        let known = if unseen.is_empty() {
            measured("one connection through every TCP state, with the kernel's own timer for each")
        } else {
            Known::Untold { why: format!("no mapping in the state {}", unseen.join(", ")) }
        };
        self.note(NatAxis::Timeouts, known);
    }

    fn quota(&mut self, seen: &Answers) {
        let pool = infer_ports::exclusive_ports(&seen.connections, &self.behavior);
        let (quota, known) = infer_ports::quota(&seen.connections, pool);
        self.behavior.quota = quota;
        self.note(NatAxis::Quota, known);
    }

    /// A behaviour that can be: where what was seen cannot be declared together, the axis that is to blame gets its default.
    fn finish(mut self) -> Inferred {
        let plain = of_kind(self.behavior.translation);
        for _ in NatAxis::ALL {
            let Err(impossible) = self.behavior.check() else { break };
            let Some(axis) = impossible.axes.first().copied() else { break };
            let seen = format!("{}, and {impossible}", self.behavior.value(axis));
            let known = Known::Undeclarable { seen };
            match self.axes.iter_mut().find(|described| described.axis == axis) {
                Some(described) => described.known = known,
                None => self.axes.push(DescribedAxis { axis, known }),
            }
            set_plain(&mut self.behavior, &plain, axis);
        }
        let wanted = axes_of(self.behavior.translation);
        let untold = Known::Untold { why: "nothing came of the packets that would show it".to_owned() };
        let axis = |axis: NatAxis| {
            let known = self.axes.iter().find(|described| described.axis == axis);
            DescribedAxis { axis, known: known.map_or_else(|| untold.clone(), |found| found.known.clone()) }
        };
        (self.behavior, wanted.into_iter().map(axis).collect())
    }
}

/// Gives an axis the value that it has in `plain`.
fn set_plain(behavior: &mut Behavior, plain: &Behavior, axis: NatAxis) {
    match axis {
        NatAxis::Translation => behavior.translation = plain.translation,
        NatAxis::Mapping => behavior.mapping = plain.mapping,
        NatAxis::Allocation => behavior.allocation = plain.allocation,
        NatAxis::Collision => behavior.collision = plain.collision,
        NatAxis::Pool => behavior.pool = plain.pool,
        NatAxis::Addresses => behavior.addresses = plain.addresses,
        NatAxis::Filtering => behavior.filtering = plain.filtering,
        NatAxis::UnsolicitedSyn => behavior.unsolicited_syn = plain.unsolicited_syn,
        NatAxis::SynAfterSyn => behavior.syn_after_syn = plain.syn_after_syn,
        NatAxis::InvalidPackets => behavior.invalid_packets = plain.invalid_packets,
        NatAxis::Hairpinning => behavior.hairpinning = plain.hairpinning,
        NatAxis::Overloading => {
            behavior.overloading = match behavior.translation {
                // What needs a port's one owner is the axis that tells.
                Translation::Nat => Overloading::Off,
                Translation::Firewall | Translation::Router => plain.overloading,
            }
        }
        NatAxis::Strictness => behavior.strictness = plain.strictness,
        NatAxis::Timeouts => behavior.timeouts = plain.timeouts,
        NatAxis::Quota => behavior.quota = plain.quota,
    }
}

/// Whether so many inside endpoints may look like another kind because they drew one port twice, by the ports that all of them drew.
fn by_chance(quartets: &[Quartet], others: usize) -> bool {
    const RATE: f64 = 1e-9;
    let external =
        quartets.iter().flat_map(|(_, towards)| towards.iter().filter_map(|(_, external)| *external));
    let distinct = external.collect::<BTreeSet<_>>().len();
    let is_small = distinct < room::LARGE as usize && quartets.len() > ENDPOINTS;
    is_small && at_least(quartets.len() as u64, 1.0 / distinct as f64, others as u64) > RATE
}

/// How sure the mapping is: of chance alone, one endpoint may look like another kind.
fn mapping(quartets: &[Quartet], all: Mapping) -> Known {
    let of_one = |quartet: &Quartet| classify(std::slice::from_ref(quartet));
    let others = quartets.iter().filter(|quartet| of_one(quartet) != all).count();
    if others > 1 && !by_chance(quartets, others) {
        let counts = Mapping::ALL.iter().map(|mapping| {
            let count = quartets.iter().filter(|quartet| of_one(quartet) == *mapping).count();
            format!("{count} {mapping}")
        });
        let counts: Vec<String> = counts.collect();
        let seen = format!("of {} inside endpoints, {}", quartets.len(), counts.join(", "));
        return Known::Undeclarable { seen };
    }
    measured(format!("{} inside endpoints, each to two ports on each of two addresses", quartets.len()))
}
