//! Plans the rounds of a punch: what to measure before each, what to tell the peer of it, and how many SYNs may still leave.
//!
//! Pure: facts go in, measurements to make come out, and the time is passed in. `driver` makes the measurements.

use std::collections::BTreeMap;
use std::net::SocketAddrV4;
use std::time::Duration;

use tokio::time::Instant;

use crate::classify::{Allocation, Observation, allocation, is_certain, path};
use crate::config::LowPorts;
use crate::method::Method;
use crate::method::view::{Predictability, SideFacts, UNCONFIRMED_SYNS};
use crate::trace::RouteTrace;

/// A measurement older than this is made again before the first round: others behind a NAT that counts have gone on.
const STALE: Duration = Duration::from_millis(200);

/// Mappings that are measured where few were likely to agree by chance.
const DOUBTFUL: usize = 4;

/// Mappings that are told: the first ones and the newest.
const MOST_OBSERVATIONS: usize = 8;

/// Rounds that fit any deadline.
const MOST_ROUNDS: u32 = 32;

/// What to measure before a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Measurement {
    /// The routers towards the server, and whether the external address is this side's.
    Route,
    /// The port that is punched from, towards the endpoints of the server that have not answered it.
    RemainingEndpoints,
    /// The mapping of a source port below 1024.
    LowPort,
    /// The mapping of a port that has not spoken yet, towards one endpoint of the server.
    FreshPort,
    /// The same, towards several endpoints of the server.
    FreshPortEverywhere,
    /// The same, to see whether a NAT keeps its mappings as it seems to.
    SecondLook,
    /// One more mapping of another port, towards the endpoint that the conversation is with.
    Mapping,
}

/// What came of a measurement.
#[derive(Debug)]
pub(super) enum Fact {
    /// The mappings that were seen, with when their SYNs left; none when nothing could be measured.
    Mappings(Measurement, Vec<(Instant, Observation)>),
    /// Of [`Measurement::Route`].
    Route(RouteTrace),
}

/// What the user set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MeasuringRules {
    /// Whether source ports below 1024 may be used.
    pub(crate) low_ports: LowPorts,
    /// Hops behind the own NATs, if they are not to be measured.
    pub(crate) hops: Option<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Measuring,
    Agreeing,
    Punching,
}

/// What is known of both sides, and where in a round this side is.
#[derive(Debug)]
pub(super) struct RoundPlanner {
    own: SideFacts,
    rules: MeasuringRules,
    /// What the peer has confirmed, by round: the one that is being agreed, and the next if the peer is ahead.
    peer: BTreeMap<u32, SideFacts>,
    round: u32,
    phase: Phase,
    /// Measurements that are being made.
    outstanding: usize,
    /// New mappings of this round, with when they were dialled.
    measured: Vec<(Instant, Observation)>,
    measured_at: Instant,
    has_traced: bool,
    /// Only one endpoint of the server has answered the port that is punched from: the next mapping may be another.
    seen_once: bool,
    /// Whether a second port has shown that the NAT does keep its mappings.
    seen_again: bool,
    peer_is_confirmed: bool,
}

impl RoundPlanner {
    pub(super) fn new(own: SideFacts, rules: MeasuringRules, now: Instant) -> Self {
        let seen_once = own.observations.len() == 1;
        Self {
            own,
            rules,
            peer: BTreeMap::new(),
            round: 0,
            phase: Phase::Measuring,
            outstanding: 0,
            measured: Vec::new(),
            measured_at: now,
            has_traced: false,
            seen_once,
            seen_again: false,
            peer_is_confirmed: false,
        }
    }

    pub(super) fn own(&self) -> &SideFacts {
        &self.own
    }

    pub(super) fn round(&self) -> u32 {
        self.round
    }

    /// Whether a round is under way, so that its method may ask for the next.
    pub(super) fn is_punching(&self) -> bool {
        self.phase == Phase::Punching
    }

    /// Whether there is time for another round in any deadline.
    pub(super) fn may_go_on(&self) -> bool {
        self.round < MOST_ROUNDS
    }

    /// Begins to prepare the next round: what to measure, in the order in which the SYNs are to leave.
    pub(super) fn prepare(&mut self, method: &dyn Method, now: Instant) -> Vec<Measurement> {
        let next = self.round + 1;
        let mut wanted = Vec::new();
        if !self.has_traced && method.wants_hops(next) && self.own.address().is_some() {
            self.has_traced = true;
            // First, because a NAT that counts gives a port to each of these SYNs, too.
            wanted.push(Measurement::Route);
        }
        // Once more, but an endpoint that nobody can reach must not hold up every round.
        if next == 2 && self.seen_once {
            wanted.push(Measurement::RemainingEndpoints);
        }
        if self.wants_low_port(method) {
            wanted.push(Measurement::LowPort);
        }
        if self.wants_fresh_port(method) {
            let everywhere = self.seen_once;
            wanted.push(if everywhere { Measurement::FreshPortEverywhere } else { Measurement::FreshPort });
        } else if self.is_to_be_seen_again(method) {
            wanted.push(Measurement::SecondLook);
        }
        wanted.extend(vec![Measurement::Mapping; self.mappings(method, now)]);
        self.round = next;
        self.phase = Phase::Measuring;
        self.outstanding += wanted.len();
        wanted
    }

    /// How many mappings to measure: two in a row tell whether a NAT counts, even where its pool begins again.
    fn mappings(&self, method: &dyn Method, now: Instant) -> usize {
        let next = self.round + 1;
        let later = if next > 1 { 2 } else { 0 };
        let samples = usize::from(method.samples(next));
        let own = &self.own;
        match own.predictability() {
            Predictability::Fixed => 0,
            Predictability::Counting if !is_certain(&own.observations) && !counts_by_one(own) => {
                later.max(DOUBTFUL)
            }
            Predictability::Counting if now.duration_since(self.measured_at) > STALE => {
                later.max(samples).max(1)
            }
            Predictability::Counting | Predictability::Random => later.max(samples),
        }
    }

    fn wants_low_port(&self, method: &dyn Method) -> bool {
        self.rules.low_ports == LowPorts::WhenPermitted
            && self.own.predictability() == Predictability::Random
            && self.own.low.is_none()
            && method.wants_low_port(self.round + 1)
    }

    fn wants_fresh_port(&self, method: &dyn Method) -> bool {
        self.own.predictability() == Predictability::Fixed
            && !self.own.kept_once
            && method.wants_fresh_port(self.round + 1)
    }

    /// A NAT that draws from 64 ports gives the same one twice once in this many times, and seems to keep it.
    fn is_to_be_seen_again(&self, method: &dyn Method) -> bool {
        !self.seen_again
            && method.wants_second_look(self.round + 1)
            && allocation(&self.own.observations) == Some(Allocation::Observed)
    }

    /// Takes in what came of a measurement; what else has to be measured because of it.
    pub(super) fn learn(&mut self, fact: Fact) -> Vec<Measurement> {
        self.outstanding = self.outstanding.saturating_sub(1);
        let more = match fact {
            Fact::Route(trace) => {
                if let (None, Some(hops)) = (self.rules.hops, path::hops(&trace.routers)) {
                    self.own.hops = hops;
                }
                self.own.address_confirmed |= trace.is_own_address;
                Vec::new()
            }
            Fact::Mappings(measurement, seen) => self.learn_mappings(measurement, seen),
        };
        self.outstanding += more.len();
        more
    }

    fn learn_mappings(
        &mut self,
        measurement: Measurement,
        seen: Vec<(Instant, Observation)>,
    ) -> Vec<Measurement> {
        let observations: Vec<_> = seen.iter().map(|(_, observation)| *observation).collect();
        match measurement {
            Measurement::RemainingEndpoints => {
                self.seen_once &= observations.is_empty();
                for observation in observations {
                    self.own.observations.insert(1, observation);
                }
            }
            Measurement::Mapping => self.measured.extend(seen),
            // What could not be measured stays as it was; a low port may be forbidden.
            Measurement::LowPort => {
                self.own.low = observations.first().map(|seen| seen.external).or(self.own.low);
            }
            Measurement::FreshPort | Measurement::FreshPortEverywhere => {
                self.seen_once &= observations.len() < 2;
                self.take_port_of(observations);
            }
            Measurement::SecondLook => {
                self.seen_again = true;
                if !matches!(allocation(&observations), Some(Allocation::Observed) | None) {
                    self.take_port_of(observations);
                    return vec![Measurement::Mapping; DOUBTFUL];
                }
            }
            Measurement::Route => {}
        }
        Vec::new()
    }

    /// Punches from another port, of which this is known.
    fn take_port_of(&mut self, observations: Vec<Observation>) {
        if let Some(first) = observations.first() {
            self.own.local = first.local;
            self.own.observations = observations;
        }
    }

    /// Whether all that was to be measured before the round has been.
    pub(super) fn is_measured(&self) -> bool {
        self.phase == Phase::Measuring && self.outstanding == 0
    }

    /// Behind a NAT that keeps a port once, each round takes a port that has not spoken to anybody: it will be kept.
    pub(super) fn needs_unspoken_port(&self) -> bool {
        !self.own.observations.is_empty()
            && (self.own.kept_once || allocation(&self.own.observations) == Some(Allocation::KeptOnce))
    }

    /// Ends the measuring: what to confirm to the peer. `unspoken` is a port that was asked for and could be had.
    pub(super) fn conclude(&mut self, unspoken: Option<u16>, now: Instant) -> (u32, SideFacts) {
        self.phase = Phase::Agreeing;
        if !self.measured.is_empty() {
            self.measured_at = now;
        }
        if let Some(port) = unspoken {
            self.move_to(port);
        }
        let own = &mut self.own;
        self.measured.sort_by_key(|(dialled, _)| *dialled);
        own.observations.extend(self.measured.drain(..).map(|(_, seen)| seen));
        let counts = own.predictability() == Predictability::Counting;
        if let Some(newest) = own.observations.last().filter(|_| counts && self.round > 1) {
            // Towards the peer the port of an earlier round may still have its mapping, and would not get the next one.
            own.local = newest.local;
        }
        forget_the_oldest(&mut own.observations);
        (self.round, own.clone())
    }

    fn move_to(&mut self, port: u16) {
        let own = &mut self.own;
        let Some(seen) = own.observations.first().copied() else { return };
        let local = SocketAddrV4::new(*own.local.ip(), port);
        let external = SocketAddrV4::new(*seen.external.ip(), port);
        own.kept_once = true;
        own.local = local;
        own.observations = vec![Observation { local, external, ..seen }];
    }

    /// The peer is ready for a round, and says this of itself.
    pub(super) fn peer_confirms(&mut self, round: u32, side: SideFacts) {
        if (self.round..=self.round + 1).contains(&round) {
            self.peer.insert(round, side);
        }
    }

    /// Whether the peer is preparing the next round while this side still punches.
    pub(super) fn is_behind(&self) -> bool {
        self.is_punching() && self.peer.contains_key(&(self.round + 1))
    }

    /// What the peer said for a round that is to begin; `None` when the server says go out of turn: before the peer has
    /// confirmed, or twice.
    pub(super) fn take_peer(&mut self, round: u32) -> Option<SideFacts> {
        self.peer.remove(&round).filter(|_| round == self.round)
    }

    /// The first and only round of peers that meet without a server.
    pub(super) fn begin_alone(&mut self) {
        self.round = 1;
    }

    /// A round begins, against a peer whose address is confirmed, or taken to be so, or not.
    pub(super) fn punch(&mut self, peer_is_confirmed: bool) {
        self.phase = Phase::Punching;
        self.peer_is_confirmed = peer_is_confirmed;
    }

    /// Takes one SYN from the budget, `spent` of which are gone; whether there was one.
    pub(super) fn spend_syn(&mut self, spent: u32) -> bool {
        if self.own.syns == 0 || (!self.peer_is_confirmed && spent >= UNCONFIRMED_SYNS) {
            return false;
        }
        self.own.syns -= 1;
        true
    }

    /// A reset or an ICMP error has come for a dial.
    pub(super) fn was_refused(&mut self) {
        self.own.refused = true;
    }
}

/// The usual step; any other is doubtful until it has been seen twice. A step back may be two mappings in another order,
/// because the first SYN was lost.
fn counts_by_one(side: &SideFacts) -> bool {
    matches!(allocation(&side.observations), Some(Allocation::Sequential { step: 1 }))
}

/// Those of the port that is punched from stay: that they differ is what shows that a NAT does not keep it. Only where a server
/// has very many endpoints some of them have to go, or they would not fit a message.
fn forget_the_oldest(observations: &mut Vec<Observation>) {
    let Some(port) = observations.first().map(|seen| seen.local.port()) else { return };
    while observations.len() > MOST_OBSERVATIONS {
        let oldest = observations.iter().position(|seen| seen.local.port() != port);
        observations.remove(oldest.unwrap_or(1));
    }
}

#[cfg(test)]
mod tests;
