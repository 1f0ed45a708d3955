//! Which addresses a lab uses. Programs look at them: many punch from or to addresses that they take for public ones only.
//!
//! Nothing leaves the lab's namespaces, so any address will do. Networks of 256 addresses are handed out one after the other.

use std::net::Ipv4Addr;

use crate::model::quantity::digits;
use crate::model::words::words;

/// The ranges of a lab's networks, and the addresses of its rendezvous server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    public: Vec<Block>,
    shared: Vec<Block>,
    private: Vec<Block>,
    rendezvous: [Ipv4Addr; 2],
}

/// Ranges with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AddressSet {
    /// Those of RFC 5737 and RFC 2544, which belong to nobody: what a suite has if it does not say.
    Documentation,
    /// Some that software takes for anybody's in the Internet.
    Public,
    /// 100.64.0.0/10 (RFC 6598) on the outer side of the NATs: what customers of a carrier see of each other.
    Carrier,
}

words!(AddressSet { Documentation => "documentation", Public => "public", Carrier => "carrier" });

/// What a network is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NetworkUse {
    /// No NAT is above it.
    Public,
    /// It is behind a NAT and carries another.
    Shared,
    /// It is behind a NAT.
    Private,
}

/// Networks of 256 addresses in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// The first address of the first.
    first: u32,
    /// How many there are, at least one.
    count: u32,
}

impl Block {
    const fn new([a, b, c]: [u8; 3], count: u32) -> Self {
        Self { first: u32::from_be_bytes([a, b, c, 0]), count }
    }

    /// Reads `192.168.0.0/16`: at most 24 bits, so that at least one network fits.
    ///
    /// # Errors
    /// A sentence that names the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let form = || format!("\"{text}\" is not a range such as \"192.168.0.0/16\"");
        let (address, prefix) = text.split_once('/').ok_or_else(form)?;
        let first = u32::from(address.parse::<Ipv4Addr>().map_err(|_| form())?);
        let prefix: u32 = digits(prefix).ok_or_else(form)?;
        if !(8..=24).contains(&prefix) {
            return Err(format!("\"{text}\": a range has 8 to 24 bits, as each network takes 256 addresses"));
        }
        let block = Self { first, count: 1 << (24 - prefix) };
        if first & (block.size() - 1) != 0 {
            return Err(format!("\"{text}\": bits are set behind the first {prefix}"));
        }
        let unusable = [[0, 0, 0], [127, 0, 0]].map(|start| Self::new(start, 1 << 16));
        let multicast = Self::new([224, 0, 0], 32 << 16);
        match unusable.into_iter().chain([multicast]).any(|other| other.overlaps(block)) {
            true => Err(format!("\"{text}\": hosts cannot have such addresses")),
            false => Ok(block),
        }
    }

    /// In addresses; the largest has 2^29.
    const fn size(self) -> u32 {
        self.count << 8
    }

    fn overlaps(self, other: Self) -> bool {
        let (low, high) = if self.first <= other.first { (self, other) } else { (other, self) };
        high.first - low.first < low.size()
    }

    fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address).checked_sub(self.first).is_some_and(|offset| offset < self.size())
    }
}

/// Where the harness' own server is, whatever a suite wants: TEST-NET-3.
const OWN: Block = Block::new([203, 0, 113], 1);

impl Default for Addresses {
    fn default() -> Self {
        AddressSet::Documentation.into()
    }
}

impl From<AddressSet> for Addresses {
    fn from(set: AddressSet) -> Self {
        let documentation = Self {
            public: vec![
                Block::new([192, 0, 2], 1),
                Block::new([198, 51, 100], 1),
                Block::new([198, 18, 2], 510),
            ],
            shared: vec![Block::new([100, 64, 0], 1 << 12)],
            private: vec![Block::new([10, 0, 0], 1 << 16)],
            rendezvous: [Ipv4Addr::new(203, 0, 113, 1), Ipv4Addr::new(203, 0, 113, 2)],
        };
        match set {
            AddressSet::Documentation => documentation,
            AddressSet::Public => Self {
                public: vec![Block::new([20, 0, 0], 1 << 12)],
                rendezvous: [Ipv4Addr::new(20, 255, 0, 1), Ipv4Addr::new(20, 255, 0, 2)],
                ..documentation
            },
            AddressSet::Carrier => Self {
                public: vec![Block::new([100, 64, 0], 1 << 12)],
                shared: vec![Block::new([100, 80, 0], 1 << 12)],
                ..documentation
            },
        }
    }
}

impl Addresses {
    /// Ranges of your own; where there are none for a use, those of [`AddressSet::Documentation`].
    ///
    /// # Errors
    /// A sentence about ranges that overlap, or a rendezvous server inside one.
    pub fn own(
        [public, shared, private]: [Vec<Block>; 3],
        rendezvous: Option<[Ipv4Addr; 2]>,
    ) -> Result<Self, String> {
        let or = |own: Vec<Block>, default| if own.is_empty() { default } else { own };
        let default = Self::default();
        let own = Self {
            public: or(public, default.public),
            shared: or(shared, default.shared),
            private: or(private, default.private),
            rendezvous: rendezvous.unwrap_or(default.rendezvous),
        };
        let all: Vec<Block> = own.blocks().chain([OWN]).collect();
        for (at, block) in all.iter().enumerate() {
            if let Some(other) = all[..at].iter().find(|other| other.overlaps(*block)) {
                let [one, other] = [block, other].map(|block| Ipv4Addr::from(block.first));
                return Err(format!(
                    "the ranges from {other} and from {one} on overlap (203.0.113.0/24 is testbed's own)"
                ));
            }
        }
        if let Some(inside) = own.rendezvous.iter().find(|at| own.blocks().any(|block| block.contains(**at)))
        {
            return Err(format!("the rendezvous server's {inside} lies in a range of the networks"));
        }
        match own.rendezvous {
            [one, other] if one == other => Err("the rendezvous server needs two addresses".to_owned()),
            _ => Ok(own),
        }
    }

    fn blocks(&self) -> impl Iterator<Item = Block> {
        self.public.iter().chain(&self.shared).chain(&self.private).copied()
    }

    /// The two addresses of the rendezvous server, as programs know them.
    #[must_use]
    pub fn rendezvous(&self) -> [Ipv4Addr; 2] {
        self.rendezvous
    }

    /// The first address of the network of that number, from 0, among those of a use; `None` when there are fewer.
    #[must_use]
    pub fn network(&self, purpose: NetworkUse, number: u32) -> Option<Ipv4Addr> {
        let blocks = match purpose {
            NetworkUse::Public => &self.public,
            NetworkUse::Shared => &self.shared,
            NetworkUse::Private => &self.private,
        };
        let mut left = number;
        for block in blocks {
            if left < block.count {
                return Some(Ipv4Addr::from(block.first + (left << 8)));
            }
            left -= block.count;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(text: &str) -> Block {
        Block::parse(text).expect(text)
    }

    #[test]
    fn networks_are_handed_out_range_by_range() {
        let own = Addresses::own([vec![block("5.6.7.0/24"), block("9.8.0.0/23")], vec![], vec![]], None);
        let own = own.expect("good ranges");
        let public = |number| own.network(NetworkUse::Public, number).map(|address| address.to_string());
        assert_eq!(public(0).as_deref(), Some("5.6.7.0"));
        assert_eq!(public(2).as_deref(), Some("9.8.1.0"));
        assert_eq!(public(3), None);
        assert_eq!(own.network(NetworkUse::Private, 1), Some(Ipv4Addr::new(10, 0, 1, 0)));
    }

    #[test]
    fn bad_ranges_are_refused() {
        for (text, expected) in [
            ("10.0.0.0", "is not a range"),
            ("10.0.0.0/x", "is not a range"),
            ("10.0.0.0/25", "8 to 24 bits"),
            ("10.0.0.1/24", "bits are set"),
            ("127.1.0.0/16", "cannot have such"),
            ("240.0.0.0/8", "cannot have such"),
        ] {
            let why = Block::parse(text).expect_err(text);
            assert!(why.contains(expected), "{why}");
        }
        let ranges = |public: &str, private: &str| [vec![block(public)], vec![], vec![block(private)]];
        for (ranges, rendezvous, expected) in [
            (ranges("10.0.0.0/16", "10.0.0.0/8"), None, "overlap"),
            (ranges("203.0.0.0/16", "10.0.0.0/8"), None, "testbed's own"),
            (ranges("5.0.0.0/16", "10.0.0.0/8"), Some([[5, 0, 1, 1], [6, 0, 0, 1]]), "5.0.1.1 lies in"),
            (ranges("5.0.0.0/16", "10.0.0.0/8"), Some([[6, 0, 0, 1], [6, 0, 0, 1]]), "needs two"),
        ] {
            let why = Addresses::own(ranges, rendezvous.map(|pair| pair.map(Ipv4Addr::from)));
            let why = why.expect_err(expected);
            assert!(why.contains(expected), "{why}");
        }
    }

    #[test]
    fn no_set_overlaps_itself() {
        for set in AddressSet::ALL {
            let Addresses { public, shared, private, rendezvous } = Addresses::from(*set);
            let again = Addresses::own([public, shared, private], Some(rendezvous));
            assert_eq!(again, Ok(Addresses::from(*set)), "{set}");
        }
    }
}
