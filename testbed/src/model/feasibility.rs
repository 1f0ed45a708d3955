//! Which behaviours can exist together: what no NAT could do, and what this lab's rules cannot build, with the reason.

use std::fmt;
use std::time::Duration;

use crate::model::axis::NatAxis;
use crate::model::behavior::{
    Allocation, Behavior, Collision, ExternalAddresses, Filtering, Hairpinning, InvalidPackets, Mapping,
    Overloading, Pool, PortRange, SynAfterSyn, Translation, UnsolicitedSyn,
};
use crate::model::port_set::PortSet;

/// The most ports that a pool written as an nft map may hold: beyond it, a ruleset takes longer to load than a lab to
/// build, and the batch no longer fits the socket buffer of an unprivileged process.
pub const LARGEST_MAP: u32 = 16_384;

/// The most ranges that a pool may have which the kernel draws from: each takes a rule.
pub const MOST_RANGES: usize = 1_024;

/// The fewest ports through which a counter is told from chance, where only ports that collide are counted.
pub const SMALLEST_COUNTED: u32 = 64;

/// The most external addresses that a NAT may have: the proof has enough hosts to see each of them.
pub const MOST_ADDRESSES: u8 = 8;

/// A combination that cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Impossible {
    /// The axes that do not go together, the first to blame.
    pub axes: Vec<NatAxis>,
    /// Why, as the end of a sentence.
    pub why: String,
    /// Each axis with its value.
    values: Vec<String>,
}

impl fmt::Display for Impossible {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs = self.axes.iter().zip(&self.values).map(|(axis, value)| format!("{axis} {value}"));
        write!(f, "{} cannot be: {}", pairs.collect::<Vec<_>>().join(" with "), self.why)
    }
}

impl std::error::Error for Impossible {}

impl Behavior {
    /// Whether such a NAT can exist and be built.
    ///
    /// # Errors
    /// The first combination that cannot be.
    pub fn check(&self) -> Result<(), Impossible> {
        self.check_numbers()?;
        match self.translation {
            Translation::Nat => self.check_nat(),
            Translation::Firewall => {
                self.check_untranslated("a firewall translates nothing").and_then(|()| {
                    if self.unsolicited_syn == UnsolicitedSyn::Kernel {
                        let why = "without a rule a router forwards the SYN, and is no firewall";
                        return Err(self.impossible(&[NatAxis::UnsolicitedSyn, NatAxis::Translation], why));
                    }
                    Ok(())
                })
            }
            Translation::Router => {
                self.check_untranslated("a router translates nothing")?;
                self.check_router()
            }
        }
    }

    /// A plain router, or a host with a public address: everything passes both ways.
    #[must_use]
    pub fn router() -> Self {
        Self {
            translation: Translation::Router,
            filtering: Filtering::EndpointIndependent,
            unsolicited_syn: UnsolicitedSyn::Kernel,
            invalid_packets: InvalidPackets::Leak,
            overloading: Overloading::Off,
            ..Self::port_preserving()
        }
    }

    /// A stateful firewall with public addresses behind it: replies pass, unsolicited SYNs vanish.
    #[must_use]
    pub fn firewall() -> Self {
        Self { translation: Translation::Firewall, overloading: Overloading::Off, ..Self::port_preserving() }
    }

    fn impossible(&self, axes: &[NatAxis], why: &str) -> Impossible {
        let value = |axis: &NatAxis| match axis {
            // It is never the pooling that cannot be, and most write none.
            NatAxis::Addresses => self.addresses.count.to_string(),
            axis => self.value(*axis),
        };
        let values = axes.iter().map(value).collect();
        Impossible { axes: axes.to_vec(), why: why.to_owned(), values }
    }

    fn check_numbers(&self) -> Result<(), Impossible> {
        if !(1..=MOST_ADDRESSES).contains(&self.addresses.count) {
            let why = format!("a NAT has from 1 to {MOST_ADDRESSES} external addresses");
            return Err(self.impossible(&[NatAxis::Addresses], &why));
        }
        if self.quota == Some(0) {
            let why = "a host without a single mapping reaches nobody";
            return Err(self.impossible(&[NatAxis::Quota], why));
        }
        let whole = |d: Duration| d.subsec_nanos() == 0 && d.as_secs() >= 1 && d.as_secs() <= 2_000_000;
        let timers = self.timeouts.timers().map(|(_, value, _)| value);
        if !timers.iter().all(|value| value.is_none_or(whole)) {
            let why = "the kernel counts timeouts in whole seconds, from 1 to 2,000,000";
            return Err(self.impossible(&[NatAxis::Timeouts], why));
        }
        let of_testbed = [self.timeouts.absolute, self.timeouts.flush_every];
        if !of_testbed.iter().all(|value| value.is_none_or(whole)) {
            let why = "testbed times absolute and flush-every in whole seconds, from 1 to 2,000,000";
            return Err(self.impossible(&[NatAxis::Timeouts], why));
        }
        Ok(())
    }

    /// What translates no address has none of the axes of ports; what else it has, its own kind decides.
    fn check_untranslated(&self, why: &str) -> Result<(), Impossible> {
        let plain = Self::port_preserving();
        let Self {
            mapping,
            allocation,
            collision,
            pool,
            addresses,
            hairpinning,
            overloading,
            translation: _,
            filtering: _,
            unsolicited_syn: _,
            syn_after_syn: _,
            invalid_packets: _,
            strictness: _,
            timeouts: _,
            quota: _,
        } = *self;
        self.first_misfit(
            &[
                (NatAxis::Mapping, mapping == Mapping::EndpointIndependent),
                (NatAxis::Allocation, allocation == Allocation::Preserving),
                (NatAxis::Collision, collision == Collision::Random),
                (NatAxis::Pool, pool == Pool::Kernel),
                (NatAxis::Addresses, addresses == ExternalAddresses::ONE),
                (NatAxis::Hairpinning, hairpinning == plain.hairpinning),
                (NatAxis::Overloading, overloading == Overloading::Off),
            ],
            why,
        )
    }

    fn check_router(&self) -> Result<(), Impossible> {
        self.first_misfit(
            &[
                (NatAxis::Filtering, self.filtering == Filtering::EndpointIndependent),
                (NatAxis::UnsolicitedSyn, self.unsolicited_syn == UnsolicitedSyn::Kernel),
                (NatAxis::SynAfterSyn, self.syn_after_syn == SynAfterSyn::Accept),
                (NatAxis::InvalidPackets, self.invalid_packets == InvalidPackets::Leak),
                (NatAxis::Strictness, self.strictness == Self::port_preserving().strictness),
                (NatAxis::Timeouts, self.timeouts == crate::model::behavior::Timeouts::default()),
                (NatAxis::Quota, self.quota.is_none()),
            ],
            "a router keeps no state and lets everything pass",
        )
    }

    /// Refuses the first axis that does not fit the translation.
    fn first_misfit(&self, axes: &[(NatAxis, bool)], why: &str) -> Result<(), Impossible> {
        match axes.iter().find(|(_, fits)| !fits) {
            Some((axis, _)) => Err(self.impossible(&[*axis, NatAxis::Translation], why)),
            None => Ok(()),
        }
    }

    fn check_nat(&self) -> Result<(), Impossible> {
        self.check_collision()?;
        self.check_pool()?;
        if self.addresses != ExternalAddresses::ONE && matches!(self.pool, Pool::Blocks { .. }) {
            let why = "which block of which address a host gets cannot be said here";
            return Err(self.impossible(&[NatAxis::Addresses, NatAxis::Pool], why));
        }
        if self.overloading == Overloading::On && self.filtering != Filtering::AddressAndPortDependent {
            let why = "when two inside endpoints share an external one, nobody can say whose a SYN from a new \
                       remote endpoint is";
            return Err(self.impossible(&[NatAxis::Filtering, NatAxis::Overloading], why));
        }
        if self.overloading == Overloading::On && self.hairpinning == Hairpinning::On {
            let why = "when two inside endpoints share an external one, nobody can say which of them a hairpinned \
                       SYN is for";
            return Err(self.impossible(&[NatAxis::Hairpinning, NatAxis::Overloading], why));
        }
        Ok(())
    }

    /// What a counter for ports that collide needs: to know which are taken, and a map of the ports that it goes through.
    fn check_collision(&self) -> Result<(), Impossible> {
        if self.collision == Collision::Random {
            return Ok(());
        }
        if self.allocation != Allocation::Preserving {
            let why = "only a NAT that keeps ports has ports that collide";
            return Err(self.impossible(&[NatAxis::Collision, NatAxis::Allocation], why));
        }
        if self.overloading == Overloading::On {
            let why =
                "the counter skips ports that somebody has, and where ports are shared none is anybody's";
            return Err(self.impossible(&[NatAxis::Collision, NatAxis::Overloading], why));
        }
        if self.addresses != ExternalAddresses::ONE {
            let why =
                "each address has ports of its own, and what one counter does with them is not said here";
            return Err(self.impossible(&[NatAxis::Collision, NatAxis::Addresses], why));
        }
        let countable = match self.pool {
            Pool::Range(range) => range.low > 0 && (SMALLEST_COUNTED..=LARGEST_MAP).contains(&range.size()),
            Pool::Kernel | Pool::Ranges(_) | Pool::Blocks { .. } => false,
        };
        if !countable {
            let why = format!(
                "the counter goes through one range, of {SMALLEST_COUNTED} to {LARGEST_MAP} ports, which is written out in \
                 the ruleset"
            );
            return Err(self.impossible(&[NatAxis::Collision, NatAxis::Pool], &why));
        }
        Ok(())
    }

    fn check_pool(&self) -> Result<(), Impossible> {
        let by_map = matches!(self.allocation, Allocation::Sequential { .. } | Allocation::Hash { .. });
        let axes = [NatAxis::Allocation, NatAxis::Pool];
        let (size, part) = match self.pool {
            Pool::Kernel if by_map => {
                let why = "the kernel's own pool is drawn from by the kernel alone; give a range";
                return Err(self.impossible(&axes, why));
            }
            Pool::Kernel => return Ok(()),
            Pool::Ranges(_) if self.allocation == Allocation::Preserving => {
                let why = "rules for a NAT that keeps ports within several ranges are not made here";
                return Err(self.impossible(&axes, why));
            }
            Pool::Ranges(ports) if !by_map && ports.ranges().len() > MOST_RANGES => {
                let why = format!("each range takes a rule, and there are more than {MOST_RANGES}");
                return Err(self.impossible(&axes, &why));
            }
            Pool::Ranges(ports) => (ports.size(), ports.size()),
            Pool::Range(range) if range.low == 0 || range.high < range.low => (0, 0),
            Pool::Range(range) => (range.size(), range.size()),
            Pool::Blocks { range, .. } if range.low == 0 || range.high < range.low => (0, 0),
            Pool::Blocks { range, size } => (range.size(), u32::from(size)),
        };
        if part == 0 || part > size {
            let why = "a block has at least one port and fits into the range";
            return Err(self.impossible(&[NatAxis::Pool], why));
        }
        if by_map && size > LARGEST_MAP {
            let why = format!("its ports are written out in the ruleset, at most {LARGEST_MAP} of them");
            return Err(self.impossible(&axes, &why));
        }
        self.check_one_port(part)?;
        match self.allocation {
            Allocation::Sequential { step: 0 } => {
                Err(self.impossible(&axes, "the next port would be the same one again"))
            }
            Allocation::Sequential { step } if u32::from(step.unsigned_abs()) >= part => {
                let needed = u32::from(step.unsigned_abs()) + 1;
                let why =
                    format!("such a step needs a pool of at least {needed} ports, and this one has {part}");
                Err(self.impossible(&axes, &why))
            }
            _ => Ok(()),
        }
    }

    /// What nothing can show where a host has one port: how it is chosen, and if all share it, what it is chosen for.
    fn check_one_port(&self, ports: u32) -> Result<(), Impossible> {
        if ports != 1 {
            return Ok(());
        }
        if matches!(self.allocation, Allocation::Random | Allocation::Hash { .. }) {
            let why = "of one port none is chosen, so that every allocation looks the same; write allocation = \"preserving\", or \
                       give two ports";
            return Err(self.impossible(&[NatAxis::Allocation, NatAxis::Pool], why));
        }
        let shared = self.overloading == Overloading::On && !self.addresses.are_arbitrary();
        if shared && self.mapping != Mapping::EndpointIndependent {
            let why = "all connections share the one port, so that every mapping looks the same; write mapping = \
                       \"endpoint-independent\", or give two ports";
            return Err(self.impossible(&[NatAxis::Mapping, NatAxis::Pool], why));
        }
        Ok(())
    }
}

impl Pool {
    /// The parts that ports are drawn from: one for all, or one for each subscriber; `None` is the kernel's own pool.
    #[must_use]
    pub fn parts(self) -> Vec<Option<PortSet>> {
        match self {
            Self::Kernel => vec![None],
            Self::Range(range) => vec![Some(range.into())],
            Self::Ranges(ports) => vec![Some(ports)],
            Self::Blocks { range, size } => {
                let block = |n: u32| {
                    let low = u32::from(range.low) + n * u32::from(size);
                    let port = |p: u32| u16::try_from(p).unwrap_or(u16::MAX);
                    Some(PortRange { low: port(low), high: port(low + u32::from(size) - 1) }.into())
                };
                (0..range.size() / u32::from(size.max(1))).map(block).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests;
