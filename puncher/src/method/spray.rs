//! `spray`: guesses at many ports at once, because of a NAT that draws them (the birthday paradox).
//!
//! ```text
//!  P             NAT-p         NAT-r             R
//!  |               |    x----<---|<--SYN x M-----|   M ports become M holes, all for P's one endpoint, and die on the way
//!  |<. . . . . . . . . . "open" . . . . . . . . .|
//!  |--SYN x N----->|------------>|-------------->|   one port to N guesses: one of them meets a hole
//! ```
//!
//! A pair is right when the guess is one of R's ports: each of M draws is among N guesses with the chance that the
//! pool gives them. R's holes are opened with a low TTL first (see `low_ttl`), so nothing unsolicited reaches NAT-p, and
//! it does not matter whether either NAT answers; R's retransmissions, a second later, go all the way.
//!
//! Who guesses what depends on both NATs:
//! - one is known, the other draws: N guesses against M draws, as drawn above;
//! - one counts, the other draws: each SYN of the first leaves from another port. So it makes one guess, from a window of
//!   ports, and the other draws as often as it may, towards one port of that window;
//! - both draw: each draws towards one endpoint of the other that both agreed upon.
//!
//! Conditions: a budget that fits the pool; nothing else. Cost: N or M sockets and SYNs.

use std::net::SocketAddrV4;
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::meeting::Role;
use crate::method::pool::{LOW_SOURCES, Pool};
use crate::method::simultaneous_open::{self, window};
use crate::method::view::{Predictability, RoundView, SideFacts};
use crate::method::{Action, Dial, Method, MethodName, Outlook, RoundNote};
use crate::predict::predict;
use crate::socket::{DialFailure, SynTtl};

/// The chance of missing that sets how many draws are made, if the budget has them.
const MISS: f64 = 1e-6;

/// The guesses that are worth twice the others come first; more only when the draws are too few.
const FIRST_GUESSES: u32 = 1024;

/// Draws beyond the pool's size that fill it: the last free ports are hard to find at random.
const FILL: f64 = 1.08;

/// Guesses at many ports.
#[derive(Debug)]
pub(crate) struct Spray {
    waiting: Vec<Action>,
    rng: ChaCha8Rng,
}

impl Spray {
    /// Guesses follow from the seed.
    #[must_use]
    pub(crate) fn new(seed: u64) -> Self {
        Self { waiting: Vec::new(), rng: ChaCha8Rng::seed_from_u64(seed) }
    }
}

impl Method for Spray {
    fn begin(&mut self, view: &RoundView) -> Vec<Action> {
        let pool = |side: &SideFacts| Pool::of(&side.observations);
        let Some(plan) = plan(MethodName::Spray, view, pool, &mut self.rng) else {
            return vec![Action::GiveUpIn(Duration::ZERO)];
        };
        // Holes whose SYN did not get through a second NAT of their own side open when they are sent again.
        let patience = if plan.outlook.probability < 0.01 { 400 } else { 1500 };
        let patience = view.trips(12, Duration::from_millis(patience));
        plan.begin(view.role, &mut self.waiting, patience, Action::GiveUpIn)
    }

    fn refused(&mut self, _: Dial, _: DialFailure) -> Vec<Action> {
        // A wrong guess stays wrong.
        Vec::new()
    }

    fn told(&mut self, note: RoundNote) -> Vec<Action> {
        match note {
            RoundNote::Open => std::mem::take(&mut self.waiting),
        }
    }

    fn samples(&self, round: u32) -> u8 {
        if round == 1 { 4 } else { 0 }
    }

    fn wants_hops(&self, _: u32) -> bool {
        true
    }

    fn wants_second_look(&self, _: u32) -> bool {
        true
    }
}

/// What a side does in one spray.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) outlook: Outlook,
    dials: Vec<Action>,
    /// How many the other side makes.
    peer_dials: u32,
    opener: Role,
    /// Whether a dial that was refused is a draw lost, to be made again: where a NAT answers, the mapping is gone, too.
    pub(crate) redraws: bool,
}

/// What each dial may take on a slow machine, beyond the time of the packets.
const A_DIAL: Duration = Duration::from_millis(1);

impl Plan {
    /// The opener acts now; the other keeps its dials in `waiting` until it is told. Each waits as long as the other's
    /// dials may take, and for the packets: `patience`, after which comes `end`.
    pub(crate) fn begin(
        self,
        role: Role,
        waiting: &mut Vec<Action>,
        patience: Duration,
        end: fn(Duration) -> Action,
    ) -> Vec<Action> {
        let mut actions = vec![Action::Expect(self.outlook)];
        let others = end(patience + A_DIAL * self.peer_dials);
        if role == self.opener {
            actions.extend(self.dials);
            actions.push(Action::Tell(RoundNote::Open));
        } else {
            *waiting = self.dials;
            waiting.push(end(patience));
        }
        actions.push(others);
        actions
    }
}

/// Plans one side. Both sides compute the same numbers, because they see the same.
pub(crate) fn plan(
    by: MethodName,
    view: &RoundView,
    pool: impl Fn(&SideFacts) -> Pool,
    rng: &mut impl Rng,
) -> Option<Plan> {
    let spray =
        Planner { by, view, own_pool: pool(&view.own), peer_pool: pool(&view.peer), opener: opener(view) };
    // A side whose dials have a port each can make one guess only.
    let predictability =
        |side: &SideFacts| if side.changes_port() { Predictability::Counting } else { side.predictability() };
    match (predictability(&view.own), predictability(&view.peer)) {
        (Predictability::Fixed, Predictability::Random) => spray.seek(rng),
        (Predictability::Random, Predictability::Fixed) => spray.hide(rng),
        (Predictability::Counting, Predictability::Random) => spray.count(),
        (Predictability::Random, Predictability::Counting) => spray.hide_from_counting(rng),
        (Predictability::Random, Predictability::Random) => spray.draw_both(rng),
        (
            Predictability::Fixed | Predictability::Counting,
            Predictability::Fixed | Predictability::Counting,
        ) => spray.plain(rng),
    }
}

/// The side that draws opens; when both do, role a.
fn opener(view: &RoundView) -> Role {
    match (view.own.predictability(), view.peer.predictability()) {
        (Predictability::Random, Predictability::Fixed | Predictability::Counting) => view.role,
        (Predictability::Fixed | Predictability::Counting, Predictability::Random) => view.role.other(),
        _ => Role::A,
    }
}

/// How many guesses and draws the two budgets give.
fn guesses_and_draws(pool: Pool, guesses: u32, draws: u32) -> (u32, u32) {
    let wanted = match pool {
        Pool::Kernel => FIRST_GUESSES,
        // As many of each as of the other: the fewest in all.
        Pool::Low => (f64::from(pool.size()) * -MISS.ln()).sqrt().ceil() as u32,
        Pool::Range { .. } | Pool::Pattern(_) => pool.size(),
    };
    let mut wanted = wanted.min(guesses);
    // Where a range begins and ends is not known for sure: part of the guesses may lie beside it. And a pattern may be larger: then
    // the guesses are a part of it.
    let surely = if matches!(pool, Pool::Range { .. } | Pool::Pattern(_)) { wanted / 4 } else { wanted };
    let needed = pool.draws_needed(surely.max(1), MISS);
    if needed > draws {
        wanted = guesses.min(pool.size());
    }
    (wanted, needed.min(draws))
}

struct Planner<'a> {
    by: MethodName,
    view: &'a RoundView,
    own_pool: Pool,
    peer_pool: Pool,
    opener: Role,
}

impl Planner<'_> {
    fn ttl(&self) -> SynTtl {
        if self.opener == self.view.role { self.view.hole() } else { SynTtl::Full }
    }

    fn dial(&self, port: u16, remote: SocketAddrV4) -> Action {
        Action::Dial(Dial { ttl: self.ttl(), ..Dial::now(self.by, port, remote) })
    }

    fn ready(
        &self,
        (probability, because): (f64, String),
        dials: Vec<Action>,
        peer_dials: u32,
    ) -> Option<Plan> {
        let outlook = Outlook { peer: None, probability, because };
        let redraws =
            self.view.own.predictability() == Predictability::Random && self.opener != self.view.role;
        Some(Plan { outlook, dials, peer_dials, opener: self.opener, redraws })
    }

    fn birthday(&self, pool: Pool, guesses: u32, draws: u32) -> (f64, String) {
        let miss = (1.0 - pool.coverage(guesses)).powf(f64::from(draws));
        (1.0 - miss, format!("{guesses} guesses against {draws} draws from {} ports", pool.size()))
    }

    fn seek(&self, rng: &mut impl Rng) -> Option<Plan> {
        let (guesses, draws) = guesses_and_draws(self.peer_pool, self.view.own.syns, self.view.peer.syns);
        let (port, address) = (self.view.own.local.port(), self.view.peer.address()?);
        let ports = self.peer_pool.guesses(guesses, rng);
        let dials =
            ports.into_iter().map(|guess| self.dial(port, SocketAddrV4::new(address, guess))).collect();
        self.ready(self.birthday(self.peer_pool, guesses, draws), dials, draws)
    }

    fn hide(&self, rng: &mut impl Rng) -> Option<Plan> {
        let (guesses, draws) = guesses_and_draws(self.own_pool, self.view.peer.syns, self.view.own.syns);
        let target = predict(&self.view.peer.observations, 0, rng)?.endpoint;
        self.ready(self.birthday(self.own_pool, guesses, draws), self.draws(draws, target, rng), guesses)
    }

    fn draws(&self, count: u32, target: SocketAddrV4, rng: &mut impl Rng) -> Vec<Action> {
        self.own_pool.sources(count, rng).into_iter().map(|port| self.dial(port, target)).collect()
    }

    fn count(&self) -> Option<Plan> {
        let draws = filling(self.peer_pool, self.view.peer.syns);
        let target = self.agreed_endpoint(&self.view.peer, self.peer_pool, self.view.role.other())?;
        let window = window(self.view.round);
        let dials = simultaneous_open::dials(self.by, &self.view.own, target, window, self.ttl());
        self.ready(self.one_guess(self.peer_pool, draws), dials, draws)
    }

    fn hide_from_counting(&self, rng: &mut impl Rng) -> Option<Plan> {
        let draws = filling(self.own_pool, self.view.own.syns);
        let target = predict(&self.view.peer.observations, window(self.view.round) - 1, rng)?.endpoint;
        let window = u32::from(window(self.view.round));
        self.ready(self.one_guess(self.own_pool, draws), self.draws(draws, target, rng), window)
    }

    fn draw_both(&self, rng: &mut impl Rng) -> Option<Plan> {
        let own = filling(self.own_pool, self.view.own.syns);
        let peer = filling(self.peer_pool, self.view.peer.syns);
        let target = self.agreed_endpoint(&self.view.peer, self.peer_pool, self.view.role.other())?;
        let probability = hit(self.own_pool, own) * hit(self.peer_pool, peer);
        let pools = (self.own_pool.size(), self.peer_pool.size());
        let because =
            format!("both ports are drawn, {own} and {peer} times from {} and {} ports", pools.0, pools.1);
        self.ready((probability, because), self.draws(own, target, rng), peer)
    }

    fn one_guess(&self, pool: Pool, draws: u32) -> (f64, String) {
        let because = format!("one port against {draws} draws from {} ports", pool.size());
        (hit(pool, draws), because)
    }

    fn agreed_endpoint(&self, side: &SideFacts, pool: Pool, role: Role) -> Option<SocketAddrV4> {
        let port = pool.agreed_guess(|below| self.view.agreed_number(role, below));
        Some(SocketAddrV4::new(side.address()?, port))
    }

    fn plain(&self, rng: &mut impl Rng) -> Option<Plan> {
        let window = window(self.view.round);
        let target = predict(&self.view.peer.observations, window - 1, rng)?;
        let dials = simultaneous_open::dials(self.by, &self.view.own, target.endpoint, window, self.ttl());
        Some(Plan {
            outlook: target.into(),
            dials,
            peer_dials: window.into(),
            opener: self.opener,
            redraws: false,
        })
    }
}

/// Draws that fill the pool, or as many as the budget has. How large a range is nobody knows for sure.
fn filling(pool: Pool, syns: u32) -> u32 {
    match pool {
        Pool::Low => ((f64::from(pool.size()) * FILL).ceil() as u32).min(LOW_SOURCES.len() as u32).min(syns),
        Pool::Kernel | Pool::Range { .. } | Pool::Pattern(_) => syns,
    }
}

/// The chance that one of this many draws, all different because they go to one endpoint, is a certain port.
fn hit(pool: Pool, draws: u32) -> f64 {
    match pool {
        // Of a pattern, parts may be used up while others are not.
        Pool::Kernel | Pool::Pattern(_) => 1.0 - (1.0 - pool.coverage(1)).powf(f64::from(draws)),
        Pool::Low | Pool::Range { .. } => pool.coverage(draws),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::method::tests::dials;
    use crate::method::view::tests::{mirrored, view};

    const DRAWN: &[u16] = &[36424, 13999, 52000, 4711];

    fn both(view: &RoundView) -> (Vec<Dial>, Vec<Dial>) {
        let mut opener = Spray::new(1);
        let mut other = Spray::new(2);
        let opened = opener.begin(view);
        assert!(opened.contains(&Action::Tell(RoundNote::Open)));
        assert_eq!(dials(&other.begin(&mirrored(view))), [], "waits");
        (dials(&opened), dials(&other.told(RoundNote::Open)))
    }

    #[test]
    fn a_known_port_meets_many_drawn_ones() {
        let (holes, guesses) = both(&view(Role::A, DRAWN, &[6000, 6000]));
        assert!(holes.iter().all(|hole| (hole.port, hole.remote.port()) == (0, 6000)));
        assert!(holes.iter().all(|hole| hole.ttl == SynTtl::Limited(2)));
        assert_eq!(guesses.len(), 1024);
        assert!(guesses.iter().all(|guess| guess.port == 5000 && guess.ttl == SynTtl::Full));
        let miss = (1.0 - Pool::Kernel.coverage(guesses.len() as u32)).powf(holes.len() as f64);
        assert!(miss <= MISS, "{miss}");
    }

    #[test]
    fn a_small_pool_takes_few_of_each() {
        let (guesses, draws) = guesses_and_draws(Pool::Low, 1280, 1280);
        assert!(guesses < 100 && draws < 100, "{guesses} {draws}");
        assert!((1.0 - Pool::Low.coverage(guesses)).powf(f64::from(draws)) <= MISS);
    }

    #[test]
    fn no_side_spends_more_than_it_has() {
        let mut small = view(Role::A, DRAWN, &[6000, 6000]);
        small.own.syns = 40;
        small.peer.syns = 300;
        let (holes, guesses) = both(&small);
        assert_eq!((holes.len(), guesses.len()), (40, 300));
    }

    #[test]
    fn a_counting_nat_makes_one_guess_that_the_other_draws_for() {
        let (holes, guesses) = both(&view(Role::A, DRAWN, &[20000, 20001]));
        assert!(guesses.iter().all(|guess| guess.remote == guesses[0].remote));
        assert_eq!(guesses.len(), usize::from(window(1)));
        assert!(holes.iter().all(|hole| hole.remote.port() == 20001 + window(1)));
        assert_eq!(holes.len(), 1280);
    }

    #[test]
    fn two_drawing_nats_aim_at_endpoints_both_agreed_upon() {
        let here = view(Role::A, DRAWN, DRAWN);
        let (holes, dials) = both(&here);
        assert!(holes.iter().all(|hole| hole.remote == holes[0].remote));
        assert!(dials.iter().all(|dial| dial.remote == dials[0].remote));
        let plan =
            plan(MethodName::Spray, &here, |_| Pool::Kernel, &mut ChaCha8Rng::seed_from_u64(1)).unwrap();
        assert!(plan.outlook.probability < 0.002, "{:?}", plan.outlook);
    }

    #[test]
    fn filling_a_small_pool_from_both_sides_is_certain() {
        let here = view(Role::A, DRAWN, DRAWN);
        let plan = plan(MethodName::Spray, &here, |_| Pool::Low, &mut ChaCha8Rng::seed_from_u64(1)).unwrap();
        assert!((plan.outlook.probability - 1.0).abs() < 1e-9);
        assert!(plan.dials.len() <= 512);
    }
}
