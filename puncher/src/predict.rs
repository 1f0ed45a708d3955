//! Port prediction: which external endpoint the peer's next mapping will have, and how sure that is. Pure.

use std::collections::BTreeSet;
use std::net::SocketAddrV4;

use rand::{Rng, RngExt};

use crate::classify::{
    Allocation, ENOUGH_FOR_A_RANGE, LIKELIER, LIKELIER_CHANCE, Observation, allocation, moved,
};
use crate::fault_injection::{self, Fault};
use crate::pattern::Pattern;
use crate::text::counted;

/// Where the peer's SYN will come from.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// The external endpoint to dial.
    pub endpoint: SocketAddrV4,
    /// The chance that it is right, other hosts behind the same NAT apart.
    pub probability: f64,
    /// Why, in words.
    pub because: String,
}

/// Predicts a mapping of the port the observations were made from: for a NAT that counts, the one that comes after
/// `skipped` others. `None` when there are no observations.
pub(crate) fn predict(observations: &[Observation], skipped: u16, rng: &mut impl Rng) -> Option<Prediction> {
    let (first, last) = (observations.first()?, observations.last()?);
    let seen = counted(observations.len(), "mapping");
    let kept = first.external.port();
    let allocation = allocation(observations)?;
    let (port, probability, because) = match allocation {
        Allocation::None => (kept, 1.0, "no NAT: the external endpoint is its own".to_owned()),
        Allocation::Preserving => (kept, 1.0, format!("port preserved in {seen}")),
        Allocation::Observed => (kept, 1.0, format!("the same external port in {seen}")),
        Allocation::Sequential { step } => {
            let last = moved(observations).last().map_or(last.external.port(), |seen| seen.external.port());
            let ahead = i32::from(skipped) + if fault_injection::is(Fault::WrongDelta) { 2 } else { 1 };
            let port = next_port(last, step.saturating_mul(ahead));
            (port, 1.0, format!("sequential: {step:+} seen in {seen}, the last was {last}"))
        }
        Allocation::Random | Allocation::KeptOnce => {
            let (port, probability) = likely_port(observations, rng);
            let because = format!("random: no rule in {seen}, a guess at the likelier ports");
            (port, probability, because)
        }
    };
    // A NAT with several addresses may give another one to the mapping of another port.
    let (address, alike) = match allocation {
        Allocation::None | Allocation::Preserving | Allocation::Observed => {
            (*first.external.ip(), addresses(observations.iter().filter(|seen| seen.local == first.local)))
        }
        Allocation::Sequential { .. } | Allocation::Random | Allocation::KeptOnce => {
            (*last.external.ip(), addresses(observations))
        }
    };
    let endpoint = SocketAddrV4::new(address, port);
    let because = if alike > 1 { format!("{because}, at one of {alike} addresses") } else { because };
    Some(Prediction { endpoint, probability: probability / f64::from(alike), because })
}

/// How many external addresses the mappings have.
fn addresses<'a>(observations: impl IntoIterator<Item = &'a Observation>) -> u32 {
    let addresses: BTreeSet<_> = observations.into_iter().map(|seen| *seen.external.ip()).collect();
    u32::try_from(addresses.len()).expect("few observations")
}

/// A guess, and the chance of it: at a port between mappings that are close together, at one with the bits that all have in common, else
/// at one of the kernel's.
fn likely_port(observations: &[Observation], rng: &mut impl Rng) -> (u16, f64) {
    if let Some((low, high)) = range(observations) {
        return (rng.random_range(low..=high), 1.0 / (f64::from(high - low) + 1.0));
    }
    match Pattern::of(observations.iter().map(|seen| seen.external.port())) {
        Some(pattern) => {
            let size = pattern.size();
            (pattern.nth(rng.random_range(0..size)), 1.0 / f64::from(size))
        }
        None => (rng.random_range(LIKELIER), LIKELIER_CHANCE),
    }
}

/// The widest range that is worth telling from all ports.
const WIDEST_RANGE: u16 = 4096;

/// The lowest and the highest external port, if there are enough of them and they are so close together that they must
/// come from a range.
#[must_use]
pub(crate) fn range(observations: &[Observation]) -> Option<(u16, u16)> {
    let ports = || observations.iter().map(|seen| seen.external.port());
    let (low, high) = (ports().min()?, ports().max()?);
    (observations.len() >= ENOUGH_FOR_A_RANGE && high - low <= WIDEST_RANGE).then_some((low, high))
}

/// The port `distance` further, within the ports a NAT hands out.
#[must_use]
pub(crate) fn next_port(port: u16, distance: i32) -> u16 {
    let span = 65_536 - 1024;
    let offset = (i32::from(port) - 1024 + distance).rem_euclid(span);
    u16::try_from(1024 + offset).expect("below 65536")
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;
    use crate::classify::tests::seen;

    fn port(ports: &[u16], skipped: u16) -> u16 {
        predict(&seen(ports), skipped, &mut rand_chacha::ChaCha8Rng::seed_from_u64(1))
            .unwrap()
            .endpoint
            .port()
    }

    #[test]
    fn predictable_ports_are_predicted() {
        assert_eq!(port(&[5000, 5000], 7), 5000);
        assert_eq!(port(&[6000, 6000], 7), 6000);
        assert_eq!(port(&[20000, 20001], 0), 20002);
        assert_eq!(port(&[20000, 20001], 7), 20009);
        assert_eq!(port(&[20003, 20001], 0), 19999);
        assert_eq!(port(&[65534, 65535], 0), 1024);
    }

    #[test]
    fn a_counter_goes_on_from_the_last_port_that_it_gave() {
        let mut observations = seen(&[20_000, 20_001, 41_003]);
        observations[2].local.set_port(41_003);
        let prediction = predict(&observations, 0, &mut rand_chacha::ChaCha8Rng::seed_from_u64(1)).unwrap();
        assert_eq!(prediction.endpoint.port(), 20_002);
    }

    #[test]
    fn a_mapping_that_is_kept_has_the_address_that_was_seen_of_it() {
        let mut observations = seen(&[6000, 6000, 41_003]);
        observations[2].local.set_port(5001);
        observations[2].external.set_ip([192, 0, 2, 9].into());
        let prediction = predict(&observations, 0, &mut rand_chacha::ChaCha8Rng::seed_from_u64(1)).unwrap();
        assert_eq!(prediction.endpoint, "192.0.2.2:6000".parse().unwrap());
        assert!(prediction.probability >= 1.0, "{prediction:?}");
    }

    #[test]
    fn the_odds_count_the_addresses_of_the_nat() {
        let mut observations = seen(&[20_000, 20_001, 20_002]);
        observations[2].external.set_ip([192, 0, 2, 9].into());
        let prediction = predict(&observations, 0, &mut rand_chacha::ChaCha8Rng::seed_from_u64(1)).unwrap();
        assert_eq!(prediction.endpoint, "192.0.2.9:20003".parse().unwrap());
        assert!((prediction.probability - 0.5).abs() < 1e-9, "{prediction:?}");
        assert!(prediction.because.ends_with("at one of 2 addresses"), "{prediction:?}");
    }

    #[test]
    fn a_random_port_is_guessed_where_it_is_likelier_and_the_odds_are_told() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        let prediction = predict(&seen(&[36424, 13999]), 0, &mut rng).unwrap();
        assert!(LIKELIER.contains(&prediction.endpoint.port()));
        assert!(prediction.probability < 1e-4);
    }

    #[test]
    fn nothing_is_predicted_from_nothing() {
        assert_eq!(predict(&[], 0, &mut rand_chacha::ChaCha8Rng::seed_from_u64(1)), None);
    }
}
