//! Programs in the place of puncher: good ones that are not ours, and every kind of bad one.

use std::path::Path;

use serde_json::Value;

use super::{Done, testbed_in};
use crate::lab::lab_is_possible;

/// What a run said, and its results.
struct Ran {
    done: Done,
    results: Value,
}

/// Runs a suite of one cell, three trials, with these keys of `[program]`, of programs that end by themselves.
fn run(program: &str) -> Ran {
    run_until("20s", program)
}

/// The same of programs that have so long.
fn run_until(deadline: &str, program: &str) -> Ran {
    let folder = tempfile::tempdir().expect("a folder");
    let suite = format!(
        "name = \"one\"\nsummary = \"one cell\"\ntopology = \"pair\"\ntrials = 3\ndeadline = \"{deadline}\"\n\n[axes]\n\
         nat-a = [\"port-preserving\"]\nnat-b = [\"port-preserving\"]\nmethod = [\"theirs\"]\n\n[program]\n{program}\n"
    );
    std::fs::write(folder.path().join("one.toml"), suite).expect("room on the disk");
    let done = testbed_in(folder.path(), &["run", "one.toml", "--out", "out"]);
    let text = std::fs::read_to_string(folder.path().join("out/results.json"));
    let text = text.unwrap_or_else(|why| panic!("no results: {why}\n{}", done.stderr));
    Ran { done, results: serde_json::from_str(&text).expect("JSON") }
}

impl Ran {
    /// The only cell in which punching was tried.
    fn cell(&self) -> &Value {
        let cells = self.results["cells"].as_array().expect("cells");
        cells.iter().find(|cell| cell["kind"] == "punch").expect("a cell")
    }

    /// Asserts that every trial was an error, and that its reason and the exit code say so.
    #[track_caller]
    fn is_an_error(&self, because: &str) {
        let cell = self.cell();
        assert_eq!((&cell["verdict"], &cell["error"]), (&"error".into(), &3.into()), "{cell}");
        let note = cell["note"].as_str().expect("a note");
        assert!(note.contains(because), "expected {because}\nobserved {note}");
        assert!(self.done.stdout.contains(because), "{}", self.done.stdout);
        assert_eq!(self.done.code, 2, "{}", self.done.stderr);
    }

    /// Asserts that every trial failed for this cause; theory knows nothing of the method, and that is said.
    #[track_caller]
    fn failed(&self, cause: &str) {
        let cell = self.cell();
        assert_eq!((&cell["failed"], &cell["causes"][cause]), (&3.into(), &3.into()), "{cell}");
        self.has_no_expectation();
    }

    /// Asserts that the cell has no expectation, and that the exit code and the last lines say so.
    #[track_caller]
    fn has_no_expectation(&self) {
        let (cell, stdout) = (self.cell(), &self.done.stdout);
        assert_eq!((&cell["verdict"], self.done.code), (&"no_expectation".into(), 3), "{cell}\n{stdout}");
        for said in
            ["1 cell has no expectation", "report out --format expect", "--allow no-expectation accepts this"]
        {
            assert!(stdout.contains(said), "{said}: {stdout}");
        }
    }
}

/// The path of a program of the tests.
fn program(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs").join(name).display().to_string()
}

#[test]
fn a_program_in_another_language_that_prints_nothing_passes_by_its_exit_code() {
    if !lab_is_possible() {
        return;
    }
    let script = program("plain_puncher.py");
    let ran = run(&format!(
        "judge = \"exit\"\npeer = [\"/usr/bin/python3\", \"{script}\", \"{{local_ip}}\", \"{{local_port}}\", \
         \"{{peer_ip}}\", \"{{peer_port}}\", \"{{start_in_ms}}\"]"
    ));
    let cell = ran.cell();
    assert_eq!(cell["passed"], 3, "{cell}\n{}", ran.done.stdout);
    ran.has_no_expectation();
}

#[test]
fn a_program_that_claims_a_success_that_did_not_happen() {
    if !lab_is_possible() {
        return;
    }
    let line = r#"{{"event":"result","ok":true,"local":"{local_ip}:{local_port}","remote":"{peer_ip}:{peer_port}","method":"lie"}}"#;
    run(&format!("peer = [\"/bin/echo\", '{line}']")).is_an_error("no evidence");
    run("judge = \"exit\"\npeer = [\"/bin/true\"]").is_an_error("no evidence");
    run("judge = { stdout = \"connected\" }\npeer = [\"/bin/echo\", \"connected\"]")
        .is_an_error("no evidence");
}

#[test]
fn a_program_that_is_not_there() {
    if !lab_is_possible() {
        return;
    }
    run("peer = [\"/nowhere/puncher\"]").is_an_error("/nowhere/puncher");
    run("peer = [\"/etc/passwd\"]").is_an_error("/etc/passwd");
}

#[test]
fn a_program_that_crashes() {
    if !lab_is_possible() {
        return;
    }
    run("peer = [\"/bin/sh\", \"-c\", \"kill -SEGV $$\"]").is_an_error("signal");
}

#[test]
fn a_program_that_prints_garbage() {
    if !lab_is_possible() {
        return;
    }
    run("peer = [\"/bin/echo\", \"\\u001b[2J nonsense\"]")
        .is_an_error("printed a line 1 that is not of the contract");
    run("peer = [\"/bin/echo\", '{{\"event\":\"result\"}}']").is_an_error("missing field");
    run("peer = [\"/bin/true\"]").is_an_error("result");
}

#[test]
fn a_program_that_was_stopped_is_an_error_that_says_so() {
    if !lab_is_possible() {
        return;
    }
    // It stops itself; from outside nobody can tell who did it.
    run_until("700ms", "judge = \"exit\"\npeer = [\"/bin/sh\", \"-c\", \"kill -STOP $$\"]")
        .is_an_error("peer-a was stopped by a signal while the machine ran on");
}

#[test]
fn a_program_that_hangs_is_killed() {
    if !lab_is_possible() {
        return;
    }
    run_until("700ms", "judge = \"exit\"\npeer = [\"/bin/sleep\", \"600\"]").failed("peer never started");
}
