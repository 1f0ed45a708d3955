//! What the owner of a hold or of a watch has in hand: to wait for frames, and to let them go on.

use tokio::sync::{oneshot, watch};

use crate::lab::wire::handle::{Handle, WireError};
use crate::lab::wire::hold::ReleaseOrder;
use crate::model::evidence::Nanos;

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

    /// Waits until at least this many frames are held. Bound it in time: nobody promises that they come.
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
