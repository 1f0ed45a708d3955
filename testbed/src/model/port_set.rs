//! Sets of ports: one range, or several with gaps between them, such as the share of a subscriber whose carrier runs MAP.
//!
//! A port of a set has a position: the lowest port has 0. Ports of neighbouring positions may lie far apart.

use std::collections::BTreeSet;
use std::fmt;

use parking_lot::Mutex;

use crate::model::plural::counted;
use crate::model::quantity::digits;

/// An inclusive range of ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    /// First port, at least 1.
    pub low: u16,
    /// Last port, at least `low`.
    pub high: u16,
}

impl PortRange {
    /// Reads `LOW-HIGH`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (low, high) = text.split_once('-')?;
        let range = Self { low: digits(low.trim())?, high: digits(high.trim())? };
        (range.low >= 1 && range.low <= range.high).then_some(range)
    }

    /// How many ports the range holds.
    #[must_use]
    pub fn size(self) -> u32 {
        u32::from(self.high) - u32::from(self.low) + 1
    }

    /// Whether `port` lies in the range.
    #[must_use]
    pub fn contains(self, port: u16) -> bool {
        (self.low..=self.high).contains(&port)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.low, self.high)
    }
}

/// The ports of a pool, at least one, in ascending order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PortSet(Ranges);

/// None touches the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Ranges {
    One(PortRange),
    Several(&'static [PortRange]),
}

/// What all sets of several ranges are made of. A behaviour is copied in many places, so that its ports must not own memory; and the
/// same set is kept once, however often a catalogue is read.
static KNOWN: Mutex<BTreeSet<&'static [PortRange]>> = Mutex::new(BTreeSet::new());

impl From<PortRange> for PortSet {
    fn from(range: PortRange) -> Self {
        Self(Ranges::One(range))
    }
}

impl PortSet {
    /// The set of these ranges, in any order; `None` if there are none, or if two of them have a port in common.
    #[must_use]
    pub fn of(ranges: &[PortRange]) -> Option<Self> {
        let mut sorted = ranges.to_vec();
        sorted.sort_unstable();
        let mut joined: Vec<PortRange> = Vec::with_capacity(sorted.len());
        for range in sorted {
            match joined.last_mut() {
                Some(last) if range.low <= last.high => return None,
                Some(last) if range.low - 1 == last.high => last.high = range.high,
                _ => joined.push(range),
            }
        }
        match joined[..] {
            [] => None,
            [one] => Some(one.into()),
            _ => Some(Self(Ranges::Several(kept(joined)))),
        }
    }

    /// Its ranges, in ascending order.
    #[must_use]
    pub fn ranges(&self) -> &[PortRange] {
        match &self.0 {
            Ranges::One(range) => std::slice::from_ref(range),
            Ranges::Several(ranges) => ranges,
        }
    }

    /// The range, if it is one.
    #[must_use]
    pub fn as_range(self) -> Option<PortRange> {
        match self.0 {
            Ranges::One(range) => Some(range),
            Ranges::Several(_) => None,
        }
    }

    /// How many ports it holds.
    #[must_use]
    pub fn size(self) -> u32 {
        self.ranges().iter().map(|range| range.size()).sum()
    }

    /// Its lowest port.
    #[must_use]
    pub fn low(self) -> u16 {
        self.ranges().first().map_or(1, |range| range.low)
    }

    /// Its highest port.
    #[must_use]
    pub fn high(self) -> u16 {
        self.ranges().last().map_or(1, |range| range.high)
    }

    /// Whether `port` is in it.
    #[must_use]
    pub fn contains(self, port: u16) -> bool {
        self.ranges().iter().any(|range| range.contains(port))
    }

    /// The port at a position.
    #[must_use]
    pub fn nth(self, position: u32) -> Option<u16> {
        let mut left = position;
        for range in self.ranges() {
            if left < range.size() {
                return u16::try_from(u32::from(range.low) + left).ok();
            }
            left -= range.size();
        }
        None
    }

    /// The position of a port.
    #[must_use]
    pub fn position(self, port: u16) -> Option<u32> {
        let mut before = 0;
        for range in self.ranges() {
            if range.contains(port) {
                return Some(before + u32::from(port - range.low));
            }
            before += range.size();
        }
        None
    }

    /// All its ports.
    pub fn ports(self) -> impl Iterator<Item = u16> {
        (0..).map_while(move |position| self.nth(position))
    }
}

impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(share) = MapShare::of(*self) {
            return write!(f, "{share}");
        }
        let ranges: Vec<String> = self.ranges().iter().map(ToString::to_string).collect();
        f.write_str(&ranges.join(", "))
    }
}

/// The same ranges, kept for good.
fn kept(ranges: Vec<PortRange>) -> &'static [PortRange] {
    let mut known = KNOWN.lock();
    if let Some(same) = known.get(ranges.as_slice()) {
        return same;
    }
    let ranges: &'static [PortRange] = Box::leak(ranges.into_boxed_slice());
    known.insert(ranges);
    ranges
}

/// The ports of one subscriber who shares an address with others by MAP (RFC 7597, section 5.1): those whose bits after the first
/// `offset` are the port-set identifier (PSID).
///
/// ```text
///   | offset bits | length bits | the rest |
///   |    A > 0    |    PSID     |  0, 1, … |
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapShare {
    /// The identifier.
    pub psid: u16,
    /// Its bits: 2 to the power of this many subscribers share an address.
    pub length: u32,
    /// The bits before it. Where there are any, the ports in which all of them are 0 belong to nobody.
    pub offset: u32,
}

impl MapShare {
    /// Its ports; `None` if a port has fewer bits, or the identifier has more than `length`.
    #[must_use]
    pub fn ports(self) -> Option<PortSet> {
        let Self { psid, length, offset } = self;
        let rest = 16_u32.checked_sub(length.checked_add(offset)?)?;
        if u32::from(psid) >> length != 0 {
            return None;
        }
        let first = u32::from(offset > 0);
        let range = |a: u32| {
            let low = (a << (length + rest)) | (u32::from(psid) << rest);
            let port = |port: u32| u16::try_from(port).ok();
            // Port 0 exists on paper alone.
            Some(PortRange { low: port(low.max(1))?, high: port(low + (1 << rest) - 1)? })
        };
        let ranges: Vec<PortRange> =
            (first..1 << offset).filter_map(range).filter(|range| range.low <= range.high).collect();
        PortSet::of(&ranges)
    }

    /// The share that has just these ports, several ranges of them.
    #[must_use]
    pub fn of(ports: PortSet) -> Option<Self> {
        let ranges = ports.ranges();
        let (first, second) = (ranges.first()?, ranges.get(1)?);
        let (size, period) = (first.size(), u32::from(second.low - first.low));
        let powers = size.is_power_of_two() && period.is_power_of_two();
        let (rest, offset) = (size.trailing_zeros(), 16_u32.checked_sub(period.trailing_zeros())?);
        let length = 16_u32.checked_sub(offset + rest)?;
        let psid = u16::try_from((u32::from(first.low) >> rest) & ((1 << length) - 1)).ok()?;
        let share = Self { psid, length, offset };
        (powers && share.ports() == Some(ports)).then_some(share)
    }
}

impl fmt::Display for MapShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { psid, length, offset } = self;
        write!(f, "PSID {psid} of {} after {offset}", counted(*length as usize, "bit"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ranges: &[(u16, u16)]) -> Option<PortSet> {
        let ranges: Vec<PortRange> =
            ranges.iter().map(|(low, high)| PortRange { low: *low, high: *high }).collect();
        PortSet::of(&ranges)
    }

    #[test]
    fn a_range_is_read() {
        assert_eq!(PortRange::parse("20000 - 20999"), Some(PortRange { low: 20_000, high: 20_999 }));
        for bad in ["", "5", "0-5", "7-6", "1-70000", "a-b", "+5-9", "5-+9", "1-2-3"] {
            assert_eq!(PortRange::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn ranges_are_sorted_and_joined_and_must_not_overlap() {
        let some = set(&[(30, 39), (10, 14), (15, 19)]).expect("a good set");
        assert_eq!(some.ranges(), [PortRange { low: 10, high: 19 }, PortRange { low: 30, high: 39 }]);
        assert_eq!(set(&[(10, 14), (15, 19)]), Some(PortRange { low: 10, high: 19 }.into()));
        assert_eq!(set(&[(10, 20), (20, 30)]), None);
        assert_eq!(set(&[]), None);
        assert_eq!(some, set(&[(10, 19), (30, 39)]).expect("the same"), "the same set is the same value");
    }

    #[test]
    fn positions_and_ports_are_two_names_of_the_same() {
        let some = set(&[(10, 19), (30, 34), (65_530, 65_535)]).expect("a good set");
        assert_eq!((some.size(), some.low(), some.high()), (21, 10, 65_535));
        assert_eq!(some.ports().count(), 21);
        for (position, port) in (0..).zip(some.ports()) {
            assert_eq!((some.nth(position), some.position(port)), (Some(port), Some(position)));
        }
        assert_eq!((some.nth(9), some.nth(10), some.nth(21)), (Some(19), Some(30), None));
        assert_eq!((some.position(20), some.contains(20), some.contains(34)), (None, false, true));
    }

    #[test]
    fn the_share_of_the_rfcs_example_has_its_ports() {
        // RFC 7597, appendix A, example 1, with the identifier that its erratum corrects: 0x34, 8 bits, offset 6.
        let share = MapShare { psid: 0x34, length: 8, offset: 6 };
        let ports = share.ports().expect("a good share");
        assert_eq!(ports.ranges().len(), 63);
        assert_eq!(ports.size(), 252);
        let ends = [0, 1, 61, 62].map(|n| ports.ranges()[n].to_string());
        assert_eq!(ends, ["1232-1235", "2256-2259", "63696-63699", "64720-64723"]);
        assert_eq!(ports.to_string(), "PSID 52 of 8 bits after 6");
        let half = MapShare { psid: 1, length: 1, offset: 6 }.ports().expect("a good share");
        assert_eq!(half.to_string(), "PSID 1 of 1 bit after 6");
    }

    #[test]
    fn the_shares_of_all_subscribers_are_all_ports_but_the_first() {
        for (length, offset) in [(8, 4), (6, 6), (2, 1), (0, 0), (4, 12), (16, 0)] {
            let shares = (0..1_u32 << length).filter_map(|psid| {
                MapShare { psid: u16::try_from(psid).expect("16 bits"), length, offset }.ports()
            });
            let mut all: Vec<u16> = shares.flat_map(PortSet::ports).collect();
            all.sort_unstable();
            let first = if offset == 0 { 1 } else { 1 << (16 - offset) };
            assert_eq!(all, (first..=u16::MAX).collect::<Vec<_>>(), "{length} bits after {offset}");
        }
    }

    #[test]
    fn a_share_has_as_many_bits_as_a_port() {
        assert_eq!(MapShare { psid: 1, length: 9, offset: 8 }.ports(), None);
        assert_eq!(MapShare { psid: 256, length: 8, offset: 4 }.ports(), None);
        let one = MapShare { psid: 3, length: 2, offset: 0 }.ports().expect("a good share");
        assert_eq!(one.as_range(), Some(PortRange { low: 49_152, high: 65_535 }));
    }

    #[test]
    fn other_sets_are_written_out() {
        let ports = MapShare { psid: 73, length: 8, offset: 4 }.ports().expect("a good share");
        let without = PortSet::of(&ports.ranges()[1..]).expect("some are left");
        assert!(without.to_string().starts_with("9360-9375, 13456-13471, "), "{without}");
        assert_eq!(set(&[(10, 19), (30, 39)]).expect("a good set").to_string(), "10-19, 30-39");
    }
}
