//! Every rule of the reference NAT, turned round one at a time: the kernel has to contradict the opposite of each within a minute
//! of random packets. A rule of which that is not so would not be missed if it were wrong.
//!
//! `NEGATED` chooses rules by a part of their names, `NEGATED_SECONDS` says how long each may take.

#![expect(clippy::print_stdout, reason = "how long each rule took is what scripts/accept shows")]

use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt as _};
use testbed::judge::reference::Negation;
use testbed::model::catalogue::Catalogue;
use testbed::probe::fuzz::fuzz_negated;
use testbed::probe::prove::Subject;

use super::lab_is_possible;

/// NATs whose timers end while the fuzzer waits, and whose ports run out.
const NATS: &str = "
[nat.short]
summary = \"forgets everything within two seconds\"
timeouts = { syn-sent = \"1s\", syn-sent2 = \"1s\", syn-recv = \"1s\", established = \"2s\", fin-wait = \"1s\", close-wait = \"1s\", last-ack = \"1s\", time-wait = \"1s\", close = \"1s\" }

[nat.impatient]
summary = \"keeps what stands, but not while it waits for an acknowledgment\"
timeouts = { unacknowledged = \"1s\", max-retrans = \"1s\" }

[nat.four-ports]
summary = \"has four ports, fewer than connections come about\"
mapping = \"address-and-port-dependent\"
allocation = \"random\"
ports = \"30000-30003\"
";

/// How many are tried side by side.
const AT_ONCE: usize = 2;

/// The NATs that a rule is turned round for: all values of an axis that it treats apart.
fn nats(negation: &str) -> &'static [&'static str] {
    match negation.split_once(' ') {
        Some(("decision:", "a connection that is over gives way")) => &["four-ports"],
        Some(("timer", "unacknowledged" | "max_retrans")) => &["impatient"],
        Some(("timer", _)) => &["short"],
        Some(("rule", "timers")) => &["short"],
        Some(("rule", "router")) => &["none"],
        Some(("rule", "syn-after-syn")) => &["no-syn-after-syn"],
        Some(("rule", "hairpinning")) => &["hairpin", "port-preserving"],
        Some(("rule", "overloading")) => &["full-cone"],
        Some(("rule", "filtering")) => &["port-preserving", "address-restricted", "full-cone", "firewall"],
        Some(("rule", "unsolicited")) => &["port-preserving", "reset", "icmp", "linux-default", "rfc5382"],
        Some(("rule", "invalid")) => &["port-preserving", "linux-default"],
        Some(("rule", "ports")) => &["random-range", "port-block", "map-e", "port-preserving"],
        Some(("rule", "addresses" | "paired")) => &["port-preserving", "paired-pool", "arbitrary-pool"],
        Some(("rule", "address")) => &["firewall"],
        Some(("rule", "mapping")) => &["port-preserving", "eim-random", "symmetric-preserving"],
        _ => &["port-preserving"],
    }
}

fn seconds() -> Duration {
    let chosen = std::env::var("NEGATED_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(chosen.unwrap_or(60))
}

/// Whether a kernel contradicts the opposite of a rule, with a line about it.
async fn is_contradicted(negation: Negation, nat: &str, subject: Subject) -> bool {
    let begun = Instant::now();
    let report = fuzz_negated(subject, 1, seconds(), negation).await.expect("a bench");
    let found = report.disagreement.is_some();
    let word = if found { "found" } else { "NOT FOUND" };
    println!(
        "{word}  {negation} ({nat}): {:.1} s, {} sequences",
        begun.elapsed().as_secs_f64(),
        report.sequences
    );
    found
}

#[test]
#[ignore = "random packets for minutes; scripts/accept judge negated runs it"]
fn a_rule_that_is_turned_round_is_contradicted_by_the_kernel() {
    if !lab_is_possible() {
        return;
    }
    let own = format!("{NATS}\n{}", include_str!("../../../topologies/nats.toml"));
    let catalogue = Catalogue::parse(&own, "nats.toml").unwrap_or_else(|problems| panic!("{problems:?}"));
    let wanted = std::env::var("NEGATED").unwrap_or_default();
    let chosen = Negation::all().filter(|negation| negation.to_string().contains(&wanted));
    let trials =
        chosen.flat_map(|negation| nats(&negation.to_string()).iter().map(move |nat| (negation, *nat)));
    let contradicted = trials.map(|(negation, nat)| {
        let subject = Subject::of(catalogue.get(nat).expect("it is there")).expect("rules that can be made");
        async move { (format!("{negation} ({nat})"), is_contradicted(negation, nat, subject).await) }
    });
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("tokio");
    let all: Vec<(String, bool)> =
        runtime.block_on(stream::iter(contradicted).buffer_unordered(AT_ONCE).collect());
    let missed: Vec<&String> = all.iter().filter(|(_, found)| !found).map(|(name, _)| name).collect();
    println!("{} of {} opposites are contradicted", all.len() - missed.len(), all.len());
    assert!(missed.is_empty(), "{missed:#?}");
}
