//! What a side measures before a round, and what it tells the peer of it: mappings, a low port's mapping, a fresh port,
//! the distance to its own outermost NAT.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use tokio::time::Instant;

use super::{Driver, LowPorts, Message, Phase};
use crate::classify::{Allocation, Observation, allocation, is_certain, path};
use crate::contract::Event;
use crate::method::pool;
use crate::method::view::{Kind, Side};
use crate::puncher::ConnectError;
use crate::rendezvous::client::Link;
use crate::socket;
use crate::trace::{self, Way};

/// A measurement older than this is made anew before the first round: others behind a NAT that counts have gone on.
const STALE: Duration = Duration::from_millis(200);

/// How far the own NATs are looked for, and for how long: two round trips to the server, within these bounds.
const HOPS_LOOKED_AT: u8 = 4;
const LEAST_HOP_WAIT: Duration = Duration::from_millis(20);
const MOST_HOP_WAIT: Duration = Duration::from_millis(200);

/// Mappings that are measured where few were likely to agree by chance.
const DOUBTFUL: usize = 4;

/// Mappings that are told: the first ones and the newest.
const MOST_OBSERVATIONS: usize = 8;

/// Rounds that fit any deadline.
const MOST_ROUNDS: u32 = 32;

/// What is measured before a round.
#[derive(Debug)]
pub(super) enum Measured {
    /// Of the port that is punched from, towards other endpoints of the server.
    Rest(Vec<Link>),
    Mapping(Result<Link, String>),
    Low(Result<Link, String>),
    /// Of a port that has not spoken yet, towards one endpoint of the server, or several.
    FreshPort(Vec<Link>),
    /// The same, to see whether a NAT keeps its mappings as it seems to.
    Again(Vec<Link>),
    Way(Way),
}

impl Driver<'_> {
    /// Measures what may have changed, then agrees upon the next round.
    pub(super) async fn prepare_round(&mut self) -> Result<(), ConnectError> {
        self.next_round = None;
        let wants = (self.measurements(), self.wants_low_port(), self.wants_fresh_port());
        let looks = !self.has_looked && self.setting.method.wants_hops(self.round + 1);
        let address = self.setting.own.address();
        let Some((client, _)) = self.setting.server.as_ref().filter(|_| self.round < MOST_ROUNDS) else {
            return Ok(());
        };
        let (mappings, low_port, fresh_port) = wants;
        if let Some(address) = address.filter(|_| looks) {
            self.has_looked = true;
            // First, because a NAT that counts gives a port to each of these SYNs, too.
            let wait = (client.one_way() * 4).clamp(LEAST_HOP_WAIT, MOST_HOP_WAIT);
            let way = trace::way(client.local(), client.server(), address, HOPS_LOOKED_AT, wait);
            self.measuring.spawn(async move { Measured::Way(way.await) });
        }
        // Once more, but an endpoint that nobody can reach must not hold up every round.
        if self.round == 1 && self.seen_once {
            let rest = client.connect_to_the_rest();
            self.measuring.spawn(async move { Measured::Rest(rest.await) });
        }
        if low_port {
            let link = client.measure(pool::low_source(&mut rand::rng()));
            self.measuring.spawn(async move { Measured::Low(link.await) });
        }
        if fresh_port && self.seen_once {
            self.measure_anew(Measured::FreshPort);
        } else if fresh_port {
            let link = client.measure(0);
            self.measuring.spawn(async move { Measured::FreshPort(link.await.into_iter().collect()) });
        } else if self.is_to_be_seen_again() {
            self.measure_anew(Measured::Again);
        }
        self.measure_mappings(mappings);
        self.round += 1;
        self.phase = Phase::Measuring;
        self.agree_when_measured().await
    }

    /// Mappings of one more port, towards several endpoints of the server.
    fn measure_anew(&mut self, measured: fn(Vec<Link>) -> Measured) {
        let Some((client, _)) = &self.setting.server else { return };
        if let Ok(links) = client.connect_anew() {
            self.measuring.spawn(async move { measured(links.await) });
        }
    }

    /// Mappings of other ports, each towards the same endpoint of the server.
    fn measure_mappings(&mut self, count: usize) {
        let Some((client, _)) = &self.setting.server else { return };
        for _ in 0..count {
            let link = client.measure(0);
            self.measuring.spawn(async move { Measured::Mapping(link.await) });
        }
    }

    /// How many mappings to measure: two in a row tell whether a NAT counts, even where its pool begins anew.
    fn measurements(&self) -> usize {
        let next = self.round + 1;
        let later = if next > 1 { 2 } else { 0 };
        let samples = usize::from(self.setting.method.samples(next));
        let own = &self.setting.own;
        match own.kind() {
            Kind::Fixed => 0,
            Kind::Counting if !is_certain(&own.observations) && !counts_by_one(own) => later.max(DOUBTFUL),
            Kind::Counting if self.measured_at.elapsed() > STALE => later.max(samples).max(1),
            Kind::Counting | Kind::Random => later.max(samples),
        }
    }

    fn wants_low_port(&self) -> bool {
        let setting = &self.setting;
        setting.low_ports == LowPorts::WhenPermitted
            && setting.own.kind() == Kind::Random
            && setting.own.low.is_none()
            && setting.method.wants_low_port(self.round + 1)
    }

    fn wants_fresh_port(&self) -> bool {
        let own = &self.setting.own;
        own.kind() == Kind::Fixed && !own.kept_once && self.setting.method.wants_fresh_port(self.round + 1)
    }

    /// A NAT that draws from 64 ports gives the same one twice once in so many times, and seems to keep it.
    fn is_to_be_seen_again(&self) -> bool {
        !self.seen_again
            && self.setting.method.wants_second_look(self.round + 1)
            && allocation(&self.setting.own.observations) == Some(Allocation::Observed)
    }

    pub(super) async fn measured(&mut self, measured: Measured) -> Result<(), ConnectError> {
        match measured {
            Measured::Rest(links) => {
                self.seen_once &= links.is_empty();
                for link in links {
                    self.setting.own.observations.insert(1, link.observation());
                    self.keep(link);
                }
            }
            Measured::Mapping(Ok(link)) => {
                self.measured.push((link.dialled(), link.observation()));
                self.keep(link);
            }
            Measured::Low(Ok(link)) => {
                self.setting.own.low = Some(link.observation().external);
                self.keep(link);
            }
            Measured::FreshPort(links) => {
                self.seen_once &= links.len() < 2;
                self.take_port_of(links);
            }
            Measured::Again(links) => {
                self.seen_again = true;
                let seen: Vec<_> = links.iter().map(Link::observation).collect();
                match allocation(&seen) {
                    Some(Allocation::Observed) | None => links.into_iter().for_each(|link| self.keep(link)),
                    Some(_) => {
                        self.take_port_of(links);
                        self.measure_mappings(DOUBTFUL);
                    }
                }
            }
            Measured::Way(way) => {
                if let (None, Some(hops)) = (self.setting.hops, path::hops(&way.routers)) {
                    self.setting.own.hops = hops;
                }
                self.setting.own.address_confirmed |= way.is_own_address;
            }
            // What could not be measured stays as it was; a low port may be forbidden.
            Measured::Mapping(Err(_)) | Measured::Low(Err(_)) => {}
        }
        self.agree_when_measured().await
    }

    /// Punches from another port, of which this is known.
    fn take_port_of(&mut self, links: Vec<Link>) {
        if let Some(first) = links.first() {
            self.setting.own.local = first.observation().local;
            self.setting.own.observations = links.iter().map(Link::observation).collect();
        }
        links.into_iter().for_each(|link| self.keep(link));
    }

    fn keep(&mut self, link: Link) {
        let Observation { local, server, external } = link.observation();
        (self.setting.tell)(&Event::Mapped { local, external, server });
        if let Some((client, _)) = &mut self.setting.server {
            client.keep(link);
        }
    }

    pub(super) async fn agree_when_measured(&mut self) -> Result<(), ConnectError> {
        if self.phase != Phase::Measuring || !self.measuring.is_empty() {
            return Ok(());
        }
        self.phase = Phase::Agreeing;
        if !self.measured.is_empty() {
            self.measured_at = Instant::now();
        }
        self.move_to_an_unspoken_port();
        let own = &mut self.setting.own;
        self.measured.sort_by_key(|(dialled, _)| *dialled);
        own.observations.extend(self.measured.drain(..).map(|(_, seen)| seen));
        if let (Kind::Counting, Some(newest)) =
            (own.kind(), own.observations.last().filter(|_| self.round > 1))
        {
            // Towards the peer the port of an earlier round may still have its mapping, and would not get the next one.
            own.local = newest.local;
        }
        forget_the_oldest(&mut own.observations);
        let round = self.round;
        let message = Message::Confirm { round, side: own.clone() };
        self.know_own_endpoints();
        if let Some((client, seals)) = &mut self.setting.server
            && client.relay_and_be_ready(seals.seal(&message), round).await.is_err()
        {
            self.setting.server = None;
        }
        Ok(())
    }

    /// Behind a NAT that keeps a port once, each round takes a port that has not spoken to anybody: it will be kept.
    fn move_to_an_unspoken_port(&mut self) {
        let own = &mut self.setting.own;
        if !own.kept_once && allocation(&own.observations) != Some(Allocation::KeptOnce) {
            return;
        }
        let (Some(seen), Ok(holder)) =
            (own.observations.first().copied(), socket::bind_shared(SocketAddrV4::new(*own.local.ip(), 0)))
        else {
            return;
        };
        let Some(local) = holder.local_addr().ok().and_then(|address| address.as_socket_ipv4()) else {
            return;
        };
        let external = SocketAddrV4::new(*seen.external.ip(), local.port());
        own.kept_once = true;
        own.local = local;
        own.observations = vec![Observation { local, external, ..seen }];
        self.held.push(holder);
    }

    /// What the handshake may expect the peer to call this side.
    fn know_own_endpoints(&mut self) {
        let own = &self.setting.own;
        let external = own.observations.iter().map(|seen| *seen.external.ip());
        let mut addresses: Vec<Ipv4Addr> = external.collect();
        addresses.dedup();
        // A NAT with several addresses may use yet another one.
        let addresses =
            if addresses.len() > 1 { Vec::new() } else { [addresses, vec![*own.local.ip()]].concat() };
        if let Some(external) = own.known_endpoint() {
            self.endpoints.external.insert(own.local.port(), external);
        }
        self.endpoints.addresses = addresses;
        self.setting.table.know(self.endpoints.clone());
    }
}

/// The usual step; any other is doubtful until it has been seen twice. A step back may be two mappings in another order,
/// because the first SYN was lost.
fn counts_by_one(side: &Side) -> bool {
    matches!(allocation(&side.observations), Some(Allocation::Sequential { step: 1 }))
}

/// Those of the port that is punched from stay: that they differ is what shows that a NAT does not keep it.
fn forget_the_oldest(observations: &mut Vec<Observation>) {
    let Some(port) = observations.first().map(|seen| seen.local.port()) else { return };
    while observations.len() > MOST_OBSERVATIONS
        && let Some(oldest) = observations.iter().position(|seen| seen.local.port() != port)
    {
        observations.remove(oldest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::classify::tests::seen;

    #[test]
    fn a_nat_that_draws_still_does_after_many_measurements() {
        let mut observations = seen(&[36424, 13999]);
        for port in 0..20 {
            let mut newer = seen(&[1024 + port * 3001])[0];
            newer.local.set_port(40_000 + port);
            observations.push(newer);
            forget_the_oldest(&mut observations);
            assert_eq!(allocation(&observations), Some(Allocation::Random), "{observations:?}");
        }
        assert_eq!(observations.len(), MOST_OBSERVATIONS);
        assert_eq!(observations.last().unwrap().local.port(), 40_019, "the newest stay");
    }
}
