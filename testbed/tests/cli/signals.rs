//! Runs and measurements that are told to stop, and one that is paused.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::Done;
use crate::lab::lab_is_possible;

const PATIENCE: Duration = Duration::from_secs(60);

/// A suite whose peers send a packet and say at once that there is no path.
const TALKATIVE: &str = r#"
name = "talkative"
summary = "both peers give up at once"
topology = "pair"
trials = 100000
deadline = "20s"

[axes]
nat-a = ["port-preserving"]
nat-b = ["port-preserving"]
method = ["lie"]

[program]
judge = "exit"
peer = ["/bin/bash", "-c", "echo > /dev/udp/{peer_ip}/9; exit 1"]
"#;

#[test]
fn ctrl_c_ends_a_run_and_what_is_known_is_written() {
    ends_with_results(nix::sys::signal::Signal::SIGINT);
}

#[test]
fn the_end_of_the_terminal_ends_a_run_and_what_is_known_is_written() {
    ends_with_results(nix::sys::signal::Signal::SIGHUP);
}

/// Whether a process is ready for a signal: it has said what is to be done when it comes (proc(5)).
fn catches(child: &Child, signal: nix::sys::signal::Signal) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let mask =
        status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigCgt:")?.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 << (signal as i32 - 1) != 0)
}

#[test]
fn ctrl_c_ends_a_measurement_and_what_was_counted_is_told() {
    if !lab_is_possible() {
        return;
    }
    for (arguments, told) in [
        (&["fuzz-nat", "random", "--for", "60s", "--seed", "7"][..], "not judged, seed 7\n"),
        (&["nat", "prove", "random"], ""),
        (&["nat", "measure", "--nat", "random"], ""),
        (&["conformance", "random"], ""),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_testbed"));
        let command = command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().expect("testbed starts");
        wait_until("it is not ready", || catches(&child, nix::sys::signal::Signal::SIGINT));
        send(&child, nix::sys::signal::Signal::SIGINT);
        let done = Done::from(child.wait_with_output().expect("it ends"));
        assert_eq!(done.code, 3, "{arguments:?}: {}{}", done.stdout, done.stderr);
        assert!(done.stderr.contains("testbed: interrupted: "), "{arguments:?}: {}", done.stderr);
        assert!(!done.stderr.contains("panicked"), "{arguments:?}: {}", done.stderr);
        assert!(done.stdout.contains(told), "{arguments:?}: {}", done.stdout);
    }
}

#[test]
fn ctrl_c_does_not_wait_for_the_program_of_a_nat() {
    if !lab_is_possible() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mark = format!("never-ready-{}", std::process::id());
    let nats = format!("[nat.hangs]\nsummary = \"\"\ncommand = [\"sh\", \"-c\", \"sleep 60; : {mark}\"]\n");
    std::fs::write(folder.path().join("nats.toml"), nats).expect("room on the disk");
    let mut command = Command::new(env!("CARGO_BIN_EXE_testbed"));
    command.args(["fuzz-nat", "hangs", "--nats", "nats.toml"]).current_dir(folder.path());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("testbed starts");
    wait_until("its program was not started", || running(&mark) > 0);
    send(&child, nix::sys::signal::Signal::SIGINT);
    let done = Done::from(child.wait_with_output().expect("it ends"));
    // Had it waited, the program would have been told to be late, with exit code 2.
    assert_eq!(done.code, 3, "{}{}", done.stdout, done.stderr);
    assert!(
        done.stderr.contains("testbed: interrupted: ") && !done.stderr.contains("hangs"),
        "{}",
        done.stderr
    );
    wait_until("its program was left behind", || running(&mark) == 0);
}

/// Runs this suite one trial at a time.
fn one_at_a_time(folder: &Path, suite: &str) -> Child {
    std::fs::write(folder.join("talkative.toml"), suite).expect("room on the disk");
    let mut command = Command::new(env!("CARGO_BIN_EXE_testbed"));
    command.args(["run", "talkative.toml", "--jobs", "1", "--out", "out", "--keep", "all"]);
    // It must not outlive the test, however that ends.
    let die_with_us = || Ok(nix::sys::prctl::set_pdeathsig(nix::sys::signal::Signal::SIGKILL)?);
    // SAFETY: between fork and exec only a system call is made.
    unsafe { command.current_dir(folder).pre_exec(die_with_us) };
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("testbed starts")
}

fn send(child: &Child, signal: nix::sys::signal::Signal) {
    let id = nix::unistd::Pid::from_raw(i32::try_from(child.id()).expect("a process id"));
    nix::sys::signal::kill(id, signal).expect("it is there");
}

/// Looks again and again until it is so.
fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// How many processes have this text in their command line.
fn running(text: &str) -> usize {
    let processes = std::fs::read_dir("/proc").expect("/proc").flatten();
    let lines = processes.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).contains(text)).count()
}

#[test]
fn a_trial_in_which_the_machine_was_paused_is_played_again() {
    if !lab_is_possible() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mark = format!("pause-{}", std::process::id());
    let suite = TALKATIVE
        .replace("trials = 100000", "trials = 1")
        .replace("exit 1", &format!("sleep 3; : {mark}; exit 1"));
    let child = one_at_a_time(folder.path(), &suite);
    wait_until("no peers were started", || running(&mark) >= 2);
    send(&child, nix::sys::signal::Signal::SIGSTOP);
    let paused = Instant::now();
    wait_until("time goes on", || paused.elapsed() > Duration::from_millis(800));
    send(&child, nix::sys::signal::Signal::SIGCONT);
    let done = Done::from(child.wait_with_output().expect("it ends"));
    let again = "the machine was too slow for 1 trial: repeated";
    assert!(done.stderr.contains(again) || done.stdout.contains(again), "{}{}", done.stdout, done.stderr);
    let text = std::fs::read_to_string(folder.path().join("out/results.json")).expect("results");
    let results: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let cell = results["cells"].as_array().expect("cells").iter().find(|cell| cell["kind"] == "punch");
    let cell = cell.expect("a cell");
    assert_eq!((&cell["trials"], &cell["each"][0]["outcome"]), (&1.into(), &"failed".into()), "{text}");
    let void = &cell["void"][0];
    assert_eq!((&void["number"], &void["paused"]), (&1.into(), &true.into()), "{text}");
    assert!(void["why"].as_str().is_some_and(|why| why.starts_with("the machine was paused: ")), "{text}");
}

/// Runs, sends the signal after the first trial, and asserts that the results of this trial are written.
fn ends_with_results(signal: nix::sys::signal::Signal) {
    if !lab_is_possible() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let child = one_at_a_time(folder.path(), TALKATIVE);
    let second = folder.path().join("out/cells/port-preserving~port-preserving~lie/trial-2");
    wait_until("no second trial was kept", || second.exists());
    send(&child, signal);
    let done = Done::from(child.wait_with_output().expect("it ends"));
    assert_eq!(done.code, 3, "{}", done.stderr);
    assert!(done.stdout.lines().any(|line| line.ends_with(", interrupted")), "{}", done.stdout);
    assert!(done.stdout.contains("interrupted (exit code 3; --allow "), "{}", done.stdout);
    let text = std::fs::read_to_string(folder.path().join("out/results.json")).expect("results");
    let results: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    // Its only cell was reached.
    assert_eq!((&results["ending"], &results["unreached"]), (&"interrupted".into(), &serde_json::json!([])));
    let cells = results["cells"].as_array().expect("cells");
    let trials = cells.iter().filter(|cell| cell["kind"] == "punch").map(|cell| cell["trials"].as_u64());
    assert!(trials.flatten().any(|trials| (1..100_000).contains(&trials)), "{text}");
    assert!(!folder.path().join("out/cells.jsonl").exists());
}
