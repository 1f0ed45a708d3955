//! Evidence and claims -> the outcome of a trial. Pure.
//!
//! The kernel is the judge: a claim without evidence is a lie, evidence that contradicts a NAT's declaration is an
//! error of the lab, and lost evidence proves nothing. `docs/puncher-contract.md` has the table.

use std::net::SocketAddrV4;
use std::time::Duration;

pub use crate::judge::case::{Case, Rendezvous};
use crate::judge::cause::{self, Diagnosis, Marks};
use crate::judge::claim_check::{ClaimCheck, check_claims};
use crate::judge::oracle::{Expected, OracleReport, replay};
use crate::judge::program_output::Claim;
use crate::judge::reference::{self, Findings};
use crate::judge::timeline::{Flow, Role, Timeline};
use crate::model::cause::CauseKind;
use crate::model::evidence::{Evidence, Fate, Frame, Nanos, nanos};
use crate::model::outcome::{Cause, Outcome, Success};
use crate::model::packet::Packet;

#[cfg(test)]
mod tests;

/// A judged trial.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// What came of it.
    pub outcome: Outcome,
    /// The flows between the two sides.
    pub timeline: Timeline,
    /// What had to happen.
    pub oracle: OracleReport,
    /// What the reference says of each NAT, in the order of [`Case::nats`].
    pub reference: Vec<Findings>,
    /// The packets that the outcome rests on, by their index in the evidence, and what each shows.
    pub marks: Vec<(usize, String)>,
}

/// Judges a trial.
#[must_use]
pub fn judge(case: &Case<'_>) -> Judgement {
    let timeline = Timeline::read(case.evidence, case.a, case.b);
    let oracle = replay(&timeline, case.declared);
    let reference: Vec<Findings> = case.nats.iter().map(|nat| reference::check(case.evidence, nat)).collect();
    let (outcome, marks) = outcome(case, &timeline, &oracle, &reference);
    Judgement { outcome, timeline, oracle, reference, marks }
}

/// What came of it, and the packets that this rests on.
fn outcome(
    case: &Case<'_>,
    timeline: &Timeline,
    oracle: &OracleReport,
    reference: &[Findings],
) -> (Outcome, Marks) {
    let error = |found: Diagnosis| (Outcome::Error(found.failure), found.marks);
    let failed = |found: Diagnosis| (Outcome::Failed(found.failure), found.marks);
    if let Some(found) = unusable(case).or_else(|| broken(case)) {
        return error(found);
    }
    if let Some(found) = reference.iter().flat_map(|findings| &findings.contradictions).next() {
        let failure = Cause::LabError.because(&found.sentence);
        return (Outcome::Error(failure), found.frames.clone());
    }
    if let Some(contradiction) = oracle.contradictions.first()
        && !cause::is_shaken(case, timeline, oracle)
    {
        return error(undeclared(contradiction));
    }
    match check_claims(case, &timeline.flows) {
        ClaimCheck::Lie(why) => error(Diagnosis::new(Cause::ProgramLied, why)),
        ClaimCheck::ByBoth(flow, method) if oracle.expected == Expected::CannotConnect => {
            let what = format!("{} connected by {method}, and no SYN of either side could pass", flow.a);
            error(Diagnosis { marks: cause::marks_of_success(flow), ..undeclared(&what) })
        }
        ClaimCheck::ByBoth(flow, method) => {
            (Outcome::Passed(success(flow, timeline, method)), cause::marks_of_success(flow))
        }
        ClaimCheck::ByOne(role, flow) => failed(cause::one_sided(case, role, flow)),
        ClaimCheck::ByNone => without_claim(case, timeline, oracle),
    }
}

fn undeclared(what: &str) -> Diagnosis {
    Diagnosis::new(Cause::LabError, format!("the lab does not do what it declares: {what}"))
}

/// Neither peer claims success: a failure, unless the packets say that there had to be a connection.
fn without_claim(case: &Case<'_>, timeline: &Timeline, oracle: &OracleReport) -> (Outcome, Marks) {
    let stood = cause::stood(case, timeline);
    let excused =
        || cause::is_shaken(case, timeline, oracle) || cause::answers_were_lost(case, timeline, oracle);
    let found = match (stood, oracle.expected) {
        // Where the reference has looked at every NAT and found nothing, a host or its program is why there is none.
        (None, Expected::MustConnect) if case.nats.is_empty() && !excused() => Diagnosis::new(
            Cause::LabError,
            "a SYN was let in and answered, and yet no connection came of it: see the packets",
        ),
        (stood, _) => cause::find(case, timeline, oracle, stood),
    };
    // A failure that nothing explains says something of the lab, or of the judge, and nothing of the NATs.
    match found.failure.cause.kind() {
        CauseKind::Error | CauseKind::Void => (Outcome::Error(found.failure), found.marks),
        CauseKind::Failure => (Outcome::Failed(found.failure), found.marks),
    }
}

/// Why the evidence proves nothing, if so.
fn unusable(case: &Case<'_>) -> Option<Diagnosis> {
    if let Some(lost) = case.evidence.lost.first() {
        return Some(Diagnosis::new(Cause::MachineTooSlow, format!("evidence was lost: {lost}")));
    }
    let left = |f: &Frame| f.fate == Fate::Delivered;
    let late = |f: &Frame| f.left.saturating_sub(f.due);
    let allowed = nanos(case.lateness);
    let frames = case.evidence.frames.iter().enumerate().filter(|(_, f)| left(f) && late(f) > allowed);
    let frames = frames.filter(|(_, f)| decides(case.evidence, f)).map(|(at, f)| (at, late(f)));
    let (frame, worst) = frames.max_by_key(|(_, late)| *late)?;
    let (worst, allowed) = (worst as f64 / 1e6, allowed as f64 / 1e6);
    let detail = format!("a frame left the wire {worst:.1} ms late, and this cell tolerates {allowed:.1} ms");
    Some(Diagnosis::new(Cause::MachineTooSlow, detail).mark(frame, format!("{worst:.1} ms late")))
}

/// Whether it matters when a frame left: what goes to and from a server only moves the start of a side, which the packets
/// between the sides show.
fn decides(evidence: &Evidence, frame: &Frame) -> bool {
    let of_server = |end: SocketAddrV4| evidence.is_server(*end.ip());
    Packet::of(frame).is_none_or(|packet| !of_server(packet.source) && !of_server(packet.destination))
}

/// Whether a program broke the contract.
fn broken(case: &Case<'_>) -> Option<Diagnosis> {
    Role::BOTH
        .into_iter()
        .find_map(|role| match case.said(role) {
            Claim::Crashed(why) => Some((Cause::ProgramCrashed, role, why.clone())),
            Claim::Broken(why) => Some((Cause::ContractBroken, role, why.clone())),
            // A program that only ends says by its packets whether it tried.
            Claim::Silent(why) if !sent_anything(case, role) => {
                Some((Cause::ProgramCrashed, role, format!("never started: it sent no packet and {why}")))
            }
            _ => None,
        })
        .map(|(cause, role, why)| {
            Diagnosis::new(cause, format!("the program of peer {} {why}", role.letter()))
        })
}

/// Whether a host sent any packet, to whomever; outside its NATs only a SYN is surely its own.
fn sent_anything(case: &Case<'_>, role: Role) -> bool {
    let vantage = case.vantage(role);
    let opens = |packet: &Packet| packet.tcp().is_some_and(|segment| segment.flags.is_opening());
    let mut packets = case.evidence.frames.iter().filter_map(Packet::of);
    packets.any(|packet| {
        let from = packet.source.ip();
        *from == vantage.internal || vantage.external.contains(*from) && opens(&packet)
    })
}

fn success(flow: &Flow, timeline: &Timeline, method: String) -> Success {
    let start =
        Role::BOTH.iter().filter_map(|w| timeline.first_syn(*w)).map(|s| s.sent).min().unwrap_or_default();
    let latest = |times: [Option<Nanos>; 2]| {
        Duration::from_nanos(times.into_iter().flatten().max().unwrap_or_default().saturating_sub(start))
    };
    Success {
        method,
        how: cause::how(flow, timeline),
        established: latest(Role::BOTH.map(|w| flow.established(w))),
        authenticated: latest(Role::BOTH.map(|w| flow.delivered_payload(w))),
    }
}
