//! NATs that are honest on the bench of their proof: those that lie to the peers' addresses only are refused by the proof in the lab,
//! those that begin to lie after some packets are found out at the first packet that shows it.

use testbed::model::catalogue::Catalogue;
use testbed::model::event::Event;
use testbed::model::outcome::{CellResult, Outcome, Trial};
use testbed::run::{Cancel, RunRequest, run};

use super::causes::suite_over;
use super::lab_is_possible;
use super::run::{puncher, request};

/// What comes before and after the rules that lie, in a NAT that keeps ports.
const HONEST_FILTER: &str = "  iifname \"wan\" meta l4proto tcp ct state new,invalid drop\n }\n chain forward { type filter hook \
                             forward priority filter\n  ct state invalid drop\n";

/// Trials enough for the limits below, one after another in one lab.
const TRIALS: u32 = 48;

/// Rules that masquerade by `nat` and, besides what is honest, forward as `forward` says.
fn rules(nat: &str, forward: &str) -> String {
    format!(
        "table ip nat {{\n chain post {{ type nat hook postrouting priority srcnat\n  {nat}\n  oifname \"wan\" masquerade\n }}\n}}\n\
         table ip filter {{\n chain input {{ type filter hook input priority filter\n{HONEST_FILTER}  {forward}\n }}\n}}\n"
    )
}

/// The cell of a NAT with these rules that says that it keeps ports. It is over with the first trial that is an error.
fn played(ruleset: &str, trials: u32) -> CellResult {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("liar.nft"), ruleset).expect("it is ours");
    let own = format!(
        "[nat.liar]\nsummary = \"lies after some packets\"\nruleset-file = \"liar.nft\"\n\n{}",
        include_str!("../../../topologies/nats.toml")
    );
    let file = folder.path().join("nats.toml");
    let catalogue = Catalogue::parse(&own, file.to_str().expect("UTF-8")).expect("a good catalogue");
    let text = format!(
        "name = \"late\"\nsummary = \"one liar\"\ntopology = \"pair\"\ntrials = {trials}\n[axes]\n\
         nat-a = [\"liar\"]\nnat-b = [\"port-preserving\"]\nmethod = [\"simultaneous-open\"]\n"
    );
    let suite = suite_over(&catalogue, &text);
    let request = RunRequest { catalogue, jobs: 1, ..request(suite, puncher()) };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("tokio");
    let mut finished = None;
    let (stop, cancel) = Cancel::new();
    let ending = runtime.block_on(run(request, cancel, |event| match event {
        Event::CellFinished(cell) => finished = Some(cell),
        Event::TrialFinished { trial: Trial { outcome: Outcome::Error(_), .. }, .. } => {
            stop.send(true).expect("the run goes on");
        }
        _ => {}
    }));
    ending.expect("a run");
    finished.expect("one cell")
}

#[track_caller]
fn found_out(cell: &CellResult, axes: &[&str]) {
    let trials = &cell.trials;
    assert!(!trials.is_empty(), "{}", cell.note);
    let passed = |trial: &&Trial| matches!(trial.outcome, Outcome::Passed(_));
    assert!(trials.iter().any(|trial| passed(&trial)), "it was honest at first: {trials:#?}");
    let names = |trial: &Trial| {
        let Outcome::Error(failure) = &trial.outcome else { return false };
        axes.iter().any(|axis| {
            failure
                .detail
                .contains(&format!("NAT \"liar\" in \"nat-a\" does not do what it declares ({axis};"))
        })
    };
    assert!(trials.iter().any(names), "{trials:#?}");
}

#[test]
fn a_nat_that_draws_ports_after_some_connections_is_found_out() {
    if lab_is_possible() {
        let nat = "oifname \"wan\" meta l4proto tcp ct state new limit rate over 1/day burst 185 packets masquerade fully-random";
        // The proof, with some 160 connections, must not see it lie.
        found_out(&played(&rules(nat, ""), 2 * TRIALS), &["mapping", "allocation"]);
    }
}

#[test]
fn a_nat_that_swallows_answers_after_some_is_found_out() {
    if lab_is_possible() {
        let forward =
            "iifname \"wan\" tcp flags & (syn|ack) == (syn|ack) limit rate over 1/day burst 40 packets drop";
        found_out(&played(&rules("", forward), TRIALS), &["connection"]);
    }
}

#[test]
fn a_nat_that_lies_to_the_peers_alone_is_refused_by_the_proof_in_the_lab() {
    if !lab_is_possible() {
        return;
    }
    for (forward, axis) in [
        ("iifname \"wan\" ip saddr 198.51.100.0/24 tcp flags & (syn|ack) == syn drop", "connection"),
        ("oifname \"wan\" ip daddr 198.51.100.0/24 tcp dport < 1024 drop", "outward"),
        ("iifname \"wan\" ip saddr 198.51.100.0/24 ip ttl set 64", "hops"),
    ] {
        let cell = played(&rules("", forward), TRIALS);
        let named =
            format!("proof in the lab: NAT \"liar\" in \"nat-a\" does not do what it declares ({axis};");
        assert!(cell.trials.is_empty() && cell.note.contains(&named), "{forward}: {}", cell.note);
    }
}
