//! A NAT's behaviour from all that a probe observed: a pure function.
//!
//! Every rule says "unknown" rather than guess. What could make it wrong: another host using the NAT at the same time (the
//! majority decides), and luck (four ports in a row by chance: once in ten thousand million).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;

use serde::Serialize;

use super::path::{hops, layers};
use super::{Answer, LIKELIER, Observation, RANDOM_POOL, step};
use crate::pattern::Pattern;

/// All that a probe observed. [`ProbeConfig`](crate::nat::ProbeConfig) has an example.
#[derive(Debug, Clone, Default)]
pub struct Evidence {
    /// One local port, towards every endpoint of the server, in order.
    pub one_port: Vec<Observation>,
    /// Other local ports, drawn at random, towards one endpoint, in order.
    pub many_ports: Vec<Observation>,
    /// SYNs from the server's address that was spoken to, from another port.
    pub same_address: Option<Answer>,
    /// SYNs from an address that was not spoken to.
    pub other_address: Option<Answer>,
    /// A connection of two own ports by way of their external endpoints.
    pub hairpin: Option<Answer>,
    /// Which router, if any, said that a SYN of this many hops had lived too long; in order of hops, from 1.
    pub routers: Vec<Option<Ipv4Addr>>,
    /// The external port of a source port below 1024, if one may be bound.
    pub low: Option<u16>,
}

/// When two flows of one internal endpoint share an external endpoint (RFC 4787 section 4.1). Part of a [`NatClass`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mapping {
    /// There is no translation.
    None,
    /// Always.
    EndpointIndependent,
    /// When the remote address is the same.
    AddressDependent,
    /// When remote address and port are the same.
    AddressAndPortDependent,
    /// It differs, but the server has too few endpoints to tell by what.
    Dependent,
    /// Nothing was observed, or towards one address of the server only.
    Unknown,
}

/// How a new external port is chosen (RFC 4787 section 4.2). Part of a [`NatClass`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "rule")]
pub enum PortAllocation {
    /// The internal port, or there is no translation.
    Preserving,
    /// The last one and a step.
    Sequential {
        /// May be negative.
        step: i32,
    },
    /// No rule, from all ports as far as seen.
    Random {
        /// Whether the lowest 1,024 came up too often for an even draw: the Linux kernel draws like this.
        biased: bool,
    },
    /// No rule, from a part of the ports.
    Range {
        /// Lowest seen.
        low: u16,
        /// Highest seen.
        high: u16,
    },
    /// No rule, from a share of the ports as MAP-E and MAP-T give it to a subscriber: those whose bits after the first `offset` are this
    /// port-set identifier (RFC 7597 section 5.1).
    Share {
        /// The identifier.
        psid: u16,
        /// Its bits.
        length: u8,
        /// The bits before it, of which at least one is set.
        offset: u8,
    },
    /// Too few observations.
    Unknown,
}

/// Who may send to an external endpoint (RFC 4787 section 5). Part of a [`NatClass`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Filtering {
    /// Anyone.
    EndpointIndependent,
    /// Addresses that were spoken to.
    AddressDependent,
    /// Endpoints that were spoken to.
    AddressAndPortDependent,
    /// It could not be tried.
    Unknown,
}

/// A NAT, or what stands for one, as seen from inside. [`ProbeConfig`](crate::nat::ProbeConfig) has an example.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NatClass {
    /// The external addresses seen.
    pub addresses: BTreeSet<Ipv4Addr>,
    /// When an external endpoint is reused.
    pub mapping: Mapping,
    /// How a new one is chosen.
    pub allocation: PortAllocation,
    /// Who may send to it.
    pub filtering: Filtering,
    /// The answer to a SYN that is not let in (RFC 5382 REQ-4).
    pub unsolicited_syn: Answer,
    /// Whether inside hosts reach each other by external endpoints (RFC 5382 REQ-8).
    pub hairpinning: Option<bool>,
    /// NATs between here and the server: at least this many.
    pub layers: u8,
    /// Hops that a SYN must live to have passed them all, if the routers say.
    pub hops: Option<u8>,
    /// Whether source ports below 1024 are mapped to ports below 1024, if that could be tried.
    pub keeps_low_ports: Option<bool>,
}

/// What all the observations amount to.
#[must_use]
pub fn classify(evidence: &Evidence) -> NatClass {
    let mapping = mapping(&evidence.one_port);
    let all = || evidence.one_port.iter().chain(&evidence.many_ports);
    let filtering = filtering(evidence);
    NatClass {
        addresses: all().map(|seen| *seen.external.ip()).collect(),
        mapping,
        allocation: if mapping == Mapping::None {
            PortAllocation::Preserving
        } else {
            choice(&evidence.many_ports)
        },
        filtering,
        unsolicited_syn: unsolicited(evidence),
        hairpinning: hairpinning(evidence.hairpin),
        layers: if mapping == Mapping::None { 0 } else { layers(&evidence.routers).max(1) },
        hops: hops(&evidence.routers),
        keeps_low_ports: evidence.low.map(|port| port < 1024),
    }
}

fn mapping(one_port: &[Observation]) -> Mapping {
    let Some(first) = one_port.first() else { return Mapping::Unknown };
    if one_port.iter().all(|seen| seen.external == seen.local) {
        return Mapping::None;
    }
    if one_port.iter().all(|seen| seen.external == first.external) {
        let same_address = one_port.iter().all(|seen| seen.server.ip() == first.server.ip());
        return if same_address { Mapping::Unknown } else { Mapping::EndpointIndependent };
    }
    let mut by_address: BTreeMap<Ipv4Addr, Vec<_>> = BTreeMap::new();
    for seen in one_port {
        by_address.entry(*seen.server.ip()).or_default().push(seen.external);
    }
    let mut groups = by_address.values().filter(|externals| externals.len() > 1).peekable();
    if groups.peek().is_none() {
        return Mapping::Dependent;
    }
    if groups.all(|externals| externals.iter().all(|external| *external == externals[0])) {
        Mapping::AddressDependent
    } else {
        Mapping::AddressAndPortDependent
    }
}

/// Fewest observations that show a rule.
const ENOUGH: usize = 4;

/// Fewest that show a range: of 64,512 ports, sixteen lie within a quarter once in a hundred million times.
const ENOUGH_FOR_A_RANGE: usize = 16;

/// Fewest that show a share: the bits beside the identifier are then alike by chance once in 250,000 times.
const ENOUGH_FOR_A_SHARE: usize = 20;

fn choice(seen: &[Observation]) -> PortAllocation {
    if seen.len() < ENOUGH {
        return PortAllocation::Unknown;
    }
    let kept = seen.iter().filter(|seen| seen.external.port() == seen.local.port()).count();
    if kept * 4 >= seen.len() * 3 {
        return PortAllocation::Preserving;
    }
    if let Some(step) = common_step(seen) {
        return PortAllocation::Sequential { step };
    }
    let ports = || seen.iter().map(|seen| seen.external.port());
    match (ports().min(), ports().max()) {
        (Some(low), Some(high))
            if seen.len() >= ENOUGH_FOR_A_RANGE && u32::from(high - low) < RANDOM_POOL / 4 =>
        {
            PortAllocation::Range { low, high }
        }
        _ => share(seen).unwrap_or_else(|| PortAllocation::Random {
            biased: is_biased(seen.len(), ports().filter(|port| LIKELIER.contains(port)).count()),
        }),
    }
}

/// The share that these ports come from, if they do. Bits before those that are fixed exclude the ports below 1024 as long as there are
/// six of them at most: a NAT whose ports have lower bits in common has no share, but a rule of its own.
fn share(seen: &[Observation]) -> Option<PortAllocation> {
    const OFFSETS: std::ops::RangeInclusive<u8> = 1..=6;
    if seen.len() < ENOUGH_FOR_A_SHARE {
        return None;
    }
    let (psid, length, offset) = Pattern::of(seen.iter().map(|seen| seen.external.port()))?.share();
    OFFSETS.contains(&offset).then_some(PortAllocation::Share { psid, length, offset })
}

/// The step that most pairs of neighbours have in common, when it is small.
fn common_step(seen: &[Observation]) -> Option<i32> {
    let mut steps: BTreeMap<i32, usize> = BTreeMap::new();
    for pair in seen.windows(2) {
        if let Some(step) = step(pair) {
            *steps.entry(step.by).or_default() += 1;
        }
    }
    let (step, count) = steps.into_iter().max_by_key(|(_, count)| *count)?;
    (count * 2 >= seen.len() - 1).then_some(step)
}

/// Whether this many hits among the likelier ports come up in an even draw less than once in a thousand times.
fn is_biased(draws: usize, hits: usize) -> bool {
    let chance = LIKELIER.len() as f64 / f64::from(RANDOM_POOL);
    // The distribution is summed from the top by its recurrence, starting at no hits.
    let mut probability = (1.0 - chance).powf(draws as f64);
    let mut below = 0.0;
    for hit in 0..hits {
        below += probability;
        probability *= (draws - hit) as f64 / (hit + 1) as f64 * chance / (1.0 - chance);
    }
    1.0 - below < 1e-3
}

fn filtering(evidence: &Evidence) -> Filtering {
    match (evidence.same_address, evidence.other_address) {
        (_, Some(Answer::Accepted)) => Filtering::EndpointIndependent,
        (Some(Answer::Accepted), Some(Answer::Untried) | None) => Filtering::Unknown,
        (Some(Answer::Accepted), Some(_)) => Filtering::AddressDependent,
        (Some(Answer::Untried) | None, _) => Filtering::Unknown,
        (Some(_), _) => Filtering::AddressAndPortDependent,
    }
}

fn unsolicited(evidence: &Evidence) -> Answer {
    let mut answers = [evidence.other_address, evidence.same_address].into_iter().flatten();
    answers.find(|answer| !matches!(answer, Answer::Accepted | Answer::Untried)).unwrap_or(Answer::Untried)
}

fn hairpinning(hairpin: Option<Answer>) -> Option<bool> {
    match hairpin? {
        Answer::Accepted => Some(true),
        Answer::Untried => None,
        Answer::Reset | Answer::IcmpPort | Answer::Icmp | Answer::Silence => Some(false),
    }
}

impl fmt::Display for NatClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<_> = self.addresses.iter().map(ToString::to_string).collect();
        writeln!(f, "external address  {}", addresses.join(", "))?;
        writeln!(f, "mapping           {}", word(&self.mapping))?;
        writeln!(f, "allocation        {}", self.allocation)?;
        writeln!(f, "filtering         {}", word(&self.filtering))?;
        writeln!(f, "unsolicited SYN   {}", word(&self.unsolicited_syn))?;
        let yes = |answer: Option<bool>| answer.map_or("unknown", |yes| if yes { "yes" } else { "no" });
        writeln!(f, "hairpinning       {}", yes(self.hairpinning))?;
        writeln!(f, "keeps low ports   {}", yes(self.keeps_low_ports))?;
        write!(f, "NAT layers        ")?;
        match self.layers {
            0 => write!(f, "none"),
            layers => write!(f, "at least {layers}"),
        }?;
        self.hops.map_or(Ok(()), |hops| write!(f, " (a packet with TTL {hops} gets past them)"))
    }
}

impl fmt::Display for PortAllocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Preserving => f.write_str("preserving"),
            Self::Sequential { step } => write!(f, "sequential, {step:+}"),
            Self::Random { biased: true } => f.write_str("random, the lowest ports more often"),
            Self::Random { biased: false } => f.write_str("random"),
            Self::Range { low, high } => write!(f, "random, seen from {low} to {high}"),
            Self::Share { psid, length, offset } => {
                write!(f, "random, from the share of PSID {psid} of {length} bits after {offset}")
            }
            Self::Unknown => f.write_str("unknown"),
        }
    }
}

/// A value by its name in JSON.
fn word(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddrV4;

    use super::*;

    fn observation(local: u16, server: (u8, u16), external: u16) -> Observation {
        Observation {
            local: SocketAddrV4::new([10, 0, 0, 2].into(), local),
            server: SocketAddrV4::new([203, 0, 113, server.0].into(), server.1),
            external: SocketAddrV4::new([192, 0, 2, 2].into(), external),
        }
    }

    fn one_port(externals: [u16; 4]) -> Vec<Observation> {
        let servers = [(1, 7000), (1, 7001), (2, 7000), (2, 7001)];
        servers
            .into_iter()
            .zip(externals)
            .map(|(server, external)| observation(5000, server, external))
            .collect()
    }

    fn many(pairs: &[(u16, u16)]) -> Vec<Observation> {
        pairs.iter().map(|(local, external)| observation(*local, (1, 7000), *external)).collect()
    }

    #[test]
    fn mapping_is_told_by_what_changes_it() {
        let cases = [
            ([6000, 6000, 6000, 6000], Mapping::EndpointIndependent),
            ([58925, 58925, 8680, 8680], Mapping::AddressDependent),
            ([20006, 20007, 20008, 20009], Mapping::AddressAndPortDependent),
            ([30664, 9514, 16407, 32316], Mapping::AddressAndPortDependent),
        ];
        for (externals, expected) in cases {
            assert_eq!(mapping(&one_port(externals)), expected, "{externals:?}");
        }
        let two = [observation(5000, (1, 7000), 1024), observation(5000, (2, 7001), 1025)];
        assert_eq!(mapping(&two), Mapping::Dependent);
        let one_address = [observation(5000, (1, 7000), 1024), observation(5000, (1, 7001), 1024)];
        assert_eq!(mapping(&one_address), Mapping::Unknown, "it may depend on the address");
        assert_eq!(mapping(&[]), Mapping::Unknown);
        let mut open = one_port([5000; 4]);
        open.iter_mut().for_each(|seen| seen.external = seen.local);
        assert_eq!(mapping(&open), Mapping::None);
    }

    #[test]
    fn allocation_is_told_from_many_ports() {
        let kept = [(4001, 4001), (4777, 4777), (5100, 5100), (6031, 6031)];
        assert_eq!(choice(&many(&kept)), PortAllocation::Preserving);
        let counted = [(4001, 20000), (4777, 20001), (5100, 20002), (6031, 20003)];
        assert_eq!(choice(&many(&counted)), PortAllocation::Sequential { step: 1 });
        let disturbed = [(4001, 20000), (4777, 20001), (5100, 20005), (6031, 20006), (7031, 20007)];
        assert_eq!(choice(&many(&disturbed)), PortAllocation::Sequential { step: 1 });
        let drawn = [(4001, 61661), (4777, 15045), (5100, 11257), (6031, 40404)];
        assert_eq!(choice(&many(&drawn)), PortAllocation::Random { biased: false });
        assert_eq!(choice(&many(&drawn[..3])), PortAllocation::Unknown);
        let block: Vec<_> = (0..20u16).map(|n| (40_000 + 7 * n, 10_000 + (n * 677) % 1000)).collect();
        assert!(matches!(choice(&many(&block)), PortAllocation::Range { low: 10_000.., high: ..=10_999 }));
    }

    #[test]
    fn a_share_is_told_from_its_identifier() {
        let port = |n: u16| (1 + n * 4 % 15) << 12 | 73 << 4 | (n * 7 % 16);
        let drawn: Vec<_> = (0..24u16).map(|n| (40_000 + 7 * n, port(n))).collect();
        let share = PortAllocation::Share { psid: 73, length: 8, offset: 4 };
        assert_eq!(choice(&many(&drawn)), share);
        assert_eq!(choice(&many(&drawn[..19])), PortAllocation::Random { biased: false }, "too few");
        let odd: Vec<_> = (0..40u16).map(|n| (40_000 + 7 * n, (2_000 + n * 1_571) | 1)).collect();
        assert_eq!(choice(&many(&odd)), PortAllocation::Random { biased: false });
    }

    #[test]
    fn a_bias_is_told_only_from_enough_draws() {
        assert!(!is_biased(24, 1));
        assert!(!is_biased(1000, 16), "an even draw");
        assert!(is_biased(4000, 125), "the kernel's draw");
        assert!(!is_biased(0, 0));
    }

    #[test]
    fn filtering_is_told_by_who_was_let_in() {
        use Answer::{Accepted, Reset, Silence, Untried};
        let cases = [
            (Some(Accepted), Some(Accepted), Filtering::EndpointIndependent, Untried),
            (Some(Accepted), Some(Silence), Filtering::AddressDependent, Silence),
            (Some(Reset), Some(Reset), Filtering::AddressAndPortDependent, Reset),
            (Some(Accepted), Some(Untried), Filtering::Unknown, Untried),
            (None, None, Filtering::Unknown, Untried),
        ];
        for (same_address, other_address, expected, answer) in cases {
            let evidence = Evidence { same_address, other_address, ..Evidence::default() };
            assert_eq!((filtering(&evidence), unsolicited(&evidence)), (expected, answer));
        }
    }

    #[test]
    fn layers_are_the_private_networks_on_the_way() {
        let router = |text: &str| Some(text.parse::<Ipv4Addr>().unwrap());
        let home = [router("10.0.0.1"), router("192.0.2.1")];
        assert_eq!((layers(&home), hops(&home)), (1, Some(2)));
        let carrier = [router("192.168.1.1"), router("100.64.0.1"), router("192.0.2.1")];
        assert_eq!((layers(&carrier), hops(&carrier)), (2, Some(3)));
        let silent = [None, router("192.0.2.1")];
        assert_eq!((layers(&silent), hops(&silent)), (0, None));
        assert_eq!(hops(&home[..1]), Some(2), "the server is next");
        assert_eq!(hops(&[None, None]), None);
    }

    #[test]
    fn a_class_reads_as_a_table() {
        let evidence = Evidence {
            one_port: one_port([20006, 20007, 20008, 20009]),
            many_ports: many(&[(4001, 20010), (4777, 20011), (5100, 20012), (6031, 20013)]),
            same_address: Some(Answer::Silence),
            other_address: Some(Answer::Silence),
            hairpin: Some(Answer::Reset),
            routers: vec!["10.0.0.1".parse().ok(), "192.0.2.1".parse().ok()],
            low: Some(20014),
        };
        let expected = "\
external address  192.0.2.2
mapping           address-and-port-dependent
allocation        sequential, +1
filtering         address-and-port-dependent
unsolicited SYN   silence
hairpinning       no
keeps low ports   no
NAT layers        at least 1 (a packet with TTL 2 gets past them)";
        assert_eq!(classify(&evidence).to_string(), expected);
    }
}
