//! The thread that carries: waits for frames, for the next one due, and for requests.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use crate::kernel::clock::{self, Clocks};
use crate::kernel::heartbeat::{BEAT, Heartbeat};
use crate::kernel::packet_socket::{LARGEST_FRAME, PacketSocket};
use crate::kernel::poller::Poller;
use crate::lab::wire::closer::Closer;
use crate::lab::wire::hold::ReleaseOrder;
use crate::lab::wire::line::{End, Line};
use crate::lab::wire::listener::Listener;
use crate::lab::wire::port::{FLOOD, Port, Unread};
use crate::lab::wire::queue::Queue;
use crate::lab::wire::tap::Tapped;
use crate::model::conditions::LinkConditions;
use crate::model::evidence::Nanos;

/// Frames taken from one socket, and frames delivered, before the others get their turn.
const TURN: usize = 64;

/// How long frames for which there is no hurry wait for others to be read with: those that are only recorded, and those
/// that will be on their wire for some time. When they passed, the kernel has noted.
const PAUSE: Nanos = 2_000_000;

/// A frame that takes so long is in no hurry: there is half of it left when it has been read.
const NO_HURRY: Nanos = 2 * PAUSE;

/// A request, carried out between two rounds.
pub(super) type EngineRequest = Box<dyn FnOnce(&mut Core) + Send>;

/// All that the thread owns.
#[derive(Debug)]
pub(super) struct Core {
    poller: Poller,
    /// Tells whether this thread runs.
    heart: Arc<Heartbeat>,
    junctions: HashMap<u64, JunctionPort>,
    lines: HashMap<u64, Line>,
    listeners: HashMap<u64, Listener>,
    queue: Queue,
    /// When what is in no hurry is to be read next, if there is something.
    patient_due: Option<Nanos>,
    /// Sockets of which more was there than a turn allows.
    unfinished: Vec<u64>,
    buffer: Box<[u8]>,
    clocks: Clocks,
    closer: Closer,
    next_id: u64,
    stopped: bool,
}

/// The socket of a junction, and which of its devices is the end of which wire.
#[derive(Debug)]
struct JunctionPort {
    port: Port,
    /// Whether no wire of it carries a frame so soon that its socket must be read at once.
    patient: bool,
    ends: HashMap<u32, (u64, End)>,
}

impl Core {
    pub(super) fn new(poller: Poller, closer: Closer, heart: Arc<Heartbeat>) -> Self {
        Self {
            poller,
            heart,
            junctions: HashMap::new(),
            lines: HashMap::new(),
            listeners: HashMap::new(),
            queue: Queue::default(),
            patient_due: None,
            unfinished: Vec::new(),
            buffer: vec![0; LARGEST_FRAME].into(),
            clocks: Clocks::read(),
            closer,
            next_id: 0,
            stopped: false,
        }
    }

    /// Works until somebody stops it or the kernel refuses to wait.
    pub(super) fn run(mut self, requests: &Receiver<EngineRequest>) {
        let mut ready = Vec::new();
        while !self.stopped {
            if let Err(why) = self.wait(&mut ready) {
                tracing::error!("the wire engine cannot wait for frames: {why}");
                return;
            }
            for &id in &ready {
                if self.receive(id, TURN) == Unread::Perhaps {
                    self.unfinished.push(id);
                }
            }
            for request in requests.try_iter() {
                request(&mut self);
            }
            self.deliver();
        }
    }

    /// Waits until there is something to do, and says which sockets have frames for which it is time, those first whose
    /// frames are carried on.
    fn wait(&mut self, ready: &mut Vec<u64>) -> std::io::Result<()> {
        let at_once = (!self.unfinished.is_empty()).then_some(0);
        let until = self.queue.next_due().into_iter().chain(self.patient_due).chain(at_once).min();
        let next_beat = clock::monotonic() + BEAT.as_nanos() as Nanos;
        let heard = self.poller.wait(Some(until.map_or(next_beat, |until| until.min(next_beat))), ready)?;
        self.heart.beat();
        self.clocks.read_again();
        let now = clock::monotonic();
        if heard {
            self.patient_due = Some(now + PAUSE);
        }
        if self.patient_due.is_some_and(|due| due <= now) {
            self.patient_due = None;
            self.poller.patient(ready)?;
        }
        ready.append(&mut self.unfinished);
        Ok(())
    }

    /// Ends the thread after this round.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
    }

    /// A number that no junction, wire, tap or hold has had.
    pub(super) fn new_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Takes in up to `limit` frames that wait at a junction or a tap.
    fn receive(&mut self, id: u64, limit: usize) -> Unread {
        let (buffer, clocks) = (&mut self.buffer, self.clocks);
        if let Some(listener) = self.listeners.get_mut(&id) {
            return listener.receive(limit, buffer, clocks);
        }
        let Some(JunctionPort { port, ends, .. }) = self.junctions.get_mut(&id) else {
            return Unread::Nothing;
        };
        for _ in 0..limit {
            match port.receive(buffer, clocks) {
                Ok(Some((stamped, received))) => {
                    let Some((line, end)) = ends.get(&received.device) else { continue };
                    let Some(line) = self.lines.get_mut(line) else { continue };
                    line.enter(*end, stamped, &received, &buffer[..received.kept], &mut self.queue);
                }
                Ok(None) => return Unread::Nothing,
                // Nobody knows whose frame that was.
                Err(why) => {
                    let concerned = self.lines.values_mut().filter(|line| line.junction == id);
                    concerned.for_each(|line| line.log.refused(&why));
                }
            }
        }
        Unread::Perhaps
    }

    fn deliver(&mut self) {
        for _ in 0..TURN {
            let now = clock::monotonic();
            let Some(pending) = self.queue.pop_due(now) else { return };
            let Some(line) = self.lines.get_mut(&pending.line) else { continue };
            let Some(junction) = self.junctions.get(&line.junction) else { continue };
            line.leave(&pending, now, &junction.port.socket);
        }
    }

    pub(super) fn add_junction(&mut self, socket: PacketSocket) -> std::io::Result<u64> {
        let id = self.new_id();
        self.poller.add(&socket, id)?;
        let junction = JunctionPort { port: Port::new(socket), patient: false, ends: HashMap::new() };
        self.junctions.insert(id, junction);
        Ok(id)
    }

    pub(super) fn add_line(&mut self, line: Line) {
        let junction = line.junction;
        if let Some(junction) = self.junctions.get_mut(&junction) {
            junction.ends.extend(End::BOTH.map(|end| (line.device(end), (line.id, end))));
        }
        self.lines.insert(line.id, line);
        self.set_patience(junction);
    }

    /// For the frames that enter from now on; `None` when there is no such wire any more.
    pub(super) fn set_conditions(&mut self, id: u64, conditions: LinkConditions) -> Option<()> {
        let line = self.line(id)?;
        line.set_conditions(conditions);
        let junction = line.junction;
        self.set_patience(junction);
        Some(())
    }

    /// Has the socket of a junction read at once or in time, as its wires demand.
    fn set_patience(&mut self, id: u64) {
        let Some(junction) = self.junctions.get_mut(&id) else { return };
        let mut lines = junction.ends.values().filter_map(|(line, _)| self.lines.get(line));
        let patient = lines.all(|line| line.shortest() >= NO_HURRY);
        if patient == junction.patient {
            return;
        }
        let socket = &junction.port.socket;
        let changed = if patient {
            self.poller.remove(socket).and_then(|()| self.poller.add_patient(socket, id))
        } else {
            self.poller.remove_patient(socket).and_then(|()| self.poller.add(socket, id))
        };
        junction.patient = patient;
        if let Err(why) = changed {
            // Nobody would hear of its frames any more.
            let concerned = self.lines.values_mut().filter(|line| line.junction == id);
            concerned.for_each(|line| line.log.refused(&why));
        }
    }

    pub(super) fn add_listener(&mut self, id: u64, listener: Listener) -> std::io::Result<()> {
        self.poller.add_patient(&listener.port.socket, id)?;
        self.listeners.insert(id, listener);
        Ok(())
    }

    /// The wire of a living handle, after all frames that have entered it by now: what is changed next is changed for
    /// later ones only.
    pub(super) fn line(&mut self, id: u64) -> Option<&mut Line> {
        let junction = self.lines.get(&id)?.junction;
        self.receive(junction, FLOOD);
        self.lines.get_mut(&id)
    }

    /// The tap of a living handle.
    pub(super) fn listener(&mut self, id: u64) -> Option<&mut Listener> {
        self.listeners.get_mut(&id)
    }

    /// Takes a junction, a wire or a tap out. Closing sockets is slow, so that happens elsewhere.
    pub(super) fn remove(&mut self, id: u64) {
        if let Some(line) = self.lines.remove(&id)
            && let Some(junction) = self.junctions.get_mut(&line.junction)
        {
            junction.ends.retain(|_, (owner, _)| *owner != id);
        }
        let junction = self.junctions.remove(&id).map(|junction| {
            let socket = junction.port.socket;
            let _ = if junction.patient {
                self.poller.remove_patient(&socket)
            } else {
                self.poller.remove(&socket)
            };
            socket
        });
        let listener = self.listeners.remove(&id).map(|listener| listener.port.socket);
        let _ = listener.as_ref().map(|socket| self.poller.remove_patient(socket));
        for socket in junction.into_iter().chain(listener) {
            // Without a closer the socket comes back in the error and is closed right here.
            let _ = self.closer.send(socket);
        }
    }

    pub(super) fn begin_epoch(&mut self, id: u64, seed: u64) {
        // What was seen up to now belongs to the epoch before.
        drop(self.take(id));
        if let Some(line) = self.lines.get_mut(&id) {
            line.begin_epoch(seed);
        } else if let Some(listener) = self.listeners.get_mut(&id) {
            listener.log.restart();
        }
    }

    pub(super) fn take(&mut self, id: u64) -> Tapped {
        if let Some(listener) = self.listeners.get_mut(&id) {
            return listener.take(&mut self.buffer, self.clocks);
        }
        let Some(junction) = self.line(id).map(|line| line.junction) else { return Tapped::default() };
        let Some(junction) = self.junctions.get_mut(&junction) else { return Tapped::default() };
        let drops = junction.port.drops();
        self.lines.get_mut(&id).map_or_else(Tapped::default, |line| line.log.take(drops))
    }

    /// Ends holds, given as wire and hold, all at the same moment.
    pub(super) fn release(&mut self, holds: &[(u64, u64)], order: &ReleaseOrder) {
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
        let ids: Vec<u64> = self.junctions.keys().chain(self.listeners.keys()).copied().collect();
        for id in ids {
            self.remove(id);
        }
    }
}
