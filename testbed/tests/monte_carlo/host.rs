//! A host's TCP as Linux does it, as far as opening a connection goes (RFC 9293 section 3.5, and the kernel's answers to
//! what nobody expects).

use std::collections::{HashMap, HashSet};

use crate::net::{Endpoint, Kind, Packet};

/// A socket that dials, or that a listener made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Socket {
    state: State,
    syn: u64,
    /// Whether it believes that its SYN lived too long: one that sent it with a low TTL does not.
    believes_time_exceeded: bool,
    dialled: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    SynSent,
    SynReceived,
    Established,
}

/// What the kernel tells a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The dial from this port to this endpoint came to nothing.
    Refused(u16, Endpoint),
    /// The connection between these stands at this end.
    Established(u16, Endpoint),
}

/// A SYN on its way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dialled {
    pub(crate) packet: Packet,
}

/// One host.
#[derive(Debug, Default)]
pub(crate) struct Host {
    sockets: HashMap<(u16, Endpoint), Socket>,
    listening: HashSet<u16>,
    syns: u64,
}

impl Host {
    /// Dials; `None` when these two endpoints have a socket already.
    pub(crate) fn dial(&mut self, port: u16, to: Endpoint, ttl: u8) -> Option<Dialled> {
        if self.sockets.contains_key(&(port, to)) {
            return None;
        }
        self.syns += 1;
        let syn = self.syns;
        let socket = Socket { state: State::SynSent, syn, believes_time_exceeded: ttl >= 64, dialled: true };
        self.sockets.insert((port, to), socket);
        Some(Dialled { packet: Packet { kind: Kind::Syn, from: port, to, ttl, syn } })
    }

    pub(crate) fn listen(&mut self, port: u16) {
        self.listening.insert(port);
    }

    /// Whether a connection stands at this end.
    pub(crate) fn holds(&self, port: u16, to: Endpoint) -> bool {
        self.sockets.get(&(port, to)).is_some_and(|socket| socket.state == State::Established)
    }

    /// Whether any does.
    pub(crate) fn holds_any(&self) -> bool {
        self.sockets.values().any(|socket| socket.state == State::Established)
    }

    /// The program is gone, and its sockets with it.
    pub(crate) fn close(&mut self) {
        self.sockets.clear();
        self.listening.clear();
    }

    /// A SYN that was not answered, to be sent again: now all the way.
    pub(crate) fn unanswered(&self, syn: u64) -> Option<Packet> {
        let (key, _) = self
            .sockets
            .iter()
            .find(|(_, socket)| socket.syn == syn && socket.state == State::SynSent && socket.dialled)?;
        Some(Packet { kind: Kind::Syn, from: key.0, to: key.1, ttl: 64, syn })
    }

    /// A packet for `port`: what is answered, and what a program hears of it.
    pub(crate) fn hears(
        &mut self,
        packet: Packet,
        port: u16,
        sender: Endpoint,
    ) -> (Option<Packet>, Option<Heard>) {
        let key = (port, sender);
        let say = |kind, syn| Some(Packet { kind, from: port, to: sender, ttl: 64, syn });
        let Some(socket) = self.sockets.get_mut(&key) else {
            return match packet.kind {
                Kind::Syn if self.listening.contains(&port) => {
                    self.syns += 1;
                    let socket = Socket {
                        state: State::SynReceived,
                        syn: self.syns,
                        believes_time_exceeded: true,
                        dialled: false,
                    };
                    self.sockets.insert(key, socket);
                    (say(Kind::SynAck, packet.syn), None)
                }
                Kind::Syn | Kind::SynAck | Kind::Ack => (say(Kind::Reset, packet.syn), None),
                Kind::Reset | Kind::Unreachable | Kind::TimeExceeded => (None, None),
            };
        };
        match (packet.kind, socket.state) {
            (Kind::Syn, State::SynSent) => {
                socket.state = State::SynReceived;
                (say(Kind::SynAck, packet.syn), None)
            }
            (Kind::Syn, State::SynReceived) => (say(Kind::SynAck, packet.syn), None),
            (Kind::SynAck, State::SynSent | State::SynReceived) => {
                socket.state = State::Established;
                (say(Kind::Ack, socket.syn), Some(Heard::Established(port, sender)))
            }
            (Kind::Ack, State::SynReceived) => {
                socket.state = State::Established;
                (None, Some(Heard::Established(port, sender)))
            }
            (Kind::Reset, State::SynSent) if packet.syn != socket.syn => (None, None),
            (Kind::TimeExceeded, _) if !socket.believes_time_exceeded => (None, None),
            (Kind::Unreachable | Kind::TimeExceeded, State::SynReceived | State::Established) => (None, None),
            (Kind::Reset | Kind::Unreachable | Kind::TimeExceeded, _) => {
                let dialled = socket.dialled;
                self.sockets.remove(&key);
                (None, dialled.then_some(Heard::Refused(port, sender)))
            }
            (Kind::Syn | Kind::SynAck | Kind::Ack, _) => (None, None),
        }
    }
}
