//! What the GitHub action runs, with this testbed in the place of its container, and what it tells.

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

#[test]
fn a_summary_that_is_too_long_is_cut_with_a_pointer() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).expect("room");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/ci-tell");
    let tell = || {
        let mut command = Command::new("bash");
        command.arg(&script).arg(".").current_dir(folder.path()).env("TESTBED_CONTAINER", "true");
        let done = Done::from(command.env("GITHUB_STEP_SUMMARY", "told").output().expect("bash starts"));
        assert_eq!(done.code, 0, "{}", done.stderr);
        let told = std::fs::read_to_string(folder.path().join("told")).expect("a summary");
        std::fs::remove_file(folder.path().join("told")).expect("a file");
        told
    };
    write("summary.md", "a cell\n".repeat(200_000));
    write("comparison.md", "a change\n".repeat(200_000));
    let told = tell();
    assert!(told.len() < 1 << 20, "{}", told.len());
    for page in ["summary.md", "comparison.md"] {
        assert!(told.contains(&format!("the whole of it is `{page}`")), "{page}");
    }
    let lines = ["a cell", "a change"];
    let whole = |line: &str| line.is_empty() || lines.contains(&line) || line.starts_with("**Cut");
    assert!(told.lines().all(whole), "a line was cut");
    write("summary.md", "short\n".to_owned());
    write("comparison.md", "too\n".to_owned());
    assert_eq!(tell(), "short\ntoo\n");
}
