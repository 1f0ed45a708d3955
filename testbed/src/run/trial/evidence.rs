//! One trial played in a clean lab, and all that it left behind.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use crate::judge::program_output::ProgramEnd;
use crate::kernel::backlog::DropCount;
use crate::kernel::clock::monotonic;
use crate::kernel::error::{Error, Result};
use crate::kernel::process::InitReport;
use crate::lab::Lab;
use crate::model::evidence::Evidence;
use crate::model::outcome::{Cause, Failure, TrialLoad};
use crate::model::suite::{LowPorts, Program};
use crate::model::topology::NodeName;
use crate::run::neighbours::Neighbours;
use crate::run::ordering::Ordering;
use crate::run::pool::LabPool;
use crate::run::trial::TrialSetup;
use crate::run::trial::machine::Measured;
use crate::run::trial::programs::{GRACE, Programs};
use crate::run::trial::running::Running;
use crate::run::trouble;

/// The first port that is not for root alone where low ports are (RFC 6335 section 6).
const FIRST_USUAL_PORT: u16 = 1024;

/// How much longer than a trip the last packets may take until they have arrived.
const SETTLE: Duration = Duration::from_millis(3);

/// What a trial left behind.
#[derive(Debug)]
pub(super) struct TrialRecord {
    pub(super) evidence: Evidence,
    /// How each peer ended.
    pub(super) peers: [ProgramEnd; 2],
    /// The rendezvous server or the service that ended before it was told to, and how.
    pub(super) server: Option<(String, ProgramEnd)>,
    /// The programs, peers first, for what they said.
    pub(super) programs: Vec<Running>,
    /// What the machine gave to it.
    pub(super) measured: Measured,
    /// Why nothing can be concluded from it, if so, though the machine was fast enough.
    pub(super) fault: Option<Failure>,
}

/// Plays the trial. A program that cannot be started is a fault of the trial; an error means that the lab is broken.
pub(super) async fn play(setup: TrialSetup<'_>, lab: &Lab, pool: &LabPool) -> Result<TrialRecord> {
    let TrialSetup { prepared, seed, .. } = setup;
    let budget = prepared.part.budget;
    lab.reset(seed.wires()).await?;
    lab.set_conditions(|_, planned| prepared.conditions(planned))?;
    trouble::shrink_packets(lab, prepared).await?;
    admit(setup, lab, pool).await?;
    let began = Instant::now();
    let since = monotonic();
    let drops = DropCount::begin();
    // Late enough: what the programs have not done by then, they will not do.
    let deadline = began + 10 * (budget.deadline + GRACE);
    let order = prepared.cell.order().unwrap_or_default();
    let ordering = Ordering::arm(lab, order, prepared.vantages(), deadline)?;
    let trouble = trouble::arm(lab, prepared, prepared.vantages())?;
    let mut programs = Programs::default();
    let mut neighbours = Neighbours::start(lab, prepared, seed)?;
    let rules = |nat: &_, site: &_| pool.rules_at(&prepared.setting, nat, site);
    let played = tokio::select! {
        ended = programs.perform(setup, lab) => ended,
        struck = trouble::strike(trouble, lab, rules) => struck,
        failed = neighbours.fail() => failed,
    };
    let took = began.elapsed();
    let neighbours_late = neighbours.end()?;
    setup.permit.programs_ended();
    let out_of_order = match ordering {
        Some(ordering) => ordering.fault().await,
        None => None,
    };
    // The last acknowledgments are still on their way: the evidence is complete when they have arrived.
    lab.settle(prepared.trip + SETTLE).await;
    let evidence = lab.evidence()?;
    lab.check_nat_programs().await?;
    let server = programs.ended_server().await?;
    let InitReport { gap, used } = lab.kill_all().await?;
    let [own, of_wires] = pool.largest_gaps_since(since);
    let gaps = [own, of_wires, ("a process that starts programs", gap)];
    let largest = gaps.iter().map(|(_, gap)| *gap).max().unwrap_or_default();
    let load = TrialLoad { used, gap: largest, programs: programs.loads().await? };
    let (apart, dropped) = (programs.apart(), drops.since());
    let processors = pool.processors();
    let stopped = programs.stopped().await?;
    let measured = Measured { load, gaps, apart, stopped, neighbours_late, dropped, took, processors };
    // What the cell itself changes is no program's doing.
    let changed = if trouble::spoils_lab(prepared) { None } else { lab.changed_by_programs()? };
    let fault = measured.stopped_alone().or(changed.map(changed_by_program));
    let fault = fault.or_else(|| broken(played)).or(not_made(out_of_order));
    let peers = programs.peer_ends();
    Ok(TrialRecord { evidence, peers, server, programs: programs.into_iter().collect(), measured, fault })
}

/// Makes the nodes ready for the programs of this trial: empty folders, the secret for the peers, and the low ports as the
/// budget says.
async fn admit(TrialSetup { prepared, seed, .. }: TrialSetup<'_>, lab: &Lab, pool: &LabPool) -> Result<()> {
    let first_port = match prepared.part.budget.low_ports {
        LowPorts::Allowed => 0,
        LowPorts::Forbidden => FIRST_USUAL_PORT,
    };
    let key = hex::encode(seed.key()) + "\n";
    for vantage in prepared.vantages() {
        let node = lab.node(&vantage.peer)?;
        node.free_ports_from(first_port)?;
        node.admit(pool.sandbox(&prepared.setting), Some(&key)).await?;
    }
    for node in nodes_of_servers(&prepared.part.program) {
        if !prepared.vantages().iter().any(|vantage| vantage.peer == node) {
            lab.node(&node)?.admit(pool.sandbox(&prepared.setting), None).await?;
        }
    }
    Ok(())
}

/// The nodes that the rendezvous server and the services run in.
fn nodes_of_servers(program: &Program) -> BTreeSet<NodeName> {
    let services = program.services.iter().map(|service| service.node.clone());
    services.chain(program.rendezvous.iter().map(|_| NodeName::core())).collect()
}

/// What kept the trial from being played to its end.
fn broken(played: Result<()>) -> Option<Failure> {
    played.err().map(|error: Error| Cause::LabError.because(error.to_string()))
}

/// That a program under test got past its sandbox.
fn changed_by_program(what: String) -> Failure {
    Cause::ContractBroken.because(format!("a program changed its node: {what}"))
}

/// That the order of the SYNs was not the one that the cell asks for.
fn not_made(order: Option<String>) -> Option<Failure> {
    order.map(|why| Cause::LabError.because(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_be_played_is_an_error_of_the_lab_that_says_why() {
        assert_eq!(broken(Ok(())), None);
        let failure = broken(Err(Error::other("start \"x\"", "it is a folder"))).expect("a fault");
        assert_eq!(failure.cause, Cause::LabError);
        assert!(failure.detail.contains("it is a folder"), "{failure:?}");
        assert_eq!(not_made(None), None);
        assert_eq!(not_made(Some("no SYN".into())).expect("a fault").detail, "no SYN");
    }
}
