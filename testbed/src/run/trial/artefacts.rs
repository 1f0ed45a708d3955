//! What is kept of a trial: for which trials, and how the lab looked.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::judge::judgement::Judgement;
use crate::kernel::clock::ClockPair;
use crate::lab::nat_rules::NatConfig;
use crate::lab::{Lab, Node};
use crate::model::address_plan::{AddressPlan, LinkPlan};
use crate::model::event::{Artefacts, LinkRecord, NatRecord, ProgramLog};
use crate::model::evidence::Evidence;
use crate::model::outcome::Outcome;
use crate::model::topology::NodeName;
use crate::run::pool::{BuiltLab, LabPool};
use crate::run::prepared_cell::PreparedCell;
use crate::run::request::Keep;

/// Whether the artefacts of a trial are kept. `pass_kept` says whether one that passed already is, and is told of this one.
pub(super) fn are_kept(keep: Keep, outcome: &Outcome, pass_kept: &AtomicBool) -> bool {
    match (keep, outcome) {
        (Keep::None, _) => false,
        (Keep::Failed, Outcome::Passed(_)) => !pass_kept.swap(true, Ordering::Relaxed),
        (Keep::All | Keep::Failed, _) => true,
    }
}

/// Collects the artefacts of a trial.
pub(super) fn collect(
    (pool, built): (&LabPool, &BuiltLab),
    prepared: &PreparedCell,
    judgement: Judgement,
    (programs, evidence): (Vec<ProgramLog>, Evidence),
) -> Artefacts {
    let plan = built.lab.plan();
    Artefacts {
        unix_offset: ClockPair::read().unix_offset(),
        links: links(plan),
        addresses: addresses(plan),
        nats: nat_records(pool, built),
        judgement: sentence(&judgement.outcome),
        marks: judgement.marks,
        expected: prepared.expected.clone(),
        programs,
        evidence,
    }
}

fn nat_records(pool: &LabPool, built: &BuiltLab) -> Vec<NatRecord> {
    let record = |(node, profile): (&NodeName, &String)| {
        let config = pool.config(built.lab.plan(), node, profile).unwrap_or_default();
        NatRecord {
            node: node.to_string(),
            profile: profile.clone(),
            ruleset: ruleset_of(&built.lab, node, &config),
            sysctls: config.sysctls.iter().map(|(key, value)| format!("{key} = {value}")).collect(),
        }
    };
    built.setting.nats.iter().map(record).collect()
}

/// The rules of a NAT as text. Rules that a program made are shown as nft lists them.
fn ruleset_of(lab: &Lab, node: &NodeName, config: &NatConfig) -> String {
    match &config.command {
        None => config.script(),
        Some(command) => {
            let listed =
                lab.node(node).and_then(Node::ruleset).unwrap_or_else(|error| format!("# {error}\n"));
            format!("# made by the program: {command}\n{listed}")
        }
    }
}

fn links(plan: &AddressPlan) -> Vec<LinkRecord> {
    let ends = |link: &LinkPlan| LinkRecord { lower: link.lower.to_string(), upper: link.upper.to_string() };
    plan.links.iter().map(ends).collect()
}

fn addresses(plan: &AddressPlan) -> Vec<(String, Ipv4Addr)> {
    plan.nodes.keys().filter_map(|node| Some((node.to_string(), plan.address(node)?))).collect()
}

fn sentence(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Passed(success) => format!("passed by {}: {}", success.method, success.how),
        Outcome::Failed(failure) => format!("failed, {failure}"),
        Outcome::Error(failure) => format!("error, {failure}"),
        Outcome::Skipped(why) => format!("skipped: {why}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::outcome::{Cause, How, Success};

    #[test]
    fn of_trials_that_passed_the_first_to_do_so_is_kept() {
        let passed = Outcome::Passed(Success {
            method: "m".into(),
            how: How::SynsCrossed,
            established: Duration::ZERO,
            authenticated: Duration::ZERO,
        });
        let failed = Outcome::Failed(Cause::ProgramHung.because("no SYN".to_owned()));
        // Whatever its number: trial 1 may fail.
        for (keep, expected) in
            [(Keep::All, [true; 4]), (Keep::Failed, [true, true, false, true]), (Keep::None, [false; 4])]
        {
            let pass_kept = AtomicBool::new(false);
            let kept =
                [&failed, &passed, &passed, &failed].map(|outcome| are_kept(keep, outcome, &pass_kept));
            assert_eq!(kept, expected, "{keep:?}");
        }
    }

    #[test]
    fn the_judgement_is_a_sentence() {
        assert_eq!(sentence(&Outcome::Skipped("no kernel".into())), "skipped: no kernel");
    }
}
