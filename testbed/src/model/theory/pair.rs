//! The chance of each method between two sides, from their ports and filters and the declared budget.

use crate::model::behavior::{Behavior, Hairpinning, Translation};
use crate::model::outcome::Expectation;
use crate::model::suite::{LOCAL_PORTS, LowPorts, Redial};

use super::TheoryInput;
use super::birthday::{Draws, both_sides_draw, one_side_guesses};
use super::method::{Method, PortGuess};
use super::pooling::{PortOfAddress, lowered, origin};
use super::redial::DrawsPerGuess;
use super::side::{PortKnowledge, Side};

/// Rounds that are punched from ports of their own, at most, where the measured port seems to stay: as many as a deadline of
/// three seconds has room for.
const FRESH_PORTS: u32 = 24;

/// Spraying stops when it misses once in this many times, and the last free ports of a pool are found almost surely.
const ENOUGH: f64 = 1.0 - 1e-6;

/// SYNs that `auto` spends before it sprays: listening and looking for a way from within.
const BEFORE_SPRAYING: u32 = 4;

/// What a method that theory knows is expected to do.
pub(super) fn expect(input: &TheoryInput<'_>) -> Expectation {
    let late = std::time::Duration::from_secs_f64(input.skew_ms.abs() / 1000.0);
    if 3 * input.trip >= input.budget.deadline {
        return never("the way is so long that the deadline has passed before the two have met");
    }
    if late + 3 * input.trip >= input.budget.deadline {
        return never("one side begins so late that the other has given up");
    }
    let low = input.budget.low_ports;
    if input.common.iter().all(|nat| nat.translation != Translation::Nat) {
        let (a, b) = (Side::of(&input.a, low), Side::of(&input.b, low));
        return Pair { a, b, input }.expect();
    }
    below_one_nat(input, low)
}

/// Both peers are behind one NAT: by way of their common network, or by hairpinning.
fn below_one_nat(input: &TheoryInput<'_>, low: LowPorts) -> Expectation {
    let within = input.a.is_empty() || input.b.is_empty();
    let has_pool = input.common.iter().any(|nat| nat.addresses.count > 1);
    if within && input.method == Method::Auto && has_pool {
        let because = "peers below a NAT with several addresses may have different ones, and then do not look for a way within";
        return Expectation::between(0.5, [0.0, 1.0], because.to_owned());
    }
    if within && input.method.tries_internal() {
        return always("the peers reach each other's internal endpoint within their common network");
    }
    if input.method == Method::Private {
        return never("each peer's internal endpoint is behind a NAT of its own");
    }
    // What the server sees is the outermost address; so that NAT has to turn the SYNs round.
    let outermost = input.common.iter().rev().find(|nat| nat.translation == Translation::Nat);
    if outermost.is_none_or(|nat| nat.hairpinning == Hairpinning::Off) {
        return never("the NAT that both external endpoints belong to does not hairpin");
    }
    let through =
        |own: &[&'_ Behavior]| own.iter().chain(&input.common).copied().copied().collect::<Vec<Behavior>>();
    let (a, b) = (through(&input.a), through(&input.b));
    let (a, b): (Vec<&Behavior>, Vec<&Behavior>) = (a.iter().collect(), b.iter().collect());
    Pair { a: Side::of(&a, low), b: Side::of(&b, low), input }.expect()
}

/// Two sides whose ways meet outside.
struct Pair<'a> {
    a: Side<'a>,
    b: Side<'a>,
    input: &'a TheoryInput<'a>,
}

impl Pair<'_> {
    fn expect(&self) -> Expectation {
        let expected = self.by_known_addresses();
        if self.accepts_from_anywhere() || expected.high <= 0.0 {
            return expected;
        }
        if let Some((_, name)) =
            self.sides().into_iter().find(|(side, _)| side.port == PortKnowledge::KeptForSome)
        {
            let because =
                format!("NAT-{name} keeps some ports and not others, and nobody says which is punched from");
            return Expectation::between(expected.probability, [0.0, 1.0], because);
        }
        let meets = self.a.draws().is_none() && self.b.draws().is_none() && self.refused().is_none();
        let origin = origin(self.input.method, meets);
        let among = self.sides().map(|(side, name)| (name, side.address.among(origin)));
        lowered(expected, &among, self.port_of_address())
    }

    /// Whether each side's port is certain. Behind two NATs it is not: what is one endpoint to the outer one serves server and peer, and
    /// only its first mapping keeps the port.
    fn port_of_address(&self) -> PortOfAddress {
        let certain = |(side, _): (&Side<'_>, char)| {
            let known = matches!(side.port, PortKnowledge::Known | PortKnowledge::KnownOnce);
            known && side.translations() <= 1
        };
        match self.sides().into_iter().all(certain) {
            true => PortOfAddress::Certain,
            false => PortOfAddress::Uncertain,
        }
    }

    /// Whether a side accepts a SYN from wherever it comes, by a mapping that is there or without one.
    fn accepts_from_anywhere(&self) -> bool {
        let listens = matches!(self.input.method, Method::Listen | Method::Auto);
        let draws = matches!(self.input.method, Method::Spray | Method::LowPort);
        let open = |side: &Side<'_>| side.admits_anyone() && (listens || (side.is_untranslated() && !draws));
        self.sides().into_iter().any(|(side, _)| open(side))
    }

    /// If every SYN comes from the address that was observed.
    fn by_known_addresses(&self) -> Expectation {
        match self.input.method {
            Method::Private => self.private(),
            Method::Listen => self.listen(),
            Method::Hairpin => self.accepted_behind_a_filter().unwrap_or_else(|| self.meet()),
            Method::Spray => self.spray(self.input.budget.syns),
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

    /// One port a side, predicted.
    fn meet(&self) -> Expectation {
        let expected = self.meet_in_time();
        if !self.may_dial_in_lock_step() || expected.high <= 0.0 {
            return expected;
        }
        let because = format!(
            "{}, unless both programs dial again in lock step: each SYN comes when the other side's has just been refused",
            expected.because
        );
        Expectation::between(expected.probability, [0.0, expected.high], because)
    }

    /// Whether both sides' dials are refused, and nobody knows the pace at which strangers' programs dial again. Ours pauses at random.
    fn may_dial_in_lock_step(&self) -> bool {
        self.input.redial == Some(Redial::AfterRefusal) && self.a.answers_dials() && self.b.answers_dials()
    }

    /// The same, where no dial is refused because of when it comes. A window where a NAT counts.
    fn meet_in_time(&self) -> Expectation {
        if let Some(refused) = self.refused() {
            return refused;
        }
        let aim = self.input.method.aim();
        let covered = match aim {
            PortGuess::Predicted { window } => window,
            PortGuess::Observed | PortGuess::Internal => 0,
        };
        for ((side, name), competing) in self.sides().into_iter().zip(self.input.competing) {
            if side.port == PortKnowledge::Counted && competing > covered {
                return never(&format!("others take the ports that were expected of NAT-{name}"));
            }
        }
        if aim == PortGuess::Internal {
            return self.meet_at_the_internal_ports();
        }
        if aim == PortGuess::Observed {
            let moves = |(side, _): &(&Side<'_>, char)| side.port == PortKnowledge::Counted;
            if let Some((_, name)) = self.sides().into_iter().find(moves) {
                return never(&format!(
                    "NAT-{name} gives the punch another port than the one that was observed"
                ));
            }
        }
        self.guess_once(aim)
    }

    /// Nothing is drawn: only the end of a counter's pool can come between.
    fn predicted(&self) -> Expectation {
        let because = "both external ports can be predicted, so each SYN opens the way for the other";
        Expectation::between(1.0, [self.counts_on(), 1.0], because)
    }

    /// Probability that no counter comes to the end of its pool just now.
    fn counts_on(&self) -> f64 {
        self.sides().iter().map(|(side, _)| 1.0 - side.end_of_pool()).product()
    }

    /// One guess at each port that is drawn, against as many draws as refusals make.
    fn guess_once(&self, aim: PortGuess) -> Expectation {
        let pools: Vec<String> = self.sides().iter().filter_map(|(side, name)| drawn(side, *name)).collect();
        let hit = |side: &Side<'_>| {
            side.draws().map(|draws| match aim {
                PortGuess::Observed => draws.looks_kept(),
                PortGuess::Internal | PortGuess::Predicted { .. } => one_side_guesses(draws, 1, 1),
            })
        };
        let (once, tries) = match (hit(&self.a), hit(&self.b)) {
            (None, None) => return self.predicted(),
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
        let low = if beside { 0.0 } else { among(tries.least) * self.counts_on() };
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

    fn tries(&self, drawing: &Side<'_>, other: &Side<'_>, from: usize) -> DrawsPerGuess {
        DrawsPerGuess::of(self.input, drawing, other, self.input.reach[from])
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
        self.guess([self.a.low.or(self.a.draws()), self.b.low.or(self.b.draws())], self.input.budget.syns)
    }

    /// Guesses against draws from these pools, with this many SYNs a side.
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
                if other.port == PortKnowledge::Known {
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
        // What is drawn for low source ports comes from a pool that everybody knows.
        let hidden = sides.iter().zip(pools).any(|(side, pool)| pool == side.draws() && side.may_be_missed());
        if hidden {
            let because =
                format!("{because}, if the guesses are ports of the NAT, which a few draws do not show");
            return Expectation::between(probability, [0.0, probability], because);
        }
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
        let spray = self.spray(self.input.budget.syns.saturating_sub(BEFORE_SPRAYING));
        if self.a.low.is_none() && self.b.low.is_none() {
            return spray;
        }
        let low_port = self.low_port();
        if low_port.probability >= spray.probability { low_port } else { spray }
    }
}

fn drawn(side: &Side<'_>, name: char) -> Option<String> {
    let draws = side.draws()?;
    let unevenly = if draws == Draws::Kernel { " (1024 to 2047 twice as often)" } else { "" };
    Some(format!("NAT-{name} draws a new port for every connection, from {}{unevenly}", draws.ports()))
}

fn always(because: &str) -> Expectation {
    Expectation::exactly(1.0, because)
}

fn never(because: &str) -> Expectation {
    Expectation::exactly(0.0, because)
}
