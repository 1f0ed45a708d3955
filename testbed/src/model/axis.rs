//! The axes of a NAT by name, and their values as text: the words of the catalogue, the proof's table and the docs.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::model::behavior::{
    Allocation, Behavior, Filtering, Hairpinning, IcmpError, InvalidPackets, Mapping, Overloading, Pool,
    PortRange, Strictness, SynAfterSyn, Timeouts, Translation, UnsolicitedSyn,
};

/// One property of a NAT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is the field of the same name in `Behavior`")]
pub enum NatAxis {
    Translation,
    Mapping,
    Allocation,
    Pool,
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

impl NatAxis {
    /// All axes, in the order in which tables show them.
    pub const ALL: [Self; 13] = [
        Self::Translation,
        Self::Mapping,
        Self::Allocation,
        Self::Pool,
        Self::Filtering,
        Self::UnsolicitedSyn,
        Self::SynAfterSyn,
        Self::InvalidPackets,
        Self::Hairpinning,
        Self::Overloading,
        Self::Strictness,
        Self::Timeouts,
        Self::Quota,
    ];

    /// The name in tables and messages; in the catalogue, blanks are dashes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Translation => "translation",
            Self::Mapping => "mapping",
            Self::Allocation => "allocation",
            Self::Pool => "ports",
            Self::Filtering => "filtering",
            Self::UnsolicitedSyn => "unsolicited SYN",
            Self::SynAfterSyn => "SYN after SYN",
            Self::InvalidPackets => "invalid packets",
            Self::Hairpinning => "hairpinning",
            Self::Overloading => "overloading",
            Self::Strictness => "strictness",
            Self::Timeouts => "timeouts",
            Self::Quota => "quota",
        }
    }
}

impl fmt::Display for NatAxis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Behavior {
    /// The value on an axis, as the catalogue would write it.
    #[must_use]
    pub fn value(&self, axis: NatAxis) -> String {
        match axis {
            NatAxis::Translation => self.translation.to_string(),
            NatAxis::Mapping => self.mapping.to_string(),
            NatAxis::Allocation => self.allocation.to_string(),
            NatAxis::Pool => self.pool.to_string(),
            NatAxis::Filtering => self.filtering.to_string(),
            NatAxis::UnsolicitedSyn => self.unsolicited_syn.to_string(),
            NatAxis::SynAfterSyn => self.syn_after_syn.to_string(),
            NatAxis::InvalidPackets => self.invalid_packets.to_string(),
            NatAxis::Hairpinning => self.hairpinning.to_string(),
            NatAxis::Overloading => self.overloading.to_string(),
            NatAxis::Strictness => self.strictness.to_string(),
            NatAxis::Timeouts => self.timeouts.to_string(),
            NatAxis::Quota => self.quota.map_or_else(|| "none".to_owned(), |n| n.to_string()),
        }
    }

    /// The axes on which two NATs differ.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<NatAxis> {
        NatAxis::ALL.into_iter().filter(|axis| self.value(*axis) != other.value(*axis)).collect()
    }
}

/// Text that is none of the words an axis knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownWord {
    /// The words that would do.
    pub known: Vec<&'static str>,
}

/// Gives an enum its words: `Display`, `FromStr`, `ALL` and `WORDS`.
macro_rules! words {
    ($type:ident { $($variant:expr => $word:literal),+ $(,)? }) => {
        impl $type {
            /// All values, in the order of [`Self::WORDS`].
            pub const ALL: &'static [Self] = &[$($variant),+];
            /// The words for all values.
            pub const WORDS: &'static [&'static str] = &[$($word),+];
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut pairs = Self::ALL.iter().zip(Self::WORDS);
                f.write_str(pairs.find(|(value, _)| *value == self).map_or("", |(_, word)| word))
            }
        }

        impl FromStr for $type {
            type Err = UnknownWord;

            fn from_str(text: &str) -> Result<Self, UnknownWord> {
                let mut pairs = Self::ALL.iter().zip(Self::WORDS);
                let found = pairs.find(|(_, word)| **word == text).map(|(value, _)| *value);
                found.ok_or_else(|| UnknownWord { known: Self::WORDS.to_vec() })
            }
        }
    };
}

words!(Translation {
    Translation::Nat => "nat",
    Translation::Firewall => "firewall",
    Translation::Router => "router",
});

words!(Mapping {
    Mapping::EndpointIndependent => "endpoint-independent",
    Mapping::AddressDependent => "address-dependent",
    Mapping::AddressAndPortDependent => "address-and-port-dependent",
});

words!(Filtering {
    Filtering::EndpointIndependent => "endpoint-independent",
    Filtering::AddressDependent => "address-dependent",
    Filtering::AddressAndPortDependent => "address-and-port-dependent",
});

words!(UnsolicitedSyn {
    UnsolicitedSyn::Drop => "drop",
    UnsolicitedSyn::Reset => "reset",
    UnsolicitedSyn::Icmp(IcmpError::PortUnreachable) => "icmp-port-unreachable",
    UnsolicitedSyn::Icmp(IcmpError::HostUnreachable) => "icmp-host-unreachable",
    UnsolicitedSyn::Icmp(IcmpError::NetUnreachable) => "icmp-net-unreachable",
    UnsolicitedSyn::Icmp(IcmpError::ProtocolUnreachable) => "icmp-protocol-unreachable",
    UnsolicitedSyn::Icmp(IcmpError::NetProhibited) => "icmp-net-prohibited",
    UnsolicitedSyn::Icmp(IcmpError::HostProhibited) => "icmp-host-prohibited",
    UnsolicitedSyn::Icmp(IcmpError::AdminProhibited) => "icmp-admin-prohibited",
    UnsolicitedSyn::Kernel => "kernel",
    UnsolicitedSyn::IcmpAfterSixSeconds => "icmp-after-6s",
});

words!(SynAfterSyn {
    SynAfterSyn::Accept => "accept",
    SynAfterSyn::Drop => "drop",
    SynAfterSyn::Reset => "reset",
});

words!(InvalidPackets {
    InvalidPackets::Drop => "drop",
    InvalidPackets::Leak => "leak",
});

words!(Hairpinning { Hairpinning::Off => "off", Hairpinning::On => "on" });

words!(Overloading { Overloading::Off => "off", Overloading::On => "on" });

words!(Strictness { Strictness::Strict => "strict", Strictness::Liberal => "liberal" });

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
            Self::Blocks { range, size } => write!(f, "{range} in blocks of {size}"),
        }
    }
}

impl FromStr for PortRange {
    type Err = UnknownWord;

    /// Reads `low-high`.
    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let parsed = text.split_once('-').and_then(|(low, high)| {
            let range = Self { low: low.trim().parse().ok()?, high: high.trim().parse().ok()? };
            (range.low >= 1 && range.low <= range.high).then_some(range)
        });
        parsed.ok_or_else(|| UnknownWord { known: vec!["kernel", "LOW-HIGH with 1 <= LOW <= HIGH <= 65535"] })
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
    /// Only the timers that differ from the kernel's default.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let set = self.timers().into_iter().filter_map(|(name, value, default)| {
            let value = value.filter(|v| *v != default)?;
            Some(format!("{name} {} s", value.as_secs()))
        });
        let set: Vec<String> = set.collect();
        f.write_str(if set.is_empty() { "kernel".to_owned() } else { set.join(", ") }.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_reads_back_as_its_value() {
        for value in UnsolicitedSyn::ALL {
            assert_eq!(value.to_string().parse(), Ok(*value));
        }
        for value in Mapping::ALL {
            assert_eq!(value.to_string().parse(), Ok(*value));
        }
        assert_eq!("20000-20999".parse(), Ok(PortRange { low: 20_000, high: 20_999 }));
        for bad in ["", "5", "0-5", "7-6", "1-70000", "a-b"] {
            assert!(bad.parse::<PortRange>().is_err(), "{bad}");
        }
    }

    #[test]
    fn differences_name_the_axes() {
        let one = Behavior::port_preserving();
        let other = Behavior {
            filtering: Filtering::AddressDependent,
            timeouts: Timeouts { close: Some(Duration::from_secs(9)), ..Timeouts::default() },
            ..one
        };
        assert_eq!(one.differences(&other), [NatAxis::Filtering, NatAxis::Timeouts]);
        assert_eq!(other.value(NatAxis::Timeouts), "close 9 s");
    }
}
