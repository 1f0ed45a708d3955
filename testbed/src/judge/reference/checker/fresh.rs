//! A packet of no connection that the NAT knows: one that begins one from inside or outside, or belongs nowhere.

use super::{Checker, Entry, Judged, kept_on_its_way};
use crate::judge::reference::duty::{Answer, RequiredAction, TIME_EXCEEDED, refusal, what_became};
use crate::judge::reference::head::TcpHead;
use crate::judge::reference::mapping::{Admission, Outgoing};
use crate::judge::reference::order::Way;
use crate::judge::reference::passage::{Side, Sighting};
use crate::judge::reference::rules::{BrokenRule, keeps, named as rules};
use crate::judge::reference::tracker::Tracked;
use crate::model::behavior::{Filtering, Hairpinning, Overloading, Translation};
use crate::model::doubt::Doubt;
use crate::model::evidence::Tuple;

impl Checker<'_> {
    pub(super) fn fresh(&mut self, index: usize, head: &TcpHead) -> Result<Judged, BrokenRule> {
        let passage = &self.passages.all[index];
        let destination = passage.input.head.tuple.destination;
        if self.how.by_own_records && !(head.segment.flags.is_opening() && head.is_whole()) {
            return self.without_syn(index, head);
        }
        match passage.input.side {
            Side::Outside => self.sent_in(index, head),
            Side::Inside if self.nat.is_own(*destination.ip()) => self.sent_to_nat(index, head),
            Side::Inside if self.nat.is_below(*destination.ip()) => Ok(Judged::Not(Doubt::Routed)),
            Side::Inside => self.sent_out(index, head),
        }
    }

    fn sent_out(&mut self, index: usize, head: &TcpHead) -> Result<Judged, BrokenRule> {
        let passage = &self.passages.all[index];
        let Tuple { source: inside, destination: remote } = passage.input.head.tuple;
        let Some(tracked) = Tracked::begin(head, passage.input.at, &self.how) else {
            self.rules.hold(rules::INVALID, self.of_invalid(passage, head).done(passage))?;
            return Ok(Judged::Must);
        };
        if passage.input.head.ttl <= 1 {
            self.rules.hold(rules::HOPS, RequiredAction::Keep(TIME_EXCEEDED).done(passage))?;
            return Ok(Judged::Must);
        }
        let Some(output) = &passage.output else {
            return match self.mappings.may_vanish(self.nat, inside, remote) && passage.answers.is_empty() {
                true => Ok(Judged::Either(Doubt::Room)),
                false if passage.answers.is_empty() && self.not_inserted() => Ok(Judged::Not(Doubt::Counted)),
                false => {
                    let what = format!("had to go out and {}", what_became(passage));
                    self.rules.hold(rules::OUTWARD, Err(what)).map(|()| Judged::Must)
                }
            };
        };
        self.rules.hold(rules::OUTWARD, Ok(()))?;
        let external = output.head.tuple.source;
        let paired = output.head.tuple.destination == remote && output.side == Side::Outside;
        self.rules.hold(rules::ADDRESS, keeps(paired, || format!("passed as {}", output.head.tuple)))?;
        let flow = Outgoing { inside, remote, external };
        let at = passage.input.at;
        let fits = self.mappings.may_go_out(self.nat, flow, at, self.address_elsewhere(&flow, at));
        let overtaken = match &fits {
            Err((rules::ALLOCATION, _)) => self.port_went_to_the_next(index),
            _ => false,
        };
        if !overtaken {
            fits?;
        }
        let reply = Tuple { source: remote, destination: external };
        self.take_over(index, reply, &tracked)?;
        self.open(index, reply, tracked);
        self.mappings.drew(self.nat, &flow);
        self.mappings.learn(self.nat, &self.how, flow, self.times(passage));
        Ok(if overtaken { Judged::Either(Doubt::Order) } else { Judged::Must })
    }

    /// Whether another packet of the same inside endpoint came within the margin after this one, was dealt with first, and kept the port,
    /// which only one mapping may have.
    fn port_went_to_the_next(&self, index: usize) -> bool {
        if self.nat.declared.overloading == Overloading::On {
            return false;
        }
        let passage = &self.passages.all[index];
        let (Some(output), inside) = (&passage.output, passage.input.head.tuple.source) else { return false };
        let latest = passage.handled_by(self.margin);
        let later = self.passages.all[index + 1..].iter().take_while(|later| later.input.at <= latest);
        let mut of_same = later.filter(|later| later.input.head.tuple.source == inside);
        of_same.any(|later| {
            let kept =
                |sent: &Sighting| sent.head.tuple.source.port() == inside.port() && sent.at <= output.at;
            later.output.as_ref().is_some_and(kept)
        })
    }

    /// From inside to an address of the NAT's own: turned round, or for its own stack.
    pub(super) fn sent_to_nat(&mut self, index: usize, head: &TcpHead) -> Result<Judged, BrokenRule> {
        let passage = &self.passages.all[index];
        let Tuple { source: inside, destination } = passage.input.head.tuple;
        let at = passage.input.at;
        let turns =
            self.nat.declared.hairpinning == Hairpinning::On && self.nat.outer.contains(*destination.ip());
        let owner = if turns { self.mappings.owner(destination, at) } else { Admission::No };
        let tracked = Tracked::begin(head, at, &self.how);
        let (Some(output), Some(tracked)) = (&passage.output, tracked) else {
            return match (owner, tracked, &passage.output) {
                (_, None, Some(output)) => {
                    let what = format!("had to be kept and passed as {}", output.head.tuple);
                    self.rules.hold(rules::INVALID, Err(what)).map(|()| Judged::Must)
                }
                (Admission::Yes(owner), Some(_), None) if passage.input.head.ttl > 1 => {
                    let crowded = self.mappings.may_vanish(self.nat, inside, destination);
                    if crowded {
                        return Ok(Judged::Either(Doubt::Room));
                    }
                    if self.not_inserted() {
                        return Ok(Judged::Not(Doubt::Counted));
                    }
                    let what = format!("had to be turned round to {owner} and vanished");
                    self.rules.hold(rules::HAIRPINNING, Err(what)).map(|()| Judged::Must)
                }
                (Admission::Perhaps(_), Some(_), None) => Ok(Judged::Either(Doubt::Admission)),
                // It went no further, and what the NAT's own stack answers is nothing that it declares.
                _ => self.rules.hold(rules::HAIRPINNING, Ok(())).map(|()| Judged::Must),
            };
        };
        let (Admission::Yes(owner) | Admission::Perhaps(owner)) = owner else {
            let what = format!("was turned round as {}", output.head.tuple);
            return self.rules.hold(rules::HAIRPINNING, Err(what)).map(|()| Judged::Must);
        };
        let elsewhere = || format!("had to go to {owner} and went as {}", output.head.tuple);
        self.rules.hold(rules::HAIRPINNING, keeps(output.head.tuple.destination == owner, elsewhere))?;
        let flow = Outgoing { inside, remote: destination, external: output.head.tuple.source };
        self.mappings.may_go_out(self.nat, flow, at, self.address_elsewhere(&flow, at))?;
        let reply = Tuple { source: owner, destination: flow.external };
        self.take_over(index, reply, &tracked)?;
        self.open(index, reply, tracked);
        self.mappings.learn(self.nat, &self.how, flow, self.times(passage));
        Ok(Judged::Must)
    }

    pub(super) fn sent_in(&mut self, index: usize, head: &TcpHead) -> Result<Judged, BrokenRule> {
        let passage = &self.passages.all[index];
        let Tuple { source: remote, destination } = passage.input.head.tuple;
        let at = passage.input.at;
        let firewall = self.nat.declared.translation == Translation::Firewall;
        let own = self.nat.is_own(*destination.ip());
        if own && firewall {
            // What its own stack answers is nothing that it declares.
            let kept = RequiredAction::Keep(Answer::Anything).done(passage);
            return self.rules.hold(rules::FILTERING, kept).map(|()| Judged::Must);
        }
        if !own && !firewall {
            return Ok(Judged::Not(Doubt::Routed));
        }
        let Some(tracked) = Tracked::begin(head, at, &self.how) else {
            self.rules.hold(rules::INVALID, self.of_invalid(passage, head).done(passage))?;
            return Ok(Judged::Must);
        };
        let admission = self.mappings.admits(self.nat, remote, destination, at);
        match (admission, &passage.output) {
            // Two packets that open the same connection from both sides at once: one of them is lost (insert_failed).
            (Admission::Yes(_), None) if self.opened_soon(index) => Ok(Judged::Either(Doubt::Admission)),
            (Admission::Yes(_), None) if passage.answers.is_empty() && self.not_inserted() => {
                Ok(Judged::Not(Doubt::Counted))
            }
            (Admission::Yes(owner), _) | (Admission::Perhaps(owner), Some(_)) => {
                let tuple = Tuple { source: remote, destination: owner };
                self.rules.hold(rules::FILTERING, self.forwarded(passage, tuple).done(passage))?;
                if passage.output.is_some() {
                    self.open(index, Tuple { source: owner, destination: remote }, tracked);
                }
                Ok(if admission == Admission::Yes(owner) {
                    Judged::Must
                } else {
                    Judged::Either(Doubt::Admission)
                })
            }
            (Admission::Perhaps(_), None) => Ok(Judged::Either(Doubt::Admission)),
            (Admission::No, Some(_)) if self.opened_soon(index) => Ok(Judged::Either(Doubt::Admission)),
            (Admission::No, Some(output)) => {
                let why = format!(
                    "had to be kept, by {} filtering, and passed as {}",
                    filtering(self.nat.declared.filtering),
                    output.head.tuple
                );
                self.rules.hold(rules::FILTERING, Err(why)).map(|()| Judged::Must)
            }
            (Admission::No, None) => {
                self.rules.hold(rules::FILTERING, Ok(()))?;
                self.unsolicited(index, head)
            }
        }
    }

    fn unsolicited(&mut self, index: usize, head: &TcpHead) -> Result<Judged, BrokenRule> {
        let passage = &self.passages.all[index];
        let Tuple { source: remote, destination } = passage.input.head.tuple;
        let firewall = self.nat.declared.translation == Translation::Firewall;
        let opening = head.segment.flags.is_opening();
        let first = self.refused.came(passage.input.head.tuple, passage.input.at);
        let answer = match firewall && !opening {
            true => Answer::Silence,
            false => refusal(self.nat, passage, first),
        };
        self.mappings.met_stranger(remote, destination);
        let kept = if firewall { kept_on_its_way(passage, answer) } else { RequiredAction::Keep(answer) };
        self.rules.hold(rules::UNSOLICITED, kept.done(passage))?;
        Ok(Judged::Must)
    }

    /// Whether the mapping that let a packet in was made within the margin after it came.
    fn opened_soon(&self, index: usize) -> bool {
        let passage = &self.passages.all[index];
        let remote = passage.input.head.tuple.source;
        let latest = passage.handled_by(self.margin);
        let later = self.passages.all[index..].iter().map(|passage| &passage.input);
        let mut soon = later.take_while(|input| input.at <= latest);
        soon.any(|input| input.side == Side::Inside && input.head.tuple.destination == remote)
    }

    /// A new connection that looks like another one on the other side has taken its place: no NAT can tell the answers to
    /// the two apart. A connection that is over may be given up so, one that lives may not.
    fn take_over(&mut self, index: usize, reply: Tuple, new: &Tracked) -> Result<(), BrokenRule> {
        let input = &self.passages.all[index].input;
        let Some((id, Way::Reply)) = self.by_tuple.get(&reply).copied() else { return Ok(()) };
        let entry = &self.entries[id];
        if entry.original == input.head.tuple {
            return Ok(());
        }
        let handled_by = |index: usize| self.passages.all[index].handled_by(self.margin);
        let last = entry.before.as_ref().map_or(entry.stood_by, |(last, ..)| handled_by(*last));
        let lives =
            |state: &Option<Tracked>| state.is_some_and(|tracked| !tracked.gives_way_to(new, self.rules));
        let over = entry.lost || !entry.at(input.at).iter().all(lives);
        let first = if over { None } else { self.over_by_the_next(index, id, new) };
        let free = over || first.is_some() || last >= input.at;
        let (taken, inside) = (reply.reversed(), entry.original.source);
        let what = || format!("went out as {taken}, which {inside} has at that time");
        self.rules.hold(rules::TAKEN, keeps(free, what))?;
        let entry = &mut self.entries[id];
        (entry.possible, entry.before, entry.lost) = (vec![None], None, false);
        let original = entry.original;
        match first {
            Some(next) => entry.ahead.push(next),
            None if self.by_tuple.get(&original).is_some_and(|(other, _)| *other == id) => {
                self.by_tuple.remove(&original);
            }
            None => {}
        }
        Ok(())
    }

    pub(super) fn open(&mut self, index: usize, reply: Tuple, tracked: Tracked) {
        let passage = &self.passages.all[index];
        let id = self.entries.len();
        let original = passage.input.head.tuple;
        self.entries.push(Entry {
            original,
            reply,
            opener: index,
            since: passage.input.at,
            opened: passage.input.at,
            is_first: self.flows.insert(original),
            stood_by: passage.handled_by(self.margin),
            possible: vec![Some(tracked)],
            before: None,
            ahead: Vec::new(),
            lost: false,
            given_up: false,
        });
        self.by_tuple.insert(original, (id, Way::Original));
        self.by_tuple.insert(reply, (id, Way::Reply));
    }
}

fn filtering(declared: Filtering) -> &'static str {
    match declared {
        Filtering::EndpointIndependent => "endpoint-independent",
        Filtering::AddressDependent => "address-dependent",
        Filtering::AddressAndPortDependent => "address-and-port-dependent",
    }
}
