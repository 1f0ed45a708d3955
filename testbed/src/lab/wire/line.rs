//! One wire as the engine keeps it: two sockets, two channels, a log, and who holds or waits for frames.

use std::io;

use crate::kernel::clock::{self, ClockPair};
use crate::kernel::packet_socket::{OFFLOAD_HEADER, Offload, PacketSocket, Received, Way};
use crate::lab::wire::channel::{Admission, Channel};
use crate::lab::wire::hold::{Hold, Order, Watcher};
use crate::lab::wire::queue::{Pending, Queue};
use crate::lab::wire::tap::{Log, RecordId, Tapped};
use crate::model::conditions::LinkConditions;
use crate::model::evidence::{Direction, Fate, Frame, Nanos};
use crate::model::packet::Packet;

/// Frames read at most where all that waits is wanted; a flood must not keep the thread forever.
const FLOOD: usize = 100_000;

/// The two ends of a wire, by where frames come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Towards the lower node: what comes in here goes up.
    X,
    /// Towards the core: what comes in here goes down.
    Y,
}

impl End {
    pub(super) const BOTH: [Self; 2] = [Self::X, Self::Y];

    fn direction(self) -> Direction {
        match self {
            Self::X => Direction::Up,
            Self::Y => Direction::Down,
        }
    }

    fn of_exit(direction: Direction) -> Self {
        match direction {
            Direction::Up => Self::Y,
            Direction::Down => Self::X,
        }
    }
}

/// What the engine lends a line while it works.
pub(super) struct Desk<'a> {
    pub(super) queue: &'a mut Queue,
    pub(super) buffer: &'a mut [u8],
    pub(super) clocks: ClockPair,
}

/// A socket, and when it was last seen without a frame waiting.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) socket: PacketSocket,
    emptied: Nanos,
}

impl Port {
    pub(super) fn new(socket: PacketSocket) -> Self {
        Self { socket, emptied: clock::monotonic() }
    }

    /// The next frame and when it entered; `None` when none waits.
    pub(super) fn receive(
        &mut self,
        buffer: &mut [u8],
        clocks: ClockPair,
    ) -> io::Result<Option<(Nanos, Received)>> {
        let received = self.socket.receive(buffer)?;
        let now = clock::monotonic();
        if received.is_none() {
            self.emptied = now;
        }
        Ok(received.map(|received| (self.entered(&received, clocks, now), received)))
    }

    /// When a frame that was read `now` entered: by the kernel's stamp where that is plausible, else now. It came
    /// after the socket was last empty, but for the moment between being stamped and being queued.
    fn entered(&self, received: &Received, clocks: ClockPair, now: Nanos) -> Nanos {
        const FROM_STAMP_TO_SOCKET: Nanos = 10_000_000;
        let plausible = |stamp: &Nanos| *stamp <= now && *stamp + FROM_STAMP_TO_SOCKET >= self.emptied;
        received.stamp.and_then(|stamp| clocks.to_monotonic(stamp)).filter(plausible).unwrap_or(now)
    }

    /// Throws away what waits.
    fn discard(&mut self, buffer: &mut [u8]) {
        for _ in 0..FLOOD {
            if let Ok(None) = self.socket.receive(buffer) {
                break;
            }
        }
        self.emptied = clock::monotonic();
    }
}

/// A wire.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) id: u64,
    link: u16,
    pub(super) log: Log,
    ports: [Port; 2],
    channels: [Channel; 2],
    /// What enters before this is lost.
    down_until: Nanos,
    /// Counts the epochs: a frame of an earlier one goes nowhere.
    epoch: u64,
    pub(super) holds: Vec<Hold>,
    pub(super) watchers: Vec<Watcher>,
}

impl Line {
    pub(super) fn new(
        id: u64,
        link: u16,
        log: Log,
        sockets: [PacketSocket; 2],
        channels: [Channel; 2],
    ) -> Self {
        Self {
            id,
            link,
            log,
            ports: sockets.map(Port::new),
            channels,
            down_until: 0,
            epoch: 0,
            holds: Vec::new(),
            watchers: Vec::new(),
        }
    }

    pub(super) fn socket(&self, end: End) -> &PacketSocket {
        &self.ports[end as usize].socket
    }

    pub(super) fn into_sockets(self) -> [PacketSocket; 2] {
        self.ports.map(|port| port.socket)
    }

    pub(super) fn set_conditions(&mut self, conditions: LinkConditions) {
        self.channels[Direction::Up as usize].set_conditions(conditions.up);
        self.channels[Direction::Down as usize].set_conditions(conditions.down);
    }

    pub(super) fn set_down_until(&mut self, moment: Nanos) {
        self.down_until = moment;
    }

    /// Forgets all frames, holds and watchers, and starts the luck anew.
    pub(super) fn begin_epoch(&mut self, seed: u64, buffer: &mut [u8]) {
        self.epoch += 1;
        self.down_until = 0;
        self.holds.clear();
        self.watchers.clear();
        for direction in [Direction::Up, Direction::Down] {
            self.channels[direction as usize].restart(seed, self.link, direction);
        }
        for port in &mut self.ports {
            port.discard(buffer);
            let _ = port.socket.take_drops();
        }
        self.log.restart();
    }

    /// Hands over what was seen, frames that still wait in the sockets included.
    pub(super) fn take(&mut self, desk: &mut Desk<'_>) -> Tapped {
        self.catch_up(desk);
        let drops = |port: &Port| port.socket.take_drops();
        let [x, y] = &self.ports;
        self.log.take(drops(x).and_then(|x| Ok(x + drops(y)?)))
    }

    /// Takes in all frames that wait.
    pub(super) fn catch_up(&mut self, desk: &mut Desk<'_>) {
        for end in End::BOTH {
            self.receive(end, FLOOD, desk);
        }
    }

    /// Takes in up to `limit` frames that wait at one end.
    pub(super) fn receive(&mut self, end: End, limit: usize, desk: &mut Desk<'_>) {
        for _ in 0..limit {
            match self.ports[end as usize].receive(desk.buffer, desk.clocks) {
                Ok(Some((entered, received))) => self.enter(end, entered, &received, desk),
                Ok(None) => return,
                Err(why) => self.log.refused(&why),
            }
        }
    }

    fn enter(&mut self, end: End, stamped: Nanos, received: &Received, desk: &mut Desk<'_>) {
        if received.kept < received.length + OFFLOAD_HEADER {
            let why = format!("a frame of {} bytes is larger than any wire carries", received.length);
            return self.log.refused(&io::Error::other(why));
        }
        let direction = end.direction();
        let bytes = &desk.buffer[..received.kept];
        let on_link = Offload::of(bytes).bytes_on_link(received.length);
        let channel = &mut self.channels[direction as usize];
        let entered = channel.enter(stamped);
        match channel.admit(on_link) {
            Admission::Carried { due, copy } if entered >= self.down_until => {
                self.carry(direction, entered, due, Fate::Delivered, bytes, desk.queue);
                if let Some(due) = copy {
                    self.carry(direction, entered, due, Fate::Duplicated, bytes, desk.queue);
                }
            }
            Admission::Carried { due, .. } | Admission::Lost(due) => {
                self.note(direction, entered, due, Fate::Lost, bytes);
            }
        }
    }

    fn note(
        &mut self,
        direction: Direction,
        entered: Nanos,
        due: Nanos,
        fate: Fate,
        bytes: &[u8],
    ) -> Option<RecordId> {
        let bytes = &bytes[OFFLOAD_HEADER..];
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let (link, left) = (self.link, due);
        let frame = Frame { link, direction, entered, due, left, fate, length, bytes: Box::default() };
        self.log.note(frame, bytes)
    }

    /// Puts a frame under way, or into the hands of whoever holds such frames.
    fn carry(
        &mut self,
        direction: Direction,
        entered: Nanos,
        due: Nanos,
        fate: Fate,
        bytes: &[u8],
        queue: &mut Queue,
    ) {
        let record = self.note(direction, entered, due, Fate::InFlight, bytes);
        let pending =
            Pending { due, line: self.id, epoch: self.epoch, direction, fate, record, bytes: bytes.into() };
        match self.holder(direction, bytes) {
            Some(hold) => hold.catch(pending, entered),
            None => queue.push(pending),
        }
    }

    fn holder(&mut self, direction: Direction, bytes: &[u8]) -> Option<&mut Hold> {
        if self.holds.is_empty() {
            return None;
        }
        let packet = decode(bytes)?;
        self.holds.iter_mut().find(|hold| hold.wants(direction, &packet))
    }

    /// Lets the frames of a hold go on; `now` is when they enter.
    pub(super) fn release(&mut self, hold: u64, order: &Order, now: Nanos, queue: &mut Queue) {
        let Some(at) = self.holds.iter().position(|h| h.id == hold) else { return };
        for pending in self.holds.remove(at).release(order, now) {
            self.log.postponed(pending.record, pending.due);
            queue.push(pending);
        }
    }

    /// Puts a frame on the device at its other end. `now` is just before: nothing that it causes is earlier.
    pub(super) fn leave(&mut self, pending: &Pending, now: Nanos) {
        if pending.epoch != self.epoch {
            return;
        }
        if let Err(why) = self.socket(End::of_exit(pending.direction)).send(&pending.bytes) {
            return self.log.refused(&why);
        }
        self.log.left(pending.record, pending.due, now, pending.fate);
        self.tell_watchers(pending, now);
    }

    fn tell_watchers(&mut self, pending: &Pending, now: Nanos) {
        if self.watchers.is_empty() {
            return;
        }
        let Some(packet) = decode(&pending.bytes) else { return };
        for watcher in self.watchers.extract_if(.., |w| w.wants(pending.direction, &packet)) {
            watcher.saw(now);
        }
    }
}

/// The packet in a carrier's frame.
fn decode(bytes: &[u8]) -> Option<Packet> {
    let bytes = bytes.get(OFFLOAD_HEADER..)?;
    Packet::decode(bytes, u32::try_from(bytes.len()).ok()?)
}

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

    pub(super) fn begin_epoch(&mut self, buffer: &mut [u8]) {
        self.port.discard(buffer);
        let _ = self.port.socket.take_drops();
        self.log.restart();
    }

    pub(super) fn take(&mut self, desk: &mut Desk<'_>) -> Tapped {
        self.receive(FLOOD, desk);
        self.log.take(self.port.socket.take_drops())
    }

    pub(super) fn receive(&mut self, limit: usize, desk: &mut Desk<'_>) {
        // What the log would cut off need not be copied.
        let kept = self.log.snap_length().min(desk.buffer.len());
        for _ in 0..limit {
            match self.port.receive(&mut desk.buffer[..kept], desk.clocks) {
                Ok(Some((entered, received))) => self.note(entered, &received, desk.buffer),
                Ok(None) => return,
                Err(why) => self.log.refused(&why),
            }
        }
    }

    fn note(&mut self, entered: Nanos, received: &Received, buffer: &[u8]) {
        let frame = Frame {
            link: self.link,
            direction: self.direction(received.way),
            entered,
            due: entered,
            left: entered,
            fate: Fate::Delivered,
            length: u32::try_from(received.length).unwrap_or(u32::MAX),
            bytes: Box::default(),
        };
        self.log.note(frame, &buffer[..received.kept]);
    }

    fn direction(&self, way: Way) -> Direction {
        match (way, self.inward) {
            (Way::In, inward) => inward,
            (Way::Out, Direction::Up) => Direction::Down,
            (Way::Out, Direction::Down) => Direction::Up,
        }
    }
}
