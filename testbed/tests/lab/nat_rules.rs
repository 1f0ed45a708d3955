//! The rules of every kind of NAT are rules that nft and the kernel take.

use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use testbed::kernel::namespace::Namespace;
use testbed::kernel::ruleset::Nft;
use testbed::kernel::sysctl::Sysctl;
use testbed::lab::nat_rules::{NatSite, render};
use testbed::model::address_plan::Network;
use testbed::model::behavior::Behavior;
use testbed::model::catalogue::Catalogue;

use super::covering::covering_sample;
use super::lab_is_possible;

fn site() -> NatSite {
    let network = |n| Network { address: Ipv4Addr::new(10, 0, n, 0), prefix: 24 };
    NatSite {
        wan: Ipv4Addr::new(192, 0, 2, 2),
        lans: vec![("lan0".to_owned(), network(0)), ("lan1".to_owned(), network(1))],
    }
}

/// Loads the rules into a fresh namespace, sets the sysctls, and finds the sets that traffic fills.
fn load(behavior: &Behavior) -> Result<Vec<String>, String> {
    let config = render(behavior, &site());
    let (_namespace, loaded) = Namespace::create(|inside| {
        Nft::get().load(inside, &config.ruleset)?;
        for (name, value) in &config.sysctls {
            Sysctl::new(name.clone(), value).write(inside)?;
        }
        Nft::get().dynamic_sets(inside, None)
    })
    .map_err(|e| e.to_string())?;
    let sets = loaded.map_err(|e| format!("{e}\n{}", config.ruleset))?;
    Ok(sets.iter().map(ToString::to_string).collect())
}

/// Asks the `nft` program, as a user would.
fn nft_check(ruleset: &str) -> Result<(), String> {
    let mut nft = Command::new("nft")
        .args(["--check", "-f", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|e| e.to_string())?;
    nft.stdin.take().expect("it is piped").write_all(ruleset.as_bytes()).map_err(|e| e.to_string())?;
    let output = nft.wait_with_output().map_err(|e| e.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// The sets and maps that a text declares as filled by traffic: `set ip filter open`.
fn dynamic_sets(ruleset: &str) -> Vec<String> {
    let (mut table, mut set, mut found) = (String::new(), String::new(), Vec::new());
    for line in ruleset.lines().map(str::trim) {
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["table", "ip", name, "{"] => name.clone_into(&mut table),
            [kind @ ("set" | "map"), name, "{"] => set = format!("{kind} ip {table} {name}"),
            ["flags", first, ..] if first.starts_with("dynamic") => found.push(set.clone()),
            _ => {}
        }
    }
    found
}

#[test]
fn every_two_behaviours_that_go_together_make_good_rules() {
    if !lab_is_possible() {
        return;
    }
    let sample = covering_sample();
    assert!(sample.len() > 33, "3 translations and 11 answers alone need more than {}", sample.len());
    let mut refused = Vec::new();
    for behavior in &sample {
        match load(behavior) {
            Ok(sets) => {
                let mut expected = dynamic_sets(&render(behavior, &site()).ruleset);
                let mut observed = sets;
                expected.sort();
                observed.sort();
                assert_eq!(observed, expected, "{behavior:?}");
            }
            Err(why) => refused.push(format!("{behavior:?}\n{why}")),
        }
    }
    assert!(refused.is_empty(), "{} of {} refused:\n{}", refused.len(), sample.len(), refused[0]);
}

#[test]
fn nft_accepts_every_profile_of_the_catalogue() {
    if !lab_is_possible() {
        return;
    }
    for profile in Catalogue::embedded().profiles() {
        let config = render(&profile.behavior, &site());
        let (_namespace, checked) = Namespace::create(|_| nft_check(&config.ruleset)).expect("a namespace");
        assert_eq!(checked, Ok(()), "{}:\n{}", profile.name, config.ruleset);
    }
}
