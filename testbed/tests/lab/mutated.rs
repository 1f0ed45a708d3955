//! NATs that are not what they were proved to be: once all NATs are proved and all controls made, one gets the rules of
//! another one of the catalogue. Every difference that a packet of a trial can show has to end as an error that names the axis.
//!
//! `MUTATED_RULES` names the NATs whose rules are loaded, `MUTATED_TRIALS` says how many trials each cell has.

#![expect(clippy::print_stdout, reason = "what is found of each pair is what scripts/accept shows")]

use std::collections::{BTreeMap, BTreeSet};

use testbed::model::axis::NatAxis;
use testbed::model::catalogue::{Catalogue, Profile};
use testbed::model::event::{Event, RunEnd};
use testbed::model::outcome::{CellResult, Outcome, Verdict};
use testbed::model::suite::AxisKey;
use testbed::probe::prove::{Depth, Subject};
use testbed::run::{Cancel, Mutation, RunRequest, run};
use testbed::{Behavior, UnsolicitedSyn};

use super::lab_is_possible;
use super::nat_proof::prove_all;
use super::run::{parsed, puncher, request};

/// What a NAT that declares one thing and does another is known by.
#[derive(Debug, Default)]
struct Seen {
    /// The axes that errors name, with one of the errors each.
    axes: BTreeMap<String, String>,
    /// Errors that name no axis.
    other_errors: BTreeSet<String>,
    differs: Vec<String>,
    trials: usize,
}

fn subject(profile: &Profile) -> Subject {
    Subject::of(profile).expect("rules that can be made")
}

/// The NATs whose rules or settings are not those of `rules_of`.
fn others<'a>(catalogue: &'a Catalogue, rules_of: &Profile) -> Vec<&'a Profile> {
    let differs = |profile: &&Profile| subject(profile).config != subject(rules_of).config;
    catalogue.profiles().filter(differs).collect()
}

/// The axes on which two NATs declare different things.
fn differing(declared: &Behavior, done: &Behavior) -> Vec<NatAxis> {
    NatAxis::ALL.iter().copied().filter(|axis| declared.value(*axis) != done.value(*axis)).collect()
}

/// The packet that shows a difference on an axis.
fn needed(axis: NatAxis, declared: &Behavior, done: &Behavior) -> String {
    let by_reset =
        |nat: &Behavior| matches!(nat.unsolicited_syn, UnsolicitedSyn::Reset | UnsolicitedSyn::Kernel);
    let both_reset = by_reset(declared) && by_reset(done);
    let (declared, done) = (declared.value(axis), done.value(axis));
    let packet = match axis {
        NatAxis::Translation => "any packet from inside",
        NatAxis::Mapping => "a packet from an inside endpoint to a second remote one",
        NatAxis::Allocation => {
            "the first packet of another connection, often enough where ports are drawn by chance"
        }
        NatAxis::Collision => "the first packets of two connections that cannot keep their ports",
        NatAxis::Pool => {
            "the first packet of a connection that gets a port outside the declared range, or hundreds that do not"
        }
        NatAxis::Addresses => {
            "the first packet of a connection that gets an address outside the declared pool, or not that of its host"
        }
        NatAxis::Filtering => "a SYN to a mapping, from an endpoint that its inside has not sent to",
        NatAxis::UnsolicitedSyn if both_reset => {
            "no SYN, both answer it by a reset: a segment without a connection"
        }
        NatAxis::UnsolicitedSyn => "a SYN from outside that has to be refused",
        NatAxis::SynAfterSyn => {
            "a SYN from outside where its inside has sent one and nothing else has come yet"
        }
        NatAxis::InvalidPackets => "a packet that belongs to no connection and begins none",
        NatAxis::Hairpinning => "a SYN from inside to an external endpoint of the same NAT",
        NatAxis::Overloading => "two inside endpoints that would get the same external port",
        NatAxis::Strictness => "a segment outside the window",
        NatAxis::Timeouts => "a packet after the shorter of both times",
        NatAxis::Quota => "one connection more than the quota allows",
    };
    format!("{axis} {declared} (does {done}): {packet}")
}

/// Runs all cells in which one of these NATs has the rules of `rules_of`, and says what was seen of each.
fn seen_with(nats: &[&Profile], rules_of: &Profile, trials: u32) -> BTreeMap<String, Seen> {
    let names: Vec<String> = nats.iter().map(|nat| format!("\"{}\"", nat.name)).collect();
    let text = format!(
        "name = \"mutated\"\nsummary = \"a NAT with the rules of another\"\ntopology = \"pair\"\ntrials = {trials}\n[axes]\n\
         nat-a = [{}]\nnat-b = [\"port-preserving\", \"reset\"]\nmethod = [\"simultaneous-open\", \"listen\", \"low-ttl\"]\n",
        names.join(", ")
    );
    let suite = parsed("mutated.toml", &text);
    let node = testbed::NodeName::new("nat-a").expect("a good name");
    let mutation = Some(Mutation { node: node.clone(), rules_of: rules_of.name.clone() });
    let request = RunRequest { mutation, jobs: 64, ..request(suite, puncher()) };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("tokio");
    let mut seen: BTreeMap<String, Seen> = BTreeMap::new();
    let (_stop, cancel) = Cancel::new();
    let ending = runtime.block_on(run(request, cancel, |event| {
        if let Event::CellFinished(cell) = event {
            let declared = cell.cell.values[&AxisKey::Nat(node.clone())].clone();
            note(seen.entry(declared).or_default(), &cell);
        }
    }));
    assert_eq!(ending.expect("a run"), RunEnd::Complete);
    seen
}

fn note(seen: &mut Seen, cell: &CellResult) {
    if cell.verdict == Verdict::Differs {
        seen.differs.push(format!("{}: {}", cell.cell.id, cell.note));
    }
    for trial in &cell.trials {
        seen.trials += 1;
        let Outcome::Error(failure) = &trial.outcome else { continue };
        let named = failure.detail.split_once("does not do what it declares (");
        match named.and_then(|(_, rest)| rest.split_once(';')) {
            Some((axis, _)) => {
                let _ = seen.axes.entry(axis.to_owned()).or_insert_with(|| failure.detail.clone());
            }
            None => drop(seen.other_errors.insert(failure.to_string())),
        }
    }
}

fn chosen<'a>(catalogue: &'a Catalogue, variable: &str) -> Vec<&'a Profile> {
    let wanted = std::env::var(variable).unwrap_or_default();
    let wanted: Vec<&str> = wanted.split(',').filter(|name| !name.is_empty()).collect();
    catalogue.profiles().filter(|nat| wanted.is_empty() || wanted.contains(&nat.name.as_str())).collect()
}

#[test]
#[ignore = "thousands of trials; scripts/accept judge mutated runs it"]
fn a_nat_with_the_rules_of_another_is_found_out() {
    if !lab_is_possible() {
        return;
    }
    let trials = std::env::var("MUTATED_TRIALS").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    let catalogue = Catalogue::embedded();
    let (mut pairs, mut caught, mut slipped) = (0, 0, Vec::new());
    for rules_of in chosen(&catalogue, "MUTATED_RULES") {
        for (name, seen) in seen_with(&others(&catalogue, rules_of), rules_of, trials) {
            let declared = &catalogue.get(&name).expect("it is there").behavior;
            let axes = differing(declared, &rules_of.behavior);
            pairs += 1;
            let pair = format!("{name} with the rules of {}", rules_of.name);
            for differs in &seen.differs {
                println!("DIFFERS {pair}: {differs}");
                slipped.push(differs.clone());
            }
            for error in &seen.other_errors {
                println!("no axis {pair}: {error}");
            }
            if seen.axes.is_empty() {
                println!("not seen {pair} ({} trials):", seen.trials);
                for axis in axes {
                    println!("         {}", needed(axis, declared, &rules_of.behavior));
                }
            } else {
                caught += 1;
                let named: Vec<&str> = seen.axes.keys().map(String::as_str).collect();
                println!("error   {pair}: {}", named.join(", "));
            }
        }
    }
    println!("{caught} of {pairs} pairs are errors that name the axis");
    assert!(slipped.is_empty(), "{slipped:#?}");
}

/// A cell may have all its trials, and no port that two connections share by chance, long before the trials are done that began
/// earlier.
#[test]
fn a_cell_differs_only_when_all_is_known_of_its_nats() {
    if !lab_is_possible() {
        return;
    }
    let catalogue = Catalogue::embedded();
    let nat = |name| catalogue.get(name).expect("it is there");
    let seen = &seen_with(&[nat("random"), nat("random-range")], nat("eim-random"), 2);
    for (name, seen) in seen {
        assert_eq!(seen.differs, Vec::<String>::new(), "{name}");
        assert!(!seen.axes.is_empty(), "{name}: {:?}", seen.other_errors);
    }
    assert_eq!(seen.len(), 2);
}

#[test]
fn a_proof_of_a_nat_with_the_rules_of_another_fails() {
    if !lab_is_possible() {
        return;
    }
    let catalogue = Catalogue::embedded();
    let mut pairs = Vec::new();
    for rules_of in chosen(&catalogue, "MUTATED_RULES") {
        for profile in others(&catalogue, rules_of) {
            pairs.push((rules_of, Subject { config: subject(rules_of).config, ..subject(profile) }));
        }
    }
    let (rules, subjects): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
    let pairs = subjects.len();
    let mut proved = Vec::new();
    for (rules_of, proof) in rules.into_iter().zip(prove_all(subjects, Depth::Quick)) {
        let rows: Vec<&str> =
            proof.rows.iter().filter(|row| !row.agrees).map(|row| row.axis.as_str()).collect();
        println!("{} with the rules of {}: refused by {}", proof.nat, rules_of.name, rows.join(", "));
        if proof.holds() {
            proved.push(format!("{} with the rules of {}", proof.nat, rules_of.name));
        }
    }
    println!("{} of {pairs} pairs are refused by the quick proof", pairs - proved.len());
    assert_eq!(proved, Vec::<String>::new());
}
