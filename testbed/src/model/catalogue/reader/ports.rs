//! The key `ports`: a word, a range, a list of ranges, or the numbers of a share of MAP.

use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_spanned::Spanned;

use super::{RawProfile, Reader};
use crate::model::behavior::{Allocation, Pool, PortRange};
use crate::model::plural::counted;
use crate::model::port_set::{MapShare, PortSet};
use crate::model::quantity::digits;
use crate::model::suggestion::nearest;

/// Where a counter or a hash takes its ports from unless told otherwise: few enough to read, clear of ephemeral ports.
const DEFAULT_MAP_RANGE: PortRange = PortRange { low: 20_000, high: 20_999 };

/// The offset of a port-set identifier unless told otherwise (RFC 7597, section 5.1).
const DEFAULT_OFFSET: u32 = 6;

/// The ways in which ports are written.
const FORMS: &str = "known are: \"kernel\", \"LOW-HIGH\" with 1 <= LOW <= HIGH <= 65535, a list of such ranges, and \
                     { psid = P, length = L, offset = O }";

/// Ports as they are written.
#[derive(Debug)]
pub(super) enum RawPorts {
    /// `"kernel"`, or a range.
    Word(String),
    /// Ranges.
    List(Vec<String>),
    /// The numbers that a carrier gives to a subscriber.
    Share(RawShare),
}

/// A share as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawShare {
    psid: u16,
    length: u32,
    #[serde(default = "default_offset")]
    offset: u32,
}

fn default_offset() -> u32 {
    DEFAULT_OFFSET
}

impl<'de> Deserialize<'de> for RawPorts {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(PortsVisitor)
    }
}

/// Takes each of the ways in which ports are written. By hand, so that an unknown key and a wrong type are named.
struct PortsVisitor;

impl<'de> Visitor<'de> for PortsVisitor {
    type Value = RawPorts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"kernel\", a range \"LOW-HIGH\", a list of ranges, or { psid, length, offset }")
    }

    fn visit_str<E>(self, word: &str) -> Result<RawPorts, E> {
        Ok(RawPorts::Word(word.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<RawPorts, A::Error> {
        let mut ranges = Vec::new();
        while let Some(range) = list.next_element()? {
            ranges.push(range);
        }
        Ok(RawPorts::List(ranges))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawPorts, A::Error> {
        RawShare::deserialize(MapAccessDeserializer::new(map)).map(RawPorts::Share)
    }
}

impl Reader<'_> {
    /// The pool of a profile.
    pub(super) fn pool(&mut self, raw: &RawProfile, allocation: Allocation) -> Option<Pool> {
        let by_map = matches!(allocation, Allocation::Sequential { .. } | Allocation::Hash { .. });
        let ports: Option<PortSet> = match &raw.ports {
            None if by_map => Some(DEFAULT_MAP_RANGE.into()),
            None => None,
            Some(written) => match written.get_ref() {
                RawPorts::Word(word) if word == "kernel" => None,
                _ => Some(self.ports(written)?),
            },
        };
        match (ports, ports.map(PortSet::as_range), &raw.block_size) {
            (Some(_), Some(Some(range)), None) => Some(Pool::Range(range)),
            (Some(_), Some(Some(range)), Some(size)) => Some(Pool::Blocks { range, size: *size.get_ref() }),
            (Some(ports), _, None) => Some(Pool::Ranges(ports)),
            (None, _, None) => Some(Pool::Kernel),
            (ports, _, Some(size)) => {
                let with = if ports.is_some() { "several ranges of ports" } else { "ports kernel" };
                let (nat, size, span) = (&self.nat, size.get_ref(), size.span());
                let why = "blocks are cut from one range";
                let what = format!("NAT \"{nat}\": block-size {size} with {with} cannot be: {why}");
                let help = "give one range, such as ports = \"1024-65535\", or leave block-size out";
                self.checker.report_with_help(span, what, help);
                None
            }
        }
    }

    /// The ports that are written, other than the kernel's.
    fn ports(&mut self, written: &Spanned<RawPorts>) -> Option<PortSet> {
        match written.get_ref() {
            RawPorts::Word(word) => Some(self.range(written, word)?.into()),
            RawPorts::List(words) if words.is_empty() => {
                self.checker.report_with_help(written.span(), "unknown ports []", FORMS);
                None
            }
            RawPorts::List(words) => {
                let ranges: Vec<PortRange> =
                    words.iter().map(|word| self.range(written, word)).collect::<Option<_>>()?;
                let ports = PortSet::of(&ranges);
                if ports.is_none() {
                    self.checker.report(written.span(), "two of the ranges of ports have a port in common");
                }
                ports
            }
            RawPorts::Share(share) => self.share(written, share),
        }
    }

    fn range(&mut self, written: &Spanned<RawPorts>, word: &str) -> Option<PortRange> {
        let range = PortRange::parse(word);
        if range.is_none() {
            let help = format!("{}{FORMS}", meant(written.get_ref(), word));
            self.checker.report_with_help(written.span(), format!("unknown ports \"{word}\""), help);
        }
        range
    }

    fn share(&mut self, written: &Spanned<RawPorts>, raw: &RawShare) -> Option<PortSet> {
        let RawShare { psid, length, offset } = *raw;
        let ports = MapShare { psid, length, offset }.ports();
        if ports.is_none() {
            let bits = u64::from(length) + u64::from(offset);
            let what = match bits {
                17.. => format!("a port has 16 bits, and these are {bits}"),
                _ if u32::from(psid) >> length == 0 => {
                    format!(
                        "the only port with PSID {psid} of {} is 0, which nobody can use",
                        counted(length as usize, "bit")
                    )
                }
                _ => format!(
                    "a PSID of {} is at most {}",
                    counted(length as usize, "bit"),
                    (1_u32 << length) - 1
                ),
            };
            self.checker.report(written.span(), what);
        }
        ports
    }
}

/// What was probably meant by a word that is no range, as the begin of a help.
fn meant(written: &RawPorts, word: &str) -> String {
    let ranges: Vec<&str> = word.split(',').map(str::trim).collect();
    let several = ranges.len() > 1 && ranges.iter().all(|range| PortRange::parse(range).is_some());
    if let Some(port) = digits::<u16>(word.trim()).filter(|port| *port > 0) {
        return format!("one port is written \"{port}-{port}\". ");
    }
    let ends = word.split_once('-').map(|(low, high)| [low, high].map(|end| digits::<u16>(end.trim())));
    if let Some([Some(low), Some(high)]) =
        ends.filter(|[low, high]| low > high && high.is_some_and(|high| high > 0))
    {
        return format!("the low end {low} is above the high end {high}. ");
    }
    match (nearest(word, ["kernel"]), written) {
        (Some(kernel), RawPorts::List(_)) => format!("did you mean \"{kernel}\", without a list? "),
        (Some(kernel), _) => format!("did you mean \"{kernel}\"? "),
        (None, _) if several => format!("did you mean {ranges:?}? "),
        (None, _) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::catalogue::Catalogue;

    fn read(ports: &str) -> Result<Pool, String> {
        let text = format!("[nat.x]\nsummary = \"a test\"\n{ports}\nallocation = \"random\"\n");
        let catalogue = Catalogue::parse(&text, "nats.toml").map_err(|why| why.to_string())?;
        Ok(catalogue.get("x").expect("it is there").behavior.pool)
    }

    #[test]
    fn ports_are_a_word_a_range_several_or_a_share() {
        let range = |low, high| PortRange { low, high };
        let several = |ranges: &[PortRange]| Pool::Ranges(PortSet::of(ranges).expect("a good set"));
        let share = MapShare { psid: 52, length: 8, offset: 6 }.ports().expect("a good share");
        for (text, expected) in [
            ("", Pool::Kernel),
            ("ports = \"kernel\"", Pool::Kernel),
            ("ports = \"5-9\"", Pool::Range(range(5, 9))),
            ("ports = [\"5-9\"]", Pool::Range(range(5, 9))),
            ("ports = [\"20-29\", \"5-9\"]", several(&[range(5, 9), range(20, 29)])),
            ("ports = [\"5-9\", \"10-12\"]", Pool::Range(range(5, 12))),
            ("ports = { psid = 52, length = 8 }", Pool::Ranges(share)),
            ("ports = { psid = 3, length = 2, offset = 0 }", Pool::Range(range(49_152, 65_535))),
            ("ports = [\"5-9\"]\nblock-size = 2", Pool::Blocks { range: range(5, 9), size: 2 }),
        ] {
            assert_eq!(read(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn problems_of_ports_name_their_line() {
        let cases = [
            ("ports = [\"5-9\", \"9-12\"]", 3, "two of the ranges of ports have a port in common"),
            ("ports = []", 3, "unknown ports []\n  help: known are: \"kernel\", \"LOW-HIGH\""),
            (
                "ports = [\"kernel\"]",
                3,
                "unknown ports \"kernel\"\n  help: did you mean \"kernel\", without a list? known are: \"kernel\", ",
            ),
            (
                "ports = \"Kernel\"",
                3,
                "unknown ports \"Kernel\"\n  help: did you mean \"kernel\"? known are: ",
            ),
            (
                "ports = \"5-9,20-29\"",
                3,
                "unknown ports \"5-9,20-29\"\n  help: did you mean [\"5-9\", \"20-29\"]? known are: \"kernel\", \"LOW-HIGH\" \
                 with 1 <= LOW <= HIGH <= 65535, a list of such ranges, and { psid = P, length = L, offset = O }",
            ),
            (
                "ports = \"5000\"",
                3,
                "unknown ports \"5000\"\n  help: one port is written \"5000-5000\". known are: \"kernel\", ",
            ),
            (
                "ports = [\"5000-5001\", \"5005\"]",
                3,
                "unknown ports \"5005\"\n  help: one port is written \"5005-5005\". known are: ",
            ),
            (
                "ports = \"10-5\"",
                3,
                "unknown ports \"10-5\"\n  help: the low end 10 is above the high end 5. known are: \"kernel\", ",
            ),
            ("ports = \"0\"", 3, "unknown ports \"0\"\n  help: known are: "),
            ("ports = [\"+5-+9\"]", 3, "unknown ports \"+5-+9\"\n  help: known are: "),
            (
                "ports = 7",
                3,
                "expected \"kernel\", a range \"LOW-HIGH\", a list of ranges, or { psid, length, offset }, found the number 7",
            ),
            ("ports = { psid = 256, length = 8 }", 3, "a PSID of 8 bits is at most 255"),
            ("ports = { psid = 2, length = 1 }", 3, "a PSID of 1 bit is at most 1"),
            ("ports = { psid = 1, length = 8, offset = 9 }", 3, "a port has 16 bits, and these are 17"),
            (
                "ports = { psid = 0, length = 4000000000, offset = 9 }",
                3,
                "a port has 16 bits, and these are 4000000009",
            ),
            (
                "ports = { psid = 0, length = 16, offset = 0 }",
                3,
                "the only port with PSID 0 of 16 bits is 0, which nobody can use",
            ),
            ("ports = { psid = 1, bits = 8 }", 3, "unknown key \"bits\""),
            (
                "ports = [\"5-9\", \"20-29\"]\nblock-size = 2",
                4,
                "NAT \"x\": block-size 2 with several ranges of ports cannot be: blocks are cut from one range\n  help: give one",
            ),
        ];
        for (body, line, expected) in cases {
            let text = read(body).expect_err("bad ports");
            assert!(text.starts_with(&format!("nats.toml:{line}: {expected}")), "{body}: {text}");
        }
    }
}
