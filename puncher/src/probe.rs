//! Finds out what the local NAT does, with a rendezvous server and nothing but TCP.
//!
//! It only gathers; what the observations amount to is decided in `classify::class`. Connections stay open until the end,
//! because their mappings are what is looked at.

use std::net::SocketAddrV4;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::address_policy::AddressKind;
use crate::classify::Answer;
use crate::classify::class::Evidence;
use crate::contract::Event;
use crate::fd_limit;
use crate::method::pool;
use crate::rendezvous::client::{Client, ClientError, ServerLink};
use crate::socket::{self, DialFailure, SynTtl};
use crate::trace;

/// How to look.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use std::time::Duration;
/// use puncher::nat::{ProbeConfig, classify, probe};
///
/// let rendezvous = vec!["203.0.113.1:7000".parse()?, "203.0.113.2:7001".parse()?];
/// let config = ProbeConfig { rendezvous, bind: "0.0.0.0:0".parse()?, samples: 24, wait: Duration::from_secs(1) };
/// println!("{}", classify(&probe(&config, |_| ()).await?));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct ProbeConfig {
    /// Endpoints of one rendezvous server. With two addresses and two ports, all of it can be told.
    pub rendezvous: Vec<SocketAddrV4>,
    /// The local endpoint to look from.
    pub bind: SocketAddrV4,
    /// How many local ports to try.
    pub samples: u16,
    /// How long to wait for the answer to a SYN that may be dropped.
    pub wait: Duration,
}

/// How many source ports below 1024 are tried.
const LOW_PORTS: usize = 3;

/// How long the server may take to answer at first: three SYNs are sent within it (1 s and 3 s after the first), and a far
/// server may take a second to answer each.
const FIRST_ANSWER: Duration = Duration::from_secs(5);

/// Most hops that are looked at.
const MOST_HOPS: u8 = 8;

/// Gathers, and tells each mapping as it is learnt.
///
/// # Errors
/// When the server cannot be reached, or says nothing within 5 s.
pub async fn probe(config: &ProbeConfig, mut tell: impl FnMut(&Event)) -> Result<Evidence, ClientError> {
    // Each sample holds a connection; what the system does not allow is not sampled.
    let room = fd_limit::make_room(config.samples.into()).ok().and_then(|room| u16::try_from(room).ok());
    let samples = room.unwrap_or(config.samples);
    let connecting = Client::connect(config.bind, &config.rendezvous);
    let mut client = timeout(FIRST_ANSWER, connecting).await.unwrap_or_else(|_| {
        let why = format!("no answer within {FIRST_ANSWER:?}");
        Err(ClientError::unreachable(&config.rendezvous, why))
    })?;
    client.connect_to_the_rest().await.into_iter().for_each(|link| client.keep(link));
    let mut evidence = Evidence { one_port: client.observations(), ..Evidence::default() };
    let links = sample(&client, samples).await;
    evidence.many_ports = links.iter().map(ServerLink::observation).collect();
    for seen in evidence.one_port.iter().chain(&evidence.many_ports) {
        tell(&Event::Mapped { local: seen.local, external: seen.external, server: seen.server });
    }
    evidence.low = low_port(&client).await;
    let (unsolicited, hairpin, routers) = tokio::join!(
        probe_unsolicited(&client, config.wait),
        hairpin(&client, config.wait),
        trace::routers(client.local(), client.server(), MOST_HOPS, config.wait)
    );
    if let Some((same_address, other_address)) = unsolicited {
        evidence.same_address = Some(same_address);
        evidence.other_address = Some(other_address);
    }
    evidence.hairpin = hairpin;
    evidence.routers = routers;
    Ok(evidence)
}

/// What a source port below 1024 becomes. A NAT that computes its ports may give it one that is taken, and then its SYN is
/// lost, however often it is sent.
async fn low_port(client: &Client) -> Option<u16> {
    for _ in 0..LOW_PORTS {
        if let Ok(link) = client.measure(pool::low_source(&mut rand::rng())).await {
            return Some(link.observation().external.port());
        }
    }
    None
}

/// Connections from this many local ports, in the order in which their SYNs left.
async fn sample(client: &Client, count: u16) -> Vec<ServerLink> {
    let measuring: JoinSet<_> = (0..count).map(|_| client.measure(0)).collect();
    let mut links: Vec<ServerLink> = measuring.join_all().await.into_iter().flatten().collect();
    links.sort_by_key(ServerLink::dialled);
    links
}

/// Has the server send SYNs to a fresh mapping, from where it has not been spoken to.
async fn probe_unsolicited(client: &Client, wait: Duration) -> Option<(Answer, Answer)> {
    let mut link = client.measure(0).await.ok()?;
    // Who is let in is accepted here.
    let _listener = listen(link.observation().local)?;
    let wait_ms = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
    timeout(wait + Duration::from_secs(2), link.probe_unsolicited(wait_ms)).await.ok()?.ok()
}

/// Has two own ports dial each other's external endpoints, as two peers behind this NAT would.
async fn hairpin(client: &Client, wait: Duration) -> Option<Answer> {
    let (left, right) = tokio::join!(client.measure(0), client.measure(0));
    let (left, right) = (left.ok()?.observation(), right.ok()?.observation());
    if left.external.ip() == left.local.ip() {
        return Some(Answer::Untried);
    }
    if client.policy().kind(*left.external.ip()) != AddressKind::Ordinary {
        // The server's word: nobody has it try this host's ports.
        return Some(Answer::Untried);
    }
    let _listeners = (listen(left.local)?, listen(right.local)?);
    let dial = |from: SocketAddrV4, to| async move {
        let stream = socket::dial(from, to, SynTtl::Full).map_err(|error| DialFailure::from(&error))?;
        socket::settled(&stream).await.map(|()| stream)
    };
    let both = async {
        match tokio::join!(dial(left.local, right.external), dial(right.local, left.external)) {
            (Ok(_), _) | (_, Ok(_)) => Answer::Accepted,
            (Err(DialFailure::Unreachable), _) | (_, Err(DialFailure::Unreachable)) => Answer::Icmp,
            _ => Answer::Reset,
        }
    };
    Some(timeout(wait, both).await.unwrap_or(Answer::Silence))
}

fn listen(local: SocketAddrV4) -> Option<TcpListener> {
    let socket = socket::bind_shared(local).ok()?;
    socket.listen(4).ok()?;
    TcpListener::from_std(socket.into()).ok()
}
