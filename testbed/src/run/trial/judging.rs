//! What came of a trial: the judgement, and what outweighs it.

use crate::judge::judgement::{Case, Judgement, Rendezvous, judge};
use crate::judge::oracle::{CommonNat, DeclaredNats};
use crate::judge::program_output::{self, Claim, ProgramEnd};
use crate::judge::reference::NatView;
use crate::judge::split::SplitSide;
use crate::model::address_plan::AddressPlan;
use crate::model::cause::CauseKind;
use crate::model::event::ProgramLog;
use crate::model::evidence::Evidence;
use crate::model::outcome::{Cause, ClaimedEnd, Failure, Outcome};
use crate::model::suite::ResultFormat;
use crate::run::conntrack_check;
use crate::run::nat_views::NatViews;
use crate::run::prepared_cell::PreparedCell;
use crate::run::trial::TrialSetup;
use crate::run::trial::machine::{Measured, Tolerance, Void};
use crate::run::trouble;

/// What is known of a trial when it is judged.
#[derive(Debug)]
pub(super) struct TrialFacts<'a> {
    pub(super) plan: &'a AddressPlan,
    pub(super) evidence: &'a mut Evidence,
    /// What the programs said, peers first.
    pub(super) logs: &'a [ProgramLog],
    /// How each peer ended.
    pub(super) peers: [ProgramEnd; 2],
    /// The rendezvous server or the service that ended before it was told to, and how.
    pub(super) server: Option<(String, ProgramEnd)>,
    /// Why nothing can be concluded from the trial, if so, though the machine was fast enough.
    pub(super) fault: Option<Failure>,
    /// What the machine gave to the trial.
    pub(super) machine: &'a Measured,
}

/// Why a trial does not count, and how it had ended.
#[derive(Debug)]
pub(super) struct Voided {
    pub(super) why: String,
    /// Whether the whole machine was paused.
    pub(super) paused: bool,
    pub(super) ended: ClaimedEnd,
}

/// Judges a trial, and says whether it counts.
pub(super) fn judgement_of(setup: TrialSetup<'_>, known: TrialFacts<'_>) -> (Judgement, Option<Voided>) {
    let TrialSetup { request, prepared, kernel, .. } = setup;
    let [a, _] = prepared.vantages();
    let changed = a.nats.last().filter(|_| trouble::changes_nat(prepared));
    let views = NatViews::of((&request.catalogue, kernel), known.plan, &prepared.setting, changed);
    let of_kernel = views.show_mappings(known.evidence);
    let said = claims(&prepared.part.program.claim, known.logs, known.peers);
    let mut judgement = judged(setup, &known, &views, &said);
    if let Some(of_kernel) = of_kernel {
        known.evidence.conntrack = of_kernel;
    }
    let (outcome, void) = weighed(judgement.outcome, known.machine, Tolerance::of(prepared));
    judgement.outcome = outcome;
    let ended = if said.iter().all(|claim| matches!(claim, Claim::Success(_))) {
        ClaimedEnd::Connected
    } else {
        ClaimedEnd::NotConnected
    };
    (judgement, void.map(|Void { why, paused }| Voided { why: why.detail, paused, ended }))
}

/// The judgement where the machine was fast enough: by the evidence, and by what outweighs it.
fn judged(
    setup: TrialSetup<'_>,
    known: &TrialFacts<'_>,
    views: &NatViews<'_>,
    said: &[Claim; 2],
) -> Judgement {
    let TrialSetup { request, prepared, .. } = setup;
    let TrialFacts { plan, server, fault, .. } = known;
    let evidence: &Evidence = known.evidence;
    let sides = split_sides(prepared, &views.others);
    let mut judgement = by_evidence(setup, known, &views.checked, (said, &sides));
    // Peers whose rendezvous server or relay broke tell nothing about the NATs.
    let broke = server.as_ref().and_then(|(name, end)| Some((name, program_output::broke(*end)?)));
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
    let not_carried = || sides.iter().flatten().find_map(|side| side.contradiction(evidence));
    let split = || not_carried().map(|why| Cause::LabError.because(why));
    judgement.outcome = outweighed(judgement.outcome, || fault.clone().or_else(tracked).or_else(split));
    let doubt = || sides.iter().flatten().find_map(|side| side.doubt(&judgement.timeline.flows));
    if let (Outcome::Failed(_), Some(why)) = (&judgement.outcome, doubt()) {
        judgement.outcome = Outcome::Error(Cause::LabError.because(why));
    }
    judgement
}

/// The outcome where the trial counts. Whether it does hangs on what the machine did, and on no claim and no packet; but a
/// program that broke has done so however slow the machine was, unless all of the machine was paused.
fn weighed(outcome: Outcome, machine: &Measured, tolerance: Tolerance) -> (Outcome, Option<Void>) {
    let void = machine.void(tolerance);
    let late = match &outcome {
        Outcome::Error(failure) if failure.cause.kind() == CauseKind::Void => Some(failure.clone()),
        Outcome::Error(Failure { cause: Cause::ProgramCrashed | Cause::ContractBroken, .. })
            if void.as_ref().is_none_or(|void| !void.paused) =>
        {
            return (outcome, None);
        }
        _ => None,
    };
    if let Some(error) = machine.overload(tolerance, late.as_ref().map(|late| late.detail.as_str())) {
        return (Outcome::Error(error), None);
    }
    // Frames are late and evidence is lost by what the wire and the taps had of the machine.
    let void = void.or(late.map(|why| Void { why, paused: machine.is_paused(tolerance) }));
    let outcome = void.as_ref().map_or(outcome, |void| Outcome::Error(void.why.clone()));
    (outcome, void)
}

/// The outcome, or the fault that forbids any conclusion. A program that broke has done so whatever else was wrong.
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

/// The sides behind a NAT of sockets, a first.
fn split_sides<'a>(prepared: &PreparedCell, views: &'a [NatView<'a>]) -> [Option<SplitSide<'a>>; 2] {
    let [a, b] = prepared.vantages();
    [SplitSide::of(a, &prepared.a, views), SplitSide::of(b, &prepared.b, views)]
}

/// The judgement of claims by the evidence.
fn by_evidence(
    TrialSetup { prepared, .. }: TrialSetup<'_>,
    TrialFacts { plan, evidence, .. }: &TrialFacts<'_>,
    nats: &[NatView<'_>],
    (claims, sides): (&[Claim; 2], &[Option<SplitSide<'_>>; 2]),
) -> Judgement {
    let [a, b] = prepared.vantages();
    let claim = |at: usize| match &sides[at] {
        Some(side) => side.claim(evidence, &claims[at]),
        None => claims[at].clone(),
    };
    let (claim_a, claim_b) = (&claim(0), &claim(1));
    let [declared_a, declared_b] = [(&sides[0], &prepared.a), (&sides[1], &prepared.b)]
        .map(|(side, whole)| side.as_ref().map_or(whole, |side| &side.declared));
    let rendezvous = match prepared.part.program.rendezvous {
        Some(_) => Rendezvous::Needed,
        None => Rendezvous::NotNeeded,
    };
    let common = prepared.common.iter().filter_map(|(node, declared)| {
        let address = plan.addresses(node)?;
        Some(CommonNat { node, address, declared, events: &evidence.conntrack })
    });
    let common: Vec<CommonNat<'_>> = common.collect();
    judge(&Case {
        evidence,
        nats,
        a: sides[0].as_ref().map_or(a, |side| &side.vantage),
        b: sides[1].as_ref().map_or(b, |side| &side.vantage),
        declared: DeclaredNats { a: declared_a, b: declared_b, common: &common },
        claim_a,
        claim_b,
        rendezvous,
        method: prepared.cell.method(),
        lateness: prepared.lateness,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::outcome::{ProgramLoad, TrialLoad};

    #[test]
    fn a_fault_outweighs_what_was_concluded_and_not_a_program_that_broke() {
        let fault = || Some(Cause::LabError.because("no order".to_owned()));
        let failed = Outcome::Failed(Cause::ProgramHung.because("no SYN".to_owned()));
        assert_eq!(outweighed(failed.clone(), || None), failed);
        assert_eq!(outweighed(failed, fault), Outcome::Error(fault().expect("a fault")));
        let broken = Outcome::Error(Cause::ProgramCrashed.because("signal 11".to_owned()));
        assert_eq!(outweighed(broken.clone(), fault), broken);
    }

    #[test]
    fn whether_a_trial_counts_does_not_hang_on_its_outcome() {
        let ms = Duration::from_millis;
        let tolerance = Tolerance { lateness: ms(5), wait: ms(10), deadline: ms(2000) };
        let late = Outcome::Error(Cause::MachineTooSlow.because("a frame was late"));
        let crashed = Outcome::Error(Cause::ProgramCrashed.because("signal 11"));
        let lied = Outcome::Error(Cause::ProgramLied.because("no evidence"));
        let failed = Outcome::Failed(Cause::Filtered.because("closed"));
        let measured = |waited: u64, used: u64, gap: u64| {
            let program = ProgramLoad { name: "peer-a".to_owned(), ran: ms(1), waited: ms(waited) };
            let load = TrialLoad { used: ms(used), gap: ms(gap), programs: vec![program] };
            let gaps = ["testbed", "the thread of the wires", "an init"].map(|whose| (whose, ms(gap)));
            Measured { load, gaps, took: ms(1000), processors: 2, ..Measured::default() }
        };
        let cause = |outcome: &Outcome, machine: &Measured| {
            let (outcome, void) = weighed(outcome.clone(), machine, tolerance);
            let counts = void.is_none();
            match outcome {
                Outcome::Error(failure) => (counts, Some(failure.cause)),
                _ => (counts, None),
            }
        };
        let (quiet, slow, greedy, paused) =
            (measured(1, 2, 20), measured(100, 2, 20), measured(900, 1800, 20), measured(1, 2, 4000));
        assert_eq!(cause(&failed, &quiet), (true, None));
        for outcome in [&failed, &lied, &late] {
            assert_eq!(cause(outcome, &slow), (false, Some(Cause::MachineTooSlow)));
            assert_eq!(cause(outcome, &greedy), (true, Some(Cause::OverloadByProgram)));
            assert_eq!(cause(outcome, &paused), (false, Some(Cause::MachineTooSlow)));
        }
        assert_eq!(cause(&late, &quiet), (false, Some(Cause::MachineTooSlow)));
        assert_eq!(cause(&crashed, &slow), (true, Some(Cause::ProgramCrashed)));
        assert_eq!(cause(&crashed, &paused), (false, Some(Cause::MachineTooSlow)));
    }

    #[test]
    fn a_peer_that_was_never_started_claims_nothing() {
        let claims = claims(&ResultFormat::Json, &[], [ProgramEnd::Killed; 2]);
        assert_eq!(claims, [Claim::Nothing, Claim::Nothing]);
    }
}
