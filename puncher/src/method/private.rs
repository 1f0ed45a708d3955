//! `private` and `hairpin`: peers behind one NAT, by way of their common network or of that NAT.
//!
//! ```text
//!  A -------- LAN -------- B       private: both dial and listen on internal endpoints
//!  A --.               .-- B
//!       NAT (or its CGN)           hairpin: both dial and listen on external endpoints, the NAT turns them round
//! ```
//!
//! Conditions: private: the two internal addresses reach each other; hairpin: the common NAT hairpins (RFC 5382 REQ-8).
//! On a LAN the trip is so short that SYNs hardly ever cross; so both also listen, and the first connection is accepted.
//! A host with several internal addresses is dialled at each, first at the one that it uses towards the server, and listens
//! on each.
//! An internal address may be somebody else's in this network; the handshake finds out. Cost: one or two SYNs a side.

use std::net::SocketAddrV4;
use std::time::Duration;

use crate::method::redial::Redial;
use crate::method::view::RoundView;
use crate::method::{Action, Dial, Method, MethodName, Outlook, RoundNote};
use crate::predict::predict;
use crate::socket::DialFailure;

/// This many other addresses of a host are tried: a wired, a wireless and a private network, and one more.
pub(crate) const MOST_ADDRESSES: usize = 4;

/// Dials and listens.
#[derive(Debug)]
pub(crate) struct Private {
    ways: &'static [MethodName],
    redial: Redial,
}

impl Private {
    fn new(ways: &'static [MethodName], seed: u64) -> Self {
        Self { ways, redial: Redial::new(seed) }
    }

    /// Internal endpoints only.
    #[must_use]
    pub(crate) fn internal(seed: u64) -> Self {
        Self::new(&[MethodName::Private], seed)
    }

    /// External endpoints only.
    #[must_use]
    pub(crate) fn external(seed: u64) -> Self {
        Self::new(&[MethodName::Hairpin], seed)
    }

    /// Both at once.
    #[must_use]
    pub(crate) fn any(seed: u64) -> Self {
        Self::new(&[MethodName::Private, MethodName::Hairpin], seed)
    }
}

impl Method for Private {
    fn begin(&mut self, view: &RoundView) -> Vec<Action> {
        self.redial.start(view.trip);
        let port = view.own.local.port();
        let Some(external) = predict(&view.peer.observations, 0, self.redial.rng()) else {
            return vec![Action::GiveUpIn(Duration::ZERO)];
        };
        let mut targets: Vec<(MethodName, SocketAddrV4)> = Vec::new();
        for &way in self.ways {
            if way == MethodName::Hairpin {
                targets.push((way, external.endpoint));
                continue;
            }
            let others = view.peer.addresses.iter().take(MOST_ADDRESSES);
            let others = others.map(|address| SocketAddrV4::new(*address, view.peer.local.port()));
            targets.extend(std::iter::once(view.peer.local).chain(others).map(|target| (way, target)));
        }
        let outlook = Outlook {
            peer: targets.first().map(|(_, target)| *target),
            probability: 1.0,
            because: "both peers appear under one external address".into(),
        };
        let listen = Action::Listen { port, by: self.ways[0] };
        let dials = targets.into_iter().map(|(way, target)| Action::Dial(Dial::now(way, port, target)));
        let end = Action::NextRoundIn(view.trips(6, Duration::from_millis(60 * u64::from(view.round))));
        [Action::Expect(outlook), listen].into_iter().chain(dials).chain([end]).collect()
    }

    fn refused(&mut self, dial: Dial, why: DialFailure) -> Vec<Action> {
        self.redial.again(dial, why)
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
    use crate::method::view::tests::view;

    #[test]
    fn both_ways_are_dialled_while_listening() {
        let mut here = view(Role::A, &[5000, 5000], &[6000, 6000]);
        here.peer.local = "10.0.2.2:7000".parse().unwrap();
        let actions = Private::any(1).begin(&here);
        let remotes: Vec<_> = dials(&actions).iter().map(|dial| (dial.by, dial.remote.port())).collect();
        assert_eq!(remotes, [(MethodName::Private, 7000), (MethodName::Hairpin, 6000)]);
        here.peer.addresses = vec!["192.168.7.7".parse().unwrap(); MOST_ADDRESSES + 1];
        let more = dials(&Private::any(1).begin(&here));
        assert_eq!(more[1].remote, "192.168.7.7:7000".parse().unwrap(), "after the likeliest");
        assert_eq!(more.len(), 2 + MOST_ADDRESSES, "no more than so many");
        assert!(actions.contains(&Action::Listen { port: 5000, by: MethodName::Private }));
    }
}
