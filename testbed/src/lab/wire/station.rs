//! What the owner of a junction, a wire or a tap holds: requests to the carrying thread, and taking it out when dropped.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use crate::kernel::clock;
use crate::lab::wire::channel::Channel;
use crate::lab::wire::core::Core;
use crate::lab::wire::handle::{Handle, WireError};
use crate::lab::wire::held::{FrameSighting, Held};
use crate::lab::wire::hold::{Hold, Watcher};
use crate::lab::wire::line::{Ends, Line};
use crate::lab::wire::tap::{Log, TapLimits, Tapped};
use crate::lab::wire::traffic::{FrameCount, Traffic};
use crate::model::conditions::LinkConditions;
use crate::model::evidence::{Direction, nanos};
use crate::model::packet::Packet;

/// A junction, a wire or a tap in the hands of its owner. Dropping it takes it out of the engine.
#[derive(Debug)]
struct Station {
    engine: Handle,
    id: u64,
    passed: FrameCount,
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

/// Wires and taps of one engine, spoken to at once: each word to the carrying thread wakes it, and it wakes who asked.
#[derive(Debug, Clone, Default)]
pub struct Stations<'a>(Vec<&'a Station>);

impl<'a> Stations<'a> {
    /// Those of a lab.
    pub fn new(wires: impl IntoIterator<Item = &'a Wire>, taps: impl IntoIterator<Item = &'a Tap>) -> Self {
        let wires = wires.into_iter().map(|wire| &wire.station);
        Self(wires.chain(taps.into_iter().map(|tap| &tap.station)).collect())
    }

    /// [`Wire::begin_epoch`] and [`Tap::begin_epoch`] on each.
    ///
    /// # Errors
    /// The engine is gone.
    pub fn begin_epoch(&self, seed: u64) -> Result<(), WireError> {
        self.each(move |core, id| core.begin_epoch(id, seed)).map(drop)
    }

    /// [`Wire::take_frames`] and [`Tap::take_frames`] from each, in the order in which they were named.
    ///
    /// # Errors
    /// The engine is gone.
    pub fn take_frames(&self) -> Result<Vec<Tapped>, WireError> {
        self.each(Core::take)
    }

    /// How many frames pass them.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        Traffic::new(self.0.iter().map(|station| station.passed.clone()).collect())
    }

    fn each<T: Send + 'static>(
        &self,
        request: impl Fn(&mut Core, u64) -> T + Send + 'static,
    ) -> Result<Vec<T>, WireError> {
        let Some(first) = self.0.first() else { return Ok(Vec::new()) };
        let ids: Vec<u64> = self.0.iter().map(|station| station.id).collect();
        first.engine.ask(move |core| ids.into_iter().map(|id| request(core, id)).collect())
    }
}

/// A namespace that holds the ends of wires. It stays in the engine until it and all its wires are dropped.
#[derive(Debug, Clone)]
pub struct Junction {
    station: Arc<Station>,
}

impl Junction {
    pub(super) fn new(engine: Handle, id: u64) -> Self {
        Self { station: Arc::new(Station { engine, id, passed: FrameCount::default() }) }
    }

    /// Carries frames between two devices from now on.
    ///
    /// # Errors
    /// The engine is gone.
    pub fn add_wire(&self, ends: Ends, spec: WireSpec) -> Result<Wire, WireError> {
        let WireSpec { name, link, conditions, seed, tap } = spec;
        let channels = [(conditions.up, Direction::Up), (conditions.down, Direction::Down)]
            .map(|(conditions, direction)| Channel::new(conditions, seed, link, direction));
        let (log, junction) = (Log::new(name, tap), self.station.id);
        let passed = log.passed();
        let engine = self.station.engine.clone();
        let id = engine.ask(move |core| {
            let id = core.new_id();
            core.add_line(Line::new(id, junction, ends, (link, log), channels));
            // Frames and drops of the time before are no business of this wire.
            core.begin_epoch(id, seed);
            id
        })?;
        Ok(Wire { station: Station { engine, id, passed }, _junction: self.clone() })
    }
}

/// The settings of a new wire.
#[derive(Debug, Clone)]
pub struct WireSpec {
    /// What to call it in messages: `wire of "nat-a"`.
    pub name: String,
    /// Index of the link in the address plan.
    pub link: u16,
    /// What it does to frames.
    pub conditions: LinkConditions,
    /// Fixes its random numbers, until an epoch begins with another.
    pub seed: u64,
    /// What its tap keeps.
    pub tap: TapLimits,
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
        Self::set_all_conditions(vec![(self, conditions)])
    }

    /// The same for several wires of one engine.
    ///
    /// # Errors
    /// The engine is gone.
    pub fn set_all_conditions(wires: Vec<(&Self, LinkConditions)>) -> Result<(), WireError> {
        let Some((first, _)) = wires.first() else { return Ok(()) };
        let engine = first.station.engine.clone();
        let all: Vec<_> = wires.into_iter().map(|(wire, conditions)| (wire.station.id, conditions)).collect();
        engine
            .ask(move |core| {
                all.into_iter().try_for_each(|(id, conditions)| core.set_conditions(id, conditions))
            })?
            .ok_or(WireError::Reset)
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
        let time = nanos(time);
        self.station.with_line(move |line| line.set_down_until(clock::monotonic().saturating_add(time)))
    }

    /// Ends [`Self::down_for`] early.
    ///
    /// # Errors
    /// The engine is gone.
    pub fn up(&self) -> Result<(), WireError> {
        self.station.with_line(|line| line.set_down_until(0))
    }

    /// Starts over: frames on their way and frames held go nowhere, the tap is empty, the link is up, and the draws of faults are
    /// those of the seed. Conditions and tap limits stay. Take the frames first.
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
    ) -> Result<FrameSighting, WireError> {
        let (tell, told) = oneshot::channel();
        let watcher = Watcher::new(direction, Box::new(select), tell);
        self.station.with_line(move |line| {
            line.watchers.retain(Watcher::is_awaited);
            line.watchers.push(watcher);
        })?;
        Ok(FrameSighting::new(told))
    }
}

/// A recorder on a link without a wire.
#[derive(Debug)]
pub struct Tap {
    station: Station,
}

impl Tap {
    pub(super) fn new(engine: Handle, id: u64, passed: FrameCount) -> Self {
        Self { station: Station { engine, id, passed } }
    }

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
