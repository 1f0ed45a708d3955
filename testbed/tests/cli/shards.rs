//! Runs that are split over several machines, and joined again.

use std::path::Path;

use serde_json::Value;

use super::{Done, testbed_in};
use crate::lab::lab_is_possible;

/// What does not depend on where and when a cell was run: its id, its expectation, its verdict, the seeds of its trials.
fn essence(folder: &Path) -> Vec<(Value, Value, Value, Vec<Value>)> {
    let text = std::fs::read_to_string(folder.join("results.json")).expect("results");
    let results: Value = serde_json::from_str(&text).expect("JSON");
    let cells = results["cells"].as_array().expect("cells").iter().filter(|cell| cell["kind"] == "punch");
    let seeds = |cell: &Value| {
        cell["each"].as_array().expect("trials").iter().map(|trial| trial["seed"].clone()).collect()
    };
    let essence =
        |cell: &Value| (cell["id"].clone(), cell["expected"].clone(), cell["verdict"].clone(), seeds(cell));
    cells.map(essence).collect()
}

fn run(folder: &Path, more: &[&str]) -> Done {
    let done = testbed_in(folder, &[&["run", "classic", "--trials", "3", "--seed", "7"], more].concat());
    assert_eq!(done.code, 0, "{}\n{}", done.stdout, done.stderr);
    done
}

#[test]
fn shards_joined_are_the_whole_run() {
    if !lab_is_possible() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    run(folder.path(), &["--out", "whole"]);
    for shard in ["1/3", "2/3", "3/3"] {
        run(folder.path(), &["--shard", shard, "--out", &shard[..1]]);
    }
    let merge = |arguments: &[&str]| testbed_in(folder.path(), &[&["merge"], arguments].concat());
    let done = merge(&["3", "1", "2", "--out", "joined"]);
    assert_eq!(done.code, 0, "{}", done.stderr);
    assert_eq!(essence(&folder.path().join("joined")), essence(&folder.path().join("whole")));
    let kept = |run: &str| {
        let cells = std::fs::read_dir(folder.path().join(run).join("cells")).expect("artefacts");
        let mut names: Vec<_> = cells.map(|entry| entry.expect("an entry").file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(kept("joined"), kept("whole"));
    merge(&["1", "3", "--out", "x"]).refused(2, "testbed: cannot join the parts: shard 2/3 is missing");
    merge(&["1", "2", "3", "2", "--out", "x"]).refused(2, "shard 2/3 is there twice: 2, 2");
    merge(&["1", "whole", "--out", "x"])
        .refused(2, "\"1\" and \"whole\" differ in their number of shards: 3 and 1");
    assert!(!folder.path().join("x").exists());
}

#[test]
fn a_shard_that_is_none_is_refused() {
    let refused = |shard: &str, said: &str| {
        super::testbed(&["run", "classic", "--shard", shard, "--out", "x"]).refused(2, said);
    };
    refused("9/8", "there is no shard 9 of 8: they count from 1");
    refused("2", "expected N/M as in 2/8, auto, or auto/M");
}
