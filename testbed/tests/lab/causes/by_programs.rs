//! Causes that lie in what programs and links do.

use testbed::model::cause::Cause;
use testbed::model::outcome::Outcome;

use super::{
    ATTEMPTS, Kept, act, acted, all_are_proved, all_have, all_trials, count, program, provoked, repeats,
    suite, trials, trials_side_by_side,
};
use crate::lab::{lab_is_possible, skipped};

const PLAIN: [&str; 2] = ["port-preserving", "port-preserving"];

/// Our puncher, as the suites that come with testbed start it.
const PEER: &str = r#"["{puncher}", "connect", "--json", "--rendezvous", "{rendezvous}", "--rendezvous", "{rendezvous_alt}", "--meeting", "{meeting}", "--role", "{role}", "--bind", "{local_ip}:{local_port}", "--method", "{method}", "--budget-syns", "{budget_syns}", "--deadline", "{deadline}", "--seed", "{seed}", "--key-file", "{key_file}"]"#;

#[test]
fn reset_by_host() {
    let a = "at 600; dial; at 1700; fail";
    let b = "dial server=13; at 100; close; at 1300; dial; at 1700; fail";
    provoked(Cause::ResetByHost, ["port-preserving", "full-cone"], [a, b], "");
}

#[test]
fn started_too_late() {
    provoked(Cause::StartedTooLate, PLAIN, ["dial; at 300; fail", "at 1100; dial; at 1500; fail"], "");
}

#[test]
fn peer_never_started() {
    provoked(Cause::PeerNeverStarted, PLAIN, ["dial; at 400; fail", "dial server=13; at 400; fail"], "");
}

/// A program that tells by its exit code alone, and sends nothing, may not even have run.
#[test]
fn a_program_that_ends_without_a_packet() {
    if !lab_is_possible() {
        return;
    }
    let kept = act(PLAIN, ["dial; at 400; fail", "at 400; fail"], "");
    all_have(&kept, Cause::ProgramCrashed);
    let said = |kept: &Kept| format!("{:?}", kept.trial.outcome);
    let whole = "the program of peer b never started: it sent no packet and exited with code 1";
    assert!(kept.iter().all(|kept| said(kept).contains(whole)), "{}", said(&kept[0]));
}

/// Both dial what the other might be called at home.
#[test]
fn address_unreachable() {
    provoked(Cause::AddressUnreachable, PLAIN, ["dial private=1; at 400; fail"; 2], "");
}

/// Our puncher finds nothing to try, and asks its own NAT where it is; nobody punches.
#[test]
fn what_goes_to_the_own_nat_is_no_punching() {
    if !lab_is_possible() {
        return;
    }
    let kept = trials(suite(
        PLAIN,
        repeats(),
        &format!(
            "deadline = \"1500ms\"\n[axes]\nmethod = [\"low-port\"]\n[program]\npeer = {PEER}\nrendezvous = [\"{{puncher}}\", \"rendezvous\", \"--listen\", \"{{rendezvous}}\", \"--listen\", \"{{rendezvous_alt}}\"]\n"
        ),
    ));
    all_have(&kept, Cause::PeerNeverStarted);
}

/// Trials of our puncher with a server that lets nobody meet.
fn with_server(word: &str) -> Vec<Kept> {
    let server = program("server.py");
    trials(suite(
        PLAIN,
        repeats(),
        &format!(
            "deadline = \"1500ms\"\n[axes]\nmethod = [\"simultaneous-open\"]\n[program]\npeer = {PEER}\nrendezvous = [\"/usr/bin/python3\", \"{server}\", \"{word}\", \"{{rendezvous}}\", \"{{rendezvous_alt}}\"]\n"
        ),
    ))
}

#[test]
fn no_rendezvous() {
    if !lab_is_possible() {
        return;
    }
    // It listens, and says nothing to anybody who comes.
    let kept = with_server("");
    all_have(&kept, Cause::NoRendezvous);
    all_are_proved(&kept);
}

/// Peers that are left alone by a server that breaks fail, and that says nothing of the NATs.
#[test]
fn a_server_that_crashed() {
    if lab_is_possible() {
        let kept = with_server("crash");
        all_have(&kept, Cause::ProgramCrashed);
        let said = |kept: &Kept| format!("{:?}", kept.trial.outcome);
        let whole = "the rendezvous server was ended by signal 9";
        assert!(kept.iter().all(|kept| said(kept).contains(whole)), "{}", said(&kept[0]));
    }
}

/// Both hold the connection and exchange what they have to say, and neither likes what it hears.
#[test]
fn authentication_refused() {
    provoked(Cause::AuthenticationRefused, PLAIN, ["dial; talk; fail"; 2], "");
}

/// Both hold the connection, and neither sends anything on it.
#[test]
fn nobody_spoke() {
    provoked(Cause::NobodySpoke, PLAIN, ["dial; at 500; fail"; 2], "");
}

/// One of the programs keeps every processor busy, itself included: what it waits for is its own doing. While others take the
/// processors, it gets too little of them to overload anything, and its outcome stands.
#[test]
fn overload_by_program() {
    if !lab_is_possible() {
        return;
    }
    let processors = std::thread::available_parallelism().expect("processors").get() as f64;
    let mut named = 0;
    for _ in 0..ATTEMPTS {
        // Side by side each would have too little.
        let kept = trials_side_by_side(1, acted(PLAIN, ["dial; burn 2500; fail", "dial; at 2500; fail"], ""));
        for kept in &kept {
            let trial = &kept.trial;
            let had_most = trial.load.used.as_secs_f64() > 0.5 * trial.took.as_secs_f64() * processors;
            let is_named =
                matches!(&trial.outcome, Outcome::Error(why) if why.cause == Cause::OverloadByProgram);
            assert_eq!(is_named, had_most, "{trial:?}");
            assert!(!matches!(trial.outcome, Outcome::Passed(_)), "{trial:?}");
        }
        named += kept.iter().filter(|kept| matches!(kept.trial.outcome, Outcome::Error(_))).count();
        if named >= repeats() as usize {
            count(Cause::OverloadByProgram, named, named);
            return;
        }
    }
    skipped("other programs took the processors every time");
}

#[test]
fn lost_by_the_link() {
    provoked(Cause::LostByLink, PLAIN, ["dial; at 700; fail"; 2], "loss = [\"1\"]\n");
}

#[test]
fn program_hung() {
    provoked(Cause::ProgramHung, PLAIN, ["dial; talk; pass", "dial; hang"], "");
}

/// a's listener answers a SYN, and then its queue is full, of a connection from a's own host.
#[test]
fn host_silent() {
    let a = "listen backlog=0; dial server=13; at 700; fill; at 2700; fail";
    let b = "at 400; dial from=1; close; at 1000; dial; at 2700; fail";
    provoked(Cause::HostSilent, ["full-cone", "port-preserving"], [a, b], "");
}

/// a's socket ignores whatever comes, as its program wants it.
#[test]
fn a_host_whose_program_ignores_what_comes() {
    let scripts = ["dial minttl=255; at 1900; fail", "at 100; dial; at 1900; fail"];
    provoked(Cause::ProgramHung, PLAIN, scripts, "");
}

#[test]
fn program_crashed() {
    if lab_is_possible() {
        all_have(&act(PLAIN, ["dial; at 300; crash", "dial; at 300; fail"], ""), Cause::ProgramCrashed);
    }
}

#[test]
fn program_lied() {
    if lab_is_possible() {
        all_have(&act(PLAIN, ["dial; at 300; fail", "at 300; pass"], ""), Cause::ProgramLied);
    }
}

/// Somebody who keeps the first processor busy until this is dropped.
struct Busy(std::process::Child);

impl Busy {
    fn start() -> Self {
        let burn = "import os\nos.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\nwhile os.getppid() == %: pass";
        let burn = burn.replace('%', &std::process::id().to_string());
        Self(std::process::Command::new("python3").args(["-c", &burn]).spawn().expect("python3"))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Played again each time, and an error in the end: nothing is said of the NATs.
#[test]
fn a_program_without_a_processor() {
    if lab_is_possible() {
        let _somebody = Busy::start();
        let starved = program("starved.py");
        let rest = format!(
            "deadline = \"1s\"\n[axes]\nmethod = [\"none\"]\n[program]\npeer = [\"/usr/bin/python3\", \"{starved}\"]\n"
        );
        let (suite, catalogue) = suite(PLAIN, 1, &rest);
        let kept = all_trials(4, suite, catalogue);
        all_have(&kept, Cause::MachineTooSlow);
        let said = |kept: &Kept| format!("{:?}", kept.trial.outcome);
        assert!(kept.iter().all(|kept| said(kept).contains("for a processor")), "{}", said(&kept[0]));
    }
}

#[test]
fn contract_broken() {
    if lab_is_possible() {
        let rest =
            "deadline = \"1s\"\n[axes]\nmethod = [\"none\"]\n[program]\npeer = [\"/bin/echo\", \"what?\"]\n";
        all_have(&trials(suite(PLAIN, repeats(), rest)), Cause::ContractBroken);
    }
}
