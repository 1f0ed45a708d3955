//! Starting the carrying thread and giving it sockets.

use std::sync::Arc;
use std::sync::mpsc::{channel, sync_channel};
use std::thread;

use crate::kernel::heartbeat::Heartbeat;
use crate::kernel::packet_socket::PacketSocket;
use crate::kernel::poller::Poller;
use crate::kernel::scheduling::{self, ThreadPriority};
use crate::lab::wire::closer;
use crate::lab::wire::core::Core;
use crate::lab::wire::handle::{Handle, WireError};
use crate::lab::wire::listener::Listener;
use crate::lab::wire::station::{Junction, Tap};
use crate::lab::wire::tap::{Log, TapLimits};
use crate::model::evidence::Direction;

/// The thread that carries the frames of all wires. Cheap to clone; the thread ends with the last clone and wire.
#[derive(Debug, Clone)]
pub struct WireEngine {
    handle: Handle,
    urgency: ThreadPriority,
    heart: Arc<Heartbeat>,
}

/// The settings of a new tap.
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
        let heart = Heartbeat::new();
        let core = Core::new(poller, closer::start().map_err(WireError::Start)?, Arc::clone(&heart));
        let (sender, requests) = channel();
        let (tell, urgency) = sync_channel(1);
        let carry = move || {
            let _ = tell.send(scheduling::make_urgent());
            core.run(&requests);
        };
        thread::Builder::new().name("wire".to_owned()).spawn(carry).map_err(WireError::Start)?;
        let urgency = urgency.recv().map_err(|_| WireError::EngineGone)?;
        Ok(Self { handle: Handle::new(sender, waker), urgency, heart })
    }

    /// How urgent the kernel lets the thread be.
    #[must_use]
    pub fn urgency(&self) -> ThreadPriority {
        self.urgency
    }

    /// Tells whether the thread runs.
    #[must_use]
    pub fn heart(&self) -> &Heartbeat {
        &self.heart
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
        let passed = log.passed();
        let added = self.handle.ask(move |core| {
            let id = core.new_id();
            core.add_listener(id, Listener::new(link, inward, log, socket)).map(|()| id)
        })?;
        let id = added.map_err(|why| WireError::Add { name, why })?;
        Ok(Tap::new(self.handle.clone(), id, passed))
    }
}
