//! Inside ports below 1024, for which the kernel has pools of their own.

use std::path::Path;

use testbed::model::axis::NatAxis;
use testbed::model::behavior::{Allocation, Behavior, Mapping, Pool, PortRange};
use testbed::model::catalogue::{Profile, Ruleset};
use testbed::model::event::ProofResult;
use testbed::probe::prove::{Depth, Subject};

use super::lab_is_possible;
use super::nat_measure::measure_all;
use super::nat_proof::{names, prove_all, table};

/// A NAT of the user's whose source ports are translated so, and which declares a pool.
fn user(folder: &Path, (name, translate): (&str, &str), (pool, allocation): (Pool, Allocation)) -> Profile {
    let rules = format!(
        "table ip nat {{\n chain out {{\n type nat hook postrouting priority srcnat\n {translate}\n }}\n}}\n\
         table ip filter {{\n chain input {{\n type filter hook input priority filter\n \
         iifname \"wan\" meta l4proto tcp ct state new,invalid drop\n }}\n \
         chain forward {{\n type filter hook forward priority filter\n ct state invalid drop\n }}\n}}\n"
    );
    let file = format!("{name}.nft");
    std::fs::write(folder.join(&file), rules).expect("a file");
    let mapping = match allocation {
        Allocation::Random => Mapping::AddressAndPortDependent,
        _ => Mapping::EndpointIndependent,
    };
    let behavior = Behavior { pool, mapping, allocation, ..Behavior::port_preserving() };
    Profile { ruleset: Ruleset::File(file), folder: folder.to_owned(), ..Profile::generated(name, behavior) }
}

fn range(low: u16) -> Pool {
    Pool::Range(PortRange { low, high: u16::MAX })
}

const KEPT: &str = "oifname \"wan\" masquerade";
const DRAWN: &str = "oifname \"wan\" masquerade fully-random";
const DRAWN_ABOVE: &str = "oifname \"wan\" meta l4proto tcp masquerade to :1024-65535 fully-random";
const KEPT_ABOVE: &str =
    "oifname \"wan\" meta l4proto tcp tcp sport < 1024 masquerade to :1024-65535 fully-random
                          oifname \"wan\" masquerade";
const KEPT_FROM_600: &str =
    "oifname \"wan\" meta l4proto tcp tcp sport < 600 masquerade to :600-65535 fully-random
                             oifname \"wan\" masquerade";
const KEPT_ALL: &str = "oifname \"wan\" meta l4proto tcp masquerade to :1-65535";

#[test]
fn the_kernels_pool_is_that_of_low_ports_too() {
    if !lab_is_possible() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (keeps, draws) = (Allocation::Preserving, Allocation::Random);
    let cases = [
        (KEPT, (Pool::Kernel, keeps), ""),
        (DRAWN, (Pool::Kernel, draws), ""),
        (KEPT_ABOVE, (range(1_024), keeps), ""),
        (KEPT_ALL, (range(1), keeps), ""),
        (KEPT_ABOVE, (Pool::Kernel, keeps), "not the kernel's: port 1 becomes "),
        (KEPT_FROM_600, (Pool::Kernel, keeps), "not the kernel's: port 1 becomes "),
        (KEPT_ALL, (Pool::Kernel, keeps), "not the kernel's: port 256 becomes "),
        (DRAWN_ABOVE, (Pool::Kernel, draws), "not the kernel's: port 1 becomes "),
    ];
    let profiles: Vec<Profile> = (0..)
        .zip(&cases)
        .map(|(n, (rules, declared, _))| user(folder.path(), (&format!("n{n}"), rules), *declared))
        .collect();
    let subjects = profiles.iter().map(|profile| Subject::of(profile).expect("rules")).collect();
    let results: Vec<ProofResult> = prove_all(subjects, Depth::Quick);
    for (result, (_, _, expected)) in results.iter().zip(&cases) {
        let wrong: Vec<&String> =
            result.rows.iter().filter(|row| !row.agrees).map(|row| &row.observed).collect();
        assert_eq!(result.holds(), expected.is_empty(), "{}", table(result));
        assert!(wrong.iter().all(|seen| seen.starts_with(expected)), "{}", table(result));
        assert!(expected.is_empty() || names(result, NatAxis::Pool), "{}", table(result));
    }
}

#[test]
fn what_becomes_of_low_ports_is_measured() {
    if !lab_is_possible() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let any = (Pool::Kernel, Allocation::Preserving);
    let cases = [
        (KEPT, "kernel"),
        (KEPT_ABOVE, "1024-65535"),
        (KEPT_FROM_600, "600-65535"),
        (KEPT_ALL, "1-65535"),
        (DRAWN, "kernel"),
        (DRAWN_ABOVE, "1024-65535"),
    ];
    let profiles: Vec<Profile> =
        (0..).zip(cases).map(|(n, (rules, _))| user(folder.path(), (&format!("n{n}"), rules), any)).collect();
    for (measured, (rules, expected)) in measure_all(&profiles).iter().zip(cases) {
        let text = measured.description.text();
        assert!(text.contains(&format!("\nports = \"{expected}\"\n")), "{rules}: {expected}\n{text}");
        assert!(measured.is_complete(), "{rules}: {}\n{text}", table(&measured.proof));
    }
}
