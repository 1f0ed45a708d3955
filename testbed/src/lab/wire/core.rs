//! The thread that carries: waits for frames, for the next one due, and for requests.

use std::collections::HashMap;
use std::sync::mpsc::Receiver;

use crate::kernel::clock::{self, ClockPair};
use crate::kernel::packet_socket::{LARGEST_FRAME, PacketSocket};
use crate::kernel::poller::Poller;
use crate::lab::wire::closer::Closer;
use crate::lab::wire::hold::Order;
use crate::lab::wire::line::{Desk, End, Line, Listener};
use crate::lab::wire::queue::Queue;
use crate::lab::wire::tap::Tapped;

/// Frames taken from one socket, and frames delivered, before the others get their turn.
const TURN: usize = 64;

/// A request, carried out between two rounds.
pub(super) type Request = Box<dyn FnOnce(&mut Core) + Send>;

/// All that the thread owns.
#[derive(Debug)]
pub(super) struct Core {
    poller: Poller,
    lines: HashMap<u64, Line>,
    listeners: HashMap<u64, Listener>,
    queue: Queue,
    buffer: Box<[u8]>,
    clocks: ClockPair,
    closer: Closer,
    next_id: u64,
    stopped: bool,
}

impl Core {
    pub(super) fn new(poller: Poller, closer: Closer) -> Self {
        Self {
            poller,
            lines: HashMap::new(),
            listeners: HashMap::new(),
            queue: Queue::default(),
            buffer: vec![0; LARGEST_FRAME].into(),
            clocks: ClockPair::read(),
            closer,
            next_id: 0,
            stopped: false,
        }
    }

    /// Works until somebody stops it or the kernel refuses to wait.
    pub(super) fn run(mut self, requests: &Receiver<Request>) {
        let mut ready = Vec::new();
        while !self.stopped {
            if let Err(why) = self.poller.wait(self.queue.next_due(), &mut ready) {
                tracing::error!("the wire engine cannot wait for frames: {why}");
                return;
            }
            self.clocks = ClockPair::read();
            for &token in &ready {
                self.receive(token);
            }
            for request in requests.try_iter() {
                request(&mut self);
            }
            self.deliver();
        }
    }

    /// Ends the thread after this round.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
    }

    /// A number that no wire, tap or hold has had.
    pub(super) fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn receive(&mut self, token: u64) {
        let (id, end) = (token >> 1, End::BOTH[(token & 1) as usize]);
        let mut desk = Desk { queue: &mut self.queue, buffer: &mut self.buffer, clocks: self.clocks };
        if let Some(line) = self.lines.get_mut(&id) {
            line.receive(end, TURN, &mut desk);
        } else if let Some(listener) = self.listeners.get_mut(&id) {
            listener.receive(TURN, &mut desk);
        }
    }

    fn deliver(&mut self) {
        for _ in 0..TURN {
            let now = clock::monotonic();
            let Some(pending) = self.queue.pop_due(now) else { return };
            if let Some(line) = self.lines.get_mut(&pending.line) {
                line.leave(&pending, now);
            }
        }
    }

    pub(super) fn add_line(&mut self, line: Line) -> std::io::Result<()> {
        for end in End::BOTH {
            self.poller.add(line.socket(end), token(line.id, end))?;
        }
        self.lines.insert(line.id, line);
        Ok(())
    }

    pub(super) fn add_listener(&mut self, id: u64, listener: Listener) -> std::io::Result<()> {
        self.poller.add(&listener.port.socket, token(id, End::X))?;
        self.listeners.insert(id, listener);
        Ok(())
    }

    /// The wire of a living handle, after all frames that have entered it by now: what is changed next is changed for
    /// later ones only.
    pub(super) fn line(&mut self, id: u64) -> Option<&mut Line> {
        let mut desk = Desk { queue: &mut self.queue, buffer: &mut self.buffer, clocks: self.clocks };
        let line = self.lines.get_mut(&id)?;
        line.catch_up(&mut desk);
        Some(line)
    }

    /// The tap of a living handle.
    pub(super) fn listener(&mut self, id: u64) -> Option<&mut Listener> {
        self.listeners.get_mut(&id)
    }

    /// Takes a wire or a tap out. Closing its sockets is slow, so that happens elsewhere.
    pub(super) fn remove(&mut self, id: u64) {
        let line = self.lines.remove(&id).map(Line::into_sockets);
        let listener = self.listeners.remove(&id).map(|listener| listener.port.socket);
        for socket in line.into_iter().flatten().chain(listener) {
            self.close(socket);
        }
    }

    fn close(&self, socket: PacketSocket) {
        let _ = self.poller.remove(&socket);
        // Without a closer the socket comes back in the error and is closed right here.
        let _ = self.closer.send(socket);
    }

    pub(super) fn begin_epoch(&mut self, id: u64, seed: u64) {
        if let Some(line) = self.lines.get_mut(&id) {
            line.begin_epoch(seed, &mut self.buffer);
        } else if let Some(listener) = self.listeners.get_mut(&id) {
            listener.begin_epoch(&mut self.buffer);
        }
    }

    pub(super) fn take(&mut self, id: u64) -> Tapped {
        let mut desk = Desk { queue: &mut self.queue, buffer: &mut self.buffer, clocks: self.clocks };
        if let Some(line) = self.lines.get_mut(&id) {
            line.take(&mut desk)
        } else if let Some(listener) = self.listeners.get_mut(&id) {
            listener.take(&mut desk)
        } else {
            Tapped::default()
        }
    }

    /// Ends holds, given as wire and hold, all at the same moment.
    pub(super) fn release(&mut self, holds: &[(u64, u64)], order: &Order) {
        let now = clock::monotonic();
        for (line, hold) in holds {
            if let Some(line) = self.lines.get_mut(line) {
                line.release(*hold, order, now, &mut self.queue);
            }
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        let ids: Vec<u64> = self.lines.keys().chain(self.listeners.keys()).copied().collect();
        for id in ids {
            self.remove(id);
        }
    }
}

fn token(id: u64, end: End) -> u64 {
    id << 1 | end as u64
}
