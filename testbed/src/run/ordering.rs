//! The axis `order`: both sides' first punching SYNs held until both are there, then let go as the cell asks.

use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::judge::timeline::Vantage;
use crate::kernel::error::{Error, Result};
use crate::lab::Lab;
use crate::lab::wire::{PunchingSide, SynOrder, SynsHeld, WireError};
use crate::model::axis_value::Order;

const TRIED: &str = "hold the punching SYNs";

/// SYNs that are held; dropped, it lets them go as they came.
#[derive(Debug)]
pub(super) struct Ordering {
    order: Order,
    playing: JoinHandle<std::result::Result<std::result::Result<(), WireError>, tokio::time::error::Elapsed>>,
}

impl Ordering {
    /// Holds what a cell wants held, until `deadline`; `None` where it wants no order.
    ///
    /// # Errors
    /// When a side has no wire to hold its SYN on, or the wires have ended.
    pub(super) fn arm(
        lab: &Lab,
        order: Order,
        sides: [&Vantage; 2],
        deadline: Instant,
    ) -> Result<Option<Self>> {
        let wanted = match order {
            Order::Free => return Ok(None),
            Order::AFirst => SynOrder::AFirst,
            Order::BFirst => SynOrder::BFirst,
            Order::Crossing => SynOrder::Crossing,
        };
        let [a, b] = sides.map(|side| {
            let missing = || Error::other(TRIED, format!("the link of peer \"{}\" is no wire", side.peer));
            Result::Ok(PunchingSide {
                wire: lab.wire(side.link).ok_or_else(missing)?,
                external: side.external,
            })
        });
        let held = SynsHeld::arm(a?, b?).map_err(|why| Error::other(TRIED, why.to_string()))?;
        let playing = tokio::spawn(timeout_at(deadline, held.play(wanted)));
        Ok(Some(Self { order, playing }))
    }

    /// Why the order was not made, if it was not.
    pub(super) async fn fault(self) -> Option<String> {
        if !self.playing.is_finished() {
            self.playing.abort();
        }
        let why = match self.playing.await {
            Ok(Ok(Ok(()))) => return None,
            Ok(Ok(Err(why))) => why.to_string(),
            Ok(Err(_)) | Err(_) => {
                "the programs ended before both sides had sent a SYN to each other".to_owned()
            }
        };
        Some(format!("the order \"{}\" could not be made: {why}", self.order))
    }
}
