//! Two peers' SYNs in an exact order: both are held until both are there, then let go as asked.
//!
//! A SYN counts that goes from one NAT's external address to the other's; what goes to the rendezvous server passes.
//! Each is held where it enters its own side's wire, so both NATs have their mappings before either SYN moves.

use crate::lab::wire::handle::WireError;
use crate::lab::wire::held::{FrameSighting, Held};
use crate::lab::wire::hold::ReleaseOrder;
use crate::lab::wire::station::Wire;
use crate::model::address_pool::AddressPool;
use crate::model::evidence::Direction;
use crate::model::packet::Packet;

/// In which order the SYNs arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SynOrder {
    /// A's has been delivered to B's NAT before B's starts.
    AFirst,
    /// The other way round.
    BFirst,
    /// Both start at the same moment.
    Crossing,
}

/// One side of a punch.
#[derive(Debug, Clone, Copy)]
pub struct PunchingSide<'a> {
    /// The wire of its outermost NAT.
    pub wire: &'a Wire,
    /// The external addresses of that NAT.
    pub external: AddressPool,
}

/// Holds set for both sides' SYNs.
#[derive(Debug)]
pub struct SynsHeld {
    a: Side,
    b: Side,
}

#[derive(Debug)]
struct Side {
    held: Held,
    /// When its SYN arrives at the other side.
    arrival: FrameSighting,
}

impl SynsHeld {
    /// Holds the SYNs of both sides from now on. Both wires belong to one engine.
    ///
    /// # Errors
    /// The engine is gone.
    pub fn arm(a: PunchingSide<'_>, b: PunchingSide<'_>) -> Result<Self, WireError> {
        Ok(Self { a: Side::arm(a, b)?, b: Side::arm(b, a)? })
    }

    /// Waits until each side's SYN is held, and lets them go. Bound it in time: a peer may never send one, and a SYN
    /// may be lost or run out of hops on its way. SYNs held when it is given up go on as they came.
    ///
    /// # Errors
    /// A wire was reset.
    pub async fn play(mut self, order: SynOrder) -> Result<(), WireError> {
        self.caught().await?;
        let (first, second) = match order {
            SynOrder::AFirst => (self.a, self.b),
            SynOrder::BFirst => (self.b, self.a),
            SynOrder::Crossing => {
                return Held::release_together(vec![self.a.held, self.b.held], ReleaseOrder::AsCaught);
            }
        };
        first.held.release(ReleaseOrder::AsCaught)?;
        first.arrival.delivered().await?;
        second.held.release(ReleaseOrder::AsCaught)
    }

    /// Waits until each side's SYN is held. Bound it in time, as [`Self::play`].
    ///
    /// # Errors
    /// A wire was reset.
    pub async fn caught(&mut self) -> Result<(), WireError> {
        self.a.held.caught(1).await?;
        self.b.held.caught(1).await
    }
}

impl Side {
    fn arm(from: PunchingSide<'_>, to: PunchingSide<'_>) -> Result<Self, WireError> {
        let arrival = to.wire.watch(Direction::Down, is_syn(from.external, to.external))?;
        let held = from.wire.hold(Direction::Up, is_syn(from.external, to.external))?;
        Ok(Self { held, arrival })
    }
}

fn is_syn(from: AddressPool, to: AddressPool) -> impl Fn(&Packet) -> bool + Send + 'static {
    move |packet| {
        let opens = packet.tcp().is_some_and(|segment| segment.flags.is_opening());
        opens && from.contains(*packet.source.ip()) && to.contains(*packet.destination.ip())
    }
}
