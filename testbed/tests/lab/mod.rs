//! Tests on the real kernel, by phenomenon. They need root or a user namespace.

use std::io::Write as _;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use futures::{StreamExt as _, stream};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use testbed::Rights;
use tokio::sync::Semaphore;

/// Connections that end however busy they are.
mod absolute_timeouts;
/// Whole labs: built, used, reset and dropped.
mod building;
/// Every cause of a failure, provoked.
mod causes;
/// Mappings that cannot keep their port.
mod collisions;
/// Network namespaces, their settings and their rulesets.
mod conntrack;
/// A sample of all NATs.
mod covering;
/// What carries packets across beside connection tracking.
mod datapath;
/// What the kernel does of itself.
mod kernel_checks;
/// NATs that are not what they were proved to be, or no longer.
mod late_liars;
mod leftovers;
/// testbed as others use it.
mod library;
/// Ports below 1024.
mod low_ports;
mod mutated;
mod namespace;
/// NATs: their rules and what these do.
mod nat_conformance;
mod nat_measure;
mod nat_programs;
mod nat_proof;
mod nat_rules;
/// The rules of the reference NAT, turned round one by one.
mod negated;
/// What a NAT itself says to strangers.
mod own_answers;
mod pair;
/// NATs that forget everything at regular intervals.
mod periodic_flushes;
mod ruleset;
/// Whole runs.
mod run;
/// Pools of few ports.
mod small_pools;
mod wirings;

/// What our own probe tells of them.
mod probe;

/// What the machine can do.
mod preflight;
/// Programs and how they end.
mod process;
/// What happens to real networks while they are used.
mod trouble;
/// Wires: what they do to frames, and what they tell of them.
mod wire;

/// Benches at a time, in all tests together. Each makes connection tracking forget, which the kernel does for one at a time.
const BENCHES: usize = 24;

/// Makes something on a bench for each of these, several at a time, in their order.
pub(crate) fn on_benches<F: Future>(all: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    static PLACES: Semaphore = Semaphore::const_new(BENCHES);
    let one = async |work: F| {
        let _place = PLACES.acquire().await.expect("nobody closes it");
        work.await
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(stream::iter(all.into_iter().map(one)).buffered(BENCHES).collect())
}

/// Whether this machine lets a test have namespaces. Says so loudly if not; with `TESTBED_REQUIRE_LAB=1` it fails.
pub(crate) fn lab_is_possible() -> bool {
    possible(testbed::prepare(Rights::Own))
}

/// Whether what a test needs could be had. Says so loudly if not; with `TESTBED_REQUIRE_LAB=1` it fails.
pub(crate) fn possible<T, E: std::fmt::Display>(needed: Result<T, E>) -> bool {
    let Err(error) = needed else { return true };
    assert!(std::env::var_os("TESTBED_REQUIRE_LAB").is_none_or(|v| v != "1"), "no lab here: {error}");
    skipped(&error.to_string());
    false
}

/// Says loudly that this test could not show what it is for, past the capture of the test harness, which would swallow it.
pub(crate) fn skipped(why: &str) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    let _ = writeln!(std::io::stderr(), "SKIPPED: {test}: {why}");
}

/// Waits until a descriptor has something to say, but not longer than this; whether it has.
pub(crate) fn is_readable_within(descriptor: &impl AsFd, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).expect("some seconds");
        match poll(&mut [PollFd::new(descriptor.as_fd(), PollFlags::POLLIN)], timeout) {
            // The end of some other test's child interrupts it.
            Err(Errno::EINTR) => {}
            ready => return ready.expect("a descriptor to wait for") > 0,
        }
    }
}

/// Whether a tool is installed that only bears witness. Says so loudly if not, and fails nowhere for that.
pub(crate) fn has_tool(name: &str) -> bool {
    let found = std::process::Command::new(name).arg("--version").output().is_ok();
    if !found {
        skipped(&format!("{name} is not installed"));
    }
    found
}
