//! A small mutator with a fixed seed, and the test that runs the bodies of a package without a fuzzer.

use std::fs;
use std::path::{Path, PathBuf};

use rand::{Rng as _, RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// How many mutants of each seed a test tries.
const MUTANTS: usize = 300;

/// Runs every body of the package over its seeds, and over mutants of them.
#[test]
fn seeds_and_their_mutants_are_survived() {
    for (name, body) in &super::bodies::ALL {
        let seeds = seeds(name);
        assert!(!seeds.is_empty(), "\"{name}\" has no seeds");
        let mut random = ChaCha8Rng::seed_from_u64(1);
        for seed in &seeds {
            body(seed);
            for _ in 0..MUTANTS {
                body(&mutant(seed, &mut random));
            }
        }
    }
}

/// The files that a fuzzer would start from. What it found and was fixed lies among them.
fn seeds(name: &str) -> Vec<Vec<u8>> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = package.join("..");
    let mut folders =
        vec![package.join("tests/hostile/seeds").join(name), root.join("fuzz/seeds").join(name)];
    if ["suite", "nats", "topology"].contains(&name) {
        folders.push(root.join("topologies"));
    }
    let files =
        |folder: &PathBuf| fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<_> = folders.iter().flat_map(files).filter(|path| path.is_file()).collect();
    files.sort();
    files.iter().map(|path| fs::read(path).expect("a file of the repository")).collect()
}

/// The seed with a few bytes changed, cut, repeated or put in.
fn mutant(seed: &[u8], random: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..random.random_range(1..5) {
        let at = random.random_range(0..=bytes.len());
        let length = random.random_range(0..=(bytes.len() - at).min(16));
        match random.random_range(0..5) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.random_range(0..8),
            1 if at < bytes.len() => bytes[at] = random.random(),
            2 => drop(bytes.drain(at..at + length)),
            3 => {
                let piece = bytes[at..at + length].to_vec();
                let to = random.random_range(0..=bytes.len());
                bytes.splice(to..to, piece);
            }
            _ => {
                let mut noise = vec![0; random.random_range(1..9)];
                random.fill_bytes(&mut noise);
                bytes.splice(at..at, noise);
            }
        }
    }
    bytes
}
