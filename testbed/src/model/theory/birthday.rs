//! The arithmetic of guessing ports: how often one of N guesses meets one of M draws. Pure.
//!
//! Side P sends from one port to N guessed ports of side R; side R opens M mappings towards P, whose ports its NAT
//! draws. One guess that equals one draw is a connection.

use crate::model::port_set::PortSet;
use crate::model::statistics::at_least;

/// The ports that a NAT draws from, and how often each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Draws {
    /// Every port of a pool of this size equally often.
    Even {
        /// Ports in the pool, at least 1.
        ports: u32,
    },
    /// As the kernel draws from 1024 to 65535: `1024 + r % 64512` with a 16-bit `r`, so that the first 1,024 ports
    /// come twice as often (`nf_nat_l4proto_unique_tuple` in `net/netfilter/nf_nat_core.c`).
    Kernel,
    /// By a hash of the two endpoints: every port equally often, and two draws may be alike.
    Hashed {
        /// Ports in the pool, at least 1.
        ports: u32,
    },
    /// One of several ranges by its size, then one of the ports that it has left towards the remote endpoint: where it has none, the
    /// draw comes to nothing.
    Ranges(PortSet),
}

/// The widest pool that a few draws show the bounds of, as `docs/puncher.md` says.
pub(super) const WIDEST_RANGE: u32 = 4096;

impl Draws {
    /// Ports in the pool.
    #[must_use]
    pub fn ports(self) -> u32 {
        match self {
            Self::Even { ports } | Self::Hashed { ports } => ports,
            Self::Ranges(ports) => ports.size(),
            Self::Kernel => 64_512,
        }
    }

    /// Probability that two draws towards different endpoints are alike. Whoever has seen no others takes the port for
    /// one that is kept, and guesses once.
    #[must_use]
    pub fn looks_kept(self) -> f64 {
        match self {
            Self::Even { .. } | Self::Hashed { .. } | Self::Ranges(_) => 1.0 / f64::from(self.ports()),
            // 1,024 ports come twice in 65,536 times, the others once.
            Self::Kernel => (1024.0 * 4.0 + (64_512.0 - 1024.0)) / (65_536.0 * 65_536.0),
        }
    }

    /// Probability that the few draws that are measured look like a rule: two of them alike, or the distance of most the same.
    #[must_use]
    pub fn misread(self) -> f64 {
        let square = f64::from(self.ports()).powi(2);
        (self.looks_kept() + 12.0 / square).min(1.0)
    }

    /// Whether a guess may lie beside the pool: only of a narrow one do a few draws show where it is.
    #[must_use]
    pub fn may_be_missed(self) -> bool {
        match self {
            Self::Even { ports } | Self::Hashed { ports } => ports > WIDEST_RANGE,
            // The gaps between them are wider.
            Self::Ranges(_) => true,
            Self::Kernel => false,
        }
    }

    /// Probability that one draw is among the `guesses` likeliest ports.
    #[must_use]
    pub fn covered(self, guesses: u32) -> f64 {
        let guesses = guesses.min(self.ports());
        match self {
            Self::Even { .. } | Self::Hashed { .. } | Self::Ranges(_) => {
                f64::from(guesses) / f64::from(self.ports())
            }
            Self::Kernel => (f64::from(guesses) + f64::from(guesses.min(1024))) / 65_536.0,
        }
    }
}

/// Probability that at least one of `guesses` distinct guesses meets one of `draws_made` draws.
///
/// The kernel never draws a port twice towards the same remote endpoint, so its draws are without replacement: for an
/// even pool of D ports the result is 1 - C(D-N, M) / C(D, M). For the kernel's own pool the likeliest ports are
/// guessed first. Of several ranges some may be used up while others are not, so that M draws give fewer than M ports: their mean is
/// taken, which is exact for one guess.
#[must_use]
pub fn one_side_guesses(draws: Draws, guesses: u32, draws_made: u32) -> f64 {
    let ports = draws.ports();
    let guesses = guesses.min(ports);
    let guessed = draws.covered(guesses);
    // What earlier draws took away, all of it outside the guesses: each is a port of average weight there.
    let outside = f64::from(ports - guesses);
    let mean = if outside > 0.0 { (1.0 - guessed) / outside } else { guessed };
    let taken = |made: u32| match draws {
        Draws::Hashed { .. } => 0.0,
        Draws::Even { .. } | Draws::Kernel | Draws::Ranges(_) => mean * f64::from(made),
    };
    let different = match draws {
        Draws::Hashed { .. } => f64::from(draws_made),
        Draws::Even { .. } | Draws::Kernel => f64::from(draws_made.min(ports)),
        Draws::Ranges(ranges) => different_ports(ranges, draws_made),
    };
    let miss = |made: u32| {
        let left = 1.0 - taken(made);
        if left <= guessed { 0.0 } else { 1.0 - guessed / left }
    };
    let whole = different.floor() as u32;
    let rest = different - different.floor();
    // A part of a draw takes a part of what one more would.
    let part = 1.0 - rest * (1.0 - miss(whole));
    1.0 - (0..whole).map(miss).product::<f64>() * part
}

/// How many different ports so many draws give, on average, if no range gives more than it has.
fn different_ports(ranges: PortSet, draws_made: u32) -> f64 {
    let all = f64::from(ranges.size());
    // The mean of the smaller of two numbers is the sum of the probabilities that the first reaches 1, 2, … up to the second.
    let of_range = |size: u32| -> f64 {
        let reaches = |ports: u32| at_least(draws_made.into(), f64::from(size) / all, ports.into());
        (1..=size.min(draws_made)).map(reaches).sum()
    };
    let mut known: Vec<(u32, f64)> = Vec::new();
    let mut sum = 0.0;
    for size in ranges.ranges().iter().map(|range| range.size()) {
        let same = known.iter().find(|(other, _)| *other == size).map(|(_, ports)| *ports);
        let ports = same.unwrap_or_else(|| of_range(size));
        if same.is_none() {
            known.push((size, ports));
        }
        sum += ports;
    }
    sum
}

/// Probability that two sides that both draw meet. Both have agreed upon one port of each: each side draws towards the
/// other's, `syns` times, and a pair of SYNs meets when both sides drew what was agreed.
#[must_use]
pub fn both_sides_draw(a: Draws, b: Draws, syns_a: u32, syns_b: u32) -> f64 {
    one_side_guesses(a, 1, syns_a) * one_side_guesses(b, 1, syns_b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::behavior::PortRange;
    use crate::model::port_set::MapShare;

    const KERNEL_EVEN: Draws = Draws::Even { ports: 64_512 };

    fn close(found: f64, expected: f64, within: f64) {
        assert!((found - expected).abs() < within, "found {found}, expected {expected}");
    }

    #[test]
    fn even_draws_follow_the_hypergeometric_law() {
        close(one_side_guesses(KERNEL_EVEN, 256, 256), 0.6394, 5e-5);
        close(one_side_guesses(KERNEL_EVEN, 1024, 256), 0.9835, 5e-5);
        close(one_side_guesses(KERNEL_EVEN, 1, 1), 1.0 / 64_512.0, 1e-12);
        close(one_side_guesses(Draws::Even { ports: 424 }, 424, 1), 1.0, 1e-12);
        close(one_side_guesses(Draws::Even { ports: 4 }, 2, 2), 1.0 - 1.0 / 6.0, 1e-12);
    }

    #[test]
    fn the_kernels_bias_halves_the_work() {
        close(Draws::Kernel.covered(1024), 2048.0 / 65_536.0, 1e-12);
        close(one_side_guesses(Draws::Kernel, 1024, 64), 0.869, 2e-3);
        assert!(one_side_guesses(Draws::Kernel, 1024, 146) > 0.99);
        assert!(one_side_guesses(Draws::Kernel, 1024, 145) < 0.991);
    }

    #[test]
    fn two_draws_are_seldom_alike() {
        close(Draws::Hashed { ports: 1000 }.looks_kept(), 0.001, 1e-12);
        let chances = (0..64_512).map(|n| if n < 1024 { 2.0 / 65_536.0 } else { 1.0 / 65_536.0_f64 });
        close(Draws::Kernel.looks_kept(), chances.map(|chance| chance * chance).sum(), 1e-12);
    }

    #[test]
    fn a_full_cover_always_meets() {
        close(one_side_guesses(Draws::Kernel, 64_512, 1), 1.0, 1e-9);
        close(Draws::Kernel.covered(100_000), 1.0, 1e-12);
    }

    #[test]
    fn a_hash_may_come_up_twice() {
        close(one_side_guesses(Draws::Hashed { ports: 1000 }, 1, 1000), 0.632, 1e-3);
        close(one_side_guesses(Draws::Even { ports: 1000 }, 1, 1000), 1.0, 1e-9);
    }

    #[test]
    fn one_guess_is_met_by_what_the_budget_draws() {
        close(one_side_guesses(Draws::Kernel, 1, 4096), 0.12, 5e-3);
        close(one_side_guesses(KERNEL_EVEN, 1, 4096), 4096.0 / 64_512.0, 1e-9);
    }

    #[test]
    fn two_drawing_sides_need_many_or_a_small_pool() {
        close(both_sides_draw(Draws::Kernel, Draws::Kernel, 1280, 1280), 0.0015, 1e-4);
        let small = Draws::Even { ports: 424 };
        close(both_sides_draw(small, small, 424, 424), 1.0, 1e-9);
        close(both_sides_draw(small, small, 212, 212), 0.25, 1e-9);
    }

    #[test]
    fn a_range_that_is_used_up_gives_no_more() {
        let islands = MapShare { psid: 73, length: 8, offset: 4 }.ports().expect("a good share");
        let draws = Draws::Ranges(islands);
        close(different_ports(islands, 1), 1.0, 1e-12);
        close(different_ports(islands, 20), 20.0, 1e-9);
        // 15 times the mean of the smaller of 16 and a binomial number of 240 draws.
        assert!((200.0..225.0).contains(&different_ports(islands, 240)));
        close(different_ports(islands, 1_280), 240.0, 1e-6);
        close(one_side_guesses(draws, 1, 1), 1.0 / 240.0, 1e-12);
        close(one_side_guesses(draws, 1, 240), different_ports(islands, 240) / 240.0, 1e-9);
        close(one_side_guesses(draws, 8, 8), one_side_guesses(Draws::Even { ports: 240 }, 8, 8), 1e-6);
        close(one_side_guesses(draws, 240, 1), 1.0, 1e-12);
    }

    #[test]
    fn ranges_of_different_sizes_share_the_draws_by_their_size() {
        let ranges = [PortRange { low: 2_000, high: 2_009 }, PortRange { low: 3_000, high: 3_989 }];
        let ranges = PortSet::of(&ranges).expect("a good set");
        // Ten draws of a thousand: the small one gets a tenth of a draw.
        close(different_ports(ranges, 10), 10.0, 1e-6);
        close(different_ports(ranges, 100_000), 1_000.0, 1e-6);
    }
}
