//! One wire as the engine keeps it: two devices, two channels, a log, and who holds or waits for frames.

use std::io;

use crate::kernel::packet_socket::{OFFLOAD_HEADER, Offload, PacketSocket, Received};
use crate::lab::wire::channel::{Admission, Channel};
use crate::lab::wire::hold::{Hold, ReleaseOrder, Watcher};
use crate::lab::wire::queue::{Pending, Queue};
use crate::lab::wire::tap::Log;
use crate::model::conditions::LinkConditions;
use crate::model::evidence::{Direction, Fate, Frame, Nanos};
use crate::model::packet::Packet;

/// Indices of the devices between which a wire carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// Towards the lower node.
    pub x: u32,
    /// Towards the core.
    pub y: u32,
}

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

/// A wire.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) id: u64,
    link: u16,
    pub(super) log: Log,
    /// Where its ends lie.
    pub(super) junction: u64,
    /// Indices of the devices `x` and `y`.
    devices: [u32; 2],
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
        junction: u64,
        Ends { x, y }: Ends,
        (link, log): (u16, Log),
        channels: [Channel; 2],
    ) -> Self {
        Self {
            id,
            link,
            log,
            junction,
            devices: [x, y],
            channels,
            down_until: 0,
            epoch: 0,
            holds: Vec::new(),
            watchers: Vec::new(),
        }
    }

    /// Index of the device at an end.
    pub(super) fn device(&self, end: End) -> u32 {
        self.devices[end as usize]
    }

    pub(super) fn set_conditions(&mut self, conditions: LinkConditions) {
        self.channels[Direction::Up as usize].set_conditions(conditions.up);
        self.channels[Direction::Down as usize].set_conditions(conditions.down);
    }

    /// The least time that a frame which enters now takes.
    pub(super) fn shortest(&self) -> Nanos {
        self.channels.iter().map(Channel::shortest).min().unwrap_or(0)
    }

    pub(super) fn set_down_until(&mut self, moment: Nanos) {
        self.down_until = moment;
    }

    /// Drops all frames, holds and watchers, and restarts the draws of faults.
    pub(super) fn begin_epoch(&mut self, seed: u64) {
        self.epoch += 1;
        self.down_until = 0;
        self.holds.clear();
        self.watchers.clear();
        for direction in [Direction::Up, Direction::Down] {
            self.channels[direction as usize].restart(seed, self.link, direction);
        }
        self.log.restart();
    }

    /// Takes in a frame: the virtio header and the frame in `bytes`.
    pub(super) fn enter(
        &mut self,
        end: End,
        stamped: Nanos,
        received: &Received,
        bytes: &[u8],
        queue: &mut Queue,
    ) {
        if received.kept < received.length + OFFLOAD_HEADER {
            let why = format!("a frame of {} bytes is larger than any wire carries", received.length);
            return self.log.refused(&io::Error::other(why));
        }
        let direction = end.direction();
        let on_link = Offload::of(bytes).bytes_on_link(received.length);
        let channel = &mut self.channels[direction as usize];
        let entered = channel.enter(stamped);
        let length = u32::try_from(bytes.len() - OFFLOAD_HEADER).unwrap_or(u32::MAX);
        let (link, fate, is_copy) = (self.link, Fate::InFlight, false);
        let frame = |due| {
            let bytes = Box::default();
            Frame { link, direction, entered, due, left: due, fate, is_copy, length, bytes }
        };
        match channel.admit(on_link) {
            Admission::Carried { due, copy } if entered >= self.down_until => {
                self.carry(frame(due), bytes, queue);
                if let Some(due) = copy {
                    self.carry(Frame { is_copy: true, ..frame(due) }, bytes, queue);
                }
            }
            Admission::Carried { due, .. } | Admission::Lost(due) => {
                self.log.note(Frame { fate: Fate::Lost, ..frame(due) }, &bytes[OFFLOAD_HEADER..]);
            }
        }
    }

    /// Puts a frame under way, or into the hands of the hold that wants such frames.
    fn carry(&mut self, frame: Frame, bytes: &[u8], queue: &mut Queue) {
        let Frame { due, direction, entered, .. } = frame;
        let record = self.log.note(frame, &bytes[OFFLOAD_HEADER..]);
        let pending =
            Pending { due, line: self.id, epoch: self.epoch, direction, record, bytes: bytes.into() };
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
    pub(super) fn release(&mut self, hold: u64, order: &ReleaseOrder, now: Nanos, queue: &mut Queue) {
        let Some(at) = self.holds.iter().position(|h| h.id == hold) else { return };
        for pending in self.holds.remove(at).release(order, now) {
            self.log.postponed(pending.record, pending.due);
            queue.push(pending);
        }
    }

    /// Puts a frame on the device at its other end. `now` is just before: nothing that it causes is earlier.
    pub(super) fn leave(&mut self, pending: &Pending, now: Nanos, socket: &PacketSocket) {
        if pending.epoch != self.epoch {
            return;
        }
        if let Err(why) = socket.send_to(self.device(End::of_exit(pending.direction)), &pending.bytes) {
            return self.log.refused(&why);
        }
        self.log.left(pending.record, pending.due, now);
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
