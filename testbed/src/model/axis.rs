//! The axes of a NAT by name, and their values as text: the words of the catalogue, the proof's table and the docs.

use std::fmt;
use std::time::Duration;

use crate::model::behavior::{
    Allocation, Behavior, Collision, ExternalAddresses, Filtering, Hairpinning, IcmpError, InvalidPackets,
    Mapping, Overloading, Pool, Pooling, Strictness, SynAfterSyn, Timeouts, Translation, UnsolicitedSyn,
};
use crate::model::words::words;

/// One property of a NAT. Its name is the key that has its value in a file of NATs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is the field of the same name in `Behavior`")]
pub enum NatAxis {
    Translation,
    Mapping,
    Allocation,
    Collision,
    Pool,
    Addresses,
    Filtering,
    UnsolicitedSyn,
    SynAfterSyn,
    InvalidPackets,
    Hairpinning,
    Overloading,
    Strictness,
    Timeouts,
    Quota,
}

words!(NatAxis {
    Translation => "translation",
    Mapping => "mapping",
    Allocation => "allocation",
    Collision => "collision",
    Pool => "ports",
    Addresses => "addresses",
    Filtering => "filtering",
    UnsolicitedSyn => "unsolicited-syn",
    SynAfterSyn => "syn-after-syn",
    InvalidPackets => "invalid-packets",
    Hairpinning => "hairpinning",
    Overloading => "overloading",
    Strictness => "strictness",
    Timeouts => "timeouts",
    Quota => "quota",
});

impl Behavior {
    /// The same with another value on an axis whose values are single words; `None` if it has no such value.
    #[must_use]
    pub fn with_word(mut self, axis: NatAxis, word: &str) -> Option<Self> {
        match axis {
            NatAxis::Translation => self.translation = word.parse().ok()?,
            NatAxis::Mapping => self.mapping = word.parse().ok()?,
            NatAxis::Collision => self.collision = word.parse().ok()?,
            NatAxis::Filtering => self.filtering = word.parse().ok()?,
            NatAxis::UnsolicitedSyn => self.unsolicited_syn = word.parse().ok()?,
            NatAxis::SynAfterSyn => self.syn_after_syn = word.parse().ok()?,
            NatAxis::InvalidPackets => self.invalid_packets = word.parse().ok()?,
            NatAxis::Hairpinning => self.hairpinning = word.parse().ok()?,
            NatAxis::Overloading => self.overloading = word.parse().ok()?,
            NatAxis::Strictness => self.strictness = word.parse().ok()?,
            NatAxis::Allocation | NatAxis::Pool | NatAxis::Addresses | NatAxis::Timeouts | NatAxis::Quota => {
                return None;
            }
        }
        Some(self)
    }

    /// The value on an axis, as the catalogue would write it.
    #[must_use]
    #[deny(unused_variables, reason = "every field is the value of an axis")]
    pub fn value(&self, axis: NatAxis) -> String {
        let Self {
            translation,
            mapping,
            allocation,
            collision,
            pool,
            addresses,
            filtering,
            unsolicited_syn,
            syn_after_syn,
            invalid_packets,
            hairpinning,
            overloading,
            strictness,
            timeouts,
            quota,
        } = self;
        match axis {
            NatAxis::Translation => translation.to_string(),
            NatAxis::Mapping => mapping.to_string(),
            NatAxis::Allocation => allocation.to_string(),
            NatAxis::Collision => collision.to_string(),
            NatAxis::Pool => pool.to_string(),
            NatAxis::Addresses => addresses.to_string(),
            NatAxis::Filtering => filtering.to_string(),
            NatAxis::UnsolicitedSyn => unsolicited_syn.to_string(),
            NatAxis::SynAfterSyn => syn_after_syn.to_string(),
            NatAxis::InvalidPackets => invalid_packets.to_string(),
            NatAxis::Hairpinning => hairpinning.to_string(),
            NatAxis::Overloading => overloading.to_string(),
            NatAxis::Strictness => strictness.to_string(),
            NatAxis::Timeouts => timeouts.to_string(),
            NatAxis::Quota => quota.map_or_else(|| "none".to_owned(), |n| n.to_string()),
        }
    }
}

words!(Translation {
    Nat => "nat",
    Firewall => "firewall",
    Router => "router",
});

words!(Mapping {
    EndpointIndependent => "endpoint-independent",
    AddressDependent => "address-dependent",
    AddressAndPortDependent => "address-and-port-dependent",
});

words!(Collision { Random => "random", Sequential => "sequential" });

words!(Pooling { Paired => "paired", Arbitrary => "arbitrary" });

words!(Filtering {
    EndpointIndependent => "endpoint-independent",
    AddressDependent => "address-dependent",
    AddressAndPortDependent => "address-and-port-dependent",
});

words!(UnsolicitedSyn {
    Drop => "drop",
    Reset => "reset",
    Icmp(IcmpError::PortUnreachable) => "icmp-port-unreachable",
    Icmp(IcmpError::HostUnreachable) => "icmp-host-unreachable",
    Icmp(IcmpError::NetUnreachable) => "icmp-net-unreachable",
    Icmp(IcmpError::ProtocolUnreachable) => "icmp-protocol-unreachable",
    Icmp(IcmpError::NetProhibited) => "icmp-net-prohibited",
    Icmp(IcmpError::HostProhibited) => "icmp-host-prohibited",
    Icmp(IcmpError::AdminProhibited) => "icmp-admin-prohibited",
    Kernel => "kernel",
    IcmpAfterSixSeconds => "icmp-after-6s",
});

words!(SynAfterSyn {
    Accept => "accept",
    Drop => "drop",
    Reset => "reset",
});

words!(InvalidPackets {
    Drop => "drop",
    Leak => "leak",
});

words!(Hairpinning { Off => "off", On => "on" });

words!(Overloading { Off => "off", On => "on" });

words!(Strictness { Strict => "strict", Liberal => "liberal" });

impl Allocation {
    /// The words for all kinds; steps and seeds are keys of their own in the catalogue.
    pub const WORDS: &'static [&'static str] = &["preserving", "sequential", "random", "hash"];
}

impl fmt::Display for Allocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Preserving => f.write_str("preserving"),
            Self::Sequential { step } => write!(f, "sequential {step:+}"),
            Self::Random => f.write_str("random"),
            Self::Hash { seed } => write!(f, "hash, seed {seed:#x}"),
        }
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kernel => f.write_str("kernel"),
            Self::Range(range) => write!(f, "{range}"),
            Self::Ranges(ports) => write!(f, "{ports}"),
            Self::Blocks { range, size } => write!(f, "{range} in blocks of {size}"),
        }
    }
}

impl fmt::Display for ExternalAddresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count {
            1 => f.write_str("1"),
            count => write!(f, "{count}, {}", self.pooling),
        }
    }
}

impl Timeouts {
    /// The name of each timer, the kernel's own, with its value and the kernel's default.
    #[must_use]
    pub fn timers(&self) -> [(&'static str, Option<Duration>, Duration); 11] {
        let seconds = Duration::from_secs;
        [
            ("syn_sent", self.syn_sent, seconds(120)),
            ("syn_sent2", self.syn_sent2, seconds(120)),
            ("syn_recv", self.syn_recv, seconds(60)),
            ("established", self.established, seconds(432_000)),
            ("fin_wait", self.fin_wait, seconds(120)),
            ("close_wait", self.close_wait, seconds(60)),
            ("last_ack", self.last_ack, seconds(30)),
            ("time_wait", self.time_wait, seconds(120)),
            ("close", self.close, seconds(10)),
            ("unacknowledged", self.unacknowledged, seconds(300)),
            ("max_retrans", self.max_retrans, seconds(300)),
        ]
    }
}

impl fmt::Display for Timeouts {
    /// Only the timers that differ from the kernel's default, the absolute timeout, and when all is forgotten.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = self.timers().into_iter().filter_map(|(name, value, default)| {
            let value = value.filter(|v| *v != default)?;
            Some(format!("{name} {} s", value.as_secs_f64()))
        });
        let absolute = self.absolute.map(|value| format!("absolute {} s", value.as_secs_f64()));
        let flushes = self.flush_every.map(|value| format!("flush-every {} s", value.as_secs_f64()));
        let set: Vec<String> = set.chain(absolute).chain(flushes).collect();
        f.write_str(if set.is_empty() { "kernel".to_owned() } else { set.join(", ") }.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_told_in_words() {
        let timeouts = Timeouts { close: Some(Duration::from_secs(9)), ..Timeouts::default() };
        let behavior = Behavior { timeouts, ..Behavior::port_preserving() };
        assert_eq!(behavior.value(NatAxis::Timeouts), "close 9 s");
        let part = Timeouts { close: Some(Duration::from_millis(1_500)), ..Timeouts::default() };
        assert_eq!(part.to_string(), "close 1.5 s");
        let timeouts = Timeouts { absolute: Some(Duration::from_secs(60)), ..timeouts };
        assert_eq!(timeouts.to_string(), "close 9 s, absolute 60 s");
        let timeouts = Timeouts { flush_every: Some(Duration::from_secs(10)), ..timeouts };
        assert_eq!(timeouts.to_string(), "close 9 s, absolute 60 s, flush-every 10 s");
    }
}
