//! What came of a trial: the judgement, and what outweighs it.

use crate::judge::judgement::{Case, Judgement, Rendezvous, judge};
use crate::judge::oracle::{CommonNat, DeclaredNats};
use crate::judge::program_output::{self, Claim, ProgramEnd};
use crate::model::address_plan::AddressPlan;
use crate::model::event::ProgramLog;
use crate::model::evidence::Evidence;
use crate::model::outcome::{Cause, Failure, Outcome};
use crate::model::suite::ResultFormat;
use crate::run::conntrack_check;
use crate::run::nat_views::nat_views;
use crate::run::trial::TrialSetup;
use crate::run::trouble;

/// What is known of a trial when it is judged.
#[derive(Debug)]
pub(super) struct TrialFacts<'a> {
    pub(super) plan: &'a AddressPlan,
    pub(super) evidence: &'a Evidence,
    /// What the programs said, peers first.
    pub(super) logs: &'a [ProgramLog],
    /// How each peer ended.
    pub(super) peers: [ProgramEnd; 2],
    /// The rendezvous server or the service that ended before it was told to, and how.
    pub(super) server: Option<(String, ProgramEnd)>,
    /// Why nothing can be concluded from the trial, if so.
    pub(super) fault: Option<Failure>,
}

/// Judges a trial.
pub(super) fn judgement_of(setup: TrialSetup<'_>, known: TrialFacts<'_>) -> Judgement {
    let TrialFacts { plan, evidence, logs, peers, server, fault } = known;
    let TrialSetup { request, prepared, .. } = setup;
    let said = claims(&prepared.part.program.claim, logs, peers);
    let mut judgement = by_evidence(setup, plan, evidence, &said);
    // Peers whose rendezvous server or relay broke tell nothing about the NATs.
    let broke = server.and_then(|(name, end)| Some((name, program_output::broke(end)?)));
    if let (Outcome::Failed(_), Some((name, why))) = (&judgement.outcome, broke) {
        let name =
            if name == "rendezvous" { "rendezvous server".to_owned() } else { format!("service \"{name}\"") };
        let why = format!("the {name} {why}");
        judgement.outcome = Outcome::Error(Cause::ProgramCrashed.because(why));
    }
    // A NAT that was made to restart, or given another address, does not do what it did before.
    let tracked = || {
        if trouble::changes_nat(prepared) {
            return None;
        }
        conntrack_check::contradiction(&request.catalogue, plan, &prepared.setting, evidence)
    };
    judgement.outcome = outweighed(judgement.outcome, || fault.or_else(tracked));
    judgement
}

/// The outcome, or the fault that forbids any conclusion. A program that broke has done so however slow the machine was.
fn outweighed(outcome: Outcome, fault: impl FnOnce() -> Option<Failure>) -> Outcome {
    match outcome {
        broken @ Outcome::Error(_) => broken,
        concluded => fault().map_or(concluded, Outcome::Error),
    }
}

/// What the peers claim.
fn claims(format: &ResultFormat, logs: &[ProgramLog], ends: [ProgramEnd; 2]) -> [Claim; 2] {
    [0, 1].map(|peer| {
        let (stdout, stderr) = logs.get(peer).map_or((&[][..], &[][..]), |log| (&log.stdout, &log.stderr));
        program_output::with_last_words(program_output::read(format, stdout, ends[peer]), stderr)
    })
}

/// The judgement of claims by the evidence.
fn by_evidence(
    TrialSetup { request, prepared, .. }: TrialSetup<'_>,
    plan: &AddressPlan,
    evidence: &Evidence,
    [claim_a, claim_b]: &[Claim; 2],
) -> Judgement {
    let [a, b] = prepared.vantages();
    let rendezvous = match prepared.part.program.rendezvous {
        Some(_) => Rendezvous::Needed,
        None => Rendezvous::NotNeeded,
    };
    let common = prepared.common.iter().filter_map(|(node, declared)| {
        let address = plan.address(node)?;
        Some(CommonNat { node, address, declared, events: &evidence.conntrack })
    });
    let common: Vec<CommonNat<'_>> = common.collect();
    let changed = a.nats.last().filter(|_| trouble::changes_nat(prepared));
    let nats = nat_views(&request.catalogue, plan, &prepared.setting, changed);
    judge(&Case {
        evidence,
        nats: &nats,
        a,
        b,
        declared: DeclaredNats { a: &prepared.a, b: &prepared.b, common: &common },
        claim_a,
        claim_b,
        rendezvous,
        method: prepared.cell.method(),
        lateness: prepared.lateness,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_outweighs_what_was_concluded_and_not_a_program_that_broke() {
        let fault = || Some(Cause::MachineTooSlow.because("busy".to_owned()));
        let failed = Outcome::Failed(Cause::ProgramHung.because("no SYN".to_owned()));
        assert_eq!(outweighed(failed.clone(), || None), failed);
        assert_eq!(outweighed(failed, fault), Outcome::Error(fault().expect("a fault")));
        let broken = Outcome::Error(Cause::ProgramCrashed.because("signal 11".to_owned()));
        assert_eq!(outweighed(broken.clone(), fault), broken);
    }

    #[test]
    fn a_peer_that_was_never_started_claims_nothing() {
        let claims = claims(&ResultFormat::Json, &[], [ProgramEnd::Killed; 2]);
        assert_eq!(claims, [Claim::Nothing, Claim::Nothing]);
    }
}
