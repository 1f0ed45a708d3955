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
//! NAT). Then the other NAT may draw its ports as it likes. Both sides listen and dial, as either NAT may be the one that
//! lets the other in. Dials come from another port, because a SYN from the port that listens would be taken for the answer
//! to the primer. Of a NAT that draws, the mapping towards the server is dialled: it may let anyone in. A SYN that came
//! before the other's primer was dropped in silence, so the dial is made once more. Cost: two SYNs a side, three where the
//! first dial was in vain.

use std::time::Duration;

use crate::method::redial::Redial;
use crate::method::view::{Predictability, RoundView};
use crate::method::{Action, Dial, Method, MethodName, Outlook, RoundNote};
use crate::predict::predict;
use crate::socket::DialFailure;

/// RFC 863: nothing is expected to listen here, and it is not the port the peer dials from.
const DISCARD_PORT: u16 = 9;

/// Trips until the dial is made once more: a stream takes three, and another to be agreed upon.
const ONCE_MORE: u32 = 5;

/// Listens, dials, or both.
#[derive(Debug)]
pub(crate) struct Listen {
    redial: Redial,
    patience: StreamWait,
}

/// How long a stream may take to come up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StreamWait {
    /// Other methods follow.
    Little,
    /// As long as a lost SYN needs to be sent again.
    Enough,
}

impl Listen {
    /// Redials follow from the seed.
    #[must_use]
    pub(crate) fn new(seed: u64) -> Self {
        Self { redial: Redial::new(seed), patience: StreamWait::Enough }
    }

    /// To be tried before others.
    #[must_use]
    pub(crate) fn in_passing(self) -> Self {
        Self { patience: StreamWait::Little, ..self }
    }

    /// Each may be the listener. The dial comes from another port than the primer, and nobody expects it there: what gets
    /// in is let in by its address alone.
    fn both(&mut self, view: &RoundView) -> Option<Vec<Action>> {
        let port = view.own.local.port();
        let mut primer = view.peer.observed()?;
        primer.set_port(DISCARD_PORT);
        let known = predict(&view.peer.observations, 0, self.redial.rng())?;
        // Of a NAT that draws, only a mapping that exists already may let anyone in.
        let drawn = view.peer.predictability() == Predictability::Random;
        let target = if drawn { view.peer.observed()? } else { known.endpoint };
        let because = "in case a NAT lets the other side's address in".into();
        Some(vec![
            Action::Expect(Outlook { peer: Some(target), probability: 0.5, because }),
            Action::Listen { port, by: MethodName::Listen },
            // The primer first: behind a NAT that counts it has the port that the peer expects.
            Action::Dial(Dial::now(MethodName::Listen, port, primer)),
            Action::Dial(Dial::now(MethodName::Listen, 0, target)),
            Action::Dial(Dial {
                after: view.trips(ONCE_MORE, Duration::from_millis(15)),
                ..Dial::now(MethodName::Listen, 0, target)
            }),
        ])
    }
}

impl Method for Listen {
    fn begin(&mut self, view: &RoundView) -> Vec<Action> {
        self.redial.start(view.trip);
        let Some(mut actions) = self.both(view) else { return vec![Action::GiveUpIn(Duration::ZERO)] };
        actions.push(match self.patience {
            StreamWait::Little => {
                Action::NextRoundIn(view.trips(6, Duration::from_millis(20 * u64::from(view.round))))
            }
            StreamWait::Enough => Action::GiveUpIn(view.trips(12, Duration::from_millis(1500))),
        });
        actions
    }

    fn refused(&mut self, dial: Dial, why: DialFailure) -> Vec<Action> {
        // A primer has done its work.
        if dial.remote.port() == DISCARD_PORT { Vec::new() } else { self.redial.again(dial, why) }
    }

    fn told(&mut self, _: RoundNote) -> Vec<Action> {
        Vec::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meeting::Role;
    use crate::method::tests::dials;
    use crate::method::view::tests::{mirrored, view};

    fn listens(actions: &[Action]) -> bool {
        actions.iter().any(|action| matches!(action, Action::Listen { port: 5000, .. }))
    }

    #[test]
    fn of_two_known_ports_each_listens_primes_and_dials_from_another() {
        let here = view(Role::A, &[5000, 5000], &[6000, 6000]);
        for (here, peer) in [(here.clone(), 6000), (mirrored(&here), 5000)] {
            let actions = Listen::new(1).begin(&here);
            assert!(listens(&actions));
            let dials = dials(&actions);
            let ends: Vec<_> = dials.iter().map(|dial| (dial.port, dial.remote.port())).collect();
            assert_eq!(ends, [(5000, DISCARD_PORT), (0, peer), (0, peer)], "never a simultaneous open");
        }
    }

    /// One side may start more than a trip before the other's primer has opened the way for it.
    #[test]
    fn a_dial_that_came_too_early_is_made_once_more() {
        let here = view(Role::A, &[36424, 13999], &[6000, 6000]);
        let dials = dials(&Listen::new(1).in_passing().begin(&here));
        assert!(dials[1].after.is_zero());
        assert_eq!(dials[2], Dial { after: here.trip * ONCE_MORE, ..dials[1] });
    }

    #[test]
    fn a_nat_that_draws_is_dialled_where_the_server_saw_it() {
        let here = view(Role::A, &[36424, 13999], &[6000, 6000]);
        for (here, peer) in [(here.clone(), 6000), (mirrored(&here), 36424)] {
            let actions = Listen::new(1).begin(&here);
            assert!(listens(&actions));
            assert_eq!((dials(&actions)[1].port, dials(&actions)[1].remote.port()), (0, peer));
        }
    }

    #[test]
    fn a_refused_dial_is_repeated_and_a_primer_is_not() {
        let mut method = Listen::new(1);
        let dialled = dials(&method.begin(&view(Role::A, &[5000, 5000], &[6000, 6000])));
        assert_eq!(method.refused(dialled[0], DialFailure::Reset), []);
        assert_eq!(dials(&method.refused(dialled[1], DialFailure::Reset)).len(), 1);
    }
}
