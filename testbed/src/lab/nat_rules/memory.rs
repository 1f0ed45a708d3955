//! What a NAT has to remember beyond what connection tracking does, and the rules that learn it.
//!
//! Connection tracking alone makes a NAT whose filtering is address-and-port-dependent and whose mapping is
//! endpoint-independent when it preserves ports, and per connection otherwise. Everything else is learnt: the kernel
//! (or a rule) picks a port at priority srcnat (100), and one step later, at 101, the translated header is read.

use crate::model::behavior::{
    Allocation, Behavior, Collision, Filtering, Hairpinning, Mapping, Overloading, Timeouts,
};

use super::protocol::Protocol;
use super::text::Chain;

/// The most that each set or map may hold: more than the proof draws at a time. The kernel makes room for all of them at once:
/// 0.25 MB that has to be zeroed, and 1 MB for 65,535. A cell whose budget may need more is refused before it runs.
pub(super) const SIZE: u32 = 24_576;

/// The same for UDP, by which programs ask a few servers.
const SIZE_UDP: u32 = 1_024;

/// Pools up to this size are drawn from by a map where ports must not be shared, so that a port that is taken can be
/// drawn again at once.
const DRAWN_BY_MAP: u32 = 4_096;

/// How long sets remember a UDP mapping that nobody uses, in seconds: the least of RFC 4787 REQ-5, and what connection tracking
/// gives a flow with answers.
pub(super) const UDP_LIFETIME_S: u64 = 120;

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
    /// Whose ports.
    l4: Protocol,
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
    /// Whether there are several external addresses, so that a port alone names no external endpoint.
    pub(super) several: bool,
    /// Whether a random port that is taken can be drawn again at once; nothing to remember, but of the same kind.
    pub(super) redraws: bool,
}

impl Memory {
    /// What a NAT that behaves so has to remember.
    pub(super) fn of(behavior: &Behavior, l4: Protocol) -> Self {
        let exclusive = match behavior.overloading {
            Overloading::Off => true,
            Overloading::On => false,
        };
        let preserving = behavior.allocation == Allocation::Preserving;
        let hash = matches!(behavior.allocation, Allocation::Hash { .. });
        let counted = behavior.quota.is_some();
        // Where any address will do, nothing else would know which one a mapping has.
        let arbitrary = behavior.addresses.are_arbitrary();
        let small = || behavior.pool.parts().iter().flatten().any(|range| range.size() <= DRAWN_BY_MAP);
        let redraws = exclusive && (behavior.collision == Collision::Sequential || small());
        let mapping = match behavior.mapping {
            Mapping::EndpointIndependent => exclusive || counted || arbitrary || !(preserving || hash),
            Mapping::AddressDependent => exclusive || counted || arbitrary || !hash,
            // A connection that is tried again from the same endpoints keeps its port, as it would by a hash.
            Mapping::AddressAndPortDependent => preserving || (hash && exclusive),
        };
        Self {
            behavior: *behavior,
            l4,
            mapping,
            owner: behavior.filtering != Filtering::AddressAndPortDependent || turns_round(behavior),
            taken: exclusive,
            // Else the kernel would give the endpoint the port that its first mapping has. At another address nobody has it yet.
            busy: preserving && behavior.mapping != Mapping::EndpointIndependent && (arbitrary || !redraws),
            admitted: behavior.filtering == Filtering::AddressDependent,
            holders: counted,
            several: behavior.addresses.count > 1,
            redraws,
        }
    }

    /// The named objects, in the order in which they are written.
    pub(super) fn objects(&self) -> Vec<DynamicObject> {
        let all = [
            (self.mapping, "map", "mapping", "mapping_udp"),
            (self.owner, "map", "owner", "owner_udp"),
            (self.taken, "set", "taken", "taken_udp"),
            (self.busy, "set", "busy", "busy_udp"),
            (self.admitted, "set", "admitted", "admitted_udp"),
            (self.holders, "set", "holders", "holders_udp"),
        ];
        let object = |(_, kind, tcp, udp)| DynamicObject::new(kind, self.l4.pick(tcp, udp));
        all.into_iter().filter(|(wanted, ..)| *wanted).map(object).collect()
    }

    /// The declarations of the named objects.
    pub(super) fn declarations(&self) -> Vec<String> {
        self.objects().into_iter().map(|object| self.declaration(object)).collect()
    }

    fn declaration(&self, object: DynamicObject) -> String {
        let external = if self.several { "ipv4_addr . inet_service" } else { "inet_service" };
        let mapping = format!("{} : {external}", self.key_types());
        let owner = format!("{external} : ipv4_addr . inet_service");
        let admitted = format!("{external} . ipv4_addr");
        let (endpoint, endpoints) = if self.several {
            ("external endpoint", "External endpoints")
        } else {
            ("external port", "External ports")
        };
        let name = object.name.strip_suffix(self.l4.suffix()).unwrap_or(object.name);
        let (comment, types, flags) = match name {
            "mapping" => (format!("The {endpoint} of a mapping."), mapping.as_str(), "dynamic,timeout"),
            "owner" => (
                format!("The inside endpoint that an {endpoint} belongs to."),
                owner.as_str(),
                "dynamic,timeout",
            ),
            "taken" => (format!("{endpoints} that somebody has."), external, "dynamic,timeout"),
            "busy" => (
                "Inside endpoints whose own port serves one of their mappings already.".to_owned(),
                "ipv4_addr . inet_service",
                "dynamic,timeout",
            ),
            "admitted" => (
                format!("{endpoints}, and the remote addresses that were sent to from them."),
                admitted.as_str(),
                "dynamic,timeout",
            ),
            _ => ("Inside hosts, and how many mappings each has.".to_owned(), "ipv4_addr", "dynamic"),
        };
        let comment = format!("{comment}{}", self.l4.pick("", " UDP."));
        declare(&comment, object, types, flags)
    }

    /// What names an external endpoint in a packet that is translated.
    pub(super) fn external(&self) -> &'static str {
        match (self.several, self.l4) {
            (false, Protocol::Tcp) => "tcp sport",
            (false, Protocol::Udp) => "udp sport",
            (true, Protocol::Tcp) => "ip saddr . tcp sport",
            (true, Protocol::Udp) => "ip saddr . udp sport",
        }
    }

    /// The inside address once the packet may have another.
    pub(super) fn inside_address(&self) -> &'static str {
        if self.several { "ct original ip saddr" } else { "ip saddr" }
    }

    /// The key of `mapping` while the packet is still as it came from inside.
    pub(super) fn key(&self) -> String {
        format!("ip saddr . {} sport{}", self.l4, self.remote_key())
    }

    /// The part of the key that names the remote endpoint. A hairpinned packet's destination has been rewritten
    /// already, so the original one is asked for where packets may be hairpinned.
    pub(super) fn remote_key(&self) -> &'static str {
        let hairpinning = turns_round(&self.behavior);
        match (self.behavior.mapping, hairpinning) {
            (Mapping::EndpointIndependent, _) => "",
            (Mapping::AddressDependent, false) => " . ip daddr",
            (Mapping::AddressDependent, true) => " . ct original ip daddr",
            (Mapping::AddressAndPortDependent, false) => {
                self.l4.pick(" . ip daddr . tcp dport", " . ip daddr . udp dport")
            }
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

    /// The chains that learn after translation, of which the last is the one that packets enter.
    pub(super) fn learn(&self) -> Vec<Chain> {
        let mut learn =
            Chain::base(self.l4.pick("learn", "learn_udp"), "filter hook postrouting priority 101");
        let remembers = match self.l4 {
            Protocol::Tcp => self.remember_tcp(),
            Protocol::Udp => self.remember_udp(),
        };
        if remembers.chains.iter().all(Chain::is_empty) {
            return Vec::new();
        }
        let l4 = self.l4;
        if self.taken {
            learn
                .note(format!("Overloading: off. A fresh port that somebody has is not used: the {} is dropped, and its", l4.pick("SYN", "packet")))
                .note("retransmission draws again.")
                .rule(format!("{}meta mark {FRESH} {} @{} drop", l4.pick("", "meta l4proto udp "), self.external(), l4.pick("taken", "taken_udp")));
        }
        learn.append(&remembers.enter);
        remembers.chains.into_iter().chain([learn]).collect()
    }

    fn remember_tcp(&self) -> Remembers {
        let timers = Lifetimes::of(&self.behavior.timeouts);
        let mut standing = Chain::regular("remember_standing");
        let mut opening = Chain::regular("remember_opening");
        self.remember(&mut standing, timers.standing);
        self.remember(&mut opening, timers.opening);
        let mut enter = Chain::regular("");
        enter
            .note("The header is translated by now. Every packet from inside prolongs its mapping, for as long as")
            .note("connection tracking would: the time of a connection that stands, or that of one that opens or closes.")
            .rule(format!(
                "meta l4proto tcp ct direction original ct status snat ct expiration > {}s goto remember_standing",
                timers.threshold
            ))
            .rule("meta l4proto tcp ct direction original ct status snat goto remember_opening");
        Remembers { chains: vec![standing, opening], enter }
    }

    fn remember_udp(&self) -> Remembers {
        let mut chain = Chain::regular("remember_udp");
        self.remember(&mut chain, UDP_LIFETIME_S);
        let mut enter = Chain::regular("");
        enter
            .note("Every packet from inside prolongs its mapping.")
            .rule("meta l4proto udp ct direction original ct status snat goto remember_udp");
        Remembers { chains: vec![chain], enter }
    }

    /// The rules that remember one packet, for `seconds`.
    fn remember(&self, chain: &mut Chain, seconds: u64) {
        const INSIDE: &str = "ct original ip saddr . ct original proto-src";
        let (l4, end) = (self.l4, self.l4.suffix());
        let when = format!("meta l4proto {l4}");
        let external = self.external();
        if self.mapping {
            let key = format!("{INSIDE}{}", self.remote_key());
            chain.rule(format!("{when} update @mapping{end} {{ {key} timeout {seconds}s : {external} }}"));
        }
        if self.owner {
            chain.rule(format!("{when} update @owner{end} {{ {external} timeout {seconds}s : {INSIDE} }}"));
        }
        if self.taken {
            chain.rule(format!("{when} update @taken{end} {{ {external} timeout {seconds}s }}"));
        }
        if self.busy {
            chain.rule(format!("{when} update @busy{end} {{ {INSIDE} timeout {seconds}s }}"));
        }
        if self.admitted {
            chain
                .rule(format!("{when} update @admitted{end} {{ {external} . ip daddr timeout {seconds}s }}"));
        }
    }
}

/// The chains that remember a packet, and the rules that lead to them.
struct Remembers {
    chains: Vec<Chain>,
    enter: Chain,
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
    let size = if name.ends_with(Protocol::Udp.suffix()) { SIZE_UDP } else { SIZE };
    format!(
        "    # {comment}\n    {kind} {name} {{\n        type {types}\n        flags {flags}\n        size {size}\n    }}\n"
    )
}
