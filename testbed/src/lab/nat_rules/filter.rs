//! Table `filter`: what is answered to a SYN that nobody expects, and which packets may pass.

use std::time::Duration;

use crate::model::behavior::{
    Behavior, Filtering, IcmpError, InvalidPackets, SynAfterSyn, Timeouts, Translation, UnsolicitedSyn,
};

use super::memory::{DynamicObject, Lifetimes, UDP_LIFETIME_S, declare};
use super::protocol::Protocol;
use super::text::{Chain, table as write_table};

/// A segment that opens a connection.
const SYN: &str = "tcp flags & (syn | ack) == syn";

/// Table `filter` of a NAT or firewall that behaves so; empty if it has no rules.
pub(super) fn table(behavior: &Behavior) -> String {
    let sets = objects(behavior).into_iter().map(|o| declaration(behavior, o));
    let sets: Vec<String> = timer_policy(&behavior.timeouts).into_iter().chain(sets).collect();
    let [tcp, udp] = Protocol::ALL.map(|l4| learn(behavior, l4));
    write_table("filter", &sets, &[timers(behavior), input(behavior), forward(behavior), tcp, udp])
}

/// The timers as an object of connection tracking, where one is asked for that no sysctl sets.
fn timer_policy(timeouts: &Timeouts) -> Option<String> {
    timeouts.syn_sent2?;
    let all = timeouts.timers();
    let timer = |(name, value, default): &(&str, Option<Duration>, Duration)| {
        let name = match *name {
            "unacknowledged" => "unack",
            "max_retrans" => "retrans",
            name => name,
        };
        format!("{name} : {}", value.unwrap_or(*default).as_secs())
    };
    let policy: Vec<String> = all.iter().map(timer).collect();
    Some(format!(
        "    # Timeouts in seconds. That of SYN_SENT2, when SYNs have come from both sides, has no sysctl.\n    \
         ct timeout timers {{\n        protocol tcp\n        l3proto ip\n        policy = {{ {} }}\n    }}\n",
        policy.join(", ")
    ))
}

/// Gives each connection these timers.
fn timers(behavior: &Behavior) -> Chain {
    let mut chain = Chain::base("timers", "filter hook prerouting priority filter");
    if behavior.timeouts.syn_sent2.is_some() {
        chain.rule("meta l4proto tcp ct timeout set \"timers\"");
    }
    chain
}

/// The sets of the table that traffic fills.
pub(super) fn objects(behavior: &Behavior) -> Vec<DynamicObject> {
    let firewall = behavior.translation == Translation::Firewall;
    let late = behavior.unsolicited_syn == UnsolicitedSyn::IcmpAfterSixSeconds;
    let open = firewall && behavior.filtering != Filtering::AddressAndPortDependent;
    let all = [
        (open, DynamicObject::new("set", "open")),
        (open, DynamicObject::new("set", "open_udp")),
        (firewall && behavior.quota.is_some(), DynamicObject::new("set", "holders")),
        (late, DynamicObject::new("set", "held")),
        (late, DynamicObject::new("set", "seen")),
    ];
    all.into_iter().filter(|(wanted, _)| *wanted).map(|(_, object)| object).collect()
}

fn declaration(behavior: &Behavior, object: DynamicObject) -> String {
    const BOTH: &str = "ipv4_addr . inet_service . ipv4_addr . inet_service";
    let (comment, types, flags) = match (object.name, behavior.filtering) {
        ("open" | "open_udp", Filtering::AddressDependent) => (
            "Inside endpoints, and the remote addresses that they sent to.",
            "ipv4_addr . inet_service . ipv4_addr",
            "dynamic,timeout",
        ),
        ("open" | "open_udp", _) => {
            ("Inside endpoints that sent something.", "ipv4_addr . inet_service", "dynamic,timeout")
        }
        ("held", _) => ("Unsolicited SYNs of the last 6 s.", BOTH, "dynamic,timeout"),
        ("seen", _) => ("Unsolicited SYNs of the last minute.", BOTH, "dynamic,timeout"),
        _ => ("Inside hosts, and how many connections each has.", "ipv4_addr", "dynamic"),
    };
    declare(comment, object, types, flags)
}

/// What happens to packets for the NAT itself: from outside, those that no mapping admits.
fn input(behavior: &Behavior) -> Chain {
    let mut chain = Chain::base("input", "filter hook input priority filter");
    if behavior.translation == Translation::Nat {
        // A SYN that hits the entry of a closed connection is invalid, not new.
        refuse(&mut chain, behavior.unsolicited_syn, "iifname \"wan\" meta l4proto tcp ct state new,invalid");
        if behavior.unsolicited_syn != UnsolicitedSyn::Kernel {
            chain
                .note("No answer to an unsolicited UDP packet.")
                .rule("iifname \"wan\" meta l4proto udp ct state new,invalid drop");
        }
    }
    chain
}

/// The rules that answer whatever `condition` selects.
fn refuse(chain: &mut Chain, answer: UnsolicitedSyn, condition: &str) {
    const WHO: &str = "ip saddr . tcp sport . ip daddr . tcp dport";
    let note = format!("Unsolicited SYN: {answer}.");
    let reject = |with: &str| format!("{condition} reject with {with}");
    match answer {
        UnsolicitedSyn::Kernel => {}
        UnsolicitedSyn::Drop => {
            chain.note(note).rule(format!("{condition} drop"));
        }
        UnsolicitedSyn::Reset => {
            chain.note(note).rule(reject("tcp reset"));
        }
        UnsolicitedSyn::Icmp(error) => {
            chain.note(note).rule(reject(&format!("icmp type {}", icmp_name(error))));
        }
        UnsolicitedSyn::IcmpAfterSixSeconds => {
            chain
                .note(note)
                .note("Silence for 6 s (RFC 5382 REQ-4); then a retransmission is answered. A sender that gave up by")
                .note("then is never answered.")
                .rule(format!("{condition} {WHO} @held drop"))
                .rule(format!("{condition} {WHO} @seen reject with icmp type port-unreachable"))
                .rule(format!(
                    "{condition} add @seen {{ {WHO} timeout 60s }} add @held {{ {WHO} timeout 6s }} drop"
                ));
        }
    }
}

/// What nft calls an ICMP error.
fn icmp_name(error: IcmpError) -> &'static str {
    match error {
        IcmpError::PortUnreachable => "port-unreachable",
        IcmpError::HostUnreachable => "host-unreachable",
        IcmpError::NetUnreachable => "net-unreachable",
        IcmpError::ProtocolUnreachable => "prot-unreachable",
        IcmpError::NetProhibited => "net-prohibited",
        IcmpError::HostProhibited => "host-prohibited",
        IcmpError::AdminProhibited => "admin-prohibited",
    }
}

/// What happens to packets that pass through.
fn forward(behavior: &Behavior) -> Chain {
    let mut chain = Chain::base("forward", "filter hook forward priority filter");
    let firewall = behavior.translation == Translation::Firewall;
    match behavior.syn_after_syn {
        SynAfterSyn::Accept => {}
        SynAfterSyn::Drop => {
            chain
                .note("SYN after SYN: drop. A SYN that answers a SYN, as in a simultaneous open, vanishes.")
                .rule(format!("iifname \"wan\" ct direction reply {SYN} drop"));
        }
        SynAfterSyn::Reset => {
            chain
                .note(
                    "SYN after SYN: reset. A SYN that answers a SYN, as in a simultaneous open, is refused.",
                )
                .rule(format!("iifname \"wan\" ct direction reply {SYN} reject with tcp reset"));
        }
    }
    if firewall {
        for l4 in Protocol::ALL {
            admit(&mut chain, behavior.filtering, l4);
        }
        let condition = format!("iifname \"wan\" {SYN} ct state new,invalid");
        refuse(&mut chain, behavior.unsolicited_syn, &condition);
        chain.note("Nothing else begins outside.").rule("iifname \"wan\" ct state new drop");
    }
    match behavior.invalid_packets {
        InvalidPackets::Leak => {}
        InvalidPackets::Drop => {
            chain.note("Invalid packets: drop. They would pass untranslated.").rule("ct state invalid drop");
        }
    }
    if let (true, Some(quota)) = (firewall, behavior.quota) {
        chain.note(format!("Quota: {quota} connections for each inside host.")).rule(format!(
            "oifname \"wan\" meta l4proto tcp ct state new add @holders {{ ip saddr ct count over {quota} }} drop"
        ));
    }
    chain
}

/// What a firewall lets in.
fn admit(chain: &mut Chain, filtering: Filtering, l4: Protocol) {
    let new = format!("iifname \"wan\" meta l4proto {l4} ct state new ip daddr . {l4} dport");
    let set = l4.pick("@open", "@open_udp");
    match filtering {
        Filtering::AddressAndPortDependent => {}
        Filtering::AddressDependent => {
            chain
                .note("Filtering: address-dependent. Whose address was sent to may answer from any port.")
                .rule(format!("{new} . ip saddr {set} accept"));
        }
        Filtering::EndpointIndependent => {
            chain
                .note("Filtering: endpoint-independent. Anyone may send to an endpoint that has sent.")
                .rule(format!("{new} {set} accept"));
        }
    }
}

/// What a firewall remembers of who sent where.
fn learn(behavior: &Behavior, l4: Protocol) -> Chain {
    let mut chain = Chain::base(l4.pick("learn", "learn_udp"), "filter hook postrouting priority 101");
    let remote = match behavior.filtering {
        _ if behavior.translation != Translation::Firewall => return chain,
        Filtering::AddressAndPortDependent => return chain,
        Filtering::AddressDependent => " . ip daddr",
        Filtering::EndpointIndependent => "",
    };
    let Lifetimes { standing, opening, threshold } = Lifetimes::of(&behavior.timeouts);
    let inside = format!("oifname \"wan\" meta l4proto {l4} ct direction original");
    let key = format!("ip saddr . {l4} sport{remote}");
    if l4 == Protocol::Udp {
        chain
            .note("Every packet from inside keeps the way open.")
            .rule(format!("{inside} update @open_udp {{ {key} timeout {UDP_LIFETIME_S}s }}"));
        return chain;
    }
    chain
        .note("Every packet from inside keeps the way open, as long as its connection is tracked.")
        .rule(format!(
            "{inside} ct expiration > {threshold}s update @open {{ {key} timeout {standing}s }} accept"
        ))
        .rule(format!("{inside} update @open {{ {key} timeout {opening}s }}"));
    chain
}
