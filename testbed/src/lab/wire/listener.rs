//! A link without a wire as the engine keeps it: a socket that only looks, and a log.

use crate::kernel::clock::Clocks;
use crate::kernel::packet_socket::{FrameDirection, PacketSocket, Received};
use crate::lab::wire::port::{FLOOD, Port, Unread};
use crate::lab::wire::tap::{Log, Tapped};
use crate::model::evidence::{Direction, Fate, Frame, Nanos};

/// A link without a wire, only looked at.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) port: Port,
    pub(super) log: Log,
    link: u16,
    inward: Direction,
}

impl Listener {
    pub(super) fn new(link: u16, inward: Direction, log: Log, socket: PacketSocket) -> Self {
        Self { port: Port::new(socket), log, link, inward }
    }

    pub(super) fn take(&mut self, buffer: &mut [u8], clocks: Clocks) -> Tapped {
        self.receive(FLOOD, buffer, clocks);
        self.log.take(self.port.drops())
    }

    pub(super) fn receive(&mut self, limit: usize, buffer: &mut [u8], clocks: Clocks) -> Unread {
        // What the log would cut off need not be copied.
        let kept = self.log.snap_length().min(buffer.len());
        for _ in 0..limit {
            match self.port.receive(&mut buffer[..kept], clocks) {
                Ok(Some((entered, received))) => self.note(entered, &received, buffer),
                Ok(None) => return Unread::Nothing,
                Err(why) => self.log.refused(&why),
            }
        }
        Unread::Perhaps
    }

    fn note(&mut self, entered: Nanos, received: &Received, buffer: &[u8]) {
        let frame = Frame {
            link: self.link,
            direction: self.direction(received.way),
            entered,
            due: entered,
            left: entered,
            fate: Fate::Delivered,
            is_copy: false,
            length: u32::try_from(received.length).unwrap_or(u32::MAX),
            bytes: Box::default(),
        };
        self.log.note(frame, &buffer[..received.kept]);
    }

    fn direction(&self, way: FrameDirection) -> Direction {
        match (way, self.inward) {
            (FrameDirection::In, inward) => inward,
            (FrameDirection::Out, Direction::Up) => Direction::Down,
            (FrameDirection::Out, Direction::Down) => Direction::Up,
        }
    }
}
