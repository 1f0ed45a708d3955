//! What a probe found, as a NAT file: the text that `testbed` reads to play this NAT in a lab. The format is described in
//! docs/puncher-contract.md; nothing of testbed is known here.
//!
//! Each key stands under a comment that says how it is known. What cannot be seen from behind the NAT has no key.

use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::time::Duration;

use puncher::nat::{Answer, Filtering, Mapping, NatClass, Observation, PortAllocation};

/// The name of the NAT in the file.
const NAME: &str = "mine";

/// What nothing shows that a probe can send.
const UNSEEN: [&str; 5] = [
    "syn-after-syn: the server sends no SYN from an endpoint that was dialled",
    "invalid-packets: a program without privileges cannot send such packets",
    "strictness: nor segments outside a window",
    "timeouts: no mapping was waited out",
    "quota: no more mappings were made than a puncher needs",
];

/// The file. `sampled` are the mappings of other local ports towards one endpoint, `wait` is how long a SYN was waited for.
pub(super) fn text(class: &NatClass, sampled: &[Observation], wait: Duration) -> String {
    let mut file = NatFile::default();
    file.comment(
        "Found by puncher probe. What is not here could not be seen; testbed then takes its default.",
    );
    let addresses: Vec<String> = class.addresses.iter().map(ToString::to_string).collect();
    if class.addresses.len() > 1 {
        file.comment("This NAT has several external addresses. In a lab it has one.");
    }
    file.line(format_args!("[nat.{NAME}]"));
    file.key("summary", "the NAT that this file was made behind");
    file.key("source", &format!("puncher probe; external address {}", addresses.join(", ")));
    if class.layers > 1 {
        file.comment(&format!("{} NATs one behind the other; this is what they do together.", class.layers));
    }
    match class.mapping {
        Mapping::None => untranslated(&mut file, class),
        _ => translated(&mut file, class, sampled),
    }
    let kind = Kind::of(class);
    if kind != Kind::Router {
        unsolicited(&mut file, class, wait);
        UNSEEN.iter().for_each(|why| file.unseen(why));
    }
    file.text
}

/// What stands between a host and the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Nat,
    Firewall,
    Router,
}

impl Kind {
    fn of(class: &NatClass) -> Self {
        match (class.mapping, class.filtering) {
            (Mapping::None, Filtering::EndpointIndependent) => Self::Router,
            (Mapping::None, _) => Self::Firewall,
            _ => Self::Nat,
        }
    }
}

fn untranslated(file: &mut NatFile, class: &NatClass) {
    if Kind::of(class) == Kind::Router {
        file.comment("translation: the server saw the local address, and a SYN from a stranger came in");
        file.key("translation", "router");
        return;
    }
    file.comment("translation: the server saw the local address");
    file.key("translation", "firewall");
    filtering(file, class);
}

fn translated(file: &mut NatFile, class: &NatClass, sampled: &[Observation]) {
    file.comment("translation: the server saw another address than the local one");
    file.key("translation", "nat");
    match class.mapping {
        Mapping::EndpointIndependent | Mapping::AddressDependent | Mapping::AddressAndPortDependent => {
            file.comment("mapping: one local port, towards each endpoint of the server");
            file.key("mapping", word(class.mapping));
        }
        Mapping::Dependent => {
            file.unseen("mapping: it differs, but the server has too few endpoints to tell by what");
        }
        Mapping::None | Mapping::Unknown => file.unseen(
            "mapping: the server has one address only, or its other endpoints did not answer in time",
        ),
    }
    allocation(file, class, sampled);
    filtering(file, class);
    match class.hairpinning {
        Some(on) => {
            file.comment("hairpinning: two local ports, by way of their external endpoints");
            file.key("hairpinning", if on { "on" } else { "off" });
        }
        None => file.unseen("hairpinning: it could not be tried"),
    }
    overloading(file, class);
}

fn allocation(file: &mut NatFile, class: &NatClass, sampled: &[Observation]) {
    let ports: BTreeSet<u16> = sampled.iter().map(|seen| seen.external.port()).collect();
    let span = ports.first().zip(ports.last());
    let seen = format!("{} local ports", sampled.len());
    match class.allocation {
        PortAllocation::Preserving => {
            file.comment(&format!("allocation: {seen}, most of them kept"));
            file.key("allocation", "preserving");
            file.unseen("collision: what becomes of a port that another host has");
        }
        PortAllocation::Sequential { step } => {
            file.comment(&format!("allocation: {seen}, one step apart"));
            file.key("allocation", "sequential");
            file.line(format_args!("step = {step}"));
            if let Some((low, high)) = span {
                file.unseen(&format!(
                    "ports: {low} to {high} were seen; a counter shows no ends of its range"
                ));
            }
        }
        PortAllocation::Random { .. } => {
            file.comment(&format!("allocation: {seen}, no rule; a hash would look the same"));
            file.key("allocation", "random");
            file.comment("ports: all that there are, as far as these show");
            file.key("ports", "kernel");
        }
        PortAllocation::Range { low, high } => {
            file.comment(&format!("allocation: {seen}, no rule; a hash would look the same"));
            file.key("allocation", "random");
            file.comment("ports: the lowest and the highest that were seen; the range may be wider. More --samples show more.");
            file.key("ports", &format!("{low}-{high}"));
        }
        PortAllocation::Share { psid, length, offset } => {
            file.comment(&format!("allocation: {seen}, no rule; a hash would look the same"));
            file.key("allocation", "random");
            file.comment(
                "ports: the bits that all have in common, as a carrier that runs MAP gives them (RFC 7597)",
            );
            file.line(format_args!("ports = {{ psid = {psid}, length = {length}, offset = {offset} }}"));
        }
        PortAllocation::Unknown => file.unseen("allocation: too few ports were seen"),
    }
}

fn filtering(file: &mut NatFile, class: &NatClass) {
    if class.filtering == Filtering::Unknown {
        file.unseen("filtering: it could not be tried");
        return;
    }
    file.comment("filtering: SYNs of the server's, from where it had not been dialled");
    file.key("filtering", word(class.filtering));
}

/// Whoever lets strangers in, or turns packets round, knows one owner of each port.
fn overloading(file: &mut NatFile, class: &NatClass) {
    let strangers = matches!(class.filtering, Filtering::EndpointIndependent | Filtering::AddressDependent);
    if strangers || class.hairpinning == Some(true) {
        file.comment("overloading: not seen; a port that strangers or neighbours reach has one owner");
        file.key("overloading", "off");
    } else {
        file.unseen("overloading: one host does not see whether others share its ports");
    }
}

fn unsolicited(file: &mut NatFile, class: &NatClass, wait: Duration) {
    let waited = humantime::format_duration(wait);
    let (why, value) = match class.unsolicited_syn {
        Answer::Reset => {
            ("a reset; by a rule or by the NAT's own stack is not to be seen".to_owned(), "reset")
        }
        Answer::IcmpPort => {
            ("a refusal that the server's kernel reports".to_owned(), "icmp-port-unreachable")
        }
        Answer::Silence => (format!("none within {waited}"), "drop"),
        Answer::Icmp => {
            file.unseen("unsolicited-syn: an ICMP error, but not which");
            return;
        }
        Answer::Accepted | Answer::Untried => {
            file.unseen("unsolicited-syn: no SYN was refused");
            return;
        }
    };
    file.comment(&format!("unsolicited-syn: the answer to a SYN from a stranger: {why}"));
    file.key("unsolicited-syn", value);
}

/// A file in the making.
#[derive(Debug, Default)]
struct NatFile {
    text: String,
}

impl NatFile {
    fn line(&mut self, line: fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "{line}");
    }

    fn comment(&mut self, text: &str) {
        self.line(format_args!("# {text}"));
    }

    fn key(&mut self, key: &str, value: &str) {
        // No value holds anything that TOML would want escaped.
        self.line(format_args!("{key} = \"{value}\""));
    }

    fn unseen(&mut self, why: &str) {
        self.comment(&format!("not seen: {why}"));
    }
}

/// The word that a value is called by in JSON, too.
fn word(value: impl serde::Serialize) -> &'static str {
    const WORDS: [&str; 3] = ["endpoint-independent", "address-dependent", "address-and-port-dependent"];
    let written = serde_json::to_string(&value).unwrap_or_default();
    WORDS.into_iter().find(|word| written.trim_matches('"') == *word).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class() -> NatClass {
        NatClass {
            addresses: [[192, 0, 2, 2].into()].into(),
            mapping: Mapping::EndpointIndependent,
            allocation: PortAllocation::Preserving,
            filtering: Filtering::AddressAndPortDependent,
            unsolicited_syn: Answer::Silence,
            hairpinning: Some(false),
            layers: 1,
            hops: None,
            keeps_low_ports: None,
        }
    }

    fn written(change: impl FnOnce(&mut NatClass)) -> String {
        let mut class = class();
        change(&mut class);
        text(&class, &[], Duration::from_secs(1))
    }

    /// The keys of a file, without its comments.
    fn keys(text: &str) -> Vec<&str> {
        text.lines().filter(|line| !line.starts_with('#')).collect()
    }

    #[test]
    fn a_home_router_is_written_down() {
        let text = written(|_| ());
        assert_eq!(
            keys(&text)[3..],
            [
                "translation = \"nat\"",
                "mapping = \"endpoint-independent\"",
                "allocation = \"preserving\"",
                "filtering = \"address-and-port-dependent\"",
                "hairpinning = \"off\"",
                "unsolicited-syn = \"drop\"",
            ]
        );
        assert!(text.contains("# not seen: timeouts"), "{text}");
    }

    #[test]
    fn what_was_not_told_has_no_key() {
        let text = written(|class| {
            class.mapping = Mapping::Dependent;
            class.allocation = PortAllocation::Unknown;
            class.filtering = Filtering::Unknown;
            class.unsolicited_syn = Answer::Untried;
            class.hairpinning = None;
        });
        assert_eq!(keys(&text)[3..], ["translation = \"nat\""], "{text}");
    }

    #[test]
    fn what_translates_nothing_has_no_ports() {
        let text = written(|class| class.mapping = Mapping::None);
        assert!(text.contains("translation = \"firewall\"") && !text.contains("\nallocation"), "{text}");
        let open = written(|class| {
            class.mapping = Mapping::None;
            class.filtering = Filtering::EndpointIndependent;
        });
        assert_eq!(keys(&open)[3..], ["translation = \"router\""], "{open}");
    }

    #[test]
    fn who_lets_strangers_in_shares_no_port() {
        let text = written(|class| class.filtering = Filtering::AddressDependent);
        assert!(text.contains("\noverloading = \"off\""), "{text}");
    }
}
