//! The wiring `pair` as a queue of events: two hosts, each behind one NAT, and a router between the NATs.
//!
//! ```text
//!  host 0 --- NAT 0 ~~~ 5 ms ~~~ router ~~~ 5 ms ~~~ NAT 1 --- host 1
//! ```

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use testbed::model::behavior::Behavior;

use crate::host::{Heard, Host};
use crate::nat::{Nat, Passage};

/// Microseconds.
pub(crate) type Time = u64;

pub(crate) const MS: Time = 1_000;

/// One way from peer to peer.
pub(crate) const TRIP: Time = 10 * MS;

/// Who has an address: a peer, by its side, or the rendezvous server, which has two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Address {
    Peer(usize),
    Server,
    OtherServer,
}

/// An external endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Endpoint {
    pub(crate) address: Address,
    pub(crate) port: u16,
}

/// What a packet says. `syn` is the number of the SYN that it is, or that it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Syn,
    SynAck,
    Ack,
    Reset,
    Unreachable,
    TimeExceeded,
}

/// A packet between the two sides. Ports of the sender are internal before its NAT and external after it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packet {
    pub(crate) kind: Kind,
    pub(crate) from: u16,
    pub(crate) to: Endpoint,
    pub(crate) ttl: u8,
    pub(crate) syn: u64,
}

/// What happens at a moment.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// A host sends.
    Leaves { side: usize, packet: Packet },
    /// A packet comes to the outside of a NAT, from the other side's external port.
    Arrives { side: usize, packet: Packet },
    /// A SYN without an answer is sent again.
    Retransmit { side: usize, syn: u64 },
    /// A timer of the programs.
    Timer { side: usize, what: u64 },
}

/// Everything between and in the two programs.
pub(crate) struct Net {
    pub(crate) now: Time,
    pub(crate) hosts: [Host; 2],
    pub(crate) nats: [Nat; 2],
    pub(crate) rng: ChaCha8Rng,
    queue: BinaryHeap<Reverse<(Time, u64, usize)>>,
    events: Vec<Event>,
}

/// What the programs have to know of.
pub(crate) enum News {
    Host(usize, Heard),
    Timer(usize, u64),
}

impl Net {
    pub(crate) fn new(behaviors: [&Behavior; 2], mut rng: ChaCha8Rng) -> Self {
        let nats = behaviors.map(|behavior| Nat::new(*behavior, &mut rng));
        Self {
            now: 0,
            hosts: [Host::default(), Host::default()],
            nats,
            rng,
            queue: BinaryHeap::new(),
            events: Vec::new(),
        }
    }

    fn at(&mut self, at: Time, event: Event) {
        self.queue.push(Reverse((at, self.events.len() as u64, self.events.len())));
        self.events.push(event);
    }

    pub(crate) fn timer(&mut self, side: usize, after: Time, what: u64) {
        self.at(self.now + after, Event::Timer { side, what });
    }

    /// A host sends a packet, after the moment that a kernel takes.
    pub(crate) fn send(&mut self, side: usize, packet: Packet) {
        let moment = self.rng.random_range(5..60);
        self.at(self.now + moment, Event::Leaves { side, packet });
    }

    /// The same, behind others that the program sent before it.
    pub(crate) fn send_after(&mut self, side: usize, order: u64, packet: Packet) {
        self.at(self.now + 5 + order, Event::Leaves { side, packet });
    }

    /// Linux sends a SYN again after 1 s, and after 2 s more.
    pub(crate) fn expect_answer(&mut self, side: usize, syn: u64) {
        for after in [1_000 * MS, 3_000 * MS] {
            self.at(self.now + after, Event::Retransmit { side, syn });
        }
    }

    /// The next thing that a program has to know of, before the end.
    pub(crate) fn next(&mut self, end: Time) -> Option<News> {
        while let Some(Reverse((at, _, index))) = self.queue.pop() {
            if at > end {
                return None;
            }
            self.now = at;
            match self.events[index] {
                Event::Leaves { side, packet } => self.leaves(side, packet),
                Event::Timer { side, what } => return Some(News::Timer(side, what)),
                Event::Retransmit { side, syn } => {
                    if let Some(packet) = self.hosts[side].unanswered(syn) {
                        self.send(side, packet);
                    }
                }
                Event::Arrives { side, packet } => {
                    if let Some(heard) = self.arrives(side, packet) {
                        return Some(News::Host(side, heard));
                    }
                }
            }
        }
        None
    }

    /// From the host through its NAT and over the router to the other NAT. The router takes the last hop of a TTL of 2.
    fn leaves(&mut self, side: usize, packet: Packet) {
        let Some(external) = self.nats[side].outward(packet, &mut self.rng) else { return };
        if packet.ttl <= 2 {
            let error =
                Packet { kind: Kind::TimeExceeded, from: packet.to.port, to: own(side, external), ..packet };
            self.at(self.now + TRIP, Event::Arrives { side, packet: error });
            return;
        }
        let Address::Peer(other) = packet.to.address else { return };
        // A wire adds a little of its own.
        let late = self.rng.random_range(0..200);
        self.at(
            self.now + TRIP + late,
            Event::Arrives { side: other, packet: Packet { from: external, ..packet } },
        );
    }

    /// Through a NAT from outside, to its host.
    fn arrives(&mut self, side: usize, packet: Packet) -> Option<Heard> {
        let sender = Endpoint { address: Address::Peer(1 - side), port: packet.from };
        match self.nats[side].inward(packet, sender) {
            Passage::Lost => None,
            Passage::Refused(kind) => {
                let to = sender;
                let answer = Packet { kind, from: packet.to.port, to, ttl: 64, syn: packet.syn };
                self.at(self.now + TRIP, Event::Arrives { side: 1 - side, packet: answer });
                None
            }
            Passage::To(port) => {
                let (answer, heard) = self.hosts[side].hears(packet, port, sender);
                if let Some(answer) = answer {
                    self.send(side, answer);
                }
                heard
            }
        }
    }
}

fn own(side: usize, port: u16) -> Endpoint {
    Endpoint { address: Address::Peer(side), port }
}
