//! Why a trial failed: one main cause, from the fates of its SYNs. Pure.
//!
//! Causes are tried in the order in which they hide each other: who never met the server could not start, who did not
//! start could not be late, and a wrong guess makes the other side's filter refuse as well.

use crate::model::outcome::{Cause, Failure};
use crate::run::account::Said;
use crate::run::judge::{Case, Rendezvous};
use crate::run::oracle::{Admission, Answer, Prophecy, SynFate};
use crate::run::story::{Flow, Story, Who};

/// A connection stood, and one side did not finish.
#[must_use]
pub(super) fn one_sided(finished: Who) -> Failure {
    let (done, not) = (finished.letter(), finished.other().letter());
    Failure {
        cause: Cause::ProgramHung,
        detail: format!("peer {done} holds a connection that the packets show; peer {not} did not claim it"),
    }
}

/// The main cause of a trial in which no peer claims success.
#[must_use]
pub(super) fn find(case: &Case<'_>, story: &Story, prophecy: &Prophecy, stood: Option<&Flow>) -> Failure {
    stood
        .map(|flow| unused_connection(case, flow))
        .or_else(|| no_rendezvous(case, story))
        .or_else(|| never_started(story))
        .or_else(|| leaked(story))
        .or_else(|| by_answers(prophecy))
        .or_else(|| by_admissions(story, prophecy))
        .unwrap_or_else(|| lost(prophecy))
}

fn unused_connection(case: &Case<'_>, flow: &Flow) -> Failure {
    let hung = Who::BOTH.iter().any(|w| case.said(*w) == &Said::Nothing);
    let cause = if hung { Cause::ProgramHung } else { Cause::AuthenticationRefused };
    Failure { cause, detail: format!("the connection {} stood, and neither peer claimed it", flow.a) }
}

fn no_rendezvous(case: &Case<'_>, story: &Story) -> Option<Failure> {
    if case.rendezvous == Rendezvous::NotNeeded {
        return None;
    }
    let missing = Who::BOTH.into_iter().find(|w| !story.met_rendezvous.contains(w))?;
    let detail = format!("peer {} received nothing from the rendezvous server", missing.letter());
    Some(Failure { cause: Cause::NoRendezvous, detail })
}

fn never_started(story: &Story) -> Option<Failure> {
    let missing = Who::BOTH.into_iter().find(|w| story.first_syn(*w).is_none())?;
    let detail = format!("peer {} sent no SYN to the other side", missing.letter());
    Some(Failure { cause: Cause::PeerNeverStarted, detail })
}

fn leaked(story: &Story) -> Option<Failure> {
    let (_, packet) = story.leaks.first()?;
    let detail = format!("a packet left its NAT with the private source {}", packet.source);
    Some(Failure { cause: Cause::InvalidUntranslated, detail })
}

/// Causes that an answer names.
fn by_answers(prophecy: &Prophecy) -> Option<Failure> {
    let (syn, cause, what) = prophecy.syns.iter().find_map(|syn| {
        let (cause, what) = match (syn.answer, syn.admission) {
            (_, Admission::SynAfterSyn) => {
                (Cause::SynAfterSynRefused, "was refused though its inside had sent a SYN there")
            }
            (Answer::HostReset, _) => (Cause::ResetByHost, "was answered by a reset from the host"),
            (Answer::NatReset, _) => (Cause::ResetByNat, "was answered by a reset from the NAT"),
            (Answer::Icmp, _) => (Cause::IcmpFromNat, "was answered by an ICMP error"),
            _ => return None,
        };
        Some((syn, cause, what))
    })?;
    Some(Failure { cause, detail: format!("{} {what}", sentence(syn)) })
}

/// Causes that lie in what the far NAT knew when a SYN arrived.
fn by_admissions(story: &Story, prophecy: &Prophecy) -> Option<Failure> {
    let with = |admission| prophecy.syns.iter().find(|s| s.admission == admission);
    if let Some(syn) = with(Admission::NoMapping) {
        let mapped = mappings_towards(story, syn);
        let late = mapped.contains(&syn.target.to_string());
        let cause = if late { Cause::StartedTooLate } else { Cause::PredictedPortWrong };
        let other = syn.from.other().letter();
        let mapped = if mapped.is_empty() { "none".to_owned() } else { mapped.join(", ") };
        let detail = format!("{}; {other}'s mapping towards it was {mapped}", sentence(syn));
        return Some(Failure { cause, detail });
    }
    if let Some(syn) = with(Admission::Destroyed) {
        let detail = format!("{}, where a reset had ended the mapping", sentence(syn));
        return Some(Failure { cause: Cause::MappingDestroyed, detail });
    }
    let syn = with(Admission::Filtered)?;
    let mapped = mappings_towards(story, syn).join(", ");
    let detail = format!("{}, and the filter there knew only others ({mapped})", sentence(syn));
    Some(Failure { cause: Cause::Filtered, detail })
}

/// The external endpoints from which the target of `syn` sent SYNs to the address that `syn` came from.
fn mappings_towards(story: &Story, syn: &SynFate) -> Vec<String> {
    let opened = story.opened.get(&syn.from.other()).map_or(&[][..], Vec::as_slice);
    let mut mapped: Vec<_> =
        opened.iter().filter(|(_, t)| t.destination.ip() == syn.source.ip()).map(|(_, t)| t.source).collect();
    mapped.sort_unstable();
    mapped.dedup();
    mapped.into_iter().take(3).map(|e| e.to_string()).collect()
}

fn lost(prophecy: &Prophecy) -> Failure {
    let missing = prophecy.syns.iter().filter(|s| s.admission == Admission::Lost).count();
    let detail = format!("{missing} of {} SYNs, or the answers to them, never arrived", prophecy.syns.len());
    Failure { cause: Cause::LostByLink, detail }
}

fn sentence(syn: &SynFate) -> String {
    format!("{}'s SYN from {} to {}", syn.from.letter(), syn.source, syn.target)
}
