//! The lab of a cell, brought up and handed out: for people who want to look around in it.

use crate::kernel::error::Error;
use crate::lab::nat_rules::NatSite;
use crate::lab::nat_source;
use crate::lab::{Lab, WireEngine};
use crate::model::catalogue::Catalogue;
use crate::model::suite::{Cell, Suite};
use crate::run::request::RunError;
use crate::run::setting::Ready;

/// Builds the lab of a cell, with its NATs and what the cell asks of its wires. It is gone when it is dropped.
///
/// # Errors
/// When the cell names what there is not, or the kernel refuses.
pub async fn hold(suite: &Suite, catalogue: &Catalogue, cell: &Cell) -> Result<Lab, RunError> {
    let ready = Ready::new(suite, catalogue, cell)?;
    let engine = WireEngine::start().map_err(|e| Error::other("start the wires", e.to_string()))?;
    let mut lab = Lab::build(&ready.part.topology, &ready.setting.transparent, &engine).await?;
    for (node, name) in &ready.setting.nats {
        let profile = catalogue.get(name).ok_or_else(|| RunError::UnknownNat(name.clone()))?;
        let site = NatSite::of(lab.plan(), node);
        let site = site.ok_or_else(|| Error::other(format!("make \"{node}\" a NAT"), "it has no way up"))?;
        lab.become_nat(node, &nat_source::config(profile, &site)?).await?;
    }
    lab.set_conditions(|_, planned| ready.conditions(planned))?;
    Ok(lab)
}
