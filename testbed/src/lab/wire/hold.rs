//! Holding frames back and watching for them, so that an order is exact and not a matter of luck.

use std::fmt;

use tokio::sync::{oneshot, watch};

use crate::lab::wire::engine::{Handle, WireError};
use crate::lab::wire::queue::Pending;
use crate::model::evidence::{Direction, Nanos};
use crate::model::packet::Packet;

/// Chooses frames by what they say.
pub(super) type Select = Box<dyn Fn(&Packet) -> bool + Send>;

/// In which order held frames go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReleaseOrder {
    /// As they were caught.
    AsCaught,
    /// The last one caught first.
    Reversed,
    /// By their numbers, the first one caught being 0; those not named follow as they were caught.
    By(Vec<usize>),
}

/// A hold, as the engine keeps it.
pub(super) struct Hold {
    pub(super) id: u64,
    direction: Direction,
    select: Select,
    count: watch::Sender<usize>,
    held: Vec<HeldFrame>,
}

/// A frame that is held, and how long it takes once released.
#[derive(Debug)]
struct HeldFrame {
    transit: Nanos,
    pending: Pending,
}

impl fmt::Debug for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hold").field("direction", &self.direction).field("held", &self.held).finish()
    }
}

impl Hold {
    pub(super) fn new(id: u64, direction: Direction, select: Select, count: watch::Sender<usize>) -> Self {
        Self { id, direction, select, count, held: Vec::new() }
    }

    /// Whether it wants such a frame.
    pub(super) fn wants(&self, direction: Direction, packet: &Packet) -> bool {
        direction == self.direction && (self.select)(packet)
    }

    /// Takes a frame that entered at `entered`.
    pub(super) fn catch(&mut self, pending: Pending, entered: Nanos) {
        self.held.push(HeldFrame { transit: pending.due.saturating_sub(entered), pending });
        self.count.send_replace(self.held.len());
    }

    /// Gives all frames back, in order, to leave as if they entered `now`.
    pub(super) fn release(self, order: &ReleaseOrder, now: Nanos) -> Vec<Pending> {
        arrange(self.held, order)
            .into_iter()
            .map(|held| Pending { due: now + held.transit, ..held.pending })
            .collect()
    }
}

fn arrange<T>(caught: Vec<T>, order: &ReleaseOrder) -> Vec<T> {
    let mut slots: Vec<Option<T>> = caught.into_iter().map(Some).collect();
    let numbers: Vec<usize> = match order {
        ReleaseOrder::AsCaught => Vec::new(),
        ReleaseOrder::Reversed => (0..slots.len()).rev().collect(),
        ReleaseOrder::By(numbers) => numbers.clone(),
    };
    let mut arranged: Vec<T> =
        numbers.into_iter().filter_map(|n| slots.get_mut(n).and_then(Option::take)).collect();
    arranged.extend(slots.into_iter().flatten());
    arranged
}

/// Frames that a wire holds back at its entrance. Dropping it releases them as they were caught.
#[derive(Debug)]
pub struct Held {
    /// `None` once released.
    place: Option<Place>,
    count: watch::Receiver<usize>,
}

#[derive(Debug)]
struct Place {
    engine: Handle,
    line: u64,
    hold: u64,
}

impl Held {
    pub(super) fn new(engine: Handle, line: u64, hold: u64, count: watch::Receiver<usize>) -> Self {
        Self { place: Some(Place { engine, line, hold }), count }
    }

    /// Waits until at least so many frames are held. Bound it in time: nobody promises that they come.
    ///
    /// # Errors
    /// The wire began a new epoch or is gone.
    pub async fn caught(&mut self, frames: usize) -> Result<(), WireError> {
        self.count.wait_for(|count| *count >= frames).await.map(drop).map_err(|_| WireError::Reset)
    }

    /// How many frames are held by now.
    #[must_use]
    pub fn count(&self) -> usize {
        *self.count.borrow()
    }

    /// Lets the frames go on, as if they entered the link now, and holds no more.
    ///
    /// # Errors
    /// The engine is gone.
    pub fn release(self, order: ReleaseOrder) -> Result<(), WireError> {
        Self::release_together(vec![self], order)
    }

    /// Releases several holds, of one wire or of many of the same engine, at the same moment.
    ///
    /// # Errors
    /// The engine is gone.
    pub fn release_together(holds: Vec<Self>, order: ReleaseOrder) -> Result<(), WireError> {
        let places: Vec<Place> = holds.into_iter().filter_map(|mut held| held.place.take()).collect();
        let Some(engine) = places.first().map(|place| place.engine.clone()) else { return Ok(()) };
        let which: Vec<(u64, u64)> = places.iter().map(|place| (place.line, place.hold)).collect();
        engine.ask(move |core| core.release(&which, &order))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(Place { engine, line, hold }) = self.place.take() {
            engine.tell(move |core| core.release(&[(line, hold)], &ReleaseOrder::AsCaught));
        }
    }
}

/// Somebody who waits for a frame to leave a wire, as the engine keeps it.
pub(super) struct Watcher {
    direction: Direction,
    select: Select,
    tell: oneshot::Sender<Nanos>,
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher").field("direction", &self.direction).finish_non_exhaustive()
    }
}

impl Watcher {
    pub(super) fn new(direction: Direction, select: Select, tell: oneshot::Sender<Nanos>) -> Self {
        Self { direction, select, tell }
    }

    pub(super) fn wants(&self, direction: Direction, packet: &Packet) -> bool {
        direction == self.direction && (self.select)(packet)
    }

    /// Whether somebody still waits.
    pub(super) fn is_awaited(&self) -> bool {
        !self.tell.is_closed()
    }

    pub(super) fn saw(self, left: Nanos) {
        // Nobody to tell is no harm.
        let _ = self.tell.send(left);
    }
}

/// A frame that is watched for.
#[derive(Debug)]
pub struct FrameSighting(oneshot::Receiver<Nanos>);

impl FrameSighting {
    pub(super) fn new(receiver: oneshot::Receiver<Nanos>) -> Self {
        Self(receiver)
    }

    /// Waits until the frame has left the link, and tells when: the node behind has it then. Bound it in time.
    ///
    /// # Errors
    /// The wire began a new epoch or is gone.
    pub async fn delivered(self) -> Result<Nanos, WireError> {
        self.0.await.map_err(|_| WireError::Reset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_arranged_as_asked_and_none_is_forgotten() {
        let arranged = |order| arrange(vec!['a', 'b', 'c'], &order);
        assert_eq!(arranged(ReleaseOrder::AsCaught), ['a', 'b', 'c']);
        assert_eq!(arranged(ReleaseOrder::Reversed), ['c', 'b', 'a']);
        assert_eq!(arranged(ReleaseOrder::By(vec![1])), ['b', 'a', 'c']);
        assert_eq!(arranged(ReleaseOrder::By(vec![2, 2, 7, 0])), ['c', 'a', 'b']);
    }
}
