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
}

impl Draws {
    /// Ports in the pool.
    #[must_use]
    pub fn ports(self) -> u32 {
        match self {
            Self::Even { ports } => ports,
            Self::Kernel => 64_512,
        }
    }

    /// Probability that one draw is among the `guesses` likeliest ports.
    #[must_use]
    pub fn covered(self, guesses: u32) -> f64 {
        let guesses = guesses.min(self.ports());
        match self {
            Self::Even { ports } => f64::from(guesses) / f64::from(ports),
            Self::Kernel => (f64::from(guesses) + f64::from(guesses.min(1024))) / 65_536.0,
        }
    }
}

/// Probability that at least one of `guesses` distinct guesses meets one of `draws_made` distinct draws.
///
/// The kernel never draws a port twice towards the same remote endpoint, so the draws are without replacement: for an
/// even pool of D ports the result is 1 - C(D-N, M) / C(D, M). For the kernel's own pool the likeliest ports are
/// guessed first.
#[must_use]
pub fn one_side_guesses(draws: Draws, guesses: u32, draws_made: u32) -> f64 {
    let guesses = guesses.min(draws.ports());
    let weight = |port: u32| match draws {
        Draws::Even { .. } => 1.0,
        Draws::Kernel if port < 1024 => 2.0,
        Draws::Kernel => 1.0,
    };
    let total = match draws {
        Draws::Even { ports } => f64::from(ports),
        Draws::Kernel => 65_536.0,
    };
    let guessed: f64 = match draws {
        Draws::Even { .. } => f64::from(guesses),
        Draws::Kernel => f64::from(guesses) + f64::from(guesses.min(1024)),
    };
    let mut missed = 1.0;
    // What earlier draws took away, all of it outside the guesses: each is a port of average weight there.
    let outside = f64::from(draws.ports() - guesses);
    let mean = if outside > 0.0 { (total - guessed) / outside } else { weight(0) };
    for made in 0..draws_made.min(draws.ports()) {
        let left = total - mean * f64::from(made);
        missed *= (1.0 - guessed / left).max(0.0);
    }
    1.0 - missed
}

/// Probability that two sides that both draw, and both guess, meet: each sends `syns` SYNs, from as many ports to as
/// many guesses. A pair of SYNs meets when each hits the other's port: 1 - exp(-(S/D)^2) for a pool of D on each side.
#[must_use]
pub fn both_sides_guess(a: Draws, b: Draws, syns_a: u32, syns_b: u32) -> f64 {
    let pairs = f64::from(syns_a) * f64::from(syns_b);
    let meeting = pairs / (f64::from(a.ports()) * f64::from(b.ports()));
    1.0 - (-meeting).exp()
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
    fn a_full_cover_always_meets() {
        close(one_side_guesses(Draws::Kernel, 64_512, 1), 1.0, 1e-9);
        close(Draws::Kernel.covered(100_000), 1.0, 1e-12);
    }

    #[test]
    fn two_drawing_sides_need_many() {
        close(both_sides_guess(KERNEL_EVEN, KERNEL_EVEN, 1024, 1024), 2.5e-4, 1e-5);
        let small = Draws::Even { ports: 424 };
        close(both_sides_guess(small, small, 424, 424), 0.632, 1e-3);
        close(both_sides_guess(small, small, 848, 848), 0.982, 1e-3);
    }
}
