//! Cells whose NATs are not what they were taken for, by trials that are made up.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::judge::reference::{Draw, Findings};
use crate::model::behavior::PortRange;
use crate::model::catalogue::Catalogue;
use crate::model::embedded;
use crate::model::event::{ProofResult, ProofRow};
use crate::model::outcome::{Cause, CellResult, TrialLoad};
use crate::model::shard::Shard;
use crate::model::suite_file::{self, KnownNames};
use crate::model::theory::METHODS;
use crate::run::request::Keep;

/// Trials of each cell: none of them may fail, by theory.
const TRIALS: u32 = 6;

/// A cell that has to connect, and one whose first NAT draws its ports.
const SUITE: &str = "name = \"made-up\"\nsummary = \"made up\"\ntopology = \"pair\"\ntrials = 6\n[axes]\n\
                     nat-a = [\"port-preserving\", \"random\"]\nnat-b = [\"port-preserving\"]\nmethod = [\"simultaneous-open\"]\n";
const CONNECTS: usize = 0;
const DRAWS: usize = 1;

fn request() -> RunRequest {
    let catalogue = Catalogue::embedded();
    let nats: Vec<&str> = catalogue.profiles().map(|profile| profile.name.as_str()).collect();
    let topology = |name: &str| {
        let found = embedded::find(embedded::TOPOLOGIES, name).ok_or("no such topology")?;
        Ok((found.file.to_owned(), found.text.to_owned()))
    };
    let known = KnownNames { nats: &nats, methods: METHODS, topology: &topology, path: &|_, _| Ok(()) };
    let suite = suite_file::parse("made-up.toml", SUITE, &known).expect("a good suite");
    let cells = suite.cells();
    RunRequest {
        part: Shard::whole(cells.iter().map(|cell| (cell, TRIALS))),
        until_sure: None,
        cells,
        suite,
        catalogue,
        jobs: 1,
        seed: 1,
        puncher: PathBuf::new(),
        keep: Keep::None,
        mutation: None,
    }
}

/// Collects what a run would be told, with full proofs that say this of the NATs.
fn collect(
    proofs: &[ProofResult],
    play: impl FnOnce(&mut Collector<'_>, &mut Vec<CellResult>),
) -> Vec<CellResult> {
    let request = request();
    let ready = |cell| PreparedCell::new(&request.suite, &request.catalogue, cell).expect("a good cell");
    let cells: Vec<PreparedCell> = request.cells.iter().map(ready).collect();
    let queue = Mutex::new(Queue::new(&[], 1));
    let mut collector = Collector::new(&request, &cells, &queue, BTreeMap::new());
    proofs.iter().for_each(|proof| collector.full_proofs.note(proof));
    let mut told = Vec::new();
    play(&mut collector, &mut told);
    told
}

fn proof(nat: &str, agrees: bool) -> ProofResult {
    let row = ProofRow { axis: "filtering".into(), expected: "one".into(), observed: "other".into(), agrees };
    ProofResult { nat: nat.into(), rows: vec![row], ..ProofResult::default() }
}

fn both_hold() -> [ProofResult; 2] {
    [proof("port-preserving", true), proof("random", true)]
}

fn send(collector: &mut Collector<'_>, told: &mut Vec<CellResult>, message: Message) {
    let mut tell = |event| {
        if let Event::CellFinished(cell) = event {
            told.push(cell);
        }
    };
    collector.take(message, &mut tell);
    collector.conclude_doubtful(&mut tell);
}

fn started(cell: usize, number: u32) -> Message {
    Message::Started { cell, number }
}

/// A trial that failed, in which the NAT "random" drew these ports.
fn failed(cell: usize, number: u32, drawn: &[u16]) -> Message {
    let outcome = Outcome::Failed(Cause::Filtered.because("closed"));
    let (took, load) = (Duration::ZERO, TrialLoad::default());
    let trial = Trial { number, seed: 1, outcome, took, load, artefacts: None };
    let pool = PortRange { low: 1024, high: u16::MAX }.into();
    let draw = |(before, port): (usize, &u16)| Draw {
        port: *port,
        pool,
        taken: 0,
        of_same: u32::from(before > 0),
        is_of_same: before > 0 && drawn[before - 1] == *port,
        is_own: false,
        of_all: u32::from(before > 0),
        is_of_all: before > 0 && drawn[before - 1] == *port,
        before: before.checked_sub(1).map(|at| drawn[at]),
    };
    let draws = drawn.iter().enumerate().map(draw).collect();
    let findings = vec![Findings { profile: "random".into(), draws, ..Findings::default() }];
    Message::Finished { cell, played: Box::new(Played { trial, void: None, artefacts: None, findings }) }
}

/// Plays all trials of a cell.
fn play_all(collector: &mut Collector<'_>, told: &mut Vec<CellResult>, cell: usize) {
    for number in 1..=TRIALS {
        send(collector, told, started(cell, number));
        send(collector, told, failed(cell, number, &[]));
    }
}

fn verdicts(told: &[CellResult]) -> Vec<Verdict> {
    told.iter().map(|cell| cell.verdict).collect()
}

#[test]
fn a_cell_that_differs_waits_for_the_trials_that_had_started() {
    let told = collect(&both_hold(), |collector, told| {
        send(collector, told, started(DRAWS, 1));
        play_all(collector, told, CONNECTS);
        assert_eq!(verdicts(told), [], "one that started before is under way");
        send(collector, told, started(DRAWS, 2));
        send(collector, told, failed(DRAWS, 1, &[]));
        assert_eq!(verdicts(told), [Verdict::Differs], "those that start later are not waited for");
    });
    assert!(told[0].note.contains("0 of 6"), "{}", told[0].note);
}

#[test]
fn no_trial_of_a_nat_counts_that_does_not_draw_its_ports() {
    let told = collect(&both_hold(), |collector, told| {
        send(collector, told, started(DRAWS, 1));
        for number in 2..=TRIALS {
            send(collector, told, started(DRAWS, number));
            send(collector, told, failed(DRAWS, number, &[2000, 2000, 2000, 2000]));
        }
        // Those came in another order than they started in: nothing is known of them yet.
        assert!(collector.trials[DRAWS].iter().all(|trial| !matches!(trial.outcome, Outcome::Error(_))));
        send(collector, told, failed(DRAWS, 1, &[3000, 3000, 3000, 3000]));
    });
    assert_eq!(verdicts(&told), [Verdict::Error]);
    let is_error =
        |trial: &Trial| matches!(&trial.outcome, Outcome::Error(why) if why.detail.contains("\"random\""));
    assert!(told[0].trials.iter().all(is_error), "{:?}", told[0].trials);
}

#[test]
fn a_cell_that_differs_waits_for_full_proofs_of_its_nats() {
    let told = collect(&[proof("port-preserving", false)], |collector, told| {
        play_all(collector, told, CONNECTS);
    });
    assert_eq!(verdicts(&told), [Verdict::Error]);
    assert!(
        told[0].note.contains("does not behave as declared: expected filtering: one"),
        "{}",
        told[0].note
    );
    let error = Some("the machine was busy".to_owned());
    let missing = ProofResult { nat: "port-preserving".into(), error, ..ProofResult::default() };
    let told = collect(&[missing], |collector, told| play_all(collector, told, CONNECTS));
    assert_eq!(verdicts(&told), [Verdict::Error]);
    assert!(told[0].note.contains("could not be proved in full: the machine was busy"), "{}", told[0].note);
}

#[tokio::test]
async fn full_proofs_are_told_as_long_as_they_are_waited_for() {
    let request = request();
    let ready = |cell| PreparedCell::new(&request.suite, &request.catalogue, cell).expect("a good cell");
    let cells: Vec<PreparedCell> = request.cells.iter().map(ready).collect();
    let queue = Mutex::new(Queue::new(&[], 1));
    let mut collector = Collector::new(&request, &cells, &queue, BTreeMap::new());
    collector.full_proofs.pretend(proof("port-preserving", true));
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    for number in 1..=TRIALS {
        for message in [started(CONNECTS, number), failed(CONNECTS, number, &[])] {
            sender.send(message).expect("it is open");
        }
    }
    drop(sender);
    let mut told = Vec::new();
    collector.receive(&mut receiver, &mut |event| told.push(event)).await;
    let progress: Vec<_> = told
        .iter()
        .filter_map(|event| match event {
            Event::FullProofs { made, of } => Some((*made, *of)),
            _ => None,
        })
        .collect();
    assert_eq!(progress, [(0, 1), (1, 1)]);
    assert!(matches!(told.last(), Some(Event::CellFinished(cell)) if cell.verdict == Verdict::Differs));
}

#[test]
fn an_interruption_leaves_a_cell_undecided_that_would_differ() {
    let told = collect(&[], |collector, told| {
        // Under way, as far as this collector knows.
        collector.full_proofs.pretend_under_way("port-preserving");
        play_all(collector, told, CONNECTS);
        assert_eq!(verdicts(told), []);
        collector.conclude_unfinished(&mut |event| {
            if let Event::CellFinished(cell) = event {
                told.push(cell);
            }
        });
    });
    assert_eq!((told[0].verdict, told[0].difference), (Verdict::Undecided, None));
    assert!(
        told[0].note.ends_with("; the run ended before its NATs were proved in full"),
        "{}",
        told[0].note
    );
}
