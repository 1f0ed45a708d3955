//! What the GitHub action runs, with this testbed in the place of its container.

use std::path::Path;
use std::process::Command;

use super::Done;
use crate::lab::lab_is_possible;

#[test]
fn the_action_s_step_runs_a_suite_and_tells_of_it() {
    if !lab_is_possible() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/ci-run");
    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suites/liar.toml");
    let mut command = Command::new("bash");
    command.arg(script).current_dir(folder.path()).env("NO_COLOR", "1");
    command.env("TESTBED_CONTAINER", env!("CARGO_BIN_EXE_testbed")).env("SUITE", suite).env("OUT", "out");
    command.env("ARGUMENTS", "--trials 1 --keep none").env("SHARD", "1/1");
    command.env("GITHUB_OUTPUT", "output").env("GITHUB_STEP_SUMMARY", "summary");
    let done = Done::from(command.output().expect("bash starts"));
    assert_eq!(done.code, 2, "{}\n{}", done.stdout, done.stderr);
    assert!(done.stdout.contains("\n::error title="), "{}", done.stdout);
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect("a file");
    assert_eq!(read("output"), "exit-code=2\n");
    assert!(read("summary").starts_with("## testbed: "), "{}", read("summary"));
}
