//! Every cause, provoked on a real lab: programs that do one thing wrong, NATs that refuse in one way, links and
//! machines that fail. `CAUSES_REPEATS` repeats each; exactly the cause that was provoked must be named each time.

#![expect(clippy::print_stdout, reason = "how often each was named is what scripts/accept shows")]

/// What NATs do.
mod by_nats;
/// What programs and links do.
mod by_programs;
/// What programs do that know nothing of testbed.
mod by_strangers;
/// What happens to a NAT, a wire or a lab while a trial goes on.
mod staged;
/// How a success came about.
mod successes;
/// Another reader of the packets.
mod witness;

use std::path::Path;

use testbed::model::catalogue::Catalogue;
use testbed::model::cause::Cause;
use testbed::model::embedded;
use testbed::model::event::{Artefacts, Event, RunEnd};
use testbed::model::outcome::{Outcome, Trial};
use testbed::model::suite::Suite;
use testbed::model::suite_file::{self, KnownNames};
use testbed::model::theory::METHODS;
use testbed::run::{Cancel, Keep, RunRequest, run};

use super::lab_is_possible;
use super::run::{puncher, request};

/// NATs that only these tests need.
const NATS: &str = "
[nat.short-lived]
summary = \"forgets a SYN after a second\"
mapping = \"endpoint-independent\"
timeouts = { syn-sent = \"1s\", syn-sent2 = \"1s\" }

[nat.two-seconds]
summary = \"ends every connection after two seconds\"
timeouts = { absolute = \"2s\" }

[nat.flushed-often]
summary = \"forgets everything every second\"
timeouts = { flush-every = \"1s\" }

[nat.flushed-seldom]
summary = \"forgets everything every two seconds\"
timeouts = { flush-every = \"2s\" }

[nat.one-idle-second]
summary = \"ends idle connections after a second, and every one after two\"
timeouts = { syn-sent = \"1s\", syn-recv = \"1s\", established = \"1s\", close-wait = \"1s\", fin-wait = \"1s\", absolute = \"2s\" }

[nat.four-ports]
summary = \"has four ports\"
mapping = \"address-and-port-dependent\"
allocation = \"random\"
ports = \"30000-30003\"

[nat.two-mappings]
summary = \"gives a host two mappings\"
quota = 2

[nat.colliding]
summary = \"hashes every flow into two hundred ports\"
mapping = \"address-and-port-dependent\"
allocation = \"hash\"
ports = \"30000-30199\"
";

/// A trial with what was kept of it.
pub(crate) struct Kept {
    pub(crate) trial: Trial,
    pub(crate) artefacts: Artefacts,
}

/// How often each is provoked.
pub(crate) fn repeats() -> u32 {
    std::env::var("CAUSES_REPEATS").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// A path below the tests.
pub(crate) fn program(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs").join(name).display().to_string()
}

/// A suite of one cell; `rest` is the remainder of its file after the axes of the NATs.
pub(crate) fn suite(nats: [&str; 2], trials: u32, rest: &str) -> (Suite, Catalogue) {
    let own = format!("{NATS}\n{}", include_str!("../../../../topologies/nats.toml"));
    let catalogue = Catalogue::parse(&own, "nats.toml").unwrap_or_else(|problems| panic!("{problems:?}"));
    let text = format!(
        "name = \"one\"\nsummary = \"one cell\"\ntopology = \"pair\"\ntrials = {trials}\n{}\n\n[axes]\nnat-a = [\"{}\"]\nnat-b = [\"{}\"]\n{}",
        rest.split_once("[axes]").map_or("", |(before, _)| before),
        nats[0],
        nats[1],
        rest.split_once("[axes]").map_or(rest, |(_, after)| after),
    );
    (suite_over(&catalogue, &text), catalogue)
}

/// A suite over the NATs of a catalogue and the topologies that come with testbed.
pub(crate) fn suite_over(catalogue: &Catalogue, text: &str) -> Suite {
    let names: Vec<&str> = catalogue.profiles().map(|p| p.name.as_str()).collect();
    let topology = |name: &str| {
        let found = embedded::find(embedded::TOPOLOGIES, name).ok_or("no such topology")?;
        Ok((found.file.to_owned(), found.text.to_owned()))
    };
    let known = KnownNames { nats: &names, methods: METHODS, topology: &topology, path: &|_, _| Ok(()) };
    suite_file::parse("one.toml", text, &known).unwrap_or_else(|p| panic!("{p:?}\n{text}"))
}

/// How often a cell is run, if the machine was too slow for all of its trials.
const ATTEMPTS: usize = 5;

fn was_too_slow(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Error(failure) if failure.cause == Cause::MachineTooSlow)
}

/// Runs a suite of one cell and hands over its trials. One in which the machine was too slow says nothing: it is left out.
pub(crate) fn trials(what: (Suite, Catalogue)) -> Vec<Kept> {
    trials_side_by_side(4, what)
}

/// The same with at most so many trials at a time.
pub(crate) fn trials_side_by_side(jobs: usize, (suite, catalogue): (Suite, Catalogue)) -> Vec<Kept> {
    for _ in 0..ATTEMPTS {
        let mut kept = all_trials(jobs, suite.clone(), catalogue.clone());
        kept.retain(|kept| !was_too_slow(&kept.trial.outcome));
        if !kept.is_empty() {
            return kept;
        }
    }
    panic!("this machine was too slow for every trial");
}

fn all_trials(jobs: usize, suite: Suite, catalogue: Catalogue) -> Vec<Kept> {
    let cells = suite.cells();
    let request = RunRequest { cells, catalogue, jobs, keep: Keep::All, ..request(suite, puncher()) };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("tokio");
    let (mut kept, mut artefacts, mut note) = (Vec::new(), Vec::new(), String::new());
    let (_stop, cancel) = Cancel::new();
    let ending = runtime.block_on(run(request, cancel, |event| match event {
        Event::TrialKept { artefacts: of_trial, .. } => artefacts.push(*of_trial),
        Event::TrialFinished { trial, .. } => {
            let artefacts = artefacts.pop().unwrap_or_default();
            kept.push(Kept { trial, artefacts });
        }
        Event::CellFinished(cell) => note = cell.note,
        _ => {}
    }));
    assert_eq!(ending.expect("a run"), RunEnd::Complete);
    assert!(!kept.is_empty(), "no trial ran: {note}");
    kept
}

/// For actors that dial the server before each other: it greets them.
pub(crate) const MET: &str = "MET";

/// Plays two scripts of the actor between two NATs; `more` is further axes, or [`MET`].
pub(crate) fn act(nats: [&str; 2], scripts: [&str; 2], more: &str) -> Vec<Kept> {
    trials(acted(nats, scripts, more))
}

/// The suite of that play.
pub(crate) fn acted(nats: [&str; 2], [a, b]: [&str; 2], more: &str) -> (Suite, Catalogue) {
    let script = program("actor.py");
    let server = program("server.py");
    let (more, server) = match more {
        MET => (
            "",
            format!("rendezvous = [\"/usr/bin/python3\", \"{server}\", \"hello\", \"{{rendezvous}}\"]\n"),
        ),
        more => (more, String::new()),
    };
    let rest = format!(
        "deadline = \"4s\"\n[axes]\nmethod = [\"act\"]\n{more}\n[program]\njudge = \"exit\"\n{server}\
         peer = [\"/usr/bin/python3\", \"{script}\", \"{a}\", \"{b}\", \"{{role}}\", \"{{local_ip}}\", \
         \"{{local_port}}\", \"{{peer_ip}}\", \"{{peer_port}}\", \"{{start_in_ms}}\"]\n"
    );
    suite(nats, repeats(), &rest)
}

/// Says how often a cause was named when it was provoked: what `scripts/accept judge causes` makes its table of.
pub(crate) fn count(cause: Cause, named: usize, provoked: usize) {
    println!("cause {cause}: {named} of {provoked}");
}

/// Asserts that every trial has this cause, and packets that prove it.
#[track_caller]
pub(crate) fn all_have(kept: &[Kept], cause: Cause) {
    let has = |kept: &&Kept| match &kept.trial.outcome {
        Outcome::Failed(failure) | Outcome::Error(failure) => failure.cause == cause,
        _ => false,
    };
    count(cause, kept.iter().filter(has).count(), kept.len());
    for Kept { trial, artefacts } in kept {
        let ladder = testbed::report::ladder::Ladder::of("the trial", artefacts);
        let drawn = || {
            let mut out = anstream::StripStream::new(Vec::new());
            testbed::report::ladder::text::write(&ladder, 120, &mut out).expect("memory");
            String::from_utf8(out.into_inner()).expect("text")
        };
        match &trial.outcome {
            Outcome::Failed(failure) | Outcome::Error(failure) => {
                assert_eq!(failure.cause, cause, "{failure}\n{}", drawn());
            }
            other => panic!("expected {cause}, got {other:?}\n{}", drawn()),
        }
    }
}

/// Asserts that packets prove the cause: at least one is named, and it is in the capture.
#[track_caller]
pub(crate) fn all_are_proved(kept: &[Kept]) {
    for Kept { trial, artefacts } in kept {
        assert!(!artefacts.marks.is_empty(), "nothing proves {:?}", trial.outcome);
        let frames = artefacts.evidence.frames.len();
        assert!(artefacts.marks.iter().all(|(frame, _)| *frame < frames), "{:?}", artefacts.marks);
    }
}

/// Provokes a cause by two scripts between two NATs.
#[track_caller]
pub(crate) fn provoked(cause: Cause, nats: [&str; 2], scripts: [&str; 2], more: &str) {
    if lab_is_possible() {
        let kept = act(nats, scripts, more);
        all_have(&kept, cause);
        all_are_proved(&kept);
    }
}
