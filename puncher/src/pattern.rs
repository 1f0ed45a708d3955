//! Ports that have a run of bits in common: what a NAT hands out that has only a share of its address (MAP-E and MAP-T, RFC 7597,
//! section 5.1), and a counter whose bytes are swapped. Pure arithmetic.

use std::collections::BTreeSet;

/// All ports that have these bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pattern {
    /// Bits below the run.
    below: u32,
    /// Bits of the run.
    bits: u32,
    /// Their value, as a number of its own.
    value: u32,
}

/// The bits of a port.
const BITS: u32 = 16;

/// This many coincidences of two bits are none: random ports show them in one of the twelve places of a run once in a million times.
const NO_CHANCE: u32 = 24;

/// How many numbers a run of bits has.
const fn numbers(bits: u32) -> u32 {
    1 << bits
}

impl Pattern {
    /// The longest run of bits that these ports have in common, if that cannot be chance.
    #[must_use]
    pub(crate) fn of(ports: impl Iterator<Item = u16>) -> Option<Self> {
        let ports: BTreeSet<u32> = ports.map(u32::from).collect();
        let first = *ports.first()?;
        let differ = ports.iter().fold(0, |differ, port| differ | (port ^ first));
        let same = |bit: u32| differ >> bit & 1 == 0;
        let run = |below: u32| (below..BITS).take_while(|bit| same(*bit)).count();
        let (bits, below) =
            (0..BITS).map(|below| (run(below) as u32, below)).max_by_key(|(bits, _)| *bits)?;
        let others = ports.len() as u32 - 1;
        let value = first >> below & (numbers(bits) - 1);
        (bits < BITS && bits * others >= NO_CHANCE).then_some(Self { below, bits, value })
    }

    /// The bits above the run.
    fn above(self) -> u32 {
        BITS - self.bits - self.below
    }

    /// How many ports have the pattern. Those whose bits above it are all 0 do not count: they are nobody's.
    #[must_use]
    pub(crate) fn size(self) -> u32 {
        self.tops() * numbers(self.below)
    }

    /// What the bits above the run can be.
    fn tops(self) -> u32 {
        if self.above() == 0 { 1 } else { numbers(self.above()) - 1 }
    }

    /// The port-set identifier, its length, and the number of bits before it (RFC 7597, section 5.1).
    #[must_use]
    pub(crate) fn share(self) -> (u16, u8, u8) {
        (self.value as u16, self.bits as u8, self.above() as u8)
    }

    /// The port of a number below [`Self::size`].
    #[must_use]
    pub(crate) fn nth(self, number: u32) -> u16 {
        let first = u32::from(self.above() > 0);
        let top = first + number / numbers(self.below) % self.tops();
        let port =
            top << (self.bits + self.below) | self.value << self.below | (number % numbers(self.below));
        u16::try_from(port).unwrap_or(u16::MAX)
    }

    /// How many bits at the ends of the run a port does not have: its bits beside the run of the NAT may have been alike by chance.
    /// Ports that are nobody's come after all others.
    #[must_use]
    pub(crate) fn misfit(self, port: u16) -> u32 {
        let port = u32::from(port);
        if self.above() > 0 && port >> (self.bits + self.below) == 0 {
            return BITS;
        }
        let differ = (port >> self.below ^ self.value) & (numbers(self.bits) - 1);
        // So many bits are given up at the lower end, and at the upper end all from the lowest that still differs.
        let given_up = |lower: u32| match differ >> lower {
            0 => lower,
            left => lower + self.bits - lower - left.trailing_zeros(),
        };
        (0..=self.bits).map(given_up).min().unwrap_or(self.bits)
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// PSID 73 of 8 bits, after 4.
    const SHARE: [u16; 6] = [5_264, 62_623, 9_370, 46_229, 21_656, 33_950];

    #[test]
    fn the_identifier_of_a_share_is_seen() {
        assert!(SHARE.iter().all(|port| port >> 4 & 0xff == 73));
        let pattern = Pattern::of(SHARE.into_iter()).expect("a pattern");
        assert_eq!(pattern, Pattern { below: 4, bits: 8, value: 73 });
        assert_eq!(pattern.size(), 240);
        let all: BTreeSet<u16> = (0..240).map(|number| pattern.nth(number)).collect();
        assert_eq!((all.len(), all.first(), all.last()), (240, Some(&5_264), Some(&62_623)));
        assert!(all.iter().all(|port| pattern.misfit(*port) == 0));
        assert_eq!(Pattern::of(SHARE.into_iter().take(3)), None, "two of three bits may be alike by chance");
        assert_eq!(Pattern::of([5_264; 9].into_iter()), None, "one port is no pattern");
    }

    #[test]
    fn a_port_that_lacks_bits_at_the_ends_is_a_little_less_likely() {
        let pattern = Pattern { below: 4, bits: 8, value: 0b0100_1001 };
        let port = |run: u16| 1 << 12 | run << 4 | 5;
        for (run, misfit) in [
            (0b0100_1001, 0),
            (0b0100_1000, 1),
            (0b1100_1001, 1),
            (0b0100_1011, 2),
            (0b0000_1001, 2),
            (0b1100_1000, 2),
            (0b0101_1001, 4),
        ] {
            assert_eq!(pattern.misfit(port(run)), misfit, "{run:b}");
        }
        assert_eq!(pattern.misfit(0b0100_1001 << 4), BITS, "nobody has these");
    }

    #[test]
    fn random_ports_have_no_pattern() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let found = (0..200_000)
            .filter(|_| Pattern::of((0..6).map(|_| 1024 + rng.random::<u16>() % 64_512)).is_some());
        // Once in two million.
        assert!(found.count() <= 3);
    }

    #[test]
    fn low_bits_that_stay_are_a_pattern_as_well() {
        let pattern = Pattern::of((3..9).map(|n| n * 256 * 7 + 4)).expect("a pattern");
        assert_eq!((pattern.below, pattern.value & 0xff), (0, 4));
    }
}
