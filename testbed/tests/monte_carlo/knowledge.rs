//! What a side learns of its NAT before a round, and where it expects the other: `docs/puncher.md`, "What a side takes its NAT
//! for".

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use crate::nat::Nat;
use crate::net::{Address, Endpoint, Kind, Packet};

/// Mappings of other ports that are measured where the first two differ.
const SAMPLES: usize = 4;

/// The largest distance between two mappings that may be a step.
const LARGEST_STEP: i32 = 32;

/// This many mappings that lie so close together show a range.
const ENOUGH_FOR_A_RANGE: usize = 6;
const WIDEST_RANGE: u16 = 4096;

/// Mappings that are kept: those of the own port, and the newest.
const MOST_KEPT: usize = 8;

/// How far an unspoken port may lie from one that was kept.
const NEAR: u16 = 64;

/// The kernel's ephemeral ports.
pub(crate) const EPHEMERAL: std::ops::Range<u16> = 32_768..61_000;

/// What a side takes its NAT for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It keeps an external port for an internal one.
    Known(u16),
    /// Each mapping is so far from the last.
    Counting { last: u16, step: i32 },
    /// Each is drawn; between these ports, if they lie close together.
    Drawn(Option<(u16, u16)>),
}

/// One side's knowledge.
#[derive(Debug, Clone)]
pub(crate) struct Knowledge {
    /// The internal port to punch from.
    pub(crate) local: u16,
    /// Internal and external port of each mapping, in the order in which they were made.
    seen: Vec<(u16, u16)>,
    /// It punches from ports that have spoken to nobody, because its NAT keeps only the first mapping of a port.
    pub(crate) kept_once: bool,
    /// The port that was measured first.
    first: u16,
    seen_again: bool,
}

impl Knowledge {
    /// What is known before the first round: the port to punch from, towards both addresses of the server.
    pub(crate) fn before(local: u16, nat: &mut Nat, rng: &mut ChaCha8Rng) -> Self {
        let mut known = Self { local, seen: Vec::new(), kept_once: false, first: local, seen_again: false };
        for address in [Address::Server, Address::OtherServer] {
            known.measure(local, address, nat, rng);
        }
        known
    }

    fn measure(&mut self, port: u16, address: Address, nat: &mut Nat, rng: &mut ChaCha8Rng) {
        let to = Endpoint { address, port: 7000 + u16::from(address == Address::OtherServer) };
        let packet = Packet { kind: Kind::Syn, from: port, to, ttl: 64, syn: 0 };
        if let Some(external) = nat.outward(packet, rng) {
            self.seen.push((port, external));
        }
    }

    /// What is measured before a round.
    pub(crate) fn prepare(&mut self, round: u32, samples: bool, nat: &mut Nat, rng: &mut ChaCha8Rng) {
        let known = matches!(self.taken(), Taken::Known(_));
        if known && !self.kept_once && round > 2 {
            self.move_to_measured_port(nat, rng);
        } else if known && self.seems_observed() && !self.seen_again && round > 1 {
            self.look_again(nat, rng);
        }
        let wanted = match self.taken() {
            Taken::Known(_) => 0,
            Taken::Counting { .. } | Taken::Drawn(_) if round == 1 => {
                if samples {
                    SAMPLES
                } else {
                    0
                }
            }
            Taken::Counting { .. } | Taken::Drawn(_) => 2,
        };
        for _ in 0..wanted {
            let port = rng.random_range(EPHEMERAL);
            self.measure(port, Address::Server, nat, rng);
        }
        if self.kept_once || self.is_kept_once() {
            // A port that has spoken to nobody, near the one that was kept: its first mapping will keep it.
            self.kept_once = true;
            self.local = rng.random_range(self.first - NEAR..=self.first + NEAR);
            self.seen = vec![(self.local, self.local)];
        } else if let (Taken::Counting { .. }, true, Some(newest)) =
            (self.taken(), round > 1, self.seen.last())
        {
            self.local = newest.0;
        }
        self.forget_the_oldest();
    }

    fn move_to_measured_port(&mut self, nat: &mut Nat, rng: &mut ChaCha8Rng) {
        self.local = rng.random_range(EPHEMERAL);
        self.seen.clear();
        self.measure(self.local, Address::Server, nat, rng);
    }

    /// Two alike may be chance: another port is looked at, towards both addresses.
    fn look_again(&mut self, nat: &mut Nat, rng: &mut ChaCha8Rng) {
        self.seen_again = true;
        let mut other = Self { local: rng.random_range(EPHEMERAL), seen: Vec::new(), ..self.clone() };
        for address in [Address::Server, Address::OtherServer] {
            other.measure(other.local, address, nat, rng);
        }
        if !other.seems_observed() {
            *self = other;
            for _ in 0..SAMPLES {
                let port = rng.random_range(EPHEMERAL);
                self.measure(port, Address::Server, nat, rng);
            }
        }
    }

    fn forget_the_oldest(&mut self) {
        while self.seen.len() > MOST_KEPT {
            let first = self.seen[0].0;
            let Some(oldest) = self.seen.iter().position(|(port, _)| *port != first) else { return };
            self.seen.remove(oldest);
        }
    }

    /// The mappings of the port that was measured first.
    fn of_own_port(&self) -> impl Iterator<Item = u16> + '_ {
        let first = self.seen.first().map_or(0, |(port, _)| *port);
        self.seen.iter().filter(move |(port, _)| *port == first).map(|(_, external)| *external)
    }

    fn own_are_alike(&self) -> bool {
        self.of_own_port().all(|external| Some(external) == self.observed())
    }

    fn seems_observed(&self) -> bool {
        self.own_are_alike() && self.seen.first().is_some_and(|(port, external)| port != external)
    }

    fn is_kept_once(&self) -> bool {
        !self.own_are_alike() && self.seen.first().is_some_and(|(port, external)| port == external)
    }

    /// The external port that was seen first.
    pub(crate) fn observed(&self) -> Option<u16> {
        self.seen.first().map(|(_, external)| *external)
    }

    pub(crate) fn taken(&self) -> Taken {
        if let (true, Some(port)) = (self.own_are_alike(), self.observed()) {
            return Taken::Known(port);
        }
        match self.step() {
            Some(step) if !self.is_kept_once() => {
                Taken::Counting { last: self.seen.last().map_or(0, |(_, external)| *external), step }
            }
            _ => Taken::Drawn(self.range()),
        }
    }

    /// The commonest small distance, if half of all distances are it and the newest goes the same way; else the least of at
    /// least five that all go the same way and not far.
    fn step(&self) -> Option<i32> {
        let distances: Vec<i32> =
            self.seen.windows(2).map(|pair| i32::from(pair[1].1) - i32::from(pair[0].1)).collect();
        let newest = *distances.last()?;
        let times = |step: i32| distances.iter().filter(|distance| **distance == step).count();
        let small = distances.iter().copied().filter(|step| *step != 0 && step.abs() <= LARGEST_STEP);
        let likely = small.filter(|step| {
            times(*step) * 2 >= distances.len() && step.signum() == newest.signum() && newest.abs() <= 1024
        });
        likely.max_by_key(|step| (times(*step), -step.abs())).or_else(|| {
            let one_way = |distance: &i32| distance.signum() == distances[0].signum() && distance.abs() <= 12;
            let climbs = distances.len() >= 5 && distances.iter().all(one_way);
            climbs.then(|| distances.iter().copied().min_by_key(|distance| distance.abs()).unwrap_or(1))
        })
    }

    fn range(&self) -> Option<(u16, u16)> {
        let externals = || self.seen.iter().map(|(_, external)| *external);
        let (low, high) = (externals().min()?, externals().max()?);
        (self.seen.len() >= ENOUGH_FOR_A_RANGE && high - low <= WIDEST_RANGE).then_some((low, high))
    }

    /// Where the mapping after this many others is expected.
    pub(crate) fn predict(&self, skipped: u16, rng: &mut ChaCha8Rng) -> u16 {
        match self.taken() {
            Taken::Known(port) => port,
            Taken::Counting { last, step } => {
                let ahead = i32::from(last) - 1024 + step * (i32::from(skipped) + 1);
                u16::try_from(1024 + ahead.rem_euclid(64_512)).expect("a port")
            }
            Taken::Drawn(Some((low, high))) => rng.random_range(low..=high),
            // The kernel draws these twice as often as others.
            Taken::Drawn(None) => rng.random_range(1024..2048),
        }
    }

    pub(crate) fn is_drawn(&self) -> bool {
        matches!(self.taken(), Taken::Drawn(_))
    }

    pub(crate) fn is_counting(&self) -> bool {
        matches!(self.taken(), Taken::Counting { .. })
    }

    /// Whether each dial has a port of its own.
    pub(crate) fn changes_port(&self) -> bool {
        self.kept_once || self.is_counting()
    }
}
