//! `auto`: the cheapest method that theory says will work, and the next one when it did not, until the budget, the
//! time, or the methods are spent.
//!
//! Each round both sides choose from the same facts and so choose alike:
//!
//! 1. one external address for both: `private` and `hairpin`, once;
//! 2. both ports predictable: `simultaneous-open` (`sequential` where a NAT counts); a refused dial becomes a hole that
//!    cannot be refused on one side, and the next round is `low-ttl`; then `listen`; then again, measured again;
//! 3. a NAT draws: `listen` (the other NAT may let any port in), then `low-port` (if measured to work), then `spray`.
//!
//! What an earlier method began goes on, so a later one never costs a chance. Nor does an earlier one: a few SYNs are left
//! for `listen`, because few mappings may look like a rule although they were drawn.

use std::time::Duration;

use crate::method::listen::Listen;
use crate::method::low_port::{self, LowPort};
use crate::method::low_ttl::LowTtl;
use crate::method::private::Private;
use crate::method::simultaneous_open::SimultaneousOpen;
use crate::method::spray::Spray;
use crate::method::view::{Predictability, RoundView};
use crate::method::{Action, Dial, Method, MethodName, RoundNote};
use crate::socket::DialFailure;

/// SYNs that are left for `listen` until it has been tried.
const FOR_LISTEN: u32 = 3;

/// What may be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Stage {
    Private,
    SimultaneousOpen,
    Sequential,
    LowTtl,
    Listen,
    LowPort,
    Spray,
}

impl Stage {
    /// What makes dials under this name; `None` for a method that is not part of `auto`.
    fn of(name: MethodName) -> Option<Self> {
        match name {
            MethodName::Private | MethodName::Hairpin => Some(Self::Private),
            MethodName::SimultaneousOpen => Some(Self::SimultaneousOpen),
            MethodName::Sequential => Some(Self::Sequential),
            MethodName::LowTtl => Some(Self::LowTtl),
            MethodName::Listen => Some(Self::Listen),
            MethodName::LowPort => Some(Self::LowPort),
            MethodName::Spray => Some(Self::Spray),
            // The first is this itself; what the others would find out `simultaneous-open` sees by itself.
            MethodName::Auto | MethodName::ObservedPort | MethodName::PreservedPort => None,
        }
    }
}

/// The stages of one punch.
#[derive(Debug)]
pub(crate) struct Auto {
    seed: u64,
    tried: Vec<(Stage, Box<dyn Method>)>,
    both_fixed: bool,
    goes_on: bool,
    /// SYNs that this side may still send.
    left: u32,
}

impl Auto {
    /// What each method decides at random follows from the seed.
    #[must_use]
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, tried: Vec::new(), both_fixed: false, goes_on: true, left: 0 }
    }

    fn stages(&self) -> Vec<Stage> {
        self.tried.iter().map(|(stage, _)| *stage).collect()
    }

    /// The end of one method is not the end of all.
    fn go_on(&self, actions: &mut [Action]) {
        for action in actions.iter_mut().filter(|_| self.goes_on) {
            if let Action::GiveUpIn(patience) = *action {
                *action = Action::NextRoundIn(patience);
            }
        }
    }

    /// Drops the dials for which nothing would be left for `listen`.
    fn spend(&mut self, actions: &mut Vec<Action>) {
        let reserve = if self.stages().contains(&Stage::Listen) { 0 } else { FOR_LISTEN };
        actions.retain(|action| {
            let is_dial = matches!(action, Action::Dial(_));
            let fits = !is_dial || self.left > reserve;
            self.left -= u32::from(is_dial && fits);
            fits
        });
    }

    fn current(&mut self) -> Option<&mut Box<dyn Method>> {
        self.tried.last_mut().map(|(_, method)| method)
    }
}

/// What to try next, after these; `None` when nothing is left that could work.
fn choose(view: &RoundView, tried: &[Stage]) -> Option<Stage> {
    let fresh = |stage: Stage| (!tried.contains(&stage)).then_some(stage);
    if view.same_address()
        && let Some(stage) = fresh(Stage::Private)
    {
        return Some(stage);
    }
    let kinds = [view.own.predictability(), view.peer.predictability()];
    if kinds.contains(&Predictability::Random) {
        // Once more, because a NAT that counts may have come to the end of its pool between measuring and punching.
        let most = if kinds.contains(&Predictability::Counting) { 2 } else { 1 };
        let tries = tried.iter().filter(|stage| **stage == Stage::LowPort).count();
        let low_port = || (tries < most && low_port::is_possible(view)).then_some(Stage::LowPort);
        return fresh(Stage::Listen).or_else(low_port).or_else(|| fresh(Stage::Spray));
    }
    if tried.len() >= 2
        && let Some(stage) = fresh(Stage::Listen)
    {
        // Two NATs that refuse a SYN after a SYN, one of which lets the other side's address in.
        return Some(stage);
    }
    if (view.own.refused || view.peer.refused) && tried.last() != Some(&Stage::LowTtl) {
        return Some(Stage::LowTtl);
    }
    Some(if kinds.contains(&Predictability::Counting) { Stage::Sequential } else { Stage::SimultaneousOpen })
}

fn build(stage: Stage, seed: u64) -> Box<dyn Method> {
    match stage {
        Stage::Private => Box::new(Private::any(seed)),
        Stage::SimultaneousOpen => Box::new(SimultaneousOpen::predicted_port(seed).with_holes()),
        Stage::Sequential => Box::new(SimultaneousOpen::sequential(seed).with_holes()),
        Stage::LowTtl => Box::new(LowTtl::new(seed)),
        Stage::Listen => Box::new(Listen::new(seed).in_passing()),
        Stage::LowPort => Box::new(LowPort::new(seed)),
        Stage::Spray => Box::new(Spray::new(seed)),
    }
}

impl Method for Auto {
    fn begin(&mut self, view: &RoundView) -> Vec<Action> {
        let Some(stage) = choose(view, &self.stages()) else { return vec![Action::GiveUpIn(Duration::ZERO)] };
        self.both_fixed =
            [&view.own, &view.peer].iter().all(|side| side.predictability() == Predictability::Fixed);
        let seed = self.seed.wrapping_add(u64::from(view.round));
        let mut method = build(stage, seed);
        let mut actions = method.begin(view);
        self.tried.push((stage, method));
        self.goes_on = choose(view, &self.stages()).is_some();
        self.left = view.own.syns;
        self.spend(&mut actions);
        self.go_on(&mut actions);
        actions
    }

    fn refused(&mut self, dial: Dial, why: DialFailure) -> Vec<Action> {
        let newest = self.tried.len().saturating_sub(1);
        let owner = self
            .tried
            .iter_mut()
            .enumerate()
            .rev()
            .find(|(_, (stage, _))| Stage::of(dial.by) == Some(*stage));
        let mut actions = match owner {
            Some((place, (_, method))) if place == newest => method.refused(dial, why),
            // An earlier round's: still right if no port has moved since, but it has no say in this round.
            Some((_, (_, method))) if self.both_fixed => {
                let mut actions = method.refused(dial, why);
                actions.retain(|action| matches!(action, Action::Dial(_)));
                actions
            }
            _ => Vec::new(),
        };
        self.spend(&mut actions);
        actions
    }

    fn told(&mut self, note: RoundNote) -> Vec<Action> {
        let mut actions = self.current().map_or_else(Vec::new, |method| method.told(note));
        self.spend(&mut actions);
        self.go_on(&mut actions);
        actions
    }

    fn wants_low_port(&self, round: u32) -> bool {
        round == 2
    }

    fn samples(&self, round: u32) -> u8 {
        if round == 2 { 4 } else { 0 }
    }

    fn wants_fresh_port(&self, round: u32) -> bool {
        round > 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meeting::Role;
    use crate::method::tests::dials;
    use crate::method::view::tests::{mirrored, view};

    const KEPT: &[u16] = &[5000, 5000];
    const COUNTED: &[u16] = &[20000, 20001];
    const DRAWN: &[u16] = &[36424, 13999];

    #[test]
    fn the_cheapest_that_will_do_comes_first() {
        let cases = [
            (KEPT, KEPT, &[][..], Some(Stage::SimultaneousOpen)),
            (KEPT, COUNTED, &[], Some(Stage::Sequential)),
            (KEPT, DRAWN, &[], Some(Stage::Listen)),
            (KEPT, DRAWN, &[Stage::Listen], Some(Stage::Spray)),
            (KEPT, DRAWN, &[Stage::Listen, Stage::Spray], None),
            (DRAWN, DRAWN, &[Stage::Listen], Some(Stage::Spray)),
        ];
        for (own, peer, tried, expected) in cases {
            let here = view(Role::A, own, peer);
            assert_eq!(choose(&here, tried), expected, "{own:?} {peer:?} {tried:?}");
            assert_eq!(choose(&mirrored(&here), tried), expected, "the other side of {own:?} {peer:?}");
        }
    }

    #[test]
    fn low_ports_come_before_spraying_where_they_were_measured() {
        let mut here = view(Role::A, DRAWN, KEPT);
        here.own.low = Some("192.0.2.2:777".parse().unwrap());
        assert_eq!(choose(&here, &[Stage::Listen]), Some(Stage::LowPort));
        assert_eq!(choose(&here, &[Stage::Listen, Stage::LowPort]), Some(Stage::Spray));
        here.peer.observations = view(Role::A, DRAWN, COUNTED).peer.observations;
        let tried = [Stage::Listen, Stage::LowPort, Stage::LowPort];
        assert_eq!(choose(&here, &tried[..2]), Some(Stage::LowPort), "its pool may have begun anew");
        assert_eq!(choose(&here, &tried), Some(Stage::Spray));
    }

    #[test]
    fn after_a_refusal_one_side_opens_in_silence() {
        let mut here = view(Role::A, KEPT, KEPT);
        here.peer.refused = true;
        assert_eq!(choose(&here, &[Stage::SimultaneousOpen]), Some(Stage::LowTtl));
        assert_eq!(choose(&here, &[Stage::SimultaneousOpen, Stage::LowTtl]), Some(Stage::Listen));
        assert_eq!(
            choose(&here, &[Stage::SimultaneousOpen, Stage::LowTtl, Stage::Listen]),
            Some(Stage::LowTtl)
        );
    }

    #[test]
    fn one_external_address_is_tried_from_within_once() {
        let mut here = view(Role::A, KEPT, KEPT);
        here.peer.observations = here.own.observations.clone();
        assert_eq!(choose(&here, &[]), Some(Stage::Private));
        assert_eq!(choose(&here, &[Stage::Private]), Some(Stage::SimultaneousOpen));
    }

    /// A NAT that draws from 64 ports gives the same one twice, or the next, once in this many times.
    #[test]
    fn what_looked_like_a_rule_leaves_enough_to_listen() {
        for looks in [&[1082, 1082][..], &[1042, 1043]] {
            let mut here = view(Role::B, looks, KEPT);
            here.own.syns = 16;
            let mut auto = Auto::new(1);
            let mut dialled = dials(&auto.begin(&here));
            let mut sent = dialled.len();
            while let Some(dial) = dialled.pop() {
                let again = dials(&auto.refused(dial, DialFailure::Reset));
                sent += again.len();
                dialled.extend(again);
            }
            here.own.syns -= u32::try_from(sent).unwrap();
            (here.round, here.own.refused) = (2, true);
            sent += dials(&auto.begin(&here)).len() + dials(&auto.told(RoundNote::Open)).len();
            here.own.syns = 16 - u32::try_from(sent).unwrap();
            here.round = 3;
            let listening = dials(&auto.begin(&here));
            assert!(
                listening.len() == 3 && listening[0].by == MethodName::Listen,
                "{looks:?}: {listening:?}"
            );
            assert!(here.own.syns >= FOR_LISTEN, "{looks:?}: {} left", here.own.syns);
        }
    }

    #[test]
    fn an_end_comes_when_nothing_is_left() {
        let mut auto = Auto::new(1);
        let mut here = view(Role::A, DRAWN, DRAWN);
        let ends = (1..=3).map(|round| {
            here.round = round;
            auto.begin(&here).pop()
        });
        let ends: Vec<_> = ends.collect();
        assert!(matches!(ends[0], Some(Action::NextRoundIn(_))));
        assert!(matches!(ends[1], Some(Action::GiveUpIn(_))));
        assert_eq!(ends[2], Some(Action::GiveUpIn(Duration::ZERO)));
    }
}
