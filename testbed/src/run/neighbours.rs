//! The axis `neighbours`: hosts behind the same NATs as the peers open connections at random moments.
//!
//! Each sends real SYNs from fresh ports to a port of the core where nobody listens, as a Poisson process: the waits
//! between them are drawn from the trial's seed. A NAT makes a mapping for each.
//!
//! Theory counts how many come between a peer's measurement and its punch. Connections that come late and in bursts let more ports
//! be predicted than it says, so each host has an urgent thread of its own, and how late a connection was is measured.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::kernel::error::{Error, Result};
use crate::kernel::namespace::Inside;
use crate::kernel::scheduling::make_urgent;
use crate::kernel::tcp_socket::TcpSocket;
use crate::lab::Lab;
use crate::model::address_plan::DISCARD;
use crate::model::axis_value;
use crate::run::prepared_cell::PreparedCell;
use crate::run::seed::TrialSeed;

/// The neighbours of a trial, until this is dropped or ended.
#[derive(Debug)]
pub(super) struct Neighbours {
    stop: Arc<Stop>,
    hosts: Vec<JoinHandle<Result<Duration>>>,
    errors: UnboundedReceiver<Error>,
}

/// The wish that they stop.
#[derive(Debug, Default)]
struct Stop {
    wanted: Mutex<bool>,
    told: Condvar,
}

impl Neighbours {
    /// Starts a thread for each neighbour of the cell, and none where they are to be silent.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub(super) fn start(lab: &Lab, ready: &PreparedCell, seed: &TrialSeed) -> Result<Self> {
        let (tell, errors) = unbounded_channel();
        let mut neighbours = Self { stop: Arc::default(), hosts: Vec::new(), errors };
        let rate = ready.cell.neighbours().unwrap_or_default();
        let names = axis_value::neighbours(&ready.part.topology).into_iter().filter(|_| rate > 0.0);
        for (number, name) in (0..).zip(names) {
            let (stop, tell, random) = (Arc::clone(&neighbours.stop), tell.clone(), seed.neighbour(number));
            let open = move |inside: &Inside| {
                let opened = open_connections(inside, rate, random, &stop);
                opened.map_err(|why| drop(tell.send(why))).unwrap_or_default()
            };
            neighbours.hosts.push(lab.node(name)?.namespace().spawn(open)?);
        }
        Ok(neighbours)
    }

    /// Waits until one of them cannot go on; for ever if all can.
    ///
    /// # Errors
    /// Why it cannot.
    pub(super) async fn fail(&mut self) -> Result<()> {
        match self.errors.recv().await {
            Some(error) => Err(error),
            None => std::future::pending().await,
        }
    }

    /// Ends them, and tells how much later than drawn a connection was opened at most.
    ///
    /// # Errors
    /// When one of them could not enter its host.
    pub(super) fn end(mut self) -> Result<Duration> {
        self.stop.tell();
        let latest =
            self.hosts.drain(..).map(|host| host.join().unwrap_or_else(|panic| resume_unwind(panic)));
        latest.collect::<Result<Vec<_>>>().map(|latest| latest.into_iter().max().unwrap_or_default())
    }
}

impl Drop for Neighbours {
    fn drop(&mut self) {
        self.stop.tell();
    }
}

impl Stop {
    fn tell(&self) {
        *self.wanted.lock() = true;
        self.told.notify_all();
    }

    /// Waits until then; whether it is wanted.
    fn wait_until(&self, due: Instant) -> bool {
        let mut wanted = self.wanted.lock();
        while !*wanted {
            if self.told.wait_until(&mut wanted, due).timed_out() {
                break;
            }
        }
        *wanted
    }
}

/// Opens connections from one host, `rate` a second, and tells how late one was at most.
fn open_connections(inside: &Inside, rate: f64, mut random: ChaCha8Rng, stop: &Stop) -> Result<Duration> {
    make_urgent();
    let (mut due, mut latest) = (Instant::now(), Duration::ZERO);
    loop {
        due += wait(&mut random, rate);
        if stop.wait_until(due) {
            return Ok(latest);
        }
        // The SYN has left when this returns, and closing the socket sends nothing.
        let opened = TcpSocket::open(inside, None).and_then(|socket| socket.begin_connecting(DISCARD));
        opened.map_err(|why| Error::io("open a neighbour's connection", "connect", &why))?;
        latest = latest.max(due.elapsed());
    }
}

/// The wait until the next event of a Poisson process with this many a second.
fn wait(random: &mut impl RngExt, rate: f64) -> Duration {
    // 1 - x is never 0.
    Duration::from_secs_f64(-(1.0 - random.random::<f64>()).ln() / rate)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;
    use crate::kernel::namespace::Namespace;

    #[test]
    fn who_waits_is_told_to_stop_and_goes_on_when_its_time_has_come() {
        let stop = Stop::default();
        assert!(!stop.wait_until(Instant::now()));
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| stop.wait_until(Instant::now() + Duration::from_secs(60)));
            stop.tell();
            assert!(waits.join().expect("no panic"));
        });
    }

    #[test]
    #[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
    fn a_connection_that_cannot_be_opened_is_an_error_that_says_why() {
        let Ok(without_a_route) = Namespace::new() else {
            assert!(std::env::var_os("TESTBED_REQUIRE_LAB").is_none(), "no namespace can be made");
            eprintln!("SKIPPED: no namespace can be made");
            return;
        };
        let random = ChaCha8Rng::seed_from_u64(1);
        let open = |inside: &Inside| open_connections(inside, 1000.0, random, &Stop::default());
        let why = without_a_route.enter(open).flatten().expect_err("no route leads out").to_string();
        assert!(why.contains("open a neighbour's connection") && why.contains("ENETUNREACH"), "{why}");
    }

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
