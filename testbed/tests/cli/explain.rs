//! From a red cell to the packet that caused it, and everything that `explain` refuses.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use tempfile::TempDir;

use super::{testbed, testbed_in};
use crate::lab::lab_is_possible;

/// Peers that dial once, behind NATs that answer a SYN by a reset: b dials when a has been refused. Theory expects a
/// puncher to dial again.
const SUITE: &str = r#"
name = "once"
summary = "a puncher that dials once"
topology = "pair"
trials = 10
deadline = "4s"

[axes]
nat-a = ["reset", "port-preserving"]
nat-b = ["reset"]
method = ["simultaneous-open"]
delay = ["40ms"]

[program]
judge = "exit"
peer = ["/usr/bin/python3", "{suite_dir}/actor.py", "dial; talk", "at 1200; dial; talk", "{role}", "{local_ip}", "{local_port}", "{peer_ip}", "{peer_port}", "{start_in_ms}"]
"#;

/// A run with red cells, made once for all tests that look at one.
pub(crate) struct RedRun {
    folder: TempDir,
    pub(crate) said: String,
    pub(crate) code: i32,
}

impl RedRun {
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }
}

pub(crate) fn red_run() -> &'static RedRun {
    static RUN: OnceLock<RedRun> = OnceLock::new();
    RUN.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a folder");
        let actor = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/actor.py");
        fs::copy(actor, folder.path().join("actor.py")).expect("the actor");
        fs::write(folder.path().join("once.toml"), SUITE).expect("room on the disk");
        let done = testbed_in(folder.path(), &["run", "once.toml", "--out", "run"]);
        RedRun { folder, said: done.stdout + &done.stderr, code: done.code }
    })
}

/// Whether a trial was too slow to say anything; then the cell is an error, and so is the run.
pub(crate) fn was_too_slow(run: &RedRun) -> bool {
    run.said.contains("machine too slow")
}

#[test]
fn two_commands_lead_from_a_red_cell_to_the_packet() {
    if !lab_is_possible() {
        return;
    }
    let run = red_run();
    if !was_too_slow(run) {
        assert_eq!(run.code, 1, "{}", run.said);
        for part in [
            "differ, 2 cells: reset by NAT\n",
            "reset/reset/simultaneous-open/delay=40ms  0/10 passed, theory 100 %\n",
            "\ncause   10 × reset by NAT: ",
        ] {
            assert!(run.said.contains(part), "{part}\n{}", run.said);
        }
        assert!(
            run.said.contains("explain testbed explain run reset/reset/simultaneous-open/delay=40ms\nreport  run/report.html\n"),
            "{}",
            run.said
        );
    }
    let explained = testbed_in(run.path(), &["explain", "run", "reset/reset"]);
    assert_eq!((explained.code, explained.stderr.as_str()), (0, ""));
    let text = &explained.stdout;
    if !was_too_slow(run) {
        for part in [
            "peer-a",
            "✗",
            "RST ACK",
            "╰ frame ",
            "failed, reset by NAT: ",
            "theory expects 100 %: ",
            "packets: run/cells/",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }
    assert!(text.lines().all(|line| line.chars().count() <= 100 || line.starts_with("packets: ")), "{text}");
}

#[test]
fn programs_read_the_same_as_json() {
    if !lab_is_possible() || was_too_slow(red_run()) {
        return;
    }
    let explained = testbed_in(red_run().path(), &["explain", "run", "reset/reset", "--json"]);
    assert_eq!((explained.code, explained.stderr.as_str()), (0, ""));
    let told: serde_json::Value = serde_json::from_str(&explained.stdout).expect("JSON");
    assert_eq!(told["cell"], "reset/reset/simultaneous-open/delay=40ms");
    assert_eq!(told["trial"]["outcome"], "failed");
    let capture = told["capture"].as_str().expect("a path");
    assert!(red_run().path().join(capture).exists(), "{capture}");
    // Both sides of each NAT: the SYN has its ports on each link from peer to peer.
    let lanes = told["ladder"]["lanes"].as_array().expect("lanes").len();
    let steps = told["ladder"]["steps"].as_array().expect("steps");
    let whole =
        |step: &&serde_json::Value| step["what"]["legs"].as_array().is_some_and(|legs| legs.len() >= 3);
    assert!(lanes >= 4 && steps.iter().any(|step| whole(&step)), "{told:#}");
    let marked = steps.iter().flat_map(|step| step["marks"].as_array().expect("marks"));
    assert!(marked.count() > 0, "{told:#}");
}

#[test]
fn only_what_was_not_as_expected_is_run_again_until_the_first_red_cell() {
    if !lab_is_possible() || was_too_slow(red_run()) {
        return;
    }
    let arguments = ["run", "once.toml", "--rerun", "run", "--fail-fast", "--quiet", "--out", "again"];
    let done = testbed_in(red_run().path(), &arguments);
    let text = fs::read_to_string(red_run().path().join("again/results.json")).expect("results");
    let results: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let cells = results["cells"].as_array().expect("cells").iter().filter(|cell| cell["kind"] == "punch");
    let ids: Vec<&str> = cells.filter_map(|cell| cell["id"].as_str()).collect();
    assert!(!ids.is_empty() && ids.iter().all(|id| id.contains("/reset/")), "{ids:?}");
    assert!(done.stderr.contains("--fail-fast ended the run at "), "{}", done.stderr);
    assert!([1, 2].contains(&done.code), "{}{}", done.stdout, done.stderr);
    let command = results["origin"]["command"].as_array().expect("the command");
    assert!(command.iter().any(|word| word == "--fail-fast"), "{text}");
}

#[test]
fn what_can_be_explained_is_listed() {
    if !lab_is_possible() {
        return;
    }
    let listed = testbed_in(red_run().path(), &["explain", "run", "list"]);
    assert_eq!(listed.code, 0, "{}", listed.stderr);
    assert!(
        listed.stdout.contains("reset/reset/simultaneous-open/delay=40ms")
            && listed.stdout.contains("  trial 1 "),
        "{}",
        listed.stdout
    );
    let other = testbed_in(red_run().path(), &["report", "run", "--format", "github"]);
    assert!(other.stdout.lines().any(|line| line.starts_with("::error title=")), "{}", other.stdout);
}

#[test]
fn what_is_not_there_is_named() {
    testbed(&["explain", "nowhere", "x"]).refused(2, "testbed: cannot read \"nowhere");
    if !lab_is_possible() {
        return;
    }
    let run = red_run();
    let explain = |arguments: &[&str]| testbed_in(run.path(), &[&["explain", "run"], arguments].concat());
    explain(&["nothing"]).refused(2, "no cell of \"run\" is called \"nothing\"");
    explain(&["nothing"]).refused(2, "help: list the cells with: testbed explain run list");
    explain(&["simultaneous"]).refused(2, "\"simultaneous\" is part of 2 names");
    explain(&["reset/reset", "77"])
        .refused(2, "\"reset/reset/simultaneous-open/delay=40ms\" has no trial 77: it has 10 trials");
    explain(&["reset/reset", "x"]).refused(2, "invalid value 'x'");
}

#[test]
fn a_trial_that_was_not_kept_says_how_to_keep_it() {
    if !lab_is_possible() {
        return;
    }
    let forget = |results: String| {
        let mut results: serde_json::Value = serde_json::from_str(&results).expect("JSON");
        for cell in results["cells"].as_array_mut().expect("cells") {
            // Of one cell a trial remains.
            let spared = usize::from(cell["id"].as_str().is_some_and(|id| id.starts_with("reset/")));
            let trials = cell.get_mut("each").and_then(|each| each.as_array_mut());
            for trial in trials.into_iter().flatten().skip(spared) {
                trial["artefacts"] = serde_json::Value::Null;
            }
        }
        results.to_string()
    };
    let folder = with_ladder(None, forget);
    let explain = |arguments: &[&str]| testbed_in(folder.path(), &[&["explain", "."], arguments].concat());
    explain(&["port-preserving/reset"])
        .refused(2, "no trial of \"port-preserving/reset/simultaneous-open/delay=40ms\" was kept");
    explain(&["port-preserving/reset"]).refused(
        2,
        "help: run the cell again and keep its trials: testbed run once.toml --filter cell=port-preserving/reset/simultaneous-open/delay=40ms --keep all",
    );
    explain(&["reset/reset", "2"]).refused(2, " was not kept; trial 1 was");
}

/// Copies the results of the run beside a ladder of our own.
fn with_ladder(ladder: Option<&str>, spoil: impl Fn(String) -> String) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let results = fs::read_to_string(red_run().path().join("run/results.json")).expect("results");
    fs::write(folder.path().join("results.json"), spoil(results)).expect("room on the disk");
    let kept = red_run().path().join("run/cells");
    for trial in fs::read_dir(kept)
        .expect("cells")
        .flatten()
        .flat_map(|cell| fs::read_dir(cell.path()).expect("trials").flatten())
    {
        let below = trial.path().strip_prefix(red_run().path().join("run")).expect("below").to_owned();
        fs::create_dir_all(folder.path().join(&below)).expect("a folder");
        if let Some(text) = ladder {
            fs::write(folder.path().join(below).join("ladder.json"), text).expect("room on the disk");
        }
    }
    folder
}

#[test]
fn damaged_files_are_refused_and_none_outside_of_the_run_is_read() {
    if !lab_is_possible() {
        return;
    }
    let explain = |folder: &TempDir| testbed_in(folder.path(), &["explain", ".", "reset/reset"]);
    for (ladder, why) in [
        (None, "No such file"),
        (Some("{"), "line 1: the text ends in the middle"),
        (
            Some(
                r#"{"schema":9,"title":"","judgement":"","theory":null,"lanes":[],"steps":[],"elsewhere":0}"#,
            ),
            "it has schema 9",
        ),
    ] {
        let folder = with_ladder(ladder, |results| results);
        explain(&folder).refused(2, "ladder.json\": ");
        explain(&folder).refused(2, why);
    }
    let outside = with_ladder(None, |results| results.replace("\"cells/", "\"../cells/"));
    explain(&outside).refused(2, "names a folder outside of the run");
}
