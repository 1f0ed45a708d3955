//! The proof in the lab: the same packets that a trial sends, from the peers' own addresses and ports, read by the reference NAT.
//!
//! On the bench of a proof a NAT meets other addresses than in a lab, and could behave there as declared and here not. So, once
//! for each pair of NATs, wiring and address plan of a run, the peers of a lab knock at each other by sockets of testbed's own,
//! from both sides in turn: where nothing expects it (unsolicited SYN), where a SYN has gone out (SYN after SYN), from another port
//! (filtering), and from one inside endpoint to several remote ones (mapping).
//! What each NAT made of each packet is judged as in a trial. One contradiction, and no trial of the pair is run.

use std::net::SocketAddrV4;
use std::time::Duration;

use crate::judge::reference;
use crate::judge::timeline::Role;
use crate::kernel::error::{Error, Result};
use crate::kernel::tcp_socket::TcpSocket;
use crate::lab::Lab;
use crate::model::address_plan::RENDEZVOUS;
use crate::model::catalogue::Catalogue;
use crate::model::evidence::{Direction, Evidence, Fate};
use crate::model::kernel_rules::KernelRules;
use crate::model::plural::counted;
use crate::model::suite::LowPorts;
use crate::run::nat_views::NatViews;
use crate::run::prepared_cell::{LONGEST_DELAY_OF_CONTROL, PreparedCell};
use crate::run::replay::MOST_AGAIN;
use crate::run::request::RunRequest;
use crate::run::seed::TrialSeed;

/// How long no frame must have passed, once the last may have arrived.
const SETTLE: Duration = Duration::from_millis(30);

/// A source port of the pool that a method with low ports guesses in.
const LOW_PORT: u16 = 700;

/// Probes both sides; `Some` says what a NAT did that it had not to do.
///
/// # Errors
/// When a socket cannot be had, or the lab is broken.
pub(super) async fn probe(
    lab: &Lab,
    (request, kernel): (&RunRequest, KernelRules),
    prepared: &PreparedCell,
) -> Result<Option<String>> {
    let low = (prepared.part.budget.low_ports == LowPorts::Allowed).then_some(LOW_PORT);
    let seed = TrialSeed::new(request.seed, &prepared.cell.id, 0);
    let ports = |role| seed.local_port(role);
    for role in Role::BOTH {
        let usual = Exchange { lab, prepared, first: role, ports: [ports(role), ports(role.other())] };
        let privileged = low.map(|low| Exchange { ports: [low, low], ..usual });
        for exchange in [Some(usual), privileged].into_iter().flatten() {
            if let Some(wrong) = exchange.judged((&request.catalogue, kernel)).await? {
                return Ok(Some(format!("proof in the lab: {wrong}")));
            }
        }
    }
    Ok(None)
}

/// What the two peers send to each other, one of them first.
#[derive(Debug, Clone, Copy)]
struct Exchange<'a> {
    lab: &'a Lab,
    prepared: &'a PreparedCell,
    first: Role,
    /// The local port of the side that begins, and the other's.
    ports: [u16; 2],
}

impl Exchange<'_> {
    /// The first contradiction of a NAT.
    async fn judged(self, known: (&Catalogue, KernelRules)) -> Result<Option<String>> {
        let Self { lab, prepared, .. } = self;
        let evidence = until_nothing_is_lost(|| self.play_anew()).await?;
        let nats = NatViews::of(known, lab.plan(), &prepared.setting, None);
        let mut found = nats.checked.iter().flat_map(|nat| reference::check(&evidence, nat).contradictions);
        Ok(found.next().map(|contradiction| contradiction.sentence))
    }

    /// What was seen in a lab that has forgotten all that was before.
    async fn play_anew(self) -> Result<Evidence> {
        self.lab.reset(0).await?;
        self.lab.set_conditions(|_, planned| PreparedCell::conditions_of_control(planned))?;
        self.play().await
    }

    async fn play(self) -> Result<Evidence> {
        let Self { prepared, first, ports: [port, other_port], .. } = self;
        let (own, other) = (prepared.peer(first), prepared.peer(first.other()));
        let target = SocketAddrV4::new(other.public.first, other_port);
        // The sockets live to the end: what ends one sends a reset.
        let mut sockets = vec![self.knock(first, port, target)?];
        let mut evidence = self.seen().await?;
        let door = external(&evidence, SocketAddrV4::new(own.public.first, port), target);
        // From the endpoint that was knocked at, as far as its NAT gives it out; then from others.
        sockets.push(self.knock(first.other(), other_port, door)?);
        extend(&mut evidence, self.seen().await?);
        let further = other_port.saturating_add(1);
        sockets.push(self.knock(first.other(), further, door)?);
        let elsewhere = SocketAddrV4::new(own.public.first, another_port(port, door.port()));
        sockets.push(self.knock(first.other(), further, elsewhere)?);
        extend(&mut evidence, self.seen().await?);
        for remote in [SocketAddrV4::new(other.public.first, further), RENDEZVOUS] {
            sockets.push(self.knock(first, port, remote)?);
        }
        extend(&mut evidence, self.seen().await?);
        drop(sockets);
        extend(&mut evidence, self.seen().await?);
        Ok(evidence)
    }

    /// Sends a SYN from a port of a peer.
    fn knock(self, role: Role, port: u16, remote: SocketAddrV4) -> Result<TcpSocket> {
        let vantage = &self.prepared.peer(role).vantage;
        let local = SocketAddrV4::new(vantage.internal, port);
        let sent = self.lab.node(&vantage.peer)?.enter(|inside| {
            let socket = TcpSocket::open(inside, Some(local))?;
            socket.begin_connecting(remote).map(|()| socket)
        })?;
        sent.map_err(|e| Error::io(format!("knock at {remote} from {local}"), "connect", &e))
    }

    /// What was seen until all that was sent has arrived, and been answered.
    async fn seen(self) -> Result<Evidence> {
        self.lab.fall_silent(LONGEST_DELAY_OF_CONTROL + SETTLE).await;
        self.lab.evidence().map(whole)
    }
}

/// Adds to what was lost what was on a link when this was read: that it arrives is told by no later reading, so that what a NAT makes of
/// it would come out of nothing.
fn whole(mut evidence: Evidence) -> Evidence {
    let under_way = evidence.frames.iter().filter(|frame| frame.fate == Fate::InFlight).count();
    if under_way > 0 {
        evidence.lost.push(format!("{} still on a link", counted(under_way, "frame")));
    }
    evidence
}

/// What was seen, as soon as nothing of it was lost: that of a busy machine may be.
async fn until_nothing_is_lost<P>(play: impl Fn() -> P) -> Result<Evidence>
where
    P: Future<Output = Result<Evidence>>,
{
    let mut lost = String::new();
    for _ in 0..=MOST_AGAIN {
        let evidence = play().await?;
        match evidence.lost.first() {
            None => return Ok(evidence),
            Some(what) => lost.clone_from(what),
        }
    }
    Err(Error::other("prove the NATs in their lab", format!("evidence was lost: {lost}")))
}

/// A port near `port` that is not `taken`: a NAT may draw any, and two sockets cannot have the same endpoints.
fn another_port(port: u16, taken: u16) -> u16 {
    let near = port.saturating_add(2);
    if near == taken { port.saturating_add(1) } else { near }
}

/// The external endpoint of who sent a SYN to `target`; `usual` if none came out.
fn external(evidence: &Evidence, usual: SocketAddrV4, target: SocketAddrV4) -> SocketAddrV4 {
    let mut packets = evidence.packets().filter(|(frame, _)| frame.direction == Direction::Up);
    let found = packets.find(|(_, packet)| packet.destination == target && packet.source.ip() == usual.ip());
    found.map_or(usual, |(_, packet)| packet.source)
}

/// Goes on with what was seen later.
fn extend(evidence: &mut Evidence, later: Evidence) {
    let Evidence { frames, conntrack, counters, flushes, lost, servers: _ } = later;
    evidence.frames.extend(frames);
    evidence.conntrack.extend(conntrack);
    evidence.counters.extend(counters);
    evidence.flushes.extend(flushes);
    evidence.lost.extend(lost);
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Plays until nothing is lost, where something was lost the first few times. Says how often it was played, and what came of it.
    async fn played(lossy: u32) -> (u32, Result<Evidence>) {
        let times = Cell::new(0);
        let play = async || {
            times.set(times.get() + 1);
            let lost = (times.get() <= lossy).then(|| format!("a frame of time {}", times.get()));
            Ok(Evidence { lost: lost.into_iter().collect(), ..Evidence::default() })
        };
        let found = until_nothing_is_lost(play).await;
        (times.get(), found)
    }

    #[tokio::test]
    async fn what_was_lost_is_played_again_and_never_judged() {
        for lossy in [0, 1, MOST_AGAIN] {
            let (times, found) = played(lossy).await;
            let found = found.expect("nothing was lost the last time");
            assert_eq!((times, found.lost.len()), (lossy + 1, 0));
        }
        let (times, found) = played(u32::MAX).await;
        let why = found.expect_err("something was always lost").to_string();
        assert_eq!(times, MOST_AGAIN + 1);
        assert!(why.contains("evidence was lost: a frame of time 4"), "{why}");
    }

    #[tokio::test]
    async fn what_is_read_while_a_frame_is_on_a_link_is_played_again() {
        use crate::judge::staged::{StagedEvidence, StagedPacket};
        use crate::judge::timeline::Role;

        let times = Cell::new(0);
        let play = async || {
            let mut read = StagedEvidence::met().packet(StagedPacket::new(Role::A, 0.0, "S")).evidence;
            if times.replace(times.get() + 1) == 0 {
                read.frames.last_mut().expect("a SYN").fate = Fate::InFlight;
            }
            Ok(whole(read))
        };
        let found = until_nothing_is_lost(play).await.expect("nothing was lost the second time");
        assert_eq!(times.get(), 2);
        assert!(found.frames.iter().all(|frame| frame.fate == Fate::Delivered));
    }

    #[tokio::test]
    async fn a_broken_lab_is_not_played_in_again() {
        let times = Cell::new(0);
        let play = async || {
            times.set(times.get() + 1);
            Err(Error::other("play", "the lab is gone"))
        };
        assert!(until_nothing_is_lost(play).await.is_err());
        assert_eq!(times.get(), 1);
    }

    #[test]
    fn no_two_knocks_have_the_same_endpoints() {
        assert_eq!(another_port(700, 5000), 702);
        assert_eq!(another_port(700, 702), 701);
    }
}
