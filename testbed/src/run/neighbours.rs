//! The axis `neighbours`: hosts behind the same NATs as the peers open connections at random moments.
//!
//! Each sends real SYNs from fresh ports to a port of the core where nobody listens, as a Poisson process: the waits
//! between them are drawn from the trial's seed. A NAT makes a mapping for each.

use std::io;
use std::time::Duration;

use futures::future::join_all;
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tokio::time::{Instant, sleep_until};

use crate::kernel::error::{Error, Result};
use crate::kernel::tcp_socket::TcpSocket;
use crate::lab::{Lab, Node};
use crate::model::address_plan::DISCARD;
use crate::model::axis_value;
use crate::run::prepared_cell::PreparedCell;
use crate::run::seed::TrialSeed;

/// Sockets that are opened at a time: entering a namespace costs more than a socket.
const BATCH: usize = 32;

/// Opens connections from all neighbours until it is dropped; for ever without any.
///
/// # Errors
/// When a socket cannot be had.
pub(super) async fn disturb(lab: &Lab, ready: &PreparedCell, seed: &TrialSeed) -> Result<()> {
    let rate = ready.cell.neighbours().unwrap_or_default();
    if rate > 0.0 {
        let hosts = (0..).zip(axis_value::neighbours(&ready.part.topology));
        let all = hosts.map(async |(number, host)| open(lab.node(host)?, rate, seed.neighbour(number)).await);
        let ended: Result<Vec<()>> = join_all(all).await.into_iter().collect();
        ended?;
    }
    std::future::pending().await
}

/// Opens connections from one host, `rate` a second.
async fn open(node: &Node, rate: f64, mut random: ChaCha8Rng) -> Result<()> {
    let mut sockets = Vec::new();
    let mut due = Instant::now();
    loop {
        due += wait(&mut random, rate);
        sleep_until(due).await;
        if sockets.is_empty() {
            sockets = batch(node)?;
        }
        if let Some(socket) = sockets.pop() {
            // That it is under way, or refused, is all that is wanted: the SYN has left, and closing sends nothing.
            let _ = socket.begin_connecting(DISCARD);
        }
    }
}

/// The wait until the next event of a Poisson process with this many a second.
fn wait(random: &mut impl RngExt, rate: f64) -> Duration {
    // 1 - x is never 0.
    Duration::from_secs_f64(-(1.0 - random.random::<f64>()).ln() / rate)
}

fn batch(node: &Node) -> Result<Vec<TcpSocket>> {
    let tried = || format!("open sockets in \"{}\"", node.name());
    let made = node
        .enter(|inside| (0..BATCH).map(|_| TcpSocket::open(inside, None)).collect::<io::Result<Vec<_>>>())?;
    made.map_err(|why| Error::io(tried(), "socket", &why))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    /// Waits that are too regular, or too long in sum, would make counting NATs easier or harder than theory says.
    #[test]
    fn waits_are_those_of_a_poisson_process() {
        const DRAWS: u32 = 20_000;
        let mut random = ChaCha8Rng::seed_from_u64(1);
        let waits: Vec<f64> = (0..DRAWS).map(|_| wait(&mut random, 50.0).as_secs_f64()).collect();
        for multiple in [0.1_f64, 0.5, 1.0, 2.0, 4.0] {
            let longer = waits.iter().filter(|wait| **wait > multiple / 50.0).count();
            let chance = (-multiple).exp();
            let (mean, variance) = (f64::from(DRAWS) * chance, f64::from(DRAWS) * chance * (1.0 - chance));
            // Five standard deviations: 1e-6.
            assert!((longer as f64 - mean).abs() < 5.0 * variance.sqrt(), "{multiple}: {longer} of {DRAWS}");
        }
        let together: f64 = waits.iter().sum();
        // A sum of exponentials has the mean n/r and the deviation sqrt(n)/r.
        let (mean, deviation) = (f64::from(DRAWS) / 50.0, f64::from(DRAWS).sqrt() / 50.0);
        assert!((together - mean).abs() < 5.0 * deviation, "{together} s instead of {mean} s");
    }
}
