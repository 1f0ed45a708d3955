//! What is to go wrong in a trial, and the moment: when both peers' first punching SYNs have passed their own NATs and
//! not yet reached the other's. They are held there meanwhile, so that what follows is no matter of luck.

use std::time::Duration;

use crate::judge::timeline::Vantage;
use crate::kernel::error::{Error, Result};
use crate::lab::Lab;
use crate::lab::nat_rules::{NatConfig, NatSite};
use crate::lab::wire::{PunchingSide, SynOrder, SynsHeld, Wire, WireError};
use crate::model::axis_value::{Order, Trouble};
use crate::model::topology::NodeName;
use crate::run::prepared_cell::PreparedCell;

/// How long a link is down.
const OUTAGE: Duration = Duration::from_secs(1);

/// A trouble that waits for its moment.
#[derive(Debug)]
pub(super) struct PendingTrouble {
    trouble: Trouble,
    nat: NodeName,
    link: u16,
    held: SynsHeld,
}

/// Whether a lab that a trial of this cell was made in is of no further use: it has other addresses or sizes now.
pub(super) fn spoils_lab(ready: &PreparedCell) -> bool {
    ready.cell.trouble() == Some(Trouble::NatRenumbered) || ready.cell.mtu().is_some()
}

/// Whether a NAT is made to do during the trial what it does not declare.
pub(super) fn changes_nat(ready: &PreparedCell) -> bool {
    matches!(ready.cell.trouble(), Some(Trouble::NatRestarts | Trouble::NatRenumbered))
}

/// Makes all packets of the lab as small as the cell wants.
pub(super) async fn shrink_packets(lab: &Lab, ready: &PreparedCell) -> Result<()> {
    let Some(mtu) = ready.cell.mtu() else { return Ok(()) };
    for node in lab.nodes() {
        lab.set_mtu(node.name(), mtu).await?;
    }
    Ok(())
}

/// Holds the SYNs, if the cell has a trouble.
///
/// # Errors
/// When nothing of the kind can happen on a's side of the lab, or the SYNs are held already.
pub(super) fn arm(lab: &Lab, ready: &PreparedCell, [a, b]: [&Vantage; 2]) -> Result<Option<PendingTrouble>> {
    let trouble = ready.cell.trouble().unwrap_or_default();
    if trouble == Trouble::None {
        return Ok(None);
    }
    if ready.cell.order().unwrap_or_default() != Order::Free {
        return Err(impossible("an order of the SYNs and trouble cannot be had together"));
    }
    let nat = a.nats.last().ok_or_else(|| impossible("there is no NAT of its own"))?.clone();
    let held = SynsHeld::arm(side(lab, a)?, side(lab, b)?).map_err(gone)?;
    Ok(Some(PendingTrouble { trouble, nat, link: a.link, held }))
}

/// Waits for the moment, strikes, and lets the SYNs go; ends only when it fails. `rules` makes the rules of a NAT again
/// where it has another address.
pub(super) async fn strike(
    armed: Option<PendingTrouble>,
    lab: &Lab,
    rules: impl FnOnce(&NodeName, &NatSite) -> Result<NatConfig>,
) -> Result<()> {
    if let Some(PendingTrouble { trouble, nat, link, mut held }) = armed {
        held.caught().await.map_err(gone)?;
        match trouble {
            Trouble::None => {}
            Trouble::LinkDown => wire(lab, link)?.down_for(OUTAGE).map_err(gone)?,
            Trouble::NatRestarts => lab.restart_nat(&nat).await?,
            Trouble::NatRenumbered => {
                lab.renumber(&nat, |site| rules(&nat, site)).await?;
            }
        }
        held.play(SynOrder::Crossing).await.map_err(gone)?;
    }
    std::future::pending().await
}

fn side<'a>(lab: &'a Lab, vantage: &Vantage) -> Result<PunchingSide<'a>> {
    Ok(PunchingSide { wire: wire(lab, vantage.link)?, external: vantage.external })
}

fn wire(lab: &Lab, link: u16) -> Result<&Wire> {
    lab.wire(link).ok_or_else(|| impossible("its link has no wire"))
}

fn impossible(why: &str) -> Error {
    Error::other("make trouble on a's side", why)
}

fn gone(why: WireError) -> Error {
    impossible(&why.to_string())
}
