//! The lab of a cell, brought up and handed out: for people who want to look around in it.

use crate::kernel::error::Error;
use crate::lab::nat_source;
use crate::lab::{Lab, WireEngine};
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
    let engine = WireEngine::start().map_err(|e| Error::other("start the wires", e.to_string()))?;
    let nats = |plan: &_| nat_source::configs_in(catalogue, plan, &ready.setting.nats);
    let (topology, transparent) = (&ready.part.topology, &ready.setting.transparent);
    let lab = Lab::build_with_nats(topology, transparent, nats, &engine).await?;
    lab.set_conditions(|_, planned| ready.conditions(planned))?;
    Ok(lab)
}
