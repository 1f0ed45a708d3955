//! Where our randomness comes from: one number for the run, and from it one for every cell, trial and role. Pure.
//!
//! The same `--seed` gives the same cells, seeds, ports and expectations. testbed does not
//! control the kernel's random numbers (the ports of random NATs, initial sequence numbers): they differ each time.

use std::hash::Hasher as _;

use fnv::FnvHasher;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::judge::timeline::Role;
use crate::model::suite::LOCAL_PORTS;

/// The randomness of one trial.
#[derive(Debug, Clone)]
pub struct TrialSeed(u64);

impl TrialSeed {
    /// Derives the seed of a trial; cells are told apart by their id, so that a filter changes no seed.
    #[must_use]
    pub fn new(run: u64, cell: &str, number: u32) -> Self {
        // FNV-1a: stable over versions and platforms, which the standard library's hasher does not promise.
        let mut hasher = FnvHasher::default();
        hasher.write(&run.to_le_bytes());
        hasher.write(cell.as_bytes());
        hasher.write(&u64::from(number).to_le_bytes());
        Self(hasher.finish())
    }

    /// The number that results record.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.0
    }

    /// The seed that a peer's program is given.
    #[must_use]
    pub fn of(&self, role: Role) -> u64 {
        self.stream(match role {
            Role::A => 1,
            Role::B => 2,
        })
        .random()
    }

    /// The local port that a peer punches from.
    #[must_use]
    pub fn local_port(&self, role: Role) -> u16 {
        self.stream(match role {
            Role::A => 3,
            Role::B => 4,
        })
        .random_range(LOCAL_PORTS)
    }

    /// The name of the meeting: 16 hexadecimal digits.
    #[must_use]
    pub fn meeting(&self) -> String {
        format!("{:016x}", self.stream(5).random::<u64>())
    }

    /// The secret that both peers share.
    #[must_use]
    pub fn key(&self) -> [u8; 32] {
        self.stream(6).random()
    }

    /// The seed of the wires of this trial.
    #[must_use]
    pub fn wires(&self) -> u64 {
        self.stream(7).random()
    }

    /// What decides when a neighbour, the `number`th, opens its connections.
    #[must_use]
    pub fn neighbour(&self, number: u64) -> ChaCha8Rng {
        self.stream(8 + number)
    }

    fn stream(&self, number: u64) -> ChaCha8Rng {
        let mut rng = ChaCha8Rng::seed_from_u64(self.0);
        rng.set_stream(number);
        rng
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_place_has_the_same_seed_and_another_place_another() {
        let seed = |run, cell, number| TrialSeed::new(run, cell, number).number();
        assert_eq!(seed(1, "a/b", 1), seed(1, "a/b", 1));
        let all = [seed(1, "a/b", 1), seed(2, "a/b", 1), seed(1, "a/c", 1), seed(1, "a/b", 2)];
        let distinct: std::collections::BTreeSet<_> = all.into_iter().collect();
        assert_eq!(distinct.len(), all.len());
    }

    #[test]
    fn seeds_do_not_change_between_versions() {
        let seed = TrialSeed::new(1, "port-preserving/random/auto", 7);
        let said = (seed.number(), seed.local_port(Role::A), seed.meeting());
        assert_eq!(said, (7_385_916_069_270_232_014, 17_620, "203522f5d8e714b7".to_owned()));
    }
}
