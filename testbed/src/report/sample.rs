//! A run made up for the tests of the formats: nothing here was measured.

use std::time::Duration;

use crate::model::event::{
    Environment, Event, Forecast, KernelCheck, ProofResult, ProofRow, RunEnd, RunInfo, TrialForecast,
};
use crate::model::outcome::{
    Cause, CellResult, Difference, Expectation, Failure, How, Outcome, Rate, Success, Trial, TrialLoad,
    Verdict,
};
use crate::model::shard::Shard;
use crate::model::statistics::Sensitivity;
use crate::model::suite::{AxisKey, Cell, SectionRef, Suite};
use crate::model::topology::NodeName;
use crate::report::collect::ResultsBuilder;
use crate::report::escape::HOSTILE;
use crate::report::results::Results;

/// The events of a run of two NATs a side, in which one cell of each kind occurs.
pub(super) fn events() -> Vec<Event> {
    let cells = [
        cell(0, "even", "even", 3, Verdict::AsExpected, ""),
        cell(1, "even", "odd", 2, Verdict::Differs, "2 of 3 passed where theory says 100 %"),
        cell(2, "odd", "even", 0, Verdict::Undecided, "3 trials are too few"),
        cell(3, "odd", "odd", 0, Verdict::Error, HOSTILE),
    ];
    let info = RunInfo {
        suite: "sample".to_owned(),
        summary: "two NATs a side".to_owned(),
        cells: cells.iter().map(|result| result.cell.clone()).collect(),
        part: Shard::whole(cells.iter().map(|result| (&result.cell, 3))),
        trials: 3,
        trials_in_all: 12,
        forecast: Forecast {
            trials: vec![
                TrialForecast { takes: Duration::from_millis(100), work: Duration::from_millis(60) };
                4
            ],
            work: Duration::from_millis(12 * 60),
            takes: Duration::from_millis(600),
        },
        nats: 2,
        jobs: 2,
        seed: 7,
        environment: Environment {
            kernel: "6.18".to_owned(),
            nft: "1.0.6".to_owned(),
            testbed: "0.1.0".to_owned(),
            rights: "root".to_owned(),
            processors: 2,
            wire_scheduling: "SCHED_FIFO".to_owned(),
        },
    };
    let mut events = vec![Event::RunStarted(info)];
    events.extend([proof("even", true), proof("odd", false)].map(Event::NatProved));
    // They finish in another order than they stand in the suite.
    events.extend(cells.into_iter().rev().map(Event::CellFinished));
    events.push(Event::RunFinished { ending: RunEnd::Complete, took: Duration::from_millis(1500) });
    events
}

/// A check of the kernel that saw this where that was expected.
pub(super) fn kernel_check(id: &str, observed: &str, expected: &str) -> KernelCheck {
    KernelCheck {
        id: id.to_owned(),
        asks: "does it?".to_owned(),
        packets: "SYN out".to_owned(),
        since: Some("6.8".to_owned()),
        expected: vec![expected.to_owned()],
        observed: observed.to_owned(),
        detail: "1 of 1".to_owned(),
        ..KernelCheck::default()
    }
}

/// What becomes of them.
pub(super) fn results() -> Results {
    let mut collector = ResultsBuilder::default();
    for event in events() {
        collector.event(&event);
    }
    collector.results()
}

fn proof(nat: &str, agrees: bool) -> ProofResult {
    let observed = if agrees { "endpoint-independent" } else { "address-dependent" };
    let row = ProofRow {
        axis: "mapping".to_owned(),
        expected: "endpoint-independent".to_owned(),
        observed: observed.to_owned(),
        agrees,
    };
    ProofResult {
        nat: nat.to_owned(),
        rows: vec![row],
        took: Duration::from_millis(40),
        ..ProofResult::default()
    }
}

fn cell(index: usize, a: &str, b: &str, passed: u32, verdict: Verdict, note: &str) -> CellResult {
    let nat = |side: &str| AxisKey::Nat(NodeName::new(side).expect("a good name"));
    let values = [(nat("nat-a"), a), (nat("nat-b"), b), (AxisKey::Method, "auto")];
    let cell = Cell {
        index,
        part: SectionRef { number: 0, name: String::new(), topology: "pair".to_owned() },
        id: format!("{a}/{b}/auto"),
        values: values.into_iter().map(|(key, value)| (key, value.to_owned())).collect(),
    };
    let outcome = |number: u32| match (number <= passed, verdict) {
        (true, _) => Outcome::Passed(Success {
            method: "simultaneous-open".to_owned(),
            how: How::SynsCrossed,
            established: Duration::from_micros(20_000 + u64::from(number) * 100),
            authenticated: Duration::from_micros(30_000 + u64::from(number) * 100),
        }),
        (false, Verdict::Error) => Outcome::Error(Cause::ProgramLied.because(HOSTILE)),
        (false, _) => Outcome::Failed(Failure {
            cause: Cause::PredictedPortWrong,
            detail: "SYNs went to 198.51.100.2:4000, mapped was :4001".to_owned(),
        }),
    };
    let trial = |number| Trial {
        number,
        seed: u64::from(number),
        outcome: outcome(number),
        took: Duration::from_millis(50),
        load: TrialLoad::default(),
        artefacts: (number > passed).then(|| format!("cells/{index}/trial-{number}")),
    };
    let probability = f64::from(passed) / 3.0;
    CellResult {
        cell,
        trials: (1..=3).map(trial).collect(),
        asked: 3,
        void: Vec::new(),
        group: "predictable + predictable, auto".to_owned(),
        expected: Some(Expectation::exactly(1.0, "both can be predicted")),
        trip: Duration::from_millis(10),
        observed: Some(Rate { probability, low: 0.0, high: 1.0 }),
        sensitivity: (verdict == Verdict::AsExpected).then_some(Sensitivity {
            false_alarm: 0.0,
            fall_to: Some(0.464),
            rise_to: None,
        }),
        verdict,
        difference: (verdict == Verdict::Differs).then_some(Difference::Flaky),
        note: note.to_owned(),
    }
}

/// A run of these cells of a suite that was interrupted when it had come to as many as there are verdicts.
pub(crate) fn interrupted(suite: &Suite, cells: &[Cell], verdicts: &[Verdict]) -> Results {
    let mut collector = ResultsBuilder::default();
    let Event::RunStarted(info) = events().remove(0) else { unreachable!("a run begins so") };
    collector.event(&Event::RunStarted(RunInfo {
        suite: suite.name.clone(),
        cells: cells.to_vec(),
        part: Shard::whole(cells.iter().map(|cell| (cell, suite.part(cell).trials))),
        ..info
    }));
    for (of_suite, verdict) in cells.iter().zip(verdicts) {
        let result = CellResult { cell: of_suite.clone(), ..cell(0, "a", "b", 3, *verdict, "") };
        collector.event(&Event::CellFinished(result));
    }
    collector.results()
}

/// A run of so many NATs a side, in which each verdict occurs.
pub(super) fn square(nats: usize) -> Results {
    const NAMES: [&str; 22] = [
        "port-preserving",
        "sequential",
        "random",
        "none",
        "firewall",
        "random-range",
        "eim-random",
        "symmetric-preserving",
        "hash-eim",
        "hash-symmetric",
        "port-block",
        "full-cone",
        "address-restricted",
        "hairpin",
        "reset",
        "icmp",
        "no-syn-after-syn",
        "rfc5382",
        "linux-default",
        "openwrt",
        "docker",
        "cloud-gateway",
    ];
    let cells = (0..nats * nats).map(|at| {
        let (passed, verdict, note) = match at % 29 {
            7 => (2, Verdict::Differs, "2 of 3 passed where theory says 100 %"),
            11 => (1, Verdict::Undecided, "3 trials are too few"),
            20 => (1, Verdict::Error, "the lab broke"),
            at if at % 5 == 0 => (0, Verdict::AsExpected, ""),
            at if at % 13 == 0 => (1, Verdict::AsExpected, ""),
            _ => (3, Verdict::AsExpected, ""),
        };
        cell(at, NAMES[at / nats], NAMES[at % nats], passed, verdict, note)
    });
    let mut collector = ResultsBuilder::default();
    collector.event(&events()[0]);
    cells.for_each(|cell| drop(collector.event(&Event::CellFinished(cell)).cloned()));
    let mut results = collector.results();
    // The collector knows the places of the cells of its first event only.
    results.cells.sort_by_key(|cell| cell.as_punch().map(|cell| cell.index));
    results
}
