//! Both sides dial the endpoint where the other is expected, at the same time: `simultaneous-open` (predicted by
//! whatever rule was seen), `observed-port` (as the server saw it), `preserved-port` (the internal port), and
//! `sequential` (a window of ports, for NATs that count while others use them, too).
//!
//! ```text
//!  A        NAT-a        NAT-b        B
//!  |--SYN---->|--.    .----|<---SYN---|   both holes are open when the SYNs arrive
//!  |          |   \  /     |          |
//!  |<---SYN---|----\/------|---SYN--->|   one trip: both answer
//!  |<-SYN/ACK-|<---/\------|-SYN/ACK->|   two trips: both established
//! ```
//!
//! Conditions: both external ports predictable; one NAT at least that accepts a SYN after a SYN. NATs that drop
//! unsolicited SYNs allow any difference between the two starts. Where they answer with a reset or an ICMP error, the
//! dial that was refused is repeated from the same port.
//!
//! The window: mappings of other hosts between measuring and punching shift the port of a NAT that counts. So it dials
//! from w ports, which become w consecutive external ports, all to *one* endpoint of the peer; and the peer dials the
//! w-th next. That one exists as long as fewer than w others came between. (A window on both sides, i-th socket to i-th
//! port, would work only if equally many came between on both sides.)
//!
//! When the side whose NAT counts is refused, because the other has not begun, it opens the next w ports with SYNs that die on
//! the way (see `low_ttl`); so the other side dials the last of those, too.
//!
//! Cost: one SYN a side, w behind a NAT that counts, and one more for each refusal.

use std::net::SocketAddrV4;
use std::time::Duration;

use crate::classify::{Allocation, allocation};
use crate::meeting::Role;
use crate::method::redial::Redial;
use crate::method::view::{Predictability, RoundView, SideFacts};
use crate::method::{Action, Dial, Method, MethodName, Outlook, RoundNote};
use crate::predict::{Prediction, predict};
use crate::socket::{DialFailure, SynTtl};

/// Ports of the first window; later rounds double it, up to the largest.
const WINDOW: u16 = 8;
const LARGEST_WINDOW: u16 = 64;

/// Below this chance a port is a guess, and waiting would not make it better.
const HOPELESS: f64 = 0.01;

/// How the peer's endpoint is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PredictionRule {
    Predicted,
    Observed,
    Preserved,
}

/// SYNs that a second window leaves.
const FOR_OTHERS: u32 = 4;

/// What a refused dial becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AfterRefusal {
    /// The same again.
    Repeat,
    /// For role a: a hole that the peer's NAT does not hear of, see `low_ttl`.
    Hole,
}

/// Dials one endpoint, from one port or a window of them.
#[derive(Debug)]
pub(crate) struct SimultaneousOpen {
    name: MethodName,
    rule: PredictionRule,
    windowed: bool,
    after_refusal: AfterRefusal,
    hole: SynTtl,
    changes_port: bool,
    is_drawn: bool,
    /// The peer's endpoint is known, so a refusal there may only mean that it has not begun.
    peer_is_known: bool,
    /// Dials of a second window that may still take the place of refused ones, and how far they go.
    spare: u16,
    spare_ttl: SynTtl,
    redial: Redial,
}

impl SimultaneousOpen {
    fn new(name: MethodName, rule: PredictionRule, seed: u64) -> Self {
        Self {
            name,
            rule,
            windowed: false,
            after_refusal: AfterRefusal::Repeat,
            hole: SynTtl::Full,
            changes_port: false,
            is_drawn: false,
            peer_is_known: false,
            spare: 0,
            spare_ttl: SynTtl::Full,
            redial: Redial::new(seed),
        }
    }

    /// By whatever rule was seen.
    #[must_use]
    pub(crate) fn predicted_port(seed: u64) -> Self {
        Self::new(MethodName::SimultaneousOpen, PredictionRule::Predicted, seed)
    }

    /// As the server saw it.
    #[must_use]
    pub(crate) fn observed_port(seed: u64) -> Self {
        Self::new(MethodName::ObservedPort, PredictionRule::Observed, seed)
    }

    /// The internal port.
    #[must_use]
    pub(crate) fn preserved_port(seed: u64) -> Self {
        Self::new(MethodName::PreservedPort, PredictionRule::Preserved, seed)
    }

    /// With a window.
    #[must_use]
    pub(crate) fn sequential(seed: u64) -> Self {
        Self { windowed: true, ..Self::new(MethodName::Sequential, PredictionRule::Predicted, seed) }
    }

    /// Like `simultaneous-open`, but role a answers a refusal with a hole that cannot be refused.
    #[must_use]
    pub(crate) fn with_holes(mut self) -> Self {
        self.after_refusal = AfterRefusal::Hole;
        self
    }

    fn window(&self, round: u32) -> u16 {
        if self.windowed { window(round) } else { 1 }
    }

    /// A window that was refused, because the other side has not begun, is opened once more, this time so that nobody hears of
    /// it; the other side dials its last port as well. Behind a NAT that counts these are the ports after the first window.
    fn second_window(&mut self, view: &RoundView, window: u16) -> Option<Action> {
        let counts = |side: &SideFacts| side.predictability() == Predictability::Counting;
        (self.spare, self.spare_ttl) = (0, view.hole());
        if !self.windowed
            || counts(&view.own) == counts(&view.peer)
            || view.peer.kept_once
            || view.own.kept_once
        {
            return None;
        }
        if counts(&view.own) {
            self.spare = spare(&view.own, window);
            return None;
        }
        let spare = Some(spare(&view.peer, window)).filter(|spare| *spare > 0)?;
        let last = self.predict(&view.peer, window + spare)?;
        Some(Action::Dial(Dial::now(self.name, view.own.local.port(), last.endpoint)))
    }

    fn predict(&mut self, side: &SideFacts, window: u16) -> Option<Prediction> {
        let known = |endpoint, because: &str| {
            // Right for what it is meant for; whether the NAT is one is not known.
            Some(Prediction { endpoint, probability: 1.0, because: because.into() })
        };
        match self.rule {
            PredictionRule::Predicted => predict(&side.observations, window - 1, self.redial.rng()),
            PredictionRule::Observed => known(side.observed()?, "as the rendezvous server saw it"),
            PredictionRule::Preserved => known(
                SocketAddrV4::new(side.address()?, side.local.port()),
                "the internal port, if it is preserved",
            ),
        }
    }
}

/// How far a second window goes: other methods need something, too.
fn spare(side: &SideFacts, window: u16) -> u16 {
    let left = side.syns.saturating_sub(u32::from(window) + FOR_OTHERS);
    window.min(u16::try_from(left).unwrap_or(u16::MAX))
}

/// Whether a NAT draws, so that one guess is all there is: dialling again would not make it better.
pub(crate) fn is_drawn(view: &RoundView) -> bool {
    [&view.own, &view.peer].iter().any(|side| side.predictability() == Predictability::Random)
}

/// The window of a round.
pub(crate) fn window(round: u32) -> u16 {
    let doublings = round.saturating_sub(1).min(3);
    (WINDOW << doublings).min(LARGEST_WINDOW)
}

/// The dials of one side to one endpoint: as many as the window when its NAT counts.
pub(crate) fn dials(
    by: MethodName,
    own: &SideFacts,
    target: SocketAddrV4,
    window: u16,
    ttl: SynTtl,
) -> Vec<Action> {
    let count = if own.predictability() == Predictability::Counting { window } else { 1 };
    let dial = |place: u16| {
        let port = if place == 0 { own.local.port() } else { 0 };
        Action::Dial(Dial { ttl, ..Dial::now(by, port, target) })
    };
    (0..count).map(dial).collect()
}

/// Without a NAT the own host answers an early SYN with a reset; on a path of almost no delay the two SYNs never cross,
/// so one has to be accepted. Behind a NAT a listener would answer with a sequence number that the NAT does not know.
pub(crate) fn listen(by: MethodName, own: &SideFacts) -> Option<Action> {
    let open = allocation(&own.observations) == Some(Allocation::None);
    open.then(|| Action::Listen { port: own.local.port(), by })
}

impl Method for SimultaneousOpen {
    fn begin(&mut self, view: &RoundView) -> Vec<Action> {
        self.redial.start(view.trip);
        self.changes_port = view.own.changes_port();
        self.is_drawn = is_drawn(view);
        if self.after_refusal == AfterRefusal::Hole && view.role == Role::A {
            self.hole = view.hole();
        }
        let window = self.window(view.round);
        let (Some(peer), Some(own)) = (self.predict(&view.peer, window), self.predict(&view.own, window))
        else {
            return vec![Action::GiveUpIn(Duration::ZERO)];
        };
        let target = peer.endpoint;
        self.peer_is_known = peer.probability > 0.5;
        let probability = peer.probability * own.probability;
        let mut outlook = Outlook { probability, ..peer.into() };
        if probability < HOPELESS && own.probability < HOPELESS {
            outlook.because.push_str("; and this side's own port cannot be predicted");
        }
        let mut actions = vec![Action::Expect(outlook)];
        actions.extend(listen(self.name, &view.own));
        actions.extend(dials(self.name, &view.own, target, window, SynTtl::Full));
        actions.extend(self.second_window(view, window));
        actions.push(if is_drawn(view) {
            Action::GiveUpIn(view.trips(8, Duration::from_millis(400)))
        } else {
            Action::NextRoundIn(view.trips(8, Duration::from_millis(150 * u64::from(view.round))))
        });
        actions
    }

    fn refused(&mut self, dial: Dial, why: DialFailure) -> Vec<Action> {
        if self.is_drawn && self.peer_is_known {
            // A peer that takes connections from everywhere does so only once it has begun.
            return self.redial.again(dial, why);
        }
        if self.is_drawn {
            // The other side dials one guess: that it was refused shows that this is not the port.
            return Vec::new();
        }
        if self.changes_port && matches!(why, DialFailure::Reset | DialFailure::Unreachable) {
            if self.spare > 0 {
                self.spare -= 1;
                return vec![Action::Dial(Dial { port: 0, ttl: self.spare_ttl, ..dial })];
            }
            // Another SYN would leave from another port, where nobody expects it.
            return vec![Action::NextRoundIn(Duration::ZERO)];
        }
        self.redial.again(Dial { ttl: self.hole, ..dial }, why)
    }

    fn told(&mut self, _: RoundNote) -> Vec<Action> {
        Vec::new()
    }

    fn samples(&self, round: u32) -> u8 {
        // What looks random may be a NAT that counts, at the end of its pool.
        if round == 1 { 4 } else { 0 }
    }

    fn wants_fresh_port(&self, round: u32) -> bool {
        round > 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::tests::dials;
    use crate::method::view::tests::{mirrored, view};

    #[test]
    fn each_rule_dials_where_it_expects_the_peer() {
        let cases = [
            (SimultaneousOpen::predicted_port(1), &[5000, 5000][..], 5000),
            (SimultaneousOpen::predicted_port(1), &[20000, 20001], 20002),
            (SimultaneousOpen::observed_port(1), &[20000, 20001], 20000),
            (SimultaneousOpen::preserved_port(1), &[20000, 20001], 5000),
        ];
        for (mut method, peer, expected) in cases {
            let dials = dials(&method.begin(&view(Role::A, &[6000, 6000], peer)));
            assert_eq!(dials.len(), 1);
            assert_eq!((dials[0].port, dials[0].remote.port()), (5000, expected), "{method:?}");
        }
    }

    #[test]
    fn of_a_nat_that_counts_the_last_ports_of_two_windows_are_dialled() {
        let here = view(Role::A, &[6000, 6000], &[20000, 20001]);
        let ports: Vec<_> = dials(&SimultaneousOpen::sequential(1).begin(&here))
            .iter()
            .map(|dial| dial.remote.port())
            .collect();
        assert_eq!(ports, [20001 + WINDOW, 20001 + 2 * WINDOW]);
        let both = view(Role::A, &[20000, 20001], &[20000, 20001]);
        let dials = dials(&SimultaneousOpen::sequential(1).begin(&both));
        assert!(
            dials.iter().all(|dial| dial.remote.port() == 20001 + WINDOW),
            "each SYN has a port of its own"
        );
    }

    #[test]
    fn only_without_a_nat_it_listens_as_well() {
        let mut here = view(Role::A, &[5000, 5000], &[6000, 6000]);
        let listens = |view: &RoundView| {
            let actions = SimultaneousOpen::predicted_port(1).begin(view);
            actions.iter().any(|action| matches!(action, Action::Listen { port: 5000, .. }))
        };
        assert!(!listens(&here));
        here.own.observations.iter_mut().for_each(|seen| seen.external = seen.local);
        assert!(listens(&here));
    }

    #[test]
    fn a_nat_that_counts_gets_a_window_to_one_endpoint_in_order() {
        let dials =
            dials(&SimultaneousOpen::sequential(1).begin(&view(Role::A, &[20000, 20001], &[6000, 6000])));
        assert_eq!(dials.len(), usize::from(WINDOW));
        assert!(dials.iter().all(|dial| dial.remote.port() == 6000 && dial.after.is_zero()));
        assert_eq!(dials[0].port, 5000);
    }

    /// The windows of both sides overlap for any number of other mappings below the window.
    #[test]
    fn the_window_survives_fewer_competing_mappings_than_it_has_ports() {
        let here = view(Role::A, &[20000, 20001], &[30000, 30001]);
        let target_of_b = dials(&SimultaneousOpen::sequential(1).begin(&mirrored(&here)))[0].remote.port();
        for competing in 0..WINDOW + 3 {
            let first = 20002 + competing;
            let hit = (first..first + WINDOW).contains(&target_of_b);
            assert_eq!(hit, competing < WINDOW, "{competing}");
        }
    }

    #[test]
    fn a_refused_dial_is_repeated_unless_its_port_would_change() {
        let mut fixed = SimultaneousOpen::predicted_port(1);
        let first = dials(&fixed.begin(&view(Role::A, &[6000, 6000], &[7000, 7000])))[0];
        assert_eq!(dials(&fixed.refused(first, DialFailure::Reset))[0].remote, first.remote);
        let mut counting = SimultaneousOpen::sequential(1);
        let first = dials(&counting.begin(&view(Role::A, &[20000, 20001], &[7000, 7000])))[0];
        for _ in 0..WINDOW {
            let again = dials(&counting.refused(first, DialFailure::Reset));
            assert_eq!((again[0].port, again[0].ttl), (0, SynTtl::Limited(2)), "a second window, in silence");
        }
        assert_eq!(counting.refused(first, DialFailure::Reset), [Action::NextRoundIn(Duration::ZERO)]);
    }

    #[test]
    fn with_holes_only_role_a_falls_silent() {
        for (role, ttl) in [(Role::A, SynTtl::Limited(2)), (Role::B, SynTtl::Full)] {
            let mut method = SimultaneousOpen::predicted_port(1).with_holes();
            let first = dials(&method.begin(&view(role, &[6000, 6000], &[7000, 7000])))[0];
            assert_eq!(first.ttl, SynTtl::Full);
            assert_eq!(dials(&method.refused(first, DialFailure::Reset))[0].ttl, ttl);
        }
    }

    #[test]
    fn a_guess_is_made_once_and_a_known_endpoint_is_dialled_again() {
        let here = view(Role::A, &[5000, 5000], &[36424, 13999]);
        for (view, again) in [(here.clone(), 0), (mirrored(&here), 1)] {
            let mut method = SimultaneousOpen::predicted_port(1);
            let actions = method.begin(&view);
            assert!(matches!(actions.last(), Some(Action::GiveUpIn(_))));
            assert_eq!(method.refused(dials(&actions)[0], DialFailure::Reset).len(), again);
        }
    }
}
