//! Theory against a Monte Carlo: trials in which two programs, two NATs and a router are stepped packet by packet, without any
//! formula of theory. A small part runs with the other tests; all of the suite `full` by `scripts/accept numbers`.

mod host;
mod knowledge;
mod nat;
mod net;
mod programs;

use std::str::FromStr as _;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use statrs::distribution::{Binomial, DiscreteCDF as _};
use testbed::model::behavior::Behavior;
use testbed::model::catalogue::Catalogue;
use testbed::model::outcome::Expectation;
use testbed::model::statistics::Count;
use testbed::model::suite::{AxisKey, Cell, Suite};
use testbed::model::suite_file::{self, KnownNames};
use testbed::model::theory::{METHODS, Method};
use testbed::model::topology::NodeName;
use testbed::model::{embedded, prediction};

/// Draws for a cell that theory calls certain or impossible, and for any other.
const FEW: u64 = 50;
const MANY: u64 = 2_000;

/// Fewer, for a quick look: the variable MONTE_CARLO_DRAWS.
fn draws() -> u64 {
    std::env::var("MONTE_CARLO_DRAWS").ok().and_then(|text| text.parse().ok()).unwrap_or(MANY)
}

/// Probability that a correct theory fails.
const ALPHA: f64 = 1e-6;

fn suite(catalogue: &Catalogue) -> Suite {
    let file = embedded::find(embedded::SUITES, "full").expect("it is built in");
    let nats: Vec<&str> = catalogue.profiles().map(|profile| profile.name.as_str()).collect();
    let topology = |name: &str| {
        let found = embedded::find(embedded::TOPOLOGIES, name).ok_or("no such topology")?;
        Ok((found.file.to_owned(), found.text.to_owned()))
    };
    let known = KnownNames { nats: &nats, methods: METHODS, topology: &topology, path: &|_, _| Ok(()) };
    suite_file::parse(file.file, file.text, &known).unwrap_or_else(|why| panic!("{why}"))
}

/// One cell, drawn.
struct Drawn {
    id: String,
    expected: Expectation,
    count: Count,
}

impl Drawn {
    /// The probability of a result at least as far off, on its side, under what theory says that fits best.
    fn chance(&self) -> f64 {
        let Count { passed, tried } = self.count;
        let Expectation { low, high, .. } = self.expected;
        let rate = self.count.rate().clamp(low, high);
        if rate <= 0.0 || rate >= 1.0 {
            return f64::from(u8::from(passed == if rate <= 0.0 { 0 } else { tried }));
        }
        let law = Binomial::new(rate, tried).expect("a probability");
        let above = passed.checked_sub(1).map_or(1.0, |below| law.sf(below));
        (2.0 * law.cdf(passed).min(above)).min(1.0)
    }
}

fn draw(suite: &Suite, catalogue: &Catalogue, cell: &Cell, at_most: u64) -> Drawn {
    let expected = prediction::expect(suite, cell, catalogue).expect("theory knows the cells of full");
    let nat = |name: &str| -> &Behavior {
        let name = cell.nat(&NodeName::new(name).expect("a name")).expect("an axis");
        &catalogue.get(name).expect("a profile").behavior
    };
    let method = Method::from_str(cell.method()).expect("a method that theory knows");
    let certain = expected.is_exact() && (expected.low <= 0.0 || expected.low >= 1.0);
    let tried = if certain { FEW } else { MANY }.min(at_most);
    let passes = |number: &u64| {
        let seed = (cell.index as u64) << 32 | *number;
        programs::meets([nat("nat-a"), nat("nat-b")], method, ChaCha8Rng::seed_from_u64(seed))
    };
    let passed = (0..tried).filter(passes).count() as u64;
    Drawn { id: cell.id.clone(), expected, count: Count { passed, tried } }
}

/// Draws the cells on all processors, and tells which refute theory.
fn refuted(cells: &[Cell], suite: &Suite, catalogue: &Catalogue, at_most: u64) -> Vec<String> {
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    let alpha = ALPHA / cells.len() as f64;
    let work = || {
        while let Some(cell) = cells.get(next.fetch_add(1, Ordering::Relaxed)) {
            let drawn = draw(suite, catalogue, cell, at_most);
            if drawn.chance() < alpha {
                let Expectation { low, high, because, .. } = &drawn.expected;
                let Count { passed, tried } = drawn.count;
                let line =
                    format!("{}: {passed} of {tried}, theory {low:.6} to {high:.6}: {because}", drawn.id);
                wrong.lock().expect("no thread panics").push(line);
            }
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    let mut wrong = wrong.into_inner().expect("no thread panics");
    wrong.sort();
    wrong
}

#[test]
fn theory_agrees_with_packets_in_a_part_of_full() {
    let catalogue = Catalogue::embedded();
    let suite = suite(&catalogue);
    let kinds = [
        "cloud-gateway",
        "reset",
        "address-restricted",
        "sequential",
        "random-range",
        "port-preserving",
        "preserving-then-sequential",
    ];
    let is_kind =
        |(key, value): (&AxisKey, &String)| *key != AxisKey::Method && kinds.contains(&value.as_str());
    let wanted = |cell: &Cell| cell.values.iter().filter(|axis| is_kind(*axis)).count() == 2;
    let cells: Vec<Cell> = suite.cells().into_iter().filter(wanted).collect();
    assert_eq!(cells.len(), kinds.len() * kinds.len() * 6);
    let wrong = refuted(&cells, &suite, &catalogue, 100);
    assert!(wrong.is_empty(), "{} of {} cells:\n{}", wrong.len(), cells.len(), wrong.join("\n"));
}

#[test]
#[ignore = "takes minutes: run by scripts/accept numbers monte_carlo"]
fn theory_agrees_with_packets_in_all_of_full() {
    let catalogue = Catalogue::embedded();
    let suite = suite(&catalogue);
    // No NAT here has several addresses; where they are paired, its one host has one of them.
    let one_address = |cell: &Cell| {
        let nats = cell.values.values().filter_map(|name| catalogue.get(name));
        nats.into_iter().all(|nat| !nat.behavior.addresses.are_arbitrary())
    };
    let cells: Vec<Cell> = suite.cells().into_iter().filter(one_address).collect();
    let wrong = refuted(&cells, &suite, &catalogue, draws());
    assert!(wrong.is_empty(), "{} of {} cells:\n{}", wrong.len(), cells.len(), wrong.join("\n"));
}

/// The figure that theory once had wrong: each refusal is followed by a dial from another port.
#[test]
fn a_gateway_of_64_ports_is_met_more_often_than_one_guess_would_be() {
    let catalogue = Catalogue::embedded();
    let nat = |name: &str| &catalogue.get(name).expect("a profile").behavior;
    let meets = |seed: &u64| {
        let rng = ChaCha8Rng::seed_from_u64(*seed);
        programs::meets([nat("cloud-gateway"), nat("reset")], Method::SimultaneousOpen, rng)
    };
    let passed = (0..1_000).filter(meets).count();
    // A binomial with 15 % misses 100 of 1,000, and one with 35 % passes 450, less than once in a million times.
    assert!((100..450).contains(&passed), "{passed}");
}
