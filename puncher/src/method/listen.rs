//! `listen`: one side listens on a mapped port, the other dials it, whatever its own port is.
//!
//! ```text
//!  P          NAT-p              NAT-r        R
//!  |--SYN------>|------------------>|         |   primer: now R's address may send to P's port
//!  |<---SYN-----|<------------------|<--SYN---|   from any port
//!  |--SYN/ACK-->|------------------>|-------->|   accepted: R established after two trips, P after three
//! ```
//!
//! Conditions: the listener's external port is known, and its NAT filters by address at most (EIF, ADF; or there is no
//! NAT). Then the other NAT may draw its ports as it likes. When one NAT draws, both sides listen: the primer goes to the
//! endpoint that the server saw of R, and is itself the dial if R's NAT lets anyone in. R dials from another port, because
//! a SYN from the port that listens would be taken for the answer to it. Cost: one SYN a side.

use std::time::Duration;

use crate::meeting::Role;
use crate::method::redial::Redial;
use crate::method::view::{Kind, View};
use crate::method::{Action, Dial, Method, Note, Outlook};
use crate::predict::predict;
use crate::socket::Refusal;

/// The method's name.
pub const NAME: &str = "listen";

/// RFC 863: nothing is expected to listen here, and it is not the port the peer dials from.
const DISCARD_PORT: u16 = 9;

/// Listens, dials, or both.
#[derive(Debug)]
pub struct Listen {
    redial: Redial,
}

impl Listen {
    /// Redials follow from the seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { redial: Redial::new(seed) }
    }

    /// Neither NAT draws: role b listens and role a dials.
    fn one_way(&mut self, view: &View) -> Option<Vec<Action>> {
        let port = view.own.local.port();
        Some(match view.role {
            Role::A => {
                let target = predict(&view.peer.observations, 0, self.redial.rng())?;
                let dial = Dial::now(NAME, port, target.endpoint);
                vec![Action::Expect(target.into()), Action::Dial(dial)]
            }
            Role::B => {
                let mut primer = view.peer.observed()?;
                primer.set_port(DISCARD_PORT);
                vec![Action::Listen { port, by: NAME }, Action::Dial(Dial::now(NAME, port, primer))]
            }
        })
    }

    /// This side's NAT draws, or the other's: both listen.
    fn both_ways(&mut self, view: &View) -> Option<Vec<Action>> {
        let port = view.own.local.port();
        let (target, from) = if view.own.kind() == Kind::Random {
            (predict(&view.peer.observations, 0, self.redial.rng())?.endpoint, 0)
        } else {
            (view.peer.observed()?, port)
        };
        // Where both draw, only the endpoint that the server saw may answer.
        let target = if view.peer.kind() == Kind::Random { view.peer.observed()? } else { target };
        let outlook = Outlook {
            peer: Some(target),
            probability: 0.5,
            because: "one port is known, in case its NAT lets the other's address in".into(),
        };
        Some(vec![
            Action::Expect(outlook),
            Action::Listen { port, by: NAME },
            Action::Dial(Dial::now(NAME, from, target)),
        ])
    }
}

impl Method for Listen {
    fn begin(&mut self, view: &View) -> Vec<Action> {
        self.redial.start(view.trip);
        let draws = [&view.own, &view.peer].iter().any(|side| side.kind() == Kind::Random);
        let actions = if draws { self.both_ways(view) } else { self.one_way(view) };
        let Some(mut actions) = actions else { return vec![Action::GiveUpIn(Duration::ZERO)] };
        actions.push(Action::NextRoundIn(view.trips(6, Duration::from_millis(20 * u64::from(view.round)))));
        actions
    }

    fn refused(&mut self, dial: Dial, why: Refusal) -> Vec<Action> {
        if dial.remote.port() == DISCARD_PORT { Vec::new() } else { self.redial.again(dial, why) }
    }

    fn told(&mut self, _: Note) -> Vec<Action> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::tests::dials;
    use crate::method::view::tests::{mirrored, view};

    fn listens(actions: &[Action]) -> bool {
        actions.iter().any(|action| matches!(action, Action::Listen { port: 5000, .. }))
    }

    #[test]
    fn of_two_known_ports_b_listens_and_a_dials() {
        let here = view(Role::A, &[5000, 5000], &[6000, 6000]);
        let dialler = Listen::new(1).begin(&here);
        assert!(!listens(&dialler));
        assert_eq!(dials(&dialler)[0].remote.port(), 6000);
        let listener = Listen::new(1).begin(&mirrored(&here));
        assert!(listens(&listener));
        assert_eq!(dials(&listener)[0].remote.port(), DISCARD_PORT, "primer, not a simultaneous open");
    }

    #[test]
    fn when_one_nat_draws_both_listen_and_it_dials_from_another_port() {
        let here = view(Role::A, &[36424, 13999], &[6000, 6000]);
        let drawing = Listen::new(1).begin(&here);
        assert!(listens(&drawing));
        assert_eq!((dials(&drawing)[0].port, dials(&drawing)[0].remote.port()), (0, 6000));
        let known = Listen::new(1).begin(&mirrored(&here));
        assert!(listens(&known));
        assert_eq!((dials(&known)[0].port, dials(&known)[0].remote.port()), (5000, 36424));
    }
}
