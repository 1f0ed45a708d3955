//! The arithmetic of guessing ports: how often one of N guesses meets one of M draws. Pure.
//!
//! Side P sends from one port to N guessed ports of side R; side R opens M mappings towards P, whose ports its NAT
//! draws. One guess that equals one draw is a connection.

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
}

/// The widest pool that a few draws show the bounds of, as `docs/puncher.md` says.
const WIDEST_RANGE: u32 = 4096;

impl Draws {
    /// Ports in the pool.
    #[must_use]
    pub fn ports(self) -> u32 {
        match self {
            Self::Even { ports } | Self::Hashed { ports } => ports,
            Self::Kernel => 64_512,
        }
    }

    /// Probability that two draws towards different endpoints are alike. Whoever has seen no others takes the port for
    /// one that is kept, and guesses once.
    #[must_use]
    pub fn looks_kept(self) -> f64 {
        match self {
            Self::Even { ports } | Self::Hashed { ports } => 1.0 / f64::from(ports),
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
            Self::Kernel => false,
        }
    }

    /// Probability that one draw is among the `guesses` likeliest ports.
    #[must_use]
    pub fn covered(self, guesses: u32) -> f64 {
        let guesses = guesses.min(self.ports());
        match self {
            Self::Even { ports } | Self::Hashed { ports } => f64::from(guesses) / f64::from(ports),
            Self::Kernel => (f64::from(guesses) + f64::from(guesses.min(1024))) / 65_536.0,
        }
    }
}

/// Probability that at least one of `guesses` distinct guesses meets one of `draws_made` draws.
///
/// The kernel never draws a port twice towards the same remote endpoint, so its draws are without replacement: for an
/// even pool of D ports the result is 1 - C(D-N, M) / C(D, M). For the kernel's own pool the likeliest ports are
/// guessed first.
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
        Draws::Even { .. } | Draws::Kernel => mean * f64::from(made),
    };
    let draws_made = if matches!(draws, Draws::Hashed { .. }) { draws_made } else { draws_made.min(ports) };
    let miss = |made: u32| {
        let left = 1.0 - taken(made);
        if left <= guessed { 0.0 } else { 1.0 - guessed / left }
    };
    1.0 - (0..draws_made).map(miss).product::<f64>()
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
}
