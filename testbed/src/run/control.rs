//! The negative control of a pair of NATs: without the peer's own SYN, a plain connect must fail exactly when the
//! filters say so.
//!
//! Each side in turn opens a mapping towards the core and listens behind it; the other side then connects to its
//! external endpoint like any stranger. A lab in which that gets through where it should not would call every punch a
//! success.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::judge::timeline::Role;
use crate::kernel::backlog::DropCount;
use crate::kernel::clock::monotonic;
use crate::kernel::error::{Error, Result};
use crate::kernel::heartbeat::BEAT;
use crate::kernel::tcp_socket::TcpSocket;
use crate::lab::{Lab, Node};
use crate::model::address_plan::RENDEZVOUS;
use crate::model::behavior::{Behavior, Hairpinning, Translation};
use crate::model::theory::admits_stranger;
use crate::run::lab_probe;
use crate::run::pool::LabPool;
use crate::run::prepared_cell::PreparedCell;
use crate::run::replay::MOST_AGAIN;
use crate::run::request::RunRequest;

/// The port that the control listens behind.
const INSIDE_PORT: u16 = 3_999;

/// How long beyond two round trips silence is taken for a refusal.
const PATIENCE: Duration = Duration::from_millis(100);

/// How long a mapping may take to be opened, beyond its round trips: a SYN is sent again after one second.
const OPENING: Duration = Duration::from_secs(2);

/// For how long the machine may stand still during a control: less than an answer may be late.
const LONGEST_GAP: Duration = BEAT.saturating_mul(2);

/// What the machine did during a control.
#[derive(Debug, Clone, Copy)]
struct Machine {
    /// Who stood still for the longest time.
    whose: &'static str,
    /// For how long.
    gap: Duration,
    /// Frames that the kernel had no room for.
    dropped: u64,
}

impl Machine {
    /// Why the control says nothing, if so.
    fn disturbance(&self) -> Option<String> {
        let Self { whose, gap, dropped } = self;
        if *gap > LONGEST_GAP {
            return Some(format!("the machine was paused: {whose} did not run for {} ms", gap.as_millis()));
        }
        (*dropped > 0)
            .then(|| format!("the kernel had no room for {dropped} frames (net.core.netdev_max_backlog)"))
    }
}

/// Runs the control of a setting, and proves its NATs in their lab; `Some` says what was wrong.
pub(super) async fn control(pool: &LabPool, request: &RunRequest, ready: &PreparedCell) -> Option<String> {
    let attempt = async || {
        let (since, drops) = (monotonic(), DropCount::begin());
        let wrong = control_once(pool, request, ready).await;
        let [own, of_wires] = pool.largest_gaps_since(since);
        let (whose, gap) = if of_wires.1 > own.1 { of_wires } else { own };
        (wrong, Machine { whose, gap, dropped: drops.since() })
    };
    undisturbed(attempt, ready.forgets()).await
}

/// What was wrong. What goes wrong while the machine stands still or loses frames says nothing about NATs, so then it is tried again;
/// also where a NAT forgets everything at times, which may have been just then.
async fn undisturbed(attempt: impl AsyncFn() -> (Option<String>, Machine), forgets: bool) -> Option<String> {
    let mut last = String::new();
    for _ in 0..=MOST_AGAIN {
        let (wrong, machine) = attempt().await;
        let wrong = wrong?;
        match machine.disturbance() {
            None if !forgets => return Some(wrong),
            None => last = wrong,
            Some(why) => last = format!("the control could not be made: {why}"),
        }
    }
    Some(last)
}

async fn control_once(pool: &LabPool, request: &RunRequest, ready: &PreparedCell) -> Option<String> {
    let pooled = match pool.take(&ready.setting).await {
        Ok(pooled) => pooled,
        Err(error) => return Some(error.to_string()),
    };
    let found = match check_both(&pooled.lab, ready).await {
        Ok(None) => lab_probe::probe(&pooled.lab, (request, pool.kernel()), ready).await,
        found => found,
    };
    match found {
        Ok(wrong) => {
            pooled.give_back();
            wrong
        }
        // Nobody knows what state the lab is in, so it is dropped.
        Err(error) => Some(format!("the control could not be run: {error}")),
    }
}

/// What is wrong with the last side with which something is.
async fn check_both(lab: &Lab, ready: &PreparedCell) -> Result<Option<String>> {
    let mut wrong = None;
    for role in Role::BOTH {
        wrong = check(lab, ready, role).await?.or(wrong);
    }
    Ok(wrong)
}

/// Whether a stranger reaches `role` exactly when it should; `Some` says what is wrong.
async fn check(lab: &Lab, ready: &PreparedCell, role: Role) -> Result<Option<String>> {
    lab.reset(0).await?;
    lab.set_conditions(|_, planned| PreparedCell::conditions_of_control(planned))?;
    let node = |role| lab.node(&ready.peer(role).vantage.peer);
    let (inside, stranger) = (node(role)?, node(role.other())?);
    let address = ready.peer(role).vantage.internal;
    let round_trips = 2 * longest_round_trip(lab) + PATIENCE;
    let server = listen(lab.node("core")?, RENDEZVOUS)?;
    let door = listen(inside, SocketAddrV4::new(address, INSIDE_PORT))?;
    // What opens the mapping has to come about: a SYN may be sent again, and the core hears of it half a round trip after the dialler.
    let opening = round_trips + OPENING;
    let dial = connect(inside, Some(SocketAddrV4::new(address, INSIDE_PORT)), RENDEZVOUS, opening);
    let (mapping, accepted) = tokio::join!(dial, timeout(opening + round_trips, server.accept()));
    let tried = || format!("open a mapping of peer \"{}\"", inside.name());
    let _mapping = mapping.map_err(|e| Error::io(tried(), "connect", &e))?;
    let (_held, external) = accepted
        .map_err(|_| Error::other(tried(), "the core saw no connection"))?
        .map_err(|e| Error::io(tried(), "accept", &e))?;
    let SocketAddr::V4(external) = external else { return Ok(None) };
    let admitted = connect(stranger, None, external, round_trips).await.is_ok();
    drop(door);
    let nats: Vec<&Behavior> =
        if role == Role::A { ready.a.iter().collect() } else { ready.b.iter().collect() };
    let expected = admits_stranger(&nats) && turns_round(lab, ready, *external.ip());
    Ok((admitted != expected).then(|| {
        let (did, should) = if admitted { ("got through", "refused") } else { ("was refused", "let in") };
        format!(
            "negative control: a plain connect from peer {} to {external}, the mapping of peer {} towards the core, \
             {did}; by the declared filtering it had to be {should}",
            role.other().letter(),
            role.letter()
        )
    }))
}

/// A packet there and one back pass no wire more than once in each direction.
fn longest_round_trip(lab: &Lab) -> Duration {
    let wires = lab.plan().links.iter().filter_map(|link| link.wire).map(PreparedCell::conditions_of_control);
    wires.map(|wire| wire.up.delay + wire.down.delay).sum()
}

/// Whether a packet from within gets to an endpoint of this address: to one of a NAT above both peers, if it hairpins.
fn turns_round(lab: &Lab, ready: &PreparedCell, address: Ipv4Addr) -> bool {
    let mut common = ready.common.iter().filter(|(_, nat)| nat.translation == Translation::Nat);
    let owner = common.find(|(node, _)| lab.plan().addresses(node).is_some_and(|own| own.contains(address)));
    owner.is_none_or(|(_, nat)| nat.hairpinning == Hairpinning::On)
}

fn socket(node: &Node, local: Option<SocketAddrV4>) -> Result<TcpSocket> {
    let tried = || format!("open a socket in \"{}\"", node.name());
    node.enter(|inside| TcpSocket::open(inside, local))?.map_err(|e| Error::io(tried(), "socket", &e))
}

fn listen(node: &Node, endpoint: SocketAddrV4) -> Result<TcpListener> {
    let listening = socket(node, Some(endpoint))?.listen();
    listening.map_err(|e| Error::io(format!("listen on {endpoint} in \"{}\"", node.name()), "listen", &e))
}

/// Connects, or says why it did not within `patience`.
async fn connect(
    node: &Node,
    local: Option<SocketAddrV4>,
    remote: SocketAddrV4,
    patience: Duration,
) -> io::Result<TcpStream> {
    let socket = socket(node, local).map_err(io::Error::other)?;
    socket.connect(remote, patience).await
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// What comes of attempts with these pauses, in ms, of which each but the `right` one finds something wrong; and how many
    /// were made.
    async fn outcome(pauses: &[u64], right: Option<usize>) -> (Option<String>, usize) {
        let paused = |ms: &u64| Machine { gap: Duration::from_millis(*ms), ..UNDISTURBED };
        outcome_on(&pauses.iter().map(paused).collect::<Vec<_>>(), right).await
    }

    const UNDISTURBED: Machine = Machine { whose: "testbed", gap: Duration::ZERO, dropped: 0 };

    async fn outcome_on(machines: &[Machine], right: Option<usize>) -> (Option<String>, usize) {
        outcome_behind(machines, right, false).await
    }

    async fn outcome_behind(
        machines: &[Machine],
        right: Option<usize>,
        forgets: bool,
    ) -> (Option<String>, usize) {
        let made = Cell::new(0);
        let attempt = async || {
            let at = made.replace(made.get() + 1);
            let wrong = (right != Some(at)).then(|| format!("wrong {at}"));
            (wrong, machines[at])
        };
        (undisturbed(attempt, forgets).await, made.get())
    }

    #[tokio::test]
    async fn a_control_is_made_again_if_the_machine_stood_still_and_only_then() {
        assert_eq!(outcome(&[0], Some(0)).await, (None, 1));
        assert_eq!(outcome(&[25], None).await, (Some("wrong 0".to_owned()), 1), "a beat is no pause");
        assert_eq!(outcome(&[900, 25], None).await, (Some("wrong 1".to_owned()), 2));
        assert_eq!(
            outcome(&[900, 900], Some(1)).await,
            (None, 2),
            "what is right in spite of a pause is right"
        );
        let why = "the control could not be made: the machine was paused: testbed did not run for 904 ms";
        assert_eq!(outcome(&[901, 902, 903, 904], None).await, (Some(why.to_owned()), 4));
        let lossy = Machine { dropped: 3, ..UNDISTURBED };
        assert_eq!(outcome_on(&[lossy, UNDISTURBED], None).await, (Some("wrong 1".to_owned()), 2));
        let (why, made) = outcome_on(&[lossy; 4], None).await;
        assert!(why.expect("a reason").contains("no room for 3 frames") && made == 4);
    }
    #[tokio::test]
    async fn a_control_is_made_again_where_a_nat_may_have_forgotten_everything_meanwhile() {
        let made = async |right| outcome_behind(&[UNDISTURBED; 4], right, true).await;
        assert_eq!(made(Some(0)).await, (None, 1));
        assert_eq!(made(Some(2)).await, (None, 3));
        assert_eq!(made(None).await, (Some("wrong 3".to_owned()), 4));
    }
}
