//! Starting the carrying thread, giving it sockets, and the way to talk to it.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::thread;

use crate::kernel::packet_socket::PacketSocket;
use crate::kernel::poller::{Poller, Waker};
use crate::kernel::scheduling::{self, Urgency};
use crate::lab::wire::closer;
use crate::lab::wire::core::{Core, EngineRequest};
use crate::lab::wire::listener::Listener;
use crate::lab::wire::station::{Junction, Tap};
use crate::lab::wire::tap::{Log, TapLimits};
use crate::model::conditions::LinkConditions;
use crate::model::evidence::Direction;

/// Why a wire did not do as it was told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
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
        Ok(Junction::new(self.handle.clone(), id))
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
        Ok(Tap::new(self.handle.clone(), id))
    }
}

/// The way to the carrying thread.
#[derive(Debug, Clone)]
pub(super) struct Handle(Arc<Postbox>);

#[derive(Debug)]
struct Postbox {
    sender: Sender<EngineRequest>,
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
    fn tell(&self, request: EngineRequest) {
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
