//! The full proofs of the NATs in cells that differ from what theory says. The quick proofs before the run do not look at everything,
//! and what a NAT does wrong must not be held against a program.

use std::collections::BTreeMap;
use std::panic::resume_unwind;

use tokio::task::JoinSet;

use crate::model::catalogue::Catalogue;
use crate::model::event::{Event, ProofResult};
use crate::model::outcome::{Cause, Failure};
use crate::probe::prove::{Depth, Subject, prove};
use crate::run::prepared_cell::LabSpec;

/// What is known of them.
#[derive(Debug, Default)]
pub(super) struct FullProofs {
    each: BTreeMap<String, FullProof>,
    proving: JoinSet<ProofResult>,
}

#[derive(Debug, Clone, PartialEq)]
enum FullProof {
    UnderWay,
    Holds,
    Fails(Failure),
    /// It could not be made.
    Missing(Failure),
}

impl FullProofs {
    /// Begins to prove the NATs of a lab, those that are not proved yet. It takes some seconds, most of them for timers.
    pub(super) fn begin(&mut self, setting: &LabSpec, catalogue: &Catalogue) {
        for profile in setting.nats.values().filter_map(|name| catalogue.get(name)) {
            if self.each.contains_key(&profile.name) {
                continue;
            }
            self.each.insert(profile.name.clone(), FullProof::UnderWay);
            match Subject::of(profile) {
                Ok(subject) => drop(self.proving.spawn(prove(subject, Depth::Full))),
                Err(error) => {
                    let (nat, error) = (profile.name.clone(), Some(error.to_string()));
                    self.note(&ProofResult { nat, error, ..ProofResult::default() });
                }
            }
        }
    }

    /// Whether any is under way.
    pub(super) fn are_under_way(&self) -> bool {
        !self.proving.is_empty()
    }

    /// How many were made, of how many.
    pub(super) fn progress(&self) -> Event {
        let made = self.each.values().filter(|proof| **proof != FullProof::UnderWay).count();
        Event::FullProofs { made, of: self.each.len() }
    }

    /// Waits for one that is under way; at once if there is none.
    pub(super) async fn next(&mut self) {
        if let Some(ended) = self.proving.join_next().await {
            self.note(&ended.unwrap_or_else(|error| resume_unwind(error.into_panic())));
        }
    }

    /// Gives up those that are under way.
    pub(super) async fn give_up(&mut self) {
        self.proving.shutdown().await;
    }

    /// Whether all NATs of a lab have been proved, or were refused.
    pub(super) fn know(&self, setting: &LabSpec) -> bool {
        setting.nats.values().all(|nat| !matches!(self.each.get(nat), None | Some(FullProof::UnderWay)))
    }

    /// Why nothing that a lab shows counts: one of its NATs does not do what it declares.
    pub(super) fn refute(&self, setting: &LabSpec) -> Option<Failure> {
        setting.nats.values().find_map(|nat| match self.each.get(nat) {
            Some(FullProof::Fails(failure)) => Some(failure.clone()),
            _ => None,
        })
    }

    /// Why it is not known whether the NATs of a lab do what they declare: a proof could not be made.
    pub(super) fn lacks(&self, setting: &LabSpec) -> Option<Failure> {
        setting.nats.values().find_map(|nat| match self.each.get(nat) {
            Some(FullProof::Missing(failure)) => Some(failure.clone()),
            _ => None,
        })
    }

    /// Takes up what a proof says.
    pub(super) fn note(&mut self, proof: &ProofResult) {
        self.each.insert(proof.nat.clone(), outcome(proof));
    }
}

#[cfg(test)]
impl FullProofs {
    /// As if the proof of this NAT had begun, and said this as soon as somebody waits.
    pub(super) fn pretend(&mut self, proof: ProofResult) {
        self.pretend_under_way(&proof.nat);
        self.proving.spawn(async { proof });
    }

    /// As if the proof of this NAT had begun.
    pub(super) fn pretend_under_way(&mut self, nat: &str) {
        self.each.insert(nat.to_owned(), FullProof::UnderWay);
    }
}

/// What a full proof says of a NAT.
fn outcome(proof: &ProofResult) -> FullProof {
    let nat = &proof.nat;
    if let Some(why) = proof.error.as_ref().or(proof.unsupported.as_ref()) {
        let what = format!("the cell differs, and the NAT \"{nat}\" could not be proved in full: {why}");
        return FullProof::Missing(Cause::LabError.because(what));
    }
    match proof.rows.iter().find(|row| !row.agrees) {
        None => FullProof::Holds,
        Some(row) => FullProof::Fails(Cause::LabError.because(format!(
            "the NAT \"{nat}\", proved in full because a cell differed, does not behave as declared: expected {}: {}; \
             observed: {}",
            row.axis, row.expected, row.observed
        ))),
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::model::address_pool::NatAddressing;
    use crate::model::event::ProofRow;
    use crate::model::topology::NodeName;

    fn setting(nats: [&str; 2]) -> LabSpec {
        let nodes = ["nat-a", "nat-b"].map(|node| NodeName::new(node).expect("a good name"));
        let nats = nodes.into_iter().zip(nats.map(str::to_owned)).collect();
        LabSpec { wiring: 0, addressing: NatAddressing::default(), nats }
    }

    fn proof(nat: &str, agrees: bool) -> ProofResult {
        let row =
            ProofRow { axis: "filtering".into(), expected: "one".into(), observed: "other".into(), agrees };
        ProofResult { nat: nat.into(), rows: vec![row], ..ProofResult::default() }
    }

    #[test]
    fn a_lab_is_known_when_both_its_nats_are_and_refuted_by_one() {
        let mut proofs = FullProofs::default();
        let (both, other) = (setting(["good", "bad"]), setting(["good", "good"]));
        proofs.note(&proof("good", true));
        assert_eq!((proofs.know(&both), proofs.know(&other)), (false, true));
        proofs.each.insert("bad".into(), FullProof::UnderWay);
        assert_eq!((proofs.know(&both), proofs.refute(&both)), (false, None));
        proofs.note(&proof("bad", false));
        assert!(proofs.know(&both));
        let why = proofs.refute(&both).expect("refuted").detail;
        assert!(
            why.contains("NAT \"bad\"") && why.contains("expected filtering: one; observed: other"),
            "{why}"
        );
        assert_eq!(proofs.refute(&other), None);
    }

    #[test]
    fn what_could_not_be_proved_is_not_known_to_be_right() {
        let mut proofs = FullProofs::default();
        proofs.note(&ProofResult {
            nat: "odd".into(),
            error: Some("no memory".into()),
            ..ProofResult::default()
        });
        let lab = setting(["odd", "odd"]);
        let why = proofs.lacks(&lab).expect("a reason").detail;
        assert!(why.ends_with("could not be proved in full: no memory"), "{why}");
        // What is not known of a NAT is no reason against cells that do not differ.
        assert_eq!((proofs.know(&lab), proofs.refute(&lab)), (true, None));
    }
}
