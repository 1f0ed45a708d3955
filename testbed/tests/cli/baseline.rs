//! Baselines and differences through the command: what is written, what is refused, and how a change ends.

use std::path::Path;

use serde_json::{Value, json};

use super::testbed_in;

/// The results of a run of two cells, of which the first passed this often in 20 trials, after this many milliseconds.
fn results(passed: usize, established_ms: f64) -> Value {
    let trial = |number: usize| match number <= passed {
        true => {
            json!({"number": number, "seed": 1, "outcome": "passed", "method": "auto", "how": "SYNs crossed",
            "established_ms": established_ms, "authenticated_ms": 50.0, "took_ms": 60.0})
        }
        false => {
            json!({"number": number, "seed": 1, "outcome": "failed", "how": "filtered", "detail": "closed",
            "took_ms": 60.0})
        }
    };
    let cell = |id: &str, index: usize| {
        json!({"kind": "punch", "id": id, "index": index, "axes": {"nat-a": id}, "trip_ms": 20.0, "group": "",
            "asked": 20, "trials": 20,
            "passed": passed, "failed": 20 - passed, "error": 0, "skipped": 0, "expected": null, "observed": null, "sensitivity": null,
            "verdict": "no_expectation", "difference": null, "note": "", "causes": {"filtered": 20 - passed},
            "won_by": {"auto: SYNs crossed": passed}, "established_ms": null, "authenticated_ms": null,
            "each": (1..=20).map(trial).collect::<Vec<_>>()})
    };
    json!({"schema": 2, "suite": "mine", "testbed": "0", "kernel": "6", "nft": "1", "rights": "root", "processors": 2,
        "wire_scheduling": "", "seed": 1,
        "part": {"shard": 1, "of": 1, "cells": 2, "plan": "0"}, "trials_per_cell": 20, "jobs": 1, "ending": "complete", "took_ms": 1.0,
        "totals": {"cells": 2, "as_expected": 0, "differs": 0, "undecided": 0, "no_expectation": 2, "error": 0, "skipped": 0, "proofs": 0,
            "proofs_failed": 0},
        "warnings": [], "cells": [cell("one", 0), cell("two", 1)]})
}

fn write(folder: &Path, name: &str, results: &Value) {
    std::fs::write(folder.join(name), results.to_string()).expect("room on the disk");
}

#[test]
fn a_run_becomes_a_baseline_and_agrees_with_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "run.json", &results(20, 41.0));
    let done = testbed_in(folder.path(), &["baseline", "update", "run.json", "b.toml"]);
    assert_eq!((done.code, done.stdout.as_str()), (0, "b.toml: 2 cells, 0 checks\n"), "{}", done.stderr);
    let text = std::fs::read_to_string(folder.path().join("b.toml")).expect("the file");
    assert_eq!(text.lines().filter(|line| line.starts_with('"')).count(), 2, "{text}");
    let done = testbed_in(folder.path(), &["diff", "b.toml", "run.json"]);
    assert!(done.code == 0 && done.stdout.ends_with("2 cells compared: none changed\n"), "{}", done.stdout);
    let added = testbed_in(folder.path(), &["baseline", "update", "--add", "run.json", "b.toml"]);
    assert_eq!(added.code, 0, "{}", added.stderr);
    let text = std::fs::read_to_string(folder.path().join("b.toml")).expect("the file");
    assert_eq!(text.matches("passed = 40").count(), 2, "{text}");
}

#[test]
fn a_change_of_rate_or_time_is_found_and_named() {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), "good.json", &results(20, 41.0));
    write(folder.path(), "bad.json", &results(1, 41.0));
    write(folder.path(), "slow.json", &results(20, 62.0));
    let bad = testbed_in(folder.path(), &["diff", "good.json", "bad.json"]);
    assert!(
        bad.code == 1 && bad.stdout.contains("flaky  one ") && bad.stdout.contains("20/20 -> 1/20"),
        "{}",
        bad.stdout
    );
    assert!(bad.stdout.contains("filtered 0 -> 19"), "{}", bad.stdout);
    assert!(bad.stdout.contains("worse  2 cells, together  40/40 -> 2/40"), "{}", bad.stdout);
    let said = "2 cells compared: 2 changed, 1 group of like cells changed\n";
    assert!(bad.stdout.ends_with(said), "{}", bad.stdout);
    let slow = testbed_in(folder.path(), &["diff", "good.json", "slow.json", "--markdown"]);
    assert!(
        slow.code == 1
            && slow.stdout.contains("| **slower** | one | 2 one-way delays | 3.1 one-way delays |"),
        "{}",
        slow.stdout
    );
}

#[test]
fn damaged_and_foreign_files_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |arguments: &[&str]| testbed_in(folder.path(), arguments);
    write(folder.path(), "run.json", &results(20, 41.0));
    run(&["baseline", "update", "run.json", "b.toml"]);
    run(&["run", "classic", "--baseline", "none.toml"])
        .refused(2, "testbed: cannot read the baseline \"none.toml\": No such file");
    run(&["run", "classic", "--baseline", "b.toml"]).refused(
        2,
        "testbed: cannot compare the suite \"classic\" with \"b.toml\": that is of the suite \"mine\"\n  help: ",
    );
    run(&["diff", "b.toml", "none"]).refused(2, "testbed: cannot read \"none\": No such file");
    let text = std::fs::read_to_string(folder.path().join("b.toml")).expect("the file");
    std::fs::write(folder.path().join("b.toml"), &text[..text.len() - 9]).expect("room on the disk");
    run(&["diff", "b.toml", "run.json"]).refused(2, "testbed: b.toml:9: ");
    std::fs::write(folder.path().join("run.json"), "{}").expect("room on the disk");
    run(&["baseline", "update", "run.json", "c.toml"])
        .refused(2, "cannot read \"run.json\": it names no schema");
    let mut broken = results(20, 41.0);
    broken["cells"][0]["error"] = 1.into();
    write(folder.path(), "run.json", &broken);
    run(&["baseline", "update", "run.json", "c.toml"])
        .refused(2, "cannot read \"run.json\": the outcomes of cell \"one\" do not add up to its trials");
    broken["cells"][0]["trials"] = 21.into();
    broken["cells"][0]["verdict"] = "error".into();
    broken["totals"]["no_expectation"] = 1.into();
    broken["totals"]["error"] = 1.into();
    write(folder.path(), "run.json", &broken);
    run(&["baseline", "update", "run.json", "c.toml"])
        .refused(2, "testbed: cannot take \"run.json\" for a baseline: 1 of its cells broke");
    let mut cut = results(20, 41.0);
    cut["ending"] = "interrupted".into();
    write(folder.path(), "run.json", &cut);
    run(&["baseline", "update", "run.json", "c.toml"])
        .refused(2, "testbed: cannot take \"run.json\" for a baseline: the run was interrupted");
    assert!(!folder.path().join("c.toml").exists());
}

#[test]
fn results_of_another_schema_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut old = results(20, 41.0);
    old["schema"] = 1.into();
    write(folder.path(), "old.json", &old);
    testbed_in(folder.path(), &["report", "old.json"]).refused(
        2,
        "cannot read \"old.json\": it has schema 1, and this testbed reads schema 2: run the suite again",
    );
}

/// The same with so few trials in each cell.
fn few(passed: usize, failed: usize) -> Value {
    let mut results = results(passed, 41.0);
    for cell in results["cells"].as_array_mut().expect("cells") {
        let trials: Vec<Value> = cell["each"].as_array().expect("trials")[..passed + failed].to_vec();
        cell["each"] = trials.into();
        for (key, value) in
            [("trials", passed + failed), ("asked", passed + failed), ("passed", passed), ("failed", failed)]
        {
            cell[key] = value.into();
        }
    }
    results
}

#[test]
fn a_comparison_that_could_not_have_shown_a_change_says_so_and_does_not_end_with_0() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |arguments: &[&str]| testbed_in(folder.path(), arguments);
    write(folder.path(), "before.json", &few(3, 0));
    write(folder.path(), "now.json", &few(0, 3));
    let updated = run(&["baseline", "update", "before.json", "b.toml"]);
    let said = "2 cells have too few trials to show even a total change, as two: ";
    assert!(updated.code == 0 && updated.stdout.contains(said), "{}", updated.stdout);
    let needed: usize = updated
        .stdout
        .split(said)
        .nth(1)
        .and_then(|rest| rest.split(' ').next()?.parse().ok())
        .expect("a number");
    let blind = run(&["diff", "b.toml", "now.json"]);
    assert_eq!(blind.code, 3, "{}", blind.stdout);
    for said in [
        "3 trials now would not reveal even a total change from 3/3 (2 cells)",
        "2 cells compared: none changed, 2 blind",
        "not decided: 2 blind (exit code 3; --allow blind accepts this)",
    ] {
        assert!(blind.stdout.contains(said), "{said}: {}", blind.stdout);
    }
    assert_eq!(run(&["diff", "b.toml", "now.json", "--allow", "undecided,blind"]).code, 0);
    assert_eq!(run(&["diff", "b.toml", "now.json", "--allow", "undecided"]).code, 3);
    write(folder.path(), "enough.json", &few(needed, 0));
    run(&["baseline", "update", "enough.json", "b.toml"]);
    write(folder.path(), "now.json", &few(0, needed));
    let seen = run(&["diff", "b.toml", "now.json"]);
    assert!(seen.code == 1 && seen.stdout.contains("broken  one"), "{needed}: {}", seen.stdout);
}

#[test]
fn runs_without_a_common_cell_or_with_an_error_are_not_unchanged() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |arguments: &[&str]| testbed_in(folder.path(), arguments);
    write(folder.path(), "good.json", &results(20, 41.0));
    let mut none = results(20, 41.0);
    none["cells"] = json!([]);
    none["totals"] = json!({"cells": 0, "as_expected": 0, "differs": 0, "undecided": 0, "no_expectation": 0,
        "error": 0, "skipped": 0, "proofs": 0, "proofs_failed": 0});
    write(folder.path(), "none.json", &none);
    assert_eq!(run(&["diff", "none.json", "good.json"]).code, 4);
    assert_eq!(run(&["diff", "good.json", "none.json"]).code, 1, "what is missing is a change");
    let mut broken = results(20, 41.0);
    broken["cells"][0]["verdict"] = "error".into();
    broken["totals"]["no_expectation"] = 1.into();
    broken["totals"]["error"] = 1.into();
    write(folder.path(), "broken.json", &broken);
    let said = run(&["diff", "good.json", "broken.json"]);
    assert!(
        said.code == 2 && said.stdout.contains("1 not compared, because something broke: one"),
        "{}",
        said.stdout
    );
}

#[test]
fn the_expectations_that_a_run_supports_can_be_put_into_a_suite() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut run = results(20, 41.0);
    for cell in run["cells"].as_array_mut().expect("cells") {
        cell["axes"] = json!({"nat-a": "port-preserving", "nat-b": "port-preserving", "method": "theirs"});
    }
    write(folder.path(), "run.json", &run);
    let printed = testbed_in(folder.path(), &["report", "run.json", "--format", "expect"]);
    assert_eq!(printed.code, 0, "{}", printed.stderr);
    let suite = "name = \"mine\"\nsummary = \"one cell\"\ntopology = \"pair\"\ntrials = 20\n[axes]\n\
                 nat-a = [\"port-preserving\"]\nnat-b = [\"port-preserving\"]\nmethod = [\"theirs\"]\n\
                 [program]\npeer = [\"/bin/true\"]\n";
    std::fs::write(folder.path().join("mine.toml"), format!("{suite}{}", printed.stdout))
        .expect("room on the disk");
    let planned = testbed_in(folder.path(), &["plan", "./mine.toml"]);
    assert!(
        planned.stdout.contains("76.7 %–100 %  20 of 20 trials passed, kernel 6"),
        "{}{}",
        planned.stdout,
        planned.stderr
    );
}
