//! Whole runs with real punchers: from a suite to verdicts.

use std::path::PathBuf;

use testbed::model::catalogue::Catalogue;
use testbed::model::embedded;
use testbed::model::event::{Event, RunEnd};
use testbed::model::outcome::{CellResult, Outcome, Trial, Verdict};
use testbed::model::shard::Shard;
use testbed::model::suite::Suite;
use testbed::model::suite_file::{self, KnownNames};
use testbed::model::theory::METHODS;
use testbed::run::{Cancel, Keep, RunRequest, run};

use super::lab_is_possible;

/// Our puncher, beside this test's own build.
pub(crate) fn puncher() -> PathBuf {
    let test = std::env::current_exe().expect("a path");
    let puncher = test.ancestors().nth(2).expect("target/PROFILE").join("puncher");
    assert!(puncher.exists(), "{} is missing: build the workspace first", puncher.display());
    puncher
}

fn classic() -> Suite {
    let file = embedded::find(embedded::SUITES, "classic").expect("it is built in");
    parsed(file.file, file.text)
}

/// A suite over what comes with testbed, and the topology `uneven`.
pub(crate) fn parsed(file: &str, text: &str) -> Suite {
    let catalogue = Catalogue::embedded();
    let nats: Vec<&str> = catalogue.profiles().map(|p| p.name.as_str()).collect();
    let topology = |name: &str| {
        if name == "uneven" {
            return Ok(("uneven.toml".to_owned(), include_str!("../suites/uneven.toml").to_owned()));
        }
        let found = embedded::find(embedded::TOPOLOGIES, name).ok_or("no such topology")?;
        Ok((found.file.to_owned(), found.text.to_owned()))
    };
    let known = KnownNames { nats: &nats, methods: METHODS, topology: &topology, path: &|_, _| Ok(()) };
    suite_file::parse(file, text, &known).expect("a good suite")
}

/// What is asked of a run of all cells of a suite, of which nothing is kept.
pub(crate) fn request(suite: Suite, puncher: PathBuf) -> RunRequest {
    RunRequest {
        part: Shard::whole(suite.cells().iter().map(|cell| (cell, suite.part(cell).trials))),
        until_sure: None,
        cells: suite.cells(),
        suite,
        catalogue: Catalogue::embedded(),
        jobs: 16,
        seed: 1,
        puncher,
        keep: Keep::None,
        mutation: None,
    }
}

/// Runs a suite and returns its cells.
pub(crate) fn cells_of(suite: Suite, puncher: PathBuf) -> Vec<CellResult> {
    cells_of_request(request(suite, puncher))
}

/// Makes a run and returns its cells.
pub(crate) fn cells_of_request(request: RunRequest) -> Vec<CellResult> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("tokio");
    let mut cells = Vec::new();
    let (_stop, cancel) = Cancel::new();
    let ending = runtime.block_on(run(request, cancel, |event| {
        if let Event::CellFinished(cell) = event {
            cells.push(cell);
        }
    }));
    assert_eq!(ending.expect("a run"), RunEnd::Complete);
    cells
}

#[test]
fn predictable_nats_connect_and_random_ones_do_not() {
    if !lab_is_possible() {
        return;
    }
    let mut suite = classic();
    suite.change_sections(|part| part.trials = 3);
    let cells = cells_of(suite, puncher());
    assert_eq!(cells.len(), 9);
    for cell in &cells {
        assert_eq!(cell.verdict, Verdict::AsExpected, "{}: {}", cell.cell.id, cell.note);
    }
}

/// Both NATs count, and a tenth of all packets is lost: whoever takes one mapping, because the second server has not
/// answered, for a rule that NATs follow gets through less than half of the time.
const LOSSY: &str = r#"
name = "lossy"
summary = "two NATs that count, and packets that are lost"
topology = "pair"
trials = 24
deadline = "10s"
axes = { nat-a = ["sequential"], nat-b = ["sequential"], method = ["auto"], loss = ["0.1"] }
"#;

#[test]
fn lost_packets_do_not_hide_that_a_nat_counts() {
    if !lab_is_possible() {
        return;
    }
    let cells = cells_of(parsed("lossy.toml", LOSSY), puncher());
    let passed = |trial: &&Trial| matches!(trial.outcome, Outcome::Passed(_));
    let passed = cells[0].trials.iter().filter(passed).count();
    // With a chance of 0.97 each, fewer than 17 of 24 come up once in three million times; with 0.4, more than 16 once in 450.
    assert!(passed >= 17, "{passed} of 24 passed: {:?}", cells[0].trials);
}
