//! `low-ttl`: one side opens its hole without the other's NAT hearing of it, then the other side dials.
//!
//! ```text
//!  A        NAT-a   router   NAT-b        B
//!  |--SYN---->|------x         |          |   A's SYN dies on the way: NAT-a has a hole, NAT-b saw nothing
//!  |. . . . . . . "open" . . . . . . . . >|   through the rendezvous server
//!  |<---SYN---|<---------------|<--SYN----|   passes the hole
//!  |-SYN/ACK->|--------------->|--------->|   B established, two trips after its SYN
//!  |<--ACK----|<---------------|<---------|   A established, three trips
//! ```
//!
//! Nothing unsolicited reaches any NAT, so resets, ICMP errors and the difference between the starts do not matter. The
//! SYN goes out with IP_TTL lowered and IP_MINTTL raised on one and the same socket: the ICMP time-exceeded that comes
//! back is not believed, and the socket stays in SYN_SENT with the sequence number that NAT-a knows.
//!
//! Conditions: both ports predictable; NAT-a accepts a SYN after a SYN; a router between A's outermost NAT and B's; the
//! dialler's SYN arrives before A's retransmission, one second later. Cost: as `simultaneous_open`, and a message.

use std::time::Duration;

use crate::meeting::Role;
use crate::method::redial::Redial;
use crate::method::simultaneous_open::{dials, is_drawn, listen, window};
use crate::method::view::RoundView;
use crate::method::{Action, Dial, Method, MethodName, Outlook, RoundNote};
use crate::predict::predict;
use crate::socket::{DialFailure, SynTtl};

/// What this side does.
#[derive(Debug, Clone, PartialEq)]
enum LowTtlRole {
    /// Opens, and says so.
    Opener(SynTtl),
    /// Dials these once told.
    Dialler(Vec<Action>),
}

/// Opens or dials.
#[derive(Debug)]
pub(crate) struct LowTtl {
    part: LowTtlRole,
    changes_port: bool,
    is_drawn: bool,
    redial: Redial,
}

impl LowTtl {
    /// Redials follow from the seed.
    #[must_use]
    pub(crate) fn new(seed: u64) -> Self {
        let part = LowTtlRole::Dialler(Vec::new());
        Self { part, changes_port: false, is_drawn: false, redial: Redial::new(seed) }
    }
}

/// The side that opens: the one that cannot afford a refusal, because its next SYN has another port; else role a.
fn opener(view: &RoundView) -> Role {
    let other = view.role.other();
    match (view.own.changes_port(), view.peer.changes_port()) {
        (true, false) => view.role,
        (false, true) => other,
        _ => Role::A,
    }
}

impl Method for LowTtl {
    fn begin(&mut self, view: &RoundView) -> Vec<Action> {
        self.redial.start(view.trip);
        self.changes_port = view.own.changes_port();
        self.is_drawn = is_drawn(view);
        let window = window(view.round);
        let Some(target) = predict(&view.peer.observations, window - 1, self.redial.rng()) else {
            return vec![Action::GiveUpIn(Duration::ZERO)];
        };
        let endpoint = target.endpoint;
        let mut actions = vec![Action::Expect(Outlook::from(target))];
        actions.extend(listen(MethodName::LowTtl, &view.own));
        if opener(view) == view.role {
            let ttl = view.hole();
            self.part = LowTtlRole::Opener(ttl);
            actions.extend(dials(MethodName::LowTtl, &view.own, endpoint, window, ttl));
            actions.push(Action::Tell(RoundNote::Open));
        } else {
            self.part =
                LowTtlRole::Dialler(dials(MethodName::LowTtl, &view.own, endpoint, window, SynTtl::Full));
        }
        actions.push(if self.is_drawn {
            // A retransmission goes all the way, to where somebody may listen.
            Action::GiveUpIn(view.trips(12, Duration::from_millis(1500)))
        } else {
            Action::NextRoundIn(view.trips(12, Duration::from_millis(200 * u64::from(view.round))))
        });
        actions
    }

    fn refused(&mut self, dial: Dial, why: DialFailure) -> Vec<Action> {
        match self.part {
            _ if self.is_drawn => Vec::new(),
            _ if self.changes_port => vec![Action::NextRoundIn(Duration::ZERO)],
            LowTtlRole::Opener(ttl) => {
                let mut actions = self.redial.again(Dial { ttl, ..dial }, why);
                if !actions.is_empty() {
                    actions.push(Action::Tell(RoundNote::Open));
                }
                actions
            }
            LowTtlRole::Dialler(_) => self.redial.again(dial, why),
        }
    }

    fn told(&mut self, note: RoundNote) -> Vec<Action> {
        match (note, &mut self.part) {
            (RoundNote::Open, LowTtlRole::Dialler(dials)) => std::mem::take(dials),
            (RoundNote::Open, LowTtlRole::Opener(_)) => Vec::new(),
        }
    }

    fn samples(&self, round: u32) -> u8 {
        if round == 1 { 4 } else { 0 }
    }

    fn wants_fresh_port(&self, round: u32) -> bool {
        round > 2
    }

    fn wants_hops(&self, _: u32) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::tests::dials;
    use crate::method::view::tests::{mirrored, view};

    #[test]
    fn one_opens_and_the_other_dials_when_told() {
        let here = view(Role::A, &[5000, 5000], &[6000, 6000]);
        let mut opener = LowTtl::new(1);
        let opening = opener.begin(&here);
        assert_eq!(dials(&opening)[0].ttl, SynTtl::Limited(2));
        assert!(opening.contains(&Action::Tell(RoundNote::Open)));
        let mut dialler = LowTtl::new(1);
        assert_eq!(dials(&dialler.begin(&mirrored(&here))), []);
        let dialled = dials(&dialler.told(RoundNote::Open));
        assert_eq!((dialled.len(), dialled[0].ttl, dialled[0].remote.port()), (1, SynTtl::Full, 5000));
        assert_eq!(dialler.told(RoundNote::Open), [], "told twice");
    }

    #[test]
    fn the_side_whose_nat_counts_opens() {
        let here = view(Role::B, &[20000, 20001], &[6000, 6000]);
        assert_eq!((opener(&here), opener(&mirrored(&here))), (Role::B, Role::B));
        let both = view(Role::B, &[20000, 20001], &[30000, 30001]);
        assert_eq!((opener(&both), opener(&mirrored(&both))), (Role::A, Role::A));
    }

    #[test]
    fn a_refused_dialler_dials_again() {
        let here = view(Role::A, &[5000, 5000], &[6000, 6000]);
        let mut dialler = LowTtl::new(1);
        dialler.begin(&mirrored(&here));
        let dial = dials(&dialler.told(RoundNote::Open))[0];
        assert_eq!(dials(&dialler.refused(dial, DialFailure::Reset)).len(), 1);
    }
}
