//! Port prediction: which external endpoint the peer's next mapping will have, and how sure that is. Pure.

use std::net::SocketAddrV4;

use rand::{Rng, RngExt};

use crate::classify::{Allocation, Observation, allocation};

/// Ports a NAT of the Linux kernel draws from when it draws at random: 1024 to 65535 (`nf_nat_l4proto_unique_tuple`).
pub const RANDOM_POOL: u32 = 64_512;

/// It draws `1024 + u16 % 64512`, so the first 1,024 of them come up twice as often.
pub const LIKELIER: std::ops::Range<u16> = 1024..2048;

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

/// Predicts the next mapping of the port the observations were made from. `None` when there are none.
pub fn predict(observations: &[Observation], rng: &mut impl Rng) -> Option<Prediction> {
    let last = observations.last()?;
    let count = observations.len();
    let (port, probability, because) = match allocation(observations)? {
        Allocation::None => {
            (last.external.port(), 1.0, "no NAT: the external endpoint is its own".to_owned())
        }
        Allocation::Preserving => (last.external.port(), 1.0, format!("port preserved in {count} mappings")),
        Allocation::Observed => {
            (last.external.port(), 1.0, format!("the same external port in {count} mappings"))
        }
        Allocation::Sequential { step } => {
            let port = next_port(last.external.port(), step);
            (
                port,
                1.0,
                format!(
                    "sequential: {step:+} seen in {count} mappings, the last was {}",
                    last.external.port()
                ),
            )
        }
        Allocation::Random => {
            let port = rng.random_range(LIKELIER);
            (
                port,
                2.0 / 65_536.0,
                format!("random: no rule in {count} mappings, a guess at the likelier ports"),
            )
        }
    };
    Some(Prediction { endpoint: SocketAddrV4::new(*last.external.ip(), port), probability, because })
}

/// The port `step` further, within the ports a NAT hands out.
#[must_use]
pub fn next_port(port: u16, step: i32) -> u16 {
    let span = 65_536 - 1024;
    let offset = (i32::from(port) - 1024 + step).rem_euclid(span);
    u16::try_from(1024 + offset).expect("below 65536")
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;
    use crate::classify::tests::seen;

    fn port(ports: &[u16]) -> u16 {
        predict(&seen(ports), &mut rand_chacha::ChaCha8Rng::seed_from_u64(1)).unwrap().endpoint.port()
    }

    #[test]
    fn predictable_ports_are_predicted() {
        assert_eq!(port(&[5000, 5000]), 5000);
        assert_eq!(port(&[6000, 6000]), 6000);
        assert_eq!(port(&[20000, 20001]), 20002);
        assert_eq!(port(&[20003, 20001]), 19999);
        assert_eq!(port(&[65534, 65535]), 1024);
    }

    #[test]
    fn a_random_port_is_guessed_where_it_is_likelier_and_the_odds_are_told() {
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
        let prediction = predict(&seen(&[36424, 13999]), &mut rng).unwrap();
        assert!(LIKELIER.contains(&prediction.endpoint.port()));
        assert!(prediction.probability < 1e-4);
    }

    #[test]
    fn nothing_is_predicted_from_nothing() {
        assert_eq!(predict(&[], &mut rand_chacha::ChaCha8Rng::seed_from_u64(1)), None);
    }
}
