//! What a NAT has to remember beyond what connection tracking does, and the rules that learn it.
//!
//! Connection tracking alone makes a NAT whose filtering is address-and-port-dependent and whose mapping is
//! endpoint-independent when it preserves ports, and per connection otherwise. Everything else is learnt: the kernel
//! (or a rule) picks a port at priority srcnat (100), and one step later, at 101, the translated header is read.

use crate::model::behavior::{Allocation, Behavior, Filtering, Hairpinning, Mapping, Overloading, Timeouts};

use super::text::Chain;

/// The most that each set or map may hold: more than the proof draws at a time and than a budget allows. The kernel makes room for
/// all of them at once: 0.25 MB that has to be zeroed, and 1 MB for 65,535.
const SIZE: u32 = 24_576;

/// Pools up to this size are drawn from by a map where ports must not be shared, so that a port that is taken can be
/// drawn again at once.
const DRAWN_BY_MAP: u32 = 4_096;

/// The mark of a packet that was given a port which may be somebody else's.
const FRESH: &str = "0x1";

/// A named set or map that traffic fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DynamicObject {
    /// `set` or `map`, as `nft flush` wants it.
    pub(super) kind: &'static str,
    /// Its name.
    pub(super) name: &'static str,
}

impl DynamicObject {
    pub(super) const fn new(kind: &'static str, name: &'static str) -> Self {
        Self { kind, name }
    }
}

/// Whether packets between inside hosts are hairpinned.
pub(super) const fn turns_round(behavior: &Behavior) -> bool {
    match behavior.hairpinning {
        Hairpinning::Off => false,
        Hairpinning::On => true,
    }
}

/// Which sets and maps a translating NAT needs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory {
    behavior: Behavior,
    /// External ports by what the mapping depends on.
    pub(super) mapping: bool,
    /// Inside endpoints by external port.
    pub(super) owner: bool,
    /// External ports in use.
    pub(super) taken: bool,
    /// Inside endpoints whose own port is in use.
    pub(super) busy: bool,
    /// Remote addresses by external port.
    pub(super) admitted: bool,
    /// Inside addresses with their number of mappings.
    pub(super) holders: bool,
    /// Whether a random port that is taken can be drawn again at once; nothing to remember, but of the same kind.
    pub(super) redraws: bool,
}

impl Memory {
    /// What a NAT that behaves so has to remember.
    pub(super) fn of(behavior: &Behavior) -> Self {
        let exclusive = match behavior.overloading {
            Overloading::Off => true,
            Overloading::On => false,
        };
        let preserving = behavior.allocation == Allocation::Preserving;
        let hash = matches!(behavior.allocation, Allocation::Hash { .. });
        let counted = behavior.quota.is_some();
        let redraws =
            exclusive && behavior.pool.parts().iter().flatten().any(|range| range.size() <= DRAWN_BY_MAP);
        let mapping = match behavior.mapping {
            Mapping::EndpointIndependent => exclusive || counted || !(preserving || hash),
            Mapping::AddressDependent => exclusive || counted || !hash,
            // A connection that is tried again from the same endpoints keeps its port, as it would by a hash.
            Mapping::AddressAndPortDependent => preserving || (hash && exclusive),
        };
        Self {
            behavior: *behavior,
            mapping,
            owner: behavior.filtering != Filtering::AddressAndPortDependent || turns_round(behavior),
            taken: exclusive,
            // Else the kernel would give the endpoint the port that its first mapping has.
            busy: preserving && behavior.mapping != Mapping::EndpointIndependent && !redraws,
            admitted: behavior.filtering == Filtering::AddressDependent,
            holders: counted,
            redraws,
        }
    }

    /// The named objects, in the order in which they are written.
    pub(super) fn objects(&self) -> Vec<DynamicObject> {
        let all = [
            (self.mapping, DynamicObject::new("map", "mapping")),
            (self.owner, DynamicObject::new("map", "owner")),
            (self.taken, DynamicObject::new("set", "taken")),
            (self.busy, DynamicObject::new("set", "busy")),
            (self.admitted, DynamicObject::new("set", "admitted")),
            (self.holders, DynamicObject::new("set", "holders")),
        ];
        all.into_iter().filter(|(wanted, _)| *wanted).map(|(_, object)| object).collect()
    }

    /// The declarations of the named objects.
    pub(super) fn declarations(&self) -> Vec<String> {
        self.objects().into_iter().map(|object| self.declaration(object)).collect()
    }

    fn declaration(&self, object: DynamicObject) -> String {
        let mapping = format!("{} : inet_service", self.key_types());
        let (comment, types, flags) = match object.name {
            "mapping" => ("The external port of a mapping.", mapping.as_str(), "dynamic,timeout"),
            "owner" => (
                "The inside endpoint that an external port belongs to.",
                "inet_service : ipv4_addr . inet_service",
                "dynamic,timeout",
            ),
            "taken" => ("External ports that somebody has.", "inet_service", "dynamic,timeout"),
            "busy" => (
                "Inside endpoints whose own port serves one of their mappings already.",
                "ipv4_addr . inet_service",
                "dynamic,timeout",
            ),
            "admitted" => (
                "External ports, and the remote addresses that were sent to from them.",
                "inet_service . ipv4_addr",
                "dynamic,timeout",
            ),
            _ => ("Inside hosts, and how many mappings each has.", "ipv4_addr", "dynamic"),
        };
        declare(comment, object, types, flags)
    }

    /// The key of `mapping` while the packet is still as it came from inside.
    pub(super) fn key(&self) -> String {
        format!("ip saddr . tcp sport{}", self.remote_key())
    }

    /// The part of the key that names the remote endpoint. A hairpinned packet's destination has been rewritten
    /// already, so the original one is asked for where packets may be hairpinned.
    pub(super) fn remote_key(&self) -> &'static str {
        let hairpinning = turns_round(&self.behavior);
        match (self.behavior.mapping, hairpinning) {
            (Mapping::EndpointIndependent, _) => "",
            (Mapping::AddressDependent, false) => " . ip daddr",
            (Mapping::AddressDependent, true) => " . ct original ip daddr",
            (Mapping::AddressAndPortDependent, false) => " . ip daddr . tcp dport",
            (Mapping::AddressAndPortDependent, true) => " . ct original ip daddr . ct original proto-dst",
        }
    }

    fn key_types(&self) -> &'static str {
        match self.behavior.mapping {
            Mapping::EndpointIndependent => "ipv4_addr . inet_service",
            Mapping::AddressDependent => "ipv4_addr . inet_service . ipv4_addr",
            Mapping::AddressAndPortDependent => "ipv4_addr . inet_service . ipv4_addr . inet_service",
        }
    }

    /// Marks what is about to be given a fresh port, where ports must not be shared.
    pub(super) fn mark_fresh(&self, chain: &mut Chain) {
        if self.taken {
            chain.note("What comes this far gets a fresh port.").rule(format!("meta mark set {FRESH}"));
        }
    }

    /// The chains that learn, after translation.
    pub(super) fn learn(&self) -> Vec<Chain> {
        let mut learn = Chain::base("learn", "filter hook postrouting priority 101");
        let timers = Lifetimes::of(&self.behavior.timeouts);
        let mut standing = Chain::regular("remember_standing");
        let mut opening = Chain::regular("remember_opening");
        self.remember(&mut standing, timers.standing);
        self.remember(&mut opening, timers.opening);
        if standing.is_empty() {
            return Vec::new();
        }
        if self.taken {
            learn
                .note("Overloading: off. A fresh port that somebody has is not used: the SYN is dropped, and its")
                .note("retransmission draws again.")
                .rule(format!("meta mark {FRESH} tcp sport @taken drop"));
        }
        learn
            .note("The header is translated by now. Every packet from inside prolongs its mapping, for as long as")
            .note("connection tracking would: the time of a connection that stands, or that of one that opens or closes.")
            .rule(format!(
                "meta l4proto tcp ct direction original ct status snat ct expiration > {}s goto remember_standing",
                timers.threshold
            ))
            .rule("meta l4proto tcp ct direction original ct status snat goto remember_opening");
        vec![standing, opening, learn]
    }

    /// The rules that remember one packet, for `seconds`.
    fn remember(&self, chain: &mut Chain, seconds: u64) {
        const TCP: &str = "meta l4proto tcp";
        const INSIDE: &str = "ct original ip saddr . ct original proto-src";
        if self.mapping {
            let key = format!("{INSIDE}{}", self.remote_key());
            chain.rule(format!("{TCP} update @mapping {{ {key} timeout {seconds}s : tcp sport }}"));
        }
        if self.owner {
            chain.rule(format!("{TCP} update @owner {{ tcp sport timeout {seconds}s : {INSIDE} }}"));
        }
        if self.taken {
            chain.rule(format!("{TCP} update @taken {{ tcp sport timeout {seconds}s }}"));
        }
        if self.busy {
            chain.rule(format!("{TCP} update @busy {{ {INSIDE} timeout {seconds}s }}"));
        }
        if self.admitted {
            chain.rule(format!("{TCP} update @admitted {{ tcp sport . ip daddr timeout {seconds}s }}"));
        }
    }
}

/// How long sets remember, so that they agree with connection tracking's own timers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lifetimes {
    /// Seconds for a connection that stands.
    pub(super) standing: u64,
    /// Seconds for one that opens or closes.
    pub(super) opening: u64,
    /// An entry that has longer to live than this is one of a connection that stands.
    pub(super) threshold: u64,
}

impl Lifetimes {
    /// The lifetimes for these timers.
    pub(super) fn of(timeouts: &Timeouts) -> Self {
        let timers = timeouts.timers();
        let seconds = |name: &str| {
            let timer = timers.iter().find(|(n, _, _)| *n == name);
            timer.map_or(0, |(_, value, default)| value.unwrap_or(*default).as_secs())
        };
        // Those of a connection that one side has closed may be as long as that of one that stands, which it still is.
        let opening = ["syn_sent", "syn_sent2", "syn_recv", "last_ack", "time_wait", "close"];
        Self {
            standing: seconds("established"),
            opening: seconds("syn_sent"),
            threshold: opening.map(seconds).into_iter().max().unwrap_or(0),
        }
    }
}

/// The declaration of a set or map, with a comment.
pub(super) fn declare(comment: &str, object: DynamicObject, types: &str, flags: &str) -> String {
    let DynamicObject { kind, name, .. } = object;
    format!(
        "    # {comment}\n    {kind} {name} {{\n        type {types}\n        flags {flags}\n        size {SIZE}\n    }}\n"
    )
}
