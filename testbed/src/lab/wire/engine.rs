//! The handles by which the rest of the program talks to the carrying thread.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::thread;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use crate::kernel::clock;
use crate::kernel::packet_socket::PacketSocket;
use crate::kernel::poller::{Poller, Waker};
use crate::kernel::scheduling::{self, Urgency};
use crate::lab::wire::channel::Channel;
use crate::lab::wire::closer;
use crate::lab::wire::core::{Core, Request};
use crate::lab::wire::hold::{Held, Hold, Sighting, Watcher};
use crate::lab::wire::line::{Ends, Line};
use crate::lab::wire::listener::Listener;
use crate::lab::wire::tap::{Log, TapLimits, Tapped};
use crate::model::conditions::LinkConditions;
use crate::model::evidence::{Direction, Nanos};
use crate::model::packet::Packet;

/// Why a wire did not do as it was told.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The carrying thread could not be started.
    #[error("cannot start the wire engine: {0}")]
    Start(io::Error),
    /// A socket could not be taken on.
    #[error("cannot watch the socket of {name}: {why}")]
    Add {
        /// What the socket is for.
        name: String,
        /// Why.
        why: io::Error,
    },
    /// The carrying thread has ended.
    #[error("the wire engine has ended")]
    EngineGone,
    /// What was waited for cannot happen any more.
    #[error("the wire was reset or removed while a frame was awaited on it")]
    Reset,
}

/// The thread that carries the frames of all wires. Cheap to clone; the thread ends with the last clone and wire.
#[derive(Debug, Clone)]
pub struct WireEngine {
    handle: Handle,
    urgency: Urgency,
}

/// What a wire is told when it is made.
#[derive(Debug, Clone)]
pub struct WireSpec {
    /// What to call it in messages: `wire of "nat-a"`.
    pub name: String,
    /// Index of the link in the address plan.
    pub link: u16,
    /// What it does to frames.
    pub conditions: LinkConditions,
    /// Fixes its luck, until an epoch begins with another.
    pub seed: u64,
    /// What its tap keeps.
    pub tap: TapLimits,
}

/// What a tap is told when it is made.
#[derive(Debug, Clone)]
pub struct TapSpec {
    /// What to call it in messages: `link of "peer-a"`.
    pub name: String,
    /// Index of the link in the address plan.
    pub link: u16,
    /// Which direction frames have that come in through the device.
    pub inward: Direction,
    /// What it keeps.
    pub limits: TapLimits,
}

impl WireEngine {
    /// Starts the thread.
    ///
    /// # Errors
    /// No thread or descriptor is left.
    pub fn start() -> Result<Self, WireError> {
        let poller = Poller::new().map_err(WireError::Start)?;
        let waker = poller.waker();
        let core = Core::new(poller, closer::start().map_err(WireError::Start)?);
        let (sender, requests) = channel();
        let (tell, urgency) = sync_channel(1);
        let carry = move || {
            let _ = tell.send(scheduling::make_urgent());
            core.run(&requests);
        };
        thread::Builder::new().name("wire".to_owned()).spawn(carry).map_err(WireError::Start)?;
        let urgency = urgency.recv().map_err(|_| WireError::EngineGone)?;
        Ok(Self { handle: Handle(Arc::new(Postbox { sender, waker })), urgency })
    }

    /// How urgent the kernel lets the thread be.
    #[must_use]
    pub fn urgency(&self) -> Urgency {
        self.urgency
    }

    /// Takes on the namespace that a carrier was opened in, so that wires can end there.
    ///
    /// # Errors
    /// The thread is gone or out of descriptors.
    pub fn add_junction(&self, carrier: PacketSocket) -> Result<Junction, WireError> {
        let id = self.handle.ask(move |core| core.add_junction(carrier))?;
        let id = id.map_err(|why| WireError::Add { name: "a namespace of wires".to_owned(), why })?;
        Ok(Junction { station: Arc::new(Station { engine: self.handle.clone(), id }) })
    }

    /// Records from now on what passes a listener.
    ///
    /// # Errors
    /// The thread is gone or out of descriptors.
    pub fn add_tap(&self, socket: PacketSocket, spec: TapSpec) -> Result<Tap, WireError> {
        let TapSpec { name, link, inward, limits } = spec;
        let log = Log::new(name.clone(), limits);
        let added = self.handle.ask(move |core| {
            let id = core.new_id();
            core.add_listener(id, Listener::new(link, inward, log, socket)).map(|()| id)
        })?;
        let id = added.map_err(|why| WireError::Add { name, why })?;
        Ok(Tap { station: Station { engine: self.handle.clone(), id } })
    }
}

/// A namespace that holds the ends of wires. It stays in the engine until it and all its wires are dropped.
#[derive(Debug, Clone)]
pub struct Junction {
    station: Arc<Station>,
}

impl Junction {
    /// Carries frames between two devices from now on.
    ///
    /// # Errors
    /// The engine is gone.
    pub fn add_wire(&self, ends: Ends, spec: WireSpec) -> Result<Wire, WireError> {
        let WireSpec { name, link, conditions, seed, tap } = spec;
        let channels = [(conditions.up, Direction::Up), (conditions.down, Direction::Down)]
            .map(|(conditions, direction)| Channel::new(conditions, seed, link, direction));
        let (log, junction) = (Log::new(name, tap), self.station.id);
        let engine = self.station.engine.clone();
        let id = engine.ask(move |core| {
            let id = core.new_id();
            core.add_line(Line::new(id, junction, ends, (link, log), channels));
            // Frames and drops of the time before are no business of this wire.
            core.begin_epoch(id, seed);
            id
        })?;
        Ok(Wire { station: Station { engine, id }, _junction: self.clone() })
    }
}

/// The way to the carrying thread.
#[derive(Debug, Clone)]
pub(super) struct Handle(Arc<Postbox>);

#[derive(Debug)]
struct Postbox {
    sender: Sender<Request>,
    waker: Waker,
}

impl Handle {
    /// Has something done, and does not wait for it.
    pub(super) fn tell(&self, request: impl FnOnce(&mut Core) + Send + 'static) {
        self.0.tell(Box::new(request));
    }

    /// Has something done, and waits for the answer.
    pub(super) fn ask<T: Send + 'static>(
        &self,
        request: impl FnOnce(&mut Core) -> T + Send + 'static,
    ) -> Result<T, WireError> {
        let (reply, answer) = sync_channel(1);
        self.tell(move |core| {
            // Who asked waits for the answer below, so this cannot fail.
            let _ = reply.send(request(core));
        });
        answer.recv().map_err(|_| WireError::EngineGone)
    }
}

impl Postbox {
    fn tell(&self, request: Request) {
        // If the thread is gone there is nothing to tell; whoever asks finds out by getting no answer.
        let _ = self.sender.send(request);
        self.waker.wake();
    }
}

impl Drop for Postbox {
    fn drop(&mut self) {
        self.tell(Box::new(Core::stop));
    }
}

/// A junction, a wire or a tap in the hands of its owner. Dropping it takes it out of the engine.
#[derive(Debug)]
struct Station {
    engine: Handle,
    id: u64,
}

impl Drop for Station {
    fn drop(&mut self) {
        let id = self.id;
        self.engine.tell(move |core| core.remove(id));
    }
}

impl Station {
    fn begin_epoch(&self, seed: u64) -> Result<(), WireError> {
        let id = self.id;
        self.engine.ask(move |core| core.begin_epoch(id, seed))
    }

    fn take_frames(&self) -> Result<Tapped, WireError> {
        let id = self.id;
        self.engine.ask(move |core| core.take(id))
    }

    fn with_line<T: Send + 'static>(
        &self,
        request: impl FnOnce(&mut Line) -> T + Send + 'static,
    ) -> Result<T, WireError> {
        let id = self.id;
        self.engine.ask(move |core| core.line(id).map(request))?.ok_or(WireError::Reset)
    }
}

/// A wire. Dropping it takes it out of its link: the two ends are then apart.
#[derive(Debug)]
pub struct Wire {
    station: Station,
    /// Dropped after the wire.
    _junction: Junction,
}

impl Wire {
    /// Changes what it does to the frames that enter from now on.
    ///
    /// # Errors
    /// The engine is gone.
    pub fn set_conditions(&self, conditions: LinkConditions) -> Result<(), WireError> {
        self.station.with_line(move |line| line.set_conditions(conditions))
    }

    /// Changes what its tap keeps of the frames that enter from now on.
    ///
    /// # Errors
    /// The engine is gone.
    pub fn set_tap_limits(&self, limits: TapLimits) -> Result<(), WireError> {
        self.station.with_line(move |line| line.log.set_limits(limits))
    }

    /// Loses all frames that enter for so long. Those on their way arrive.
    ///
    /// # Errors
    /// The engine is gone.
    pub fn down_for(&self, time: Duration) -> Result<(), WireError> {
        let time = Nanos::try_from(time.as_nanos()).unwrap_or(Nanos::MAX);
        self.station.with_line(move |line| line.set_down_until(clock::monotonic().saturating_add(time)))
    }

    /// Ends [`Self::down_for`] early.
    ///
    /// # Errors
    /// The engine is gone.
    pub fn up(&self) -> Result<(), WireError> {
        self.station.with_line(|line| line.set_down_until(0))
    }

    /// Begins anew: frames on their way and frames held go nowhere, the tap is empty, the link is up, and the luck is
    /// that of the seed. Conditions and tap limits stay. Take the frames first.
    ///
    /// # Errors
    /// The engine is gone.
    pub fn begin_epoch(&self, seed: u64) -> Result<(), WireError> {
        self.station.begin_epoch(seed)
    }

    /// What was seen since it was last asked, or since the epoch began.
    ///
    /// # Errors
    /// The engine is gone.
    pub fn take_frames(&self) -> Result<Tapped, WireError> {
        self.station.take_frames()
    }

    /// Holds back, from now on, each frame of a direction that `select` chooses; others pass by. Of several holds
    /// that choose a frame the oldest gets it. `select` runs on the carrying thread: it must be quick and not block.
    ///
    /// # Errors
    /// The engine is gone.
    pub fn hold(
        &self,
        direction: Direction,
        select: impl Fn(&Packet) -> bool + Send + 'static,
    ) -> Result<Held, WireError> {
        let (count, counted) = watch::channel(0);
        let (id, select) = (self.station.id, Box::new(select));
        let held = self.station.engine.ask(move |core| {
            let hold = core.new_id();
            let line = core.line(id)?;
            line.holds.push(Hold::new(hold, direction, select, count));
            Some(hold)
        })?;
        let hold = held.ok_or(WireError::Reset)?;
        Ok(Held::new(self.station.engine.clone(), id, hold, counted))
    }

    /// Watches for the first frame of a direction, from now on, that `select` chooses and that leaves the link. As
    /// for holding, `select` must be quick.
    ///
    /// # Errors
    /// The engine is gone.
    pub fn watch(
        &self,
        direction: Direction,
        select: impl Fn(&Packet) -> bool + Send + 'static,
    ) -> Result<Sighting, WireError> {
        let (tell, told) = oneshot::channel();
        let watcher = Watcher::new(direction, Box::new(select), tell);
        self.station.with_line(move |line| {
            line.watchers.retain(Watcher::is_awaited);
            line.watchers.push(watcher);
        })?;
        Ok(Sighting::new(told))
    }
}

/// An ear on a link without a wire. It only records.
#[derive(Debug)]
pub struct Tap {
    station: Station,
}

impl Tap {
    /// Forgets what was seen.
    ///
    /// # Errors
    /// The engine is gone.
    pub fn begin_epoch(&self) -> Result<(), WireError> {
        self.station.begin_epoch(0)
    }

    /// Changes what it keeps of the frames that pass from now on.
    ///
    /// # Errors
    /// The engine is gone.
    pub fn set_limits(&self, limits: TapLimits) -> Result<(), WireError> {
        let id = self.station.id;
        self.station.engine.ask(move |core| core.listener(id).map(|tap| tap.log.set_limits(limits)))?;
        Ok(())
    }

    /// What was seen since it was last asked, or since the epoch began.
    ///
    /// # Errors
    /// The engine is gone.
    pub fn take_frames(&self) -> Result<Tapped, WireError> {
        self.station.take_frames()
    }
}
