//! NATs treat UDP as they treat TCP: coturn's `turnutils_natdiscovery` (RFC 5780) finds what they declare.

use std::collections::BTreeMap;

use testbed::model::behavior::{Behavior, Filtering, Mapping, Translation};
use testbed::model::catalogue::Catalogue;

use super::testbed_in;
use crate::lab::{has_tool, lab_is_possible};

/// What the catalogue has none of.
const OWN: &str = r#"
[nat.adm-random]
summary = "address-dependent mapping, random ports"
mapping = "address-dependent"
allocation = "random"
[nat.adm-exclusive]
summary = "address-dependent in both ways, and no port for two"
mapping = "address-dependent"
allocation = "random"
filtering = "address-dependent"
ports = "30000-30999"
overloading = "off"
"#;

/// One of each mapping, allocation and filtering, one whose ports are shared and one whose are not, and what does not translate.
const NATS: [&str; 14] = [
    "none",
    "firewall",
    "port-preserving",
    "full-cone",
    "address-restricted",
    "eim-random",
    "adm-random",
    "adm-exclusive",
    "sequential",
    "random",
    "symmetric-preserving",
    "hash-symmetric",
    "port-block",
    "hairpin",
];

/// A STUN server with two addresses beside a peer that asks it about mapping and filtering, and then gives up.
const SUITE: &str = r#"name = "udp"
summary = "what a STUN client finds out by UDP"
topology = "pair"
trials = 1
deadline = "30s"
[axes]
nat-a = NATS
nat-b = ["none"]
method = ["stun"]
[program]
judge = "exit"
peer = ["/bin/sh", "-c", "[ {role} = b ] || turnutils_natdiscovery -m -f {rendezvous_ip}; exit 1"]
[[program.services]]
name = "stun"
command = ["/usr/bin/turnserver", "-n", "--stun-only", "--no-cli", "--no-tls", "--no-dtls", "--log-file", "stdout",
           "--pidfile", "/tmp/turnserver.pid", "--listening-ip", "{rendezvous_ip}", "--listening-ip", "{rendezvous_alt_ip}"]
ready = { udp = 3478 }
"#;

/// The two sentences that natdiscovery has to say.
fn expected(behavior: &Behavior) -> [&'static str; 2] {
    let mapping = match (behavior.translation, behavior.mapping) {
        // Nothing translates: natdiscovery sees that by its own address, and says no more of mapping.
        (Translation::Router | Translation::Firewall, _) => "NAT with Endpoint Independent Mapping!",
        (_, Mapping::EndpointIndependent) => "NAT with Endpoint Independent Mapping!",
        (_, Mapping::AddressDependent) => "NAT with Address Dependent Mapping!",
        (_, Mapping::AddressAndPortDependent) => "NAT with Address and Port Dependent Mapping!",
    };
    let filtering = match (behavior.translation, behavior.filtering) {
        (Translation::Router, _) | (_, Filtering::EndpointIndependent) => {
            "NAT with Endpoint Independent Filtering!"
        }
        (_, Filtering::AddressDependent) => "NAT with Address Dependent Filtering!",
        (_, Filtering::AddressAndPortDependent) => "NAT with Address and Port Dependent Filtering!",
    };
    [mapping, filtering]
}

#[test]
fn natdiscovery_finds_what_each_nat_declares() {
    if !lab_is_possible() || !has_tool("turnutils_natdiscovery") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let suite = SUITE.replace("NATS", &format!("{NATS:?}"));
    std::fs::write(folder.path().join("udp.toml"), suite).expect("room on the disk");
    std::fs::write(folder.path().join("own.toml"), OWN).expect("room on the disk");
    let words = ["run", "udp.toml", "--nats", "own.toml", "--keep", "all", "--out", "out"];
    let done = testbed_in(folder.path(), &words);
    let catalogue = Catalogue::embedded().with(Catalogue::parse(OWN, "own.toml").expect("good NATs"));
    let mut wrong = BTreeMap::new();
    for nat in NATS {
        let path = folder.path().join(format!("out/cells/{nat}~none~stun/trial-1/peer-a.stdout"));
        let said =
            std::fs::read_to_string(&path).unwrap_or_else(|why| panic!("{nat}: {why}\n{}", done.stdout));
        let behavior = &catalogue.get(nat).expect("a NAT of the catalogue").behavior;
        let told: Vec<&str> = said.lines().filter(|line| line.starts_with("NAT ")).collect();
        if told != expected(behavior) {
            wrong.insert(nat, (told.join(" / "), expected(behavior)));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
