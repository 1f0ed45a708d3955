//! Makes the measurements that the planner asks for: connections to the rendezvous server, and SYNs that live for few hops.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use rand::{Rng, RngExt as _};
use tokio::time::Instant;

use super::planner::{Fact, Measurement};
use super::{Driver, Message};
use crate::address_policy::AddressKind;
use crate::classify::Observation;
use crate::contract::Event;
use crate::error::ConnectError;
use crate::introducer::{Introducer, SeenMapping};
use crate::method::pool;
use crate::socket;
use crate::trace::{self, RouteTrace};

/// How far the own NATs are looked for, and for how long: two round trips to the server, within these bounds.
const HOPS_LOOKED_AT: u8 = 4;
const LEAST_HOP_WAIT: Duration = Duration::from_millis(20);
const MOST_HOP_WAIT: Duration = Duration::from_secs(1);

/// What a measurement brought: connections, which hold the mappings that were seen, or the routers on the way.
#[derive(Debug)]
pub(super) enum Measured {
    Links(Measurement, Vec<SeenMapping>),
    Route(RouteTrace),
}

type Measuring = std::pin::Pin<Box<dyn Future<Output = Measured> + Send>>;

/// Begins a measurement; its SYNs leave now, in order. `None` when the system gives no port for it.
fn begin(
    introducer: &Introducer<'_>,
    measurement: Measurement,
    address: Option<std::net::Ipv4Addr>,
) -> Option<Measuring> {
    let looking = match measurement {
        Measurement::Route => {
            let wait = (introducer.one_way() * 4).clamp(LEAST_HOP_WAIT, MOST_HOP_WAIT);
            let (local, server) = (introducer.local(), introducer.server());
            let trace = trace::trace_route(local, server, address?, HOPS_LOOKED_AT, wait);
            return Some(Box::pin(async move { Measured::Route(trace.await) }));
        }
        Measurement::RemainingEndpoints => introducer.measure_the_rest(),
        Measurement::LowPort => introducer.measure(pool::low_source(&mut rand::rng())),
        Measurement::FreshPort | Measurement::Mapping => introducer.measure(0),
        Measurement::FreshPortEverywhere | Measurement::SecondLook => introducer.measure_anew()?,
    };
    Some(Box::pin(async move { Measured::Links(measurement, looking.await) }))
}

impl Driver<'_, '_> {
    /// Measures what may have changed, then agrees upon the next round.
    pub(super) async fn prepare_round(&mut self) -> Result<(), ConnectError> {
        self.timers.next_round = None;
        if self.server.is_none() || !self.planner.may_go_on() {
            return Ok(());
        }
        let wanted = self.planner.prepare(&*self.method, Instant::now());
        self.measure(wanted);
        self.agree_when_measured().await;
        Ok(())
    }

    fn measure(&mut self, wanted: Vec<Measurement>) {
        let mut wanted = std::collections::VecDeque::from(wanted);
        while let Some(measurement) = wanted.pop_front() {
            let local = *self.planner.own().local.ip();
            // The server's word for it: nobody else's ports are to be tried.
            let ordinary = |address: &Ipv4Addr| {
                *address == local || self.sending.policy.kind(*address) == AddressKind::Ordinary
            };
            let address = self.planner.own().address().filter(ordinary);
            let begun =
                self.server.as_ref().and_then(|(introducer, _)| begin(introducer, measurement, address));
            match begun {
                Some(measuring) => {
                    self.measuring.spawn(measuring);
                }
                None => wanted.extend(self.planner.learn(Fact::Mappings(measurement, Vec::new()))),
            }
        }
    }

    pub(super) async fn measured(&mut self, measured: Measured) {
        let fact = match measured {
            Measured::Route(trace) => Fact::Route(trace),
            Measured::Links(measurement, links) => {
                let seen = links.iter().map(|link| (link.dialled(), link.observation())).collect();
                links.into_iter().for_each(|link| self.keep(link));
                Fact::Mappings(measurement, seen)
            }
        };
        let more = self.planner.learn(fact);
        self.measure(more);
        self.agree_when_measured().await;
    }

    fn keep(&mut self, mapping: SeenMapping) {
        let Observation { local, server, external } = mapping.observation();
        (self.tell)(&Event::Mapped { local, external, server });
        if let Some((introducer, _)) = &mut self.server {
            introducer.keep(mapping);
        }
    }

    async fn agree_when_measured(&mut self) {
        if !self.planner.is_measured() {
            return;
        }
        let unspoken = if self.planner.needs_unspoken_port() { self.hold_unspoken_port() } else { None };
        let (round, side) = self.planner.conclude(unspoken, Instant::now());
        if let Some((introducer, relay)) = &mut self.server {
            let sealed = relay.seal(&Message::Confirm { round, side });
            if introducer.relay_and_be_ready(sealed, round).await.is_err() {
                self.server = None;
            }
        }
    }

    /// A port that nothing was dialled from yet, held until the end.
    fn hold_unspoken_port(&mut self) -> Option<u16> {
        let own = self.planner.own().local;
        let kept = *self.kept_port.get_or_insert(own.port());
        let at = |port| SocketAddrV4::new(*own.ip(), port);
        let beside = ports_near(kept, &mut rand::rng()).map(at).find(|local| socket::is_free(*local));
        let holder = beside.and_then(|local| socket::bind_shared(local).ok());
        let holder = holder.or_else(|| socket::bind_shared(at(0)).ok())?;
        let port = holder.local_addr().ok()?.as_socket_ipv4()?.port();
        self.held.push(holder);
        Some(port)
    }
}

/// How far a port may lie from one that the NAT has kept.
const NEAR: u16 = 64;

/// Tries before any port will do.
const TRIES: usize = 16;

/// Ports beside one that the NAT has kept: a NAT that keeps only the ports of its pool keeps these as well. Any of them, because the one
/// that was kept may lie at an end of the pool.
fn ports_near(kept: u16, rng: &mut impl Rng) -> impl Iterator<Item = u16> {
    /// Others take rights to bind.
    const LOWEST: u16 = 1024;
    let (low, high) = (kept.saturating_sub(NEAR).max(LOWEST), kept.saturating_add(NEAR).max(LOWEST));
    (0..TRIES).map(move |_| rng.random_range(low..=high)).filter(move |port| *port != kept)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng as _;

    use super::*;

    #[test]
    fn an_unspoken_port_lies_beside_the_one_that_was_kept() {
        for kept in [1, 1024, 5_000, u16::MAX] {
            let rng = &mut rand_chacha::ChaCha8Rng::seed_from_u64(1);
            let ports: Vec<u16> = ports_near(kept, rng).collect();
            assert!(!ports.is_empty() && ports.iter().all(|port| *port >= 1024 && *port != kept));
            let far = ports.iter().filter(|port| port.abs_diff(kept.max(1024)) > NEAR);
            assert_eq!(far.count(), 0, "{kept}: {ports:?}");
        }
    }
}
