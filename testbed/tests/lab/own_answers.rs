//! What a NAT itself says to strangers comes from the endpoint that was asked, at every address and port.

use std::fmt::Write as _;

use testbed::lab::nat_rules::{NatConfig, render};
use testbed::model::axis::NatAxis;
use testbed::model::behavior::{
    Behavior, ExternalAddresses, Filtering, Overloading, Pooling, UnsolicitedSyn,
};
use testbed::model::catalogue::Catalogue;
use testbed::model::event::{Event, RunEnd};
use testbed::model::outcome::Verdict;
use testbed::probe::prove::{Depth, Subject, site};
use testbed::run::{Cancel, RunRequest, run};

use super::causes::suite_over;
use super::lab_is_possible;
use super::nat_proof::{names, prove_all, table};
use super::run::{puncher, request};

const ADDRESSES: [ExternalAddresses; 3] = [
    ExternalAddresses::ONE,
    ExternalAddresses { count: 2, pooling: Pooling::Paired },
    ExternalAddresses { count: 3, pooling: Pooling::Arbitrary },
];

/// Every answer with both kinds of overloading and several kinds of pools.
fn all_answers() -> Vec<Behavior> {
    let mut all = Vec::new();
    for unsolicited_syn in UnsolicitedSyn::ALL.iter().copied() {
        for overloading in Overloading::ALL.iter().copied() {
            for addresses in ADDRESSES {
                all.push(Behavior { unsolicited_syn, overloading, addresses, ..Behavior::port_preserving() });
            }
        }
    }
    all
}

#[test]
fn every_answer_goes_with_every_overloading_and_every_pool() {
    if !lab_is_possible() {
        return;
    }
    let subject = |behavior: &Behavior| Subject::generated(format!("{behavior:?}"), behavior);
    for result in prove_all(all_answers().iter().map(subject).collect(), Depth::Quick) {
        assert!(result.holds(), "{}", table(&result));
    }
}

#[test]
fn every_answer_is_given_where_the_peers_of_a_lab_knock() {
    if !lab_is_possible() {
        return;
    }
    let (mut nats, mut names) = (String::new(), Vec::new());
    for nat in all_answers() {
        let ExternalAddresses { count, pooling } = nat.addresses;
        let (answer, overloading) = (nat.unsolicited_syn, nat.overloading);
        let name = format!("{answer}-overloading-{overloading}-{count}");
        write!(
            nats,
            "[nat.{name}]\nsummary = \"a test\"\nunsolicited-syn = \"{answer}\"\noverloading = \"{overloading}\"\naddresses = {count}\n"
        )
        .expect("a string");
        if count > 1 {
            writeln!(nats, "pooling = \"{pooling}\"").expect("a string");
        }
        names.push(format!("\"{name}\""));
    }
    let own = Catalogue::parse(&nats, "nats.toml").unwrap_or_else(|why| panic!("{why}"));
    let catalogue = Catalogue::embedded().with(own);
    let text = format!(
        "name = \"answers\"\nsummary = \"a test\"\ntopology = \"pair\"\ntrials = 1\n[axes]\n\
         nat-a = [{}]\nnat-b = [\"port-preserving\"]\nmethod = [\"simultaneous-open\"]\n",
        names.join(", ")
    );
    let suite = suite_over(&catalogue, &text);
    let request = RunRequest { catalogue, jobs: 8, ..request(suite, puncher()) };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let (mut finished, mut wrong) = (0, Vec::new());
    let (_stop, cancel) = Cancel::new();
    let ending = runtime.block_on(run(request, cancel, |event| {
        if let Event::CellFinished(cell) = event {
            finished += 1;
            if cell.verdict == Verdict::Error {
                wrong.push(format!("{}: {}", cell.cell.id, cell.note));
            }
        }
    }));
    assert_eq!(ending.expect("a run"), RunEnd::Complete);
    assert_eq!(finished, names.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The rules of `nat`, with one more in front of those that answer strangers.
fn with_rule(nat: &Behavior, rule: &str) -> NatConfig {
    const FIRST: &str = "iifname \"wan\" meta l4proto tcp ct state new,invalid";
    let config = render(nat, &site());
    let at = config.ruleset.find(FIRST).expect("an answer to strangers");
    let (before, after) = config.ruleset.split_at(at);
    NatConfig { ruleset: format!("{before}{FIRST} {rule}\n        {after}"), ..config }
}

#[test]
fn a_nat_that_answers_otherwise_somewhere_is_found_out() {
    if !lab_is_possible() {
        return;
    }
    let pool = Behavior { addresses: ADDRESSES[1], ..Behavior::port_preserving() };
    let late = Behavior { unsolicited_syn: UnsolicitedSyn::IcmpAfterSixSeconds, ..pool };
    let restricted = Behavior { filtering: Filtering::AddressDependent, ..Behavior::port_preserving() };
    let late_at_mappings = Behavior { addresses: ExternalAddresses::ONE, ..late };
    let resets = Behavior { unsolicited_syn: UnsolicitedSyn::Reset, ..pool };
    let from_elsewhere = {
        let config = render(&resets, &site());
        let own = "iifname \"lan*\" oifname \"wan\"";
        NatConfig { ruleset: config.ruleset.replace(own, "oifname \"wan\""), ..config }
    };
    let mut slipped = Vec::new();
    for (declared, config, depth) in [
        (pool, with_rule(&pool, "ip daddr != 192.0.2.2 reject with tcp reset"), Depth::Quick),
        (pool, with_rule(&pool, "tcp dport != 999 reject with tcp reset"), Depth::Quick),
        (restricted, with_rule(&restricted, "tcp dport != 999 reject with tcp reset"), Depth::Quick),
        (late, with_rule(&late, "ip daddr != 192.0.2.2 drop"), Depth::Full),
        (late_at_mappings, with_rule(&late_at_mappings, "tcp dport != 999 drop"), Depth::Full),
        (resets, from_elsewhere, Depth::Quick),
    ] {
        let subject = Subject { name: "a liar".to_owned(), declared, config };
        let rules = subject.config.ruleset.clone();
        let result = prove_all(vec![subject], depth).remove(0);
        if !names(&result, NatAxis::UnsolicitedSyn) {
            slipped.push(format!("{}\n{rules}", table(&result)));
        }
    }
    assert!(slipped.is_empty(), "{} slipped:\n{}", slipped.len(), slipped.join("\n"));
}
