//! The chance of each method, from both sides' ports and filters and the declared budget.
//!
//! A method is known by what its documentation says it does, never by what a program tells of itself.

use crate::model::behavior::{Behavior, Hairpinning, Translation};
use crate::model::outcome::Expectation;
use crate::model::suite::{LOCAL_PORTS, LowPorts};
use crate::model::words::words;

use super::Situation;
use super::birthday::{Draws, both_sides_draw, one_side_guesses};
use super::redial::Tries;
use super::side::{Port, Side};

/// A way to punch that theory knows: those of our own puncher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "`docs/puncher.md` says what each does")]
pub enum Method {
    Auto,
    SimultaneousOpen,
    ObservedPort,
    PreservedPort,
    Sequential,
    LowTtl,
    Listen,
    LowPort,
    Spray,
    Private,
    Hairpin,
}

words!(Method {
    Auto => "auto",
    SimultaneousOpen => "simultaneous-open",
    ObservedPort => "observed-port",
    PreservedPort => "preserved-port",
    Sequential => "sequential",
    LowTtl => "low-ttl",
    Listen => "listen",
    LowPort => "low-port",
    Spray => "spray",
    Private => "private",
    Hairpin => "hairpin",
});

/// What a method takes for the external port that the other side's SYN comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Aim {
    /// The one that the server saw.
    Observed,
    /// The internal one.
    Internal,
    /// Whichever of these was seen to hold, or the next by the step that was seen, and so many further on at most.
    Predicted {
        /// Mappings of other hosts that it still finds its way among.
        window: u32,
    },
}

/// Which side dials again after a refusal, where a port is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DialsAgain {
    /// None.
    Never,
    /// The one that knows where the other is.
    TowardsKnown,
    /// Both: each takes the other's port for known.
    Both,
}

impl Method {
    /// What it aims at, where it dials one endpoint.
    const fn aim(self) -> Aim {
        match self {
            Self::ObservedPort => Aim::Observed,
            Self::PreservedPort => Aim::Internal,
            Self::Sequential | Self::Auto => Aim::Predicted { window: WIDEST_WINDOW },
            Self::SimultaneousOpen
            | Self::LowTtl
            | Self::Listen
            | Self::LowPort
            | Self::Spray
            | Self::Private
            | Self::Hairpin => Aim::Predicted { window: 0 },
        }
    }

    /// Whether it tries the peer's internal endpoint.
    const fn tries_internal(self) -> bool {
        match self {
            Self::Private | Self::Auto => true,
            Self::SimultaneousOpen
            | Self::ObservedPort
            | Self::PreservedPort
            | Self::Sequential
            | Self::LowTtl
            | Self::Listen
            | Self::LowPort
            | Self::Spray
            | Self::Hairpin => false,
        }
    }
}

/// Mappings of other hosts that the largest window still covers: it has 64 ports.
const WIDEST_WINDOW: u32 = 63;

/// Rounds that are punched from ports of their own, at most, where the measured port seems to stay: as many as a deadline of
/// three seconds has room for.
const FRESH_PORTS: u32 = 24;

/// Spraying stops when it misses once in so many times, and the last free ports of a pool are found almost surely.
const ENOUGH: f64 = 1.0 - 1e-6;

/// SYNs that `auto` spends before it sprays: listening and looking for a way from within.
const BEFORE_SPRAYING: u32 = 4;

/// What a method that theory knows is expected to do.
pub(super) fn expect(situation: &Situation<'_>) -> Expectation {
    let late = std::time::Duration::from_secs_f64(situation.skew_ms.abs() / 1000.0);
    if late + 3 * situation.trip >= situation.budget.deadline {
        return never("one side begins so late that the other has given up");
    }
    let low = situation.budget.low_ports;
    if situation.common.iter().all(|nat| nat.translation != Translation::Nat) {
        let (a, b) = (Side::of(&situation.a, low), Side::of(&situation.b, low));
        return Pair { a, b, situation }.expect();
    }
    below_one_nat(situation, low)
}

/// Both peers are behind one NAT: by way of their common network, or turned round by the NAT.
fn below_one_nat(situation: &Situation<'_>, low: LowPorts) -> Expectation {
    let within = situation.a.is_empty() || situation.b.is_empty();
    if within && situation.method.tries_internal() {
        return always("the peers reach each other's internal endpoint within their common network");
    }
    if situation.method == Method::Private {
        return never("each peer's internal endpoint is behind a NAT of its own");
    }
    // What the server sees is the outermost address; so that NAT has to turn the SYNs round.
    let outermost = situation.common.iter().rev().find(|nat| nat.translation == Translation::Nat);
    if outermost.is_none_or(|nat| nat.hairpinning == Hairpinning::Off) {
        return never("the NAT that both external endpoints belong to does not hairpin");
    }
    let through = |own: &[&'_ Behavior]| {
        own.iter().chain(&situation.common).copied().copied().collect::<Vec<Behavior>>()
    };
    let (a, b) = (through(&situation.a), through(&situation.b));
    let (a, b): (Vec<&Behavior>, Vec<&Behavior>) = (a.iter().collect(), b.iter().collect());
    Pair { a: Side::of(&a, low), b: Side::of(&b, low), situation }.expect()
}

/// Two sides whose ways meet outside.
struct Pair<'a> {
    a: Side<'a>,
    b: Side<'a>,
    situation: &'a Situation<'a>,
}

impl Pair<'_> {
    fn expect(&self) -> Expectation {
        match self.situation.method {
            Method::Private => self.private(),
            Method::Listen => self.listen(),
            Method::Hairpin => self.accepted_behind_a_filter().unwrap_or_else(|| self.meet()),
            Method::Spray => self.spray(self.situation.budget.syns),
            Method::LowPort => self.low_port(),
            Method::Auto => self.auto(),
            Method::SimultaneousOpen
            | Method::ObservedPort
            | Method::PreservedPort
            | Method::Sequential
            | Method::LowTtl => self.accepted_without_a_nat().unwrap_or_else(|| self.meet()),
        }
    }

    fn sides(&self) -> [(&Side<'_>, char); 2] {
        [(&self.a, 'a'), (&self.b, 'b')]
    }

    /// A host whose endpoint is its own accepts whatever gets there.
    fn accepted_without_a_nat(&self) -> Option<Expectation> {
        let open = |(side, _): &(&Side<'_>, char)| side.is_untranslated() && side.admits_address();
        let (_, name) = self.sides().into_iter().find(open)?;
        Some(always(&format!(
            "peer {name} accepts at its own endpoint, and nothing keeps the other side's SYN out"
        )))
    }

    /// A side that listens behind a NAT that lets the other side's address in.
    fn accepted_behind_a_filter(&self) -> Option<Expectation> {
        let open = |(side, _): &(&Side<'_>, char)| side.draws().is_none() && side.admits_address();
        let (_, name) = self.sides().into_iter().find(open)?;
        let because = format!(
            "peer {name} listens behind a known port, and its filter lets in the address it has sent to, whatever the port"
        );
        Some(always(&because))
    }

    fn listen(&self) -> Expectation {
        let existing = |(side, _): &(&Side<'_>, char)| side.admits_anyone();
        if let Some((_, name)) = self.sides().into_iter().find(existing) {
            return always(&format!("peer {name} listens behind a mapping that lets anyone in"));
        }
        self.accepted_behind_a_filter().unwrap_or_else(|| {
            never("both NATs let in only the very endpoint that was sent to, and the dial comes from another port")
        })
    }

    fn private(&self) -> Expectation {
        let both = self.a.is_untranslated() && self.b.is_untranslated();
        let open = |(side, _): &(&Side<'_>, char)| side.is_untranslated() && side.admits_anyone();
        if self.sides().iter().any(open) {
            return always("an internal endpoint that is public accepts whoever comes");
        }
        if both {
            return self.meet();
        }
        never("the internal endpoint of a peer behind a NAT cannot be reached from outside")
    }

    fn refused(&self) -> Option<Expectation> {
        let both = self.a.refuses_syn_after_syn() && self.b.refuses_syn_after_syn();
        both.then(|| never("both NATs refuse a SYN from where a SYN went to, so neither SYN can pass"))
    }

    /// One port a side, predicted; a window where a NAT counts.
    fn meet(&self) -> Expectation {
        if let Some(refused) = self.refused() {
            return refused;
        }
        let aim = self.situation.method.aim();
        let covered = match aim {
            Aim::Predicted { window } => window,
            Aim::Observed | Aim::Internal => 0,
        };
        for ((side, name), competing) in self.sides().into_iter().zip(self.situation.competing) {
            if side.port == Port::Counted && competing > covered {
                return never(&format!("others take the ports that were expected of NAT-{name}"));
            }
        }
        if aim == Aim::Internal {
            return self.meet_at_the_internal_ports();
        }
        if aim == Aim::Observed {
            let moves = |(side, _): &(&Side<'_>, char)| side.port == Port::Counted;
            if let Some((_, name)) = self.sides().into_iter().find(moves) {
                return never(&format!(
                    "NAT-{name} gives the punch another port than the one that was observed"
                ));
            }
        }
        self.guess_once(aim)
    }

    /// One guess at each port that is drawn, against as many draws as refusals make.
    fn guess_once(&self, aim: Aim) -> Expectation {
        let pools: Vec<String> = self.sides().iter().filter_map(|(side, name)| drawn(side, *name)).collect();
        let hit = |side: &Side<'_>| {
            side.draws().map(|draws| match aim {
                Aim::Observed => draws.looks_kept(),
                Aim::Internal | Aim::Predicted { .. } => one_side_guesses(draws, 1, 1),
            })
        };
        let (once, tries) = match (hit(&self.a), hit(&self.b)) {
            (None, None) => {
                return always(
                    "both external ports can be predicted, so each SYN opens the way for the other",
                );
            }
            (Some(a), None) => (a, self.tries(&self.a, &self.b, 0)),
            (None, Some(b)) => (b, self.tries(&self.b, &self.a, 1)),
            // Each dial of one side is under way together with two of the other at most.
            (Some(a), Some(b)) => {
                let (of_a, of_b) = (self.tries(&self.a, &self.b, 0), self.tries(&self.b, &self.a, 1));
                let (one, both) = (a * b, of_a.joined(of_b));
                (one, both)
            }
        };
        let among = |tries: u32| 1.0 - (1.0 - once).powf(f64::from(tries));
        let misread: f64 = self.sides().iter().filter_map(|(side, _)| side.draws()).map(Draws::misread).sum();
        // Nobody knows the bounds of a wide pool: the guess may lie beside it.
        let beside = self.sides().iter().filter_map(|(side, _)| side.draws()).any(Draws::may_be_missed);
        let low = if beside { 0.0 } else { among(tries.least) };
        let high = among(tries.most) + misread * among(tries.misread);
        let because = match (tries.least, tries.most) {
            (1, 1) => format!("{}, and one guess is all there is", pools.join(" and ")),
            (least, most) => format!(
                "{}, and one guess is met by {least} to {most} draws, because each refusal is followed by another dial",
                pools.join(" and ")
            ),
        };
        Expectation::between(among(tries.usual), [low, high.min(1.0)], because)
    }

    fn tries(&self, drawing: &Side<'_>, other: &Side<'_>, from: usize) -> Tries {
        Tries::of(self.situation, drawing, other, self.situation.reach[from])
    }

    fn meet_at_the_internal_ports(&self) -> Expectation {
        let changing: Vec<_> = self.sides().into_iter().filter(|(side, _)| side.kept_among() > 1).collect();
        let Some((side, name)) = changing.first() else {
            return always("both NATs keep the internal port, so each SYN opens the way for the other");
        };
        let because =
            format!("NAT-{name} does not keep the internal port: it takes one of {}", side.kept_among());
        if changing.iter().any(|(side, _)| side.never_kept(&LOCAL_PORTS)) {
            return never(&format!("{because}, none of which peers punch from"));
        }
        let once: f64 = changing.iter().map(|(side, _)| side.kept_chance()).product();
        let (of_a, of_b) = (self.tries(&self.a, &self.b, 0), self.tries(&self.b, &self.a, 1));
        let most = of_a.most.max(of_b.most).max(FRESH_PORTS);
        let among = |tries: u32| 1.0 - (1.0 - once).powf(f64::from(tries));
        let low = if changing.iter().all(|(side, _)| side.always_kept(&LOCAL_PORTS)) { once } else { 0.0 };
        Expectation::between(once, [low, among(2 * most)], because)
    }

    fn spray(&self, syns: u32) -> Expectation {
        if let Some(refused) = self.refused() {
            return refused;
        }
        self.guess([self.a.draws(), self.b.draws()], syns)
    }

    fn low_port(&self) -> Expectation {
        if let Some(refused) = self.refused() {
            return refused;
        }
        if self.a.low.is_none() && self.b.low.is_none() {
            return never("no side draws its ports from the pool for low source ports, or may use it");
        }
        self.guess([self.a.low.or(self.a.draws()), self.b.low.or(self.b.draws())], self.situation.budget.syns)
    }

    /// Guesses against draws from these pools, with so many SYNs a side.
    fn guess(&self, pools: [Option<Draws>; 2], syns: u32) -> Expectation {
        let sides = [&self.a, &self.b];
        let (probability, because) = match pools {
            [None, None] => return self.meet(),
            [Some(a), Some(b)] => (
                both_sides_draw(a, b, syns, syns).min(ENOUGH),
                format!(
                    "both sides draw {syns} times, from {} and {} ports, for one that was agreed",
                    a.ports(),
                    b.ports()
                ),
            ),
            [a, b] => {
                let draws = a.or(b).expect("one of them draws");
                let (drawing, other) = if a.is_some() { (sides[0], sides[1]) } else { (sides[1], sides[0]) };
                // Two mappings of each of two ports are measured: where both pairs happen to be alike, one guess is made.
                let looks_kept = drawing.draws().map_or(0.0, Draws::looks_kept).powi(2);
                if other.port == Port::Known {
                    (
                        one_side_guesses(draws, syns, syns).min(ENOUGH) * (1.0 - looks_kept),
                        format!("up to {syns} guesses against as many draws from {} ports", draws.ports()),
                    )
                } else {
                    (
                        one_side_guesses(draws, 1, syns).min(ENOUGH),
                        format!(
                            "one guess, because each SYN of the other side leaves from another port, against {syns} draws \
                             from {} ports",
                            draws.ports()
                        ),
                    )
                }
            }
        };
        Expectation::exactly(probability, because)
    }

    /// Whatever of the others works.
    fn auto(&self) -> Expectation {
        if let Some(accepted) = self.accepted_without_a_nat() {
            return accepted;
        }
        let listen = self.listen();
        if listen.probability > 0.0 {
            return listen;
        }
        if self.a.draws().is_none() && self.b.draws().is_none() {
            return self.meet();
        }
        let spray = self.spray(self.situation.budget.syns.saturating_sub(BEFORE_SPRAYING));
        if self.a.low.is_none() && self.b.low.is_none() {
            return spray;
        }
        let low_port = self.low_port();
        if low_port.probability >= spray.probability { low_port } else { spray }
    }
}

fn drawn(side: &Side<'_>, name: char) -> Option<String> {
    Some(format!("NAT-{name} draws a new port for every connection, from {}", side.draws()?.ports()))
}

fn always(because: &str) -> Expectation {
    Expectation::exactly(1.0, because)
}

fn never(because: &str) -> Expectation {
    Expectation::exactly(0.0, because)
}
