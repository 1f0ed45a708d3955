//! The plans of the methods, written from `docs/puncher.md` and `docs/puncher-contract.md`: two programs on one [`Net`].

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use testbed::model::behavior::{Behavior, Translation};
use testbed::model::suite::LOCAL_PORTS;
use testbed::model::theory::Method;

use crate::host::Heard;
use crate::knowledge::{EPHEMERAL, Knowledge};
use crate::net::{Address, Endpoint, MS, Net, News, TRIP, Time};

/// From the first start until the programs' time is up: three seconds, less what the meeting took.
const DEADLINE: Time = 2_850 * MS;

/// RFC 863: the primer of `listen` goes where nobody dials from.
const DISCARD: u16 = 9;

/// A TTL with which a SYN dies at the router between the two NATs, and one that goes all the way.
const HOLE: u8 = 2;
const ALL_THE_WAY: u8 = 64;

/// SYNs a side may send.
const BUDGET: u32 = 1280;

/// From one side's wish for another round until both begin it: a measurement, and two messages by way of the server.
const AGREEING: Time = 45 * MS;

/// A timer: its kind in the lowest bits, then the round or the dial that it is about.
const NEXT_ROUND: u64 = 0;
const GIVE_UP: u64 = 1;
const BEGIN: u64 = 2;
const DIAL: u64 = 3;
const TOLD: u64 = 4;

/// A dial that is made later.
#[derive(Debug, Clone, Copy)]
struct Dial {
    port: u16,
    to: Endpoint,
    ttl: u8,
}

/// One program.
#[derive(Debug)]
struct Program {
    knowledge: Knowledge,
    behavior_is_none: bool,
    spent: u32,
    redials: u32,
    /// Dials to make when the other side says that its holes are open.
    waiting: Vec<Dial>,
    opens: bool,
    peer_is_known: bool,
    is_drawn: bool,
    spare: u16,
    /// When it gives up, and when it wants another round; the newest word counts.
    give_up: Option<Time>,
    next_round: Option<Time>,
    ended: bool,
}

/// One trial.
pub(crate) struct Trial {
    net: Net,
    method: Method,
    programs: [Program; 2],
    round: u32,
    preparing: bool,
    dials: Vec<Dial>,
}

/// Whether two programs that punch by this method meet.
pub(crate) fn meets(behaviors: [&Behavior; 2], method: Method, rng: ChaCha8Rng) -> bool {
    let mut net = Net::new(behaviors, rng);
    let program = |side: usize, net: &mut Net| {
        let local = net.rng.random_range(LOCAL_PORTS);
        let knowledge = Knowledge::before(local, &mut net.nats[side], &mut net.rng);
        let behavior_is_none = behaviors[side].translation != Translation::Nat;
        Program {
            knowledge,
            behavior_is_none,
            spent: 0,
            redials: 0,
            waiting: Vec::new(),
            opens: false,
            peer_is_known: false,
            is_drawn: false,
            spare: 0,
            give_up: None,
            next_round: None,
            ended: false,
        }
    };
    let programs = [program(0, &mut net), program(1, &mut net)];
    let mut trial = Trial { net, method, programs, round: 0, preparing: false, dials: Vec::new() };
    trial.next_round();
    trial.run()
}

impl Trial {
    fn run(&mut self) -> bool {
        while let Some(news) = self.net.next(DEADLINE) {
            match news {
                News::Host(side, Heard::Established(port, to)) => {
                    if self.stands(side, port, to) {
                        return true;
                    }
                }
                News::Host(side, Heard::Refused(port, to)) => self.refused(side, port, to),
                News::Timer(side, what) => self.timer(side, what),
            }
            if self.programs.iter().all(|program| program.ended) {
                return false;
            }
        }
        false
    }

    /// Whether the other side holds the same connection.
    fn stands(&self, side: usize, port: u16, to: Endpoint) -> bool {
        let other = &self.net.hosts[1 - side];
        let seen_from_there = self.net.nats[side].external(port, to);
        let there = self.net.nats[1 - side].internal(to.port, side, seen_from_there);
        there.is_some_and(|internal| {
            other.holds(internal, Endpoint { address: Address::Peer(side), port: seen_from_there })
        })
    }

    fn timer(&mut self, side: usize, what: u64) {
        let (kind, about) = (what & 7, what >> 3);
        if self.programs[side].ended {
            return;
        }
        match kind {
            NEXT_ROUND if self.programs[side].next_round == Some(self.net.now) => self.next_round(),
            GIVE_UP if self.programs[side].give_up == Some(self.net.now) => self.give_up(side),
            BEGIN if about == u64::from(self.round) => self.begin(side),
            DIAL => self.dial(side, self.dials[about as usize]),
            TOLD if about == u64::from(self.round) => {
                for dial in std::mem::take(&mut self.programs[side].waiting) {
                    self.dial(side, dial);
                }
            }
            _ => {}
        }
    }

    /// Ends a side, unless a connection stands there, which may yet be the one.
    fn give_up(&mut self, side: usize) {
        if self.net.hosts[side].holds_any() {
            return self.give_up_in(side, 500 * MS);
        }
        self.programs[side].ended = true;
        self.net.hosts[side].close();
        // The other side hears that it is gone, and starts no other round.
        self.give_up_in(1 - side, TRIP + 500 * MS);
        self.programs[1 - side].next_round = None;
    }

    fn give_up_in(&mut self, side: usize, after: Time) {
        self.programs[side].give_up = Some(self.net.now + after);
        self.net.timer(side, after, GIVE_UP);
    }

    fn next_round_in(&mut self, side: usize, after: Time) {
        if !self.preparing && !self.programs[1 - side].ended {
            self.programs[side].next_round = Some(self.net.now + after);
            self.net.timer(side, after, NEXT_ROUND);
        }
    }

    /// Both prepare another round: one because its time is up, the other because it is told so.
    fn next_round(&mut self) {
        if self.preparing || self.programs.iter().any(|program| program.ended) {
            return;
        }
        self.preparing = true;
        self.round += 1;
        let samples = self.method != Method::Listen;
        for side in 0..2 {
            let Net { nats, rng, .. } = &mut self.net;
            self.programs[side].knowledge.prepare(self.round, samples, &mut nats[side], rng);
            self.programs[side].next_round = None;
            // The two starts differ by as much as the measured distances are wrong.
            let about = self.net.rng.random_range(0..MS);
            let after = if self.round == 1 { about } else { AGREEING + about };
            self.net.timer(side, after, BEGIN | u64::from(self.round) << 3);
        }
    }

    fn begin(&mut self, side: usize) {
        self.preparing = false;
        self.programs[side].give_up = None;
        let drawn = self.programs.iter().any(|program| program.knowledge.is_drawn());
        self.programs[side].is_drawn = drawn;
        match self.method {
            Method::SimultaneousOpen | Method::ObservedPort | Method::PreservedPort | Method::Sequential => {
                self.open_together(side);
            }
            Method::LowTtl => self.open_in_silence(side),
            Method::Listen => self.listen(side),
            Method::Auto | Method::LowPort | Method::Spray | Method::Private | Method::Hairpin => {
                unreachable!("not among the methods of the suite full")
            }
        }
    }

    fn peer(&self, side: usize, port: u16) -> Endpoint {
        debug_assert!(side < 2);
        Endpoint { address: Address::Peer(1 - side), port }
    }

    fn predict(&mut self, side: usize, skipped: u16) -> u16 {
        let Self { net, programs, .. } = self;
        programs[side].knowledge.predict(skipped, &mut net.rng)
    }

    /// The window of a round: 8, 16, 32, 64.
    fn window(&self) -> u16 {
        8 << (self.round - 1).min(3)
    }

    fn open_together(&mut self, side: usize) {
        let other = 1 - side;
        let windowed = self.method == Method::Sequential;
        let window = if windowed { self.window() } else { 1 };
        let (port, is_known) = match self.method {
            Method::ObservedPort => (self.programs[other].knowledge.observed().unwrap_or(0), true),
            Method::PreservedPort => (self.programs[other].knowledge.local, true),
            _ => (self.predict(other, window - 1), !self.programs[other].knowledge.is_drawn()),
        };
        self.programs[side].peer_is_known = is_known;
        self.listen_without_a_nat(side);
        let target = self.peer(side, port);
        for dial in self.dials_of(side, target, window, ALL_THE_WAY) {
            self.dial(side, dial);
        }
        self.second_window(side, window);
        if self.programs[side].is_drawn {
            self.give_up_in(side, (8 * TRIP).max(400 * MS));
        } else {
            self.next_round_in(side, (8 * TRIP).max(150 * MS * u64::from(self.round)));
        }
    }

    /// A NAT that counts opens the next window in silence when it is refused; so the other side dials its last port, too.
    fn second_window(&mut self, side: usize, window: u16) {
        let counts = [side, 1 - side].map(|side| self.programs[side].knowledge.is_counting());
        let kept_once = self.programs.iter().any(|program| program.knowledge.kept_once);
        self.programs[side].spare = 0;
        if self.method != Method::Sequential || counts[0] == counts[1] || kept_once {
            return;
        }
        if counts[0] {
            self.programs[side].spare = window;
        } else {
            let port = self.predict(1 - side, 2 * window - 1);
            let dial = Dial {
                port: self.programs[side].knowledge.local,
                to: self.peer(side, port),
                ttl: ALL_THE_WAY,
            };
            self.dial(side, dial);
        }
    }

    /// The dials of one side to one endpoint: a window of them where its NAT counts.
    fn dials_of(&mut self, side: usize, to: Endpoint, window: u16, ttl: u8) -> Vec<Dial> {
        let knowledge = &self.programs[side].knowledge;
        let (local, count) = (knowledge.local, if knowledge.is_counting() { window } else { 1 });
        let rng = &mut self.net.rng;
        (0..count)
            .map(|place| Dial { port: if place == 0 { local } else { rng.random_range(EPHEMERAL) }, to, ttl })
            .collect()
    }

    fn listen_without_a_nat(&mut self, side: usize) {
        if self.programs[side].behavior_is_none {
            let local = self.programs[side].knowledge.local;
            self.net.hosts[side].listen(local);
        }
    }

    /// `low-ttl`: the side that cannot afford a refusal opens, else the first.
    fn open_in_silence(&mut self, side: usize) {
        let changes = [side, 1 - side].map(|side| self.programs[side].knowledge.changes_port());
        let opens = match changes {
            [true, false] => true,
            [false, true] => false,
            _ => side == 0,
        };
        self.programs[side].opens = opens;
        let window = self.window();
        let port = self.predict(1 - side, window - 1);
        let target = self.peer(side, port);
        self.listen_without_a_nat(side);
        let ttl = if opens { HOLE } else { ALL_THE_WAY };
        let dials = self.dials_of(side, target, window, ttl);
        if opens {
            dials.into_iter().for_each(|dial| self.dial(side, dial));
            self.tell(side);
        } else {
            self.programs[side].waiting = dials;
        }
        if self.programs[side].is_drawn {
            self.give_up_in(side, (12 * TRIP).max(1_500 * MS));
        } else {
            self.next_round_in(side, (12 * TRIP).max(200 * MS * u64::from(self.round)));
        }
    }

    /// Says "open" to the other side, by way of the server.
    fn tell(&mut self, side: usize) {
        self.net.timer(1 - side, TRIP + MS, TOLD | u64::from(self.round) << 3);
    }

    /// `listen`: a primer to where nobody dials from, then dials from other ports, while listening on the own one.
    fn listen(&mut self, side: usize) {
        let local = self.programs[side].knowledge.local;
        let other = &self.programs[1 - side].knowledge;
        let (observed, drawn) = (other.observed().unwrap_or(0), other.is_drawn());
        let port = if drawn { observed } else { self.predict(1 - side, 0) };
        self.net.hosts[side].listen(local);
        self.dial(side, Dial { port: local, to: self.peer(side, DISCARD), ttl: ALL_THE_WAY });
        let to = self.peer(side, port);
        for after in [0, (5 * TRIP).max(15 * MS)] {
            let port = self.net.rng.random_range(EPHEMERAL);
            self.dial_in(side, after, Dial { port, to, ttl: ALL_THE_WAY });
        }
        self.give_up_in(side, (12 * TRIP).max(1_500 * MS));
    }

    fn dial_in(&mut self, side: usize, after: Time, dial: Dial) {
        if after == 0 {
            return self.dial(side, dial);
        }
        self.dials.push(dial);
        let number = self.dials.len() as u64 - 1;
        self.net.timer(side, after, DIAL | number << 3);
    }

    fn dial(&mut self, side: usize, dial: Dial) {
        if self.programs[side].spent >= BUDGET {
            return;
        }
        self.programs[side].spent += 1;
        // Two SYNs that one program sends leave in its order.
        if let Some(dialled) = self.net.hosts[side].dial(dial.port, dial.to, dial.ttl) {
            let order = u64::from(self.programs[side].spent % 64);
            self.net.send_after(side, order, dialled.packet);
            self.net.expect_answer(side, dialled.packet.syn);
        }
    }

    fn refused(&mut self, side: usize, port: u16, to: Endpoint) {
        let again = |ttl| Dial { port, to, ttl };
        let program = &self.programs[side];
        if program.ended {
            return;
        }
        let changes_port = program.knowledge.changes_port();
        match self.method {
            Method::Listen if to.port == DISCARD => {}
            Method::Listen => self.redial(side, again(ALL_THE_WAY)),
            Method::LowTtl if program.is_drawn => {}
            Method::LowTtl if changes_port => self.next_round_in(side, 0),
            Method::LowTtl if program.opens => {
                self.redial(side, again(HOLE));
                self.tell(side);
            }
            Method::LowTtl => self.redial(side, again(ALL_THE_WAY)),
            _ if program.is_drawn => {
                if program.peer_is_known {
                    self.redial(side, again(ALL_THE_WAY));
                }
            }
            _ if changes_port && program.spare > 0 => {
                self.programs[side].spare -= 1;
                let port = self.net.rng.random_range(EPHEMERAL);
                self.dial(side, Dial { port, to, ttl: HOLE });
            }
            _ if changes_port => self.next_round_in(side, 0),
            _ => self.redial(side, again(ALL_THE_WAY)),
        }
    }

    /// At once, and from the fifth on one in four after a random delay of up to half a trip, which grows.
    fn redial(&mut self, side: usize, dial: Dial) {
        let program = &mut self.programs[side];
        program.redials += 1;
        let delayed = program.redials > 4 && self.net.rng.random_range(0..4) == 0;
        let after = if delayed { self.net.rng.random_range(0..=TRIP / 2) } else { 0 };
        self.dial_in(side, after, dial);
    }
}
