//! How often an address may do something: pure, time is passed in.
//!
//! The generic cell rate algorithm (ITU-T I.371): for each address and each network one point in time, at which all that
//! it has done would be done at the rate allowed. It may lie ahead of now by the burst.
//!
//! Whoever has been quiet for long enough is forgotten: times are kept in two generations, of which the older one is
//! dropped as a whole.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::Ipv4Addr;
use std::time::Duration;

use tokio::time::Instant;

use crate::rendezvous::server::network::Network;

/// Addresses in one generation; one more, and the older generation is forgotten early.
const GENERATION: usize = 32_768;

/// How much a second, and how much at once after a pause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pace {
    pub(super) per_second: u32,
    pub(super) burst: u32,
}

impl Pace {
    /// As much for each of this many.
    pub(super) fn times(self, many: u32) -> Self {
        Self { per_second: self.per_second.saturating_mul(many), burst: self.burst.saturating_mul(many) }
    }

    fn time_for(self, amount: u32) -> Duration {
        Duration::from_secs(1) * amount / self.per_second.max(1)
    }
}

/// How much all have done.
#[derive(Debug)]
pub(super) struct Rates {
    addresses: Meter<Ipv4Addr>,
    networks: Meter<Network>,
}

impl Rates {
    /// Nobody has done anything.
    pub(super) fn new(per_address: Pace, per_network: Pace) -> Self {
        Self { addresses: Meter::new(per_address), networks: Meter::new(per_network) }
    }

    /// Does so much, unless that is too much.
    pub(super) fn allows(&mut self, address: Ipv4Addr, amount: u32, now: Instant) -> bool {
        let network = Network::of(address);
        let may = self.addresses.ahead_after(address, amount, now) <= self.addresses.burst()
            && self.networks.ahead_after(network, amount, now) <= self.networks.burst();
        if may {
            self.charge(address, amount, now);
        }
        may
    }

    /// Does so much, and tells how long to pause after it.
    pub(super) fn charge(&mut self, address: Ipv4Addr, amount: u32, now: Instant) -> Duration {
        let own = self.addresses.charge(address, amount, now);
        own.max(self.networks.charge(Network::of(address), amount, now))
    }
}

/// The times of all keys of one kind.
#[derive(Debug)]
struct Meter<K> {
    pace: Pace,
    young: HashMap<K, Instant>,
    old: HashMap<K, Instant>,
    /// When the younger generation becomes the older.
    turn: Option<Instant>,
}

impl<K: Copy + Eq + Hash> Meter<K> {
    fn new(pace: Pace) -> Self {
        Self { pace, young: HashMap::new(), old: HashMap::new(), turn: None }
    }

    fn burst(&self) -> Duration {
        self.pace.time_for(self.pace.burst)
    }

    fn ahead_after(&self, key: K, amount: u32, now: Instant) -> Duration {
        let done = self.young.get(&key).or_else(|| self.old.get(&key)).copied().unwrap_or(now);
        done.saturating_duration_since(now) + self.pace.time_for(amount)
    }

    fn charge(&mut self, key: K, amount: u32, now: Instant) -> Duration {
        let ahead = self.ahead_after(key, amount, now);
        if self.young.len() >= GENERATION || self.turn.is_some_and(|turn| now >= turn) {
            self.old = std::mem::take(&mut self.young);
            self.turn = None;
        }
        // Who was last heard of before that has nothing ahead, unless it is in debt.
        self.turn.get_or_insert(now + self.burst());
        self.old.remove(&key);
        self.young.insert(key, now + ahead);
        ahead.saturating_sub(self.burst())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { per_second: 10, burst: 20 };

    fn address(network: u8, host: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 0, network, host)
    }

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let (start, one) = (Instant::now(), address(1, 1));
        let mut rates = Rates::new(PACE, PACE.times(4));
        let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
        let passed = |rates: &mut Rates, now| (0..100).filter(|_| rates.allows(one, 1, now)).count();
        assert_eq!(passed(&mut rates, at(0.0)), 20);
        assert_eq!(passed(&mut rates, at(0.1)), 1);
        assert_eq!(passed(&mut rates, at(1.1)), 10);
        assert_eq!(passed(&mut rates, at(60.0)), 20, "no more than the burst after any pause");
    }

    #[test]
    fn a_network_gets_no_more_than_its_own_pace() {
        let now = Instant::now();
        let mut rates = Rates::new(PACE, PACE.times(2));
        let passed = (0..200).filter(|host| rates.allows(address(1, *host), 1, now)).count();
        assert_eq!(passed, 40);
        assert!(rates.allows(address(2, 1), 1, now), "another network is not concerned");
    }

    #[test]
    fn what_is_charged_beyond_the_burst_is_a_pause() {
        let now = Instant::now();
        let mut rates = Rates::new(PACE, PACE.times(4));
        assert_eq!(rates.charge(address(1, 1), 20, now), Duration::ZERO);
        assert_eq!(rates.charge(address(1, 1), 10, now), Duration::from_secs(1));
        assert_eq!(rates.charge(address(1, 1), 0, now + Duration::from_secs(1)), Duration::ZERO);
    }

    #[test]
    fn who_has_been_quiet_is_forgotten_and_who_has_not_is_kept() {
        let start = Instant::now();
        let mut rates = Rates::new(PACE, PACE.times(1000));
        for second in 0..20u8 {
            let now = start + Duration::from_secs(second.into());
            for host in 0..50 {
                rates.charge(address(second, host), 1, now);
            }
            rates.charge(address(99, 1), 10, now);
        }
        assert!(rates.addresses.young.len() + rates.addresses.old.len() < 300, "of a thousand");
        let now = start + Duration::from_secs(19);
        assert_eq!(rates.addresses.ahead_after(address(99, 1), 0, now), Duration::from_secs(1));
    }

    #[test]
    fn very_many_addresses_take_bounded_memory() {
        let (now, mut meter) = (Instant::now(), Meter::new(PACE));
        for key in 0..200_000u32 {
            meter.charge(key, 1, now);
        }
        assert!(meter.young.len() + meter.old.len() <= 2 * GENERATION);
    }
}
