use std::process::{Command, Stdio};

use crate::fixture::{Ended, Running};

/// Runs a scenario of a script in namespaces that end with it.
fn scenario(script: &str, arguments: &[&str]) -> Option<Ended> {
    if !may_make_namespaces() {
        let required = std::env::var_os("TESTBED_REQUIRE_LAB").is_some_and(|value| value == "1");
        assert!(!required, "this machine cannot make namespaces, and TESTBED_REQUIRE_LAB=1");
        eprint_skipped(arguments);
        return None;
    }
    let script = format!("{}/tests/{script}", env!("CARGO_MANIFEST_DIR"));
    let mut command = unshare();
    command.arg("bash").arg(script).args(arguments).env("PUNCHER", env!("CARGO_BIN_EXE_puncher"));
    Some(Running::start(&mut command).end())
}

fn unshare() -> Command {
    let mut command = Command::new("unshare");
    command.args([
        "--user",
        "--map-root-user",
        "--net",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
    ]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn may_make_namespaces() -> bool {
    Command::new("nft").arg("--version").output().is_ok()
        && Running::start(unshare().args(["ip", "link", "add", "x0", "type", "veth"])).end().status.success()
}

#[expect(clippy::print_stderr, reason = "a skipped test has to say so")]
fn eprint_skipped(what: &[&str]) {
    eprintln!("SKIPPED: {what:?} needs namespaces and nft, which this machine does not give");
}

fn passes(arguments: &[&str]) {
    passes_in("two-nats.sh", arguments);
}

fn passes_in(script: &str, arguments: &[&str]) {
    if let Some(ended) = scenario(script, arguments) {
        let said = String::from_utf8_lossy(&ended.stdout);
        assert_eq!(ended.code(), Some(0), "{arguments:?}\n{said}\n{}", ended.stderr);
    }
}

#[test]
fn a_hundred_mebibytes_cross_two_nats_unharmed() {
    passes(&["transfer", "preserving", "sequential"]);
}

#[test]
fn a_command_runs_across_two_nats() {
    passes(&["exec", "sequential", "preserving"]);
}

#[test]
fn a_port_is_forwarded_across_two_nats() {
    passes(&["forward", "preserving", "random"]);
}

#[test]
fn keep_alive_outlives_the_nats_timeout_and_silence_does_not() {
    passes(&["keep-alive", "preserving", "preserving"]);
}

#[test]
fn tickets_cross_two_nats_that_keep_ports() {
    passes(&["tickets", "preserving", "preserving"]);
}

#[test]
fn a_random_nat_is_passed_by_many_guesses() {
    passes(&["spray", "preserving", "random"]);
}

#[test]
fn mappings_of_others_between_measuring_and_punching_are_survived() {
    passes(&["competing", "sequential", "sequential"]);
}

#[test]
fn many_refusals_before_the_other_side_begins_are_survived() {
    passes(&["late", "reset", "sequential"]);
}

#[test]
fn two_random_nats_are_not_passed_and_the_odds_are_told() {
    passes(&["hopeless", "random", "random"]);
}

#[test]
fn each_nat_is_told_for_what_it_is() {
    passes(&["probe", "preserving", "preserving"]);
    passes(&["probe", "sequential", "preserving"]);
    passes(&["probe", "random", "preserving"]);
}

/// The peer sees another address than the server does: it is the peer all the same.
#[test]
fn two_routers_in_one_home_are_passed() {
    for method in ["auto", "private"] {
        passes_in("other-paths.sh", &["double-nat", method]);
    }
}

#[test]
fn a_router_with_two_ways_out_is_passed() {
    passes_in("other-paths.sh", &["two-wans", "auto"]);
}

/// Each address of a host is a candidate, not only the one that reaches the server.
#[test]
fn a_second_network_that_both_are_on_is_used() {
    passes_in("other-paths.sh", &["two-lans", "auto"]);
}
