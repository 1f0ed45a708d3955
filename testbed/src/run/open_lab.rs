//! The lab of a cell, brought up and handed out: for people who want to look around in it.

use crate::lab::Lab;
use crate::model::catalogue::Catalogue;
use crate::model::suite::{Cell, Suite};
use crate::run::prepared_cell::PreparedCell;
use crate::run::request::RunError;

/// Builds the lab of a cell, with its NATs and what the cell asks of its wires. It is gone when it is dropped.
///
/// # Errors
/// When the cell names what there is not, or the kernel refuses.
pub async fn open_lab(suite: &Suite, catalogue: &Catalogue, cell: &Cell) -> Result<Lab, RunError> {
    let ready = PreparedCell::new(suite, catalogue, cell)?;
    let builder = Lab::new(&ready.part.topology).catalogue(catalogue.clone());
    let nats = ready.setting.nats.iter();
    let builder = nats.fold(builder, |lab, (node, nat)| lab.nat(node.as_str(), nat.as_str()));
    let lab = builder.build().await?;
    lab.set_conditions(|_, planned| ready.conditions(planned))?;
    Ok(lab)
}
