//! DCUtR of rust-libp2p (crates.io) as it comes: two peers that meet through a relay and upgrade to a direct connection.
//!
//! usage: driver relay IP:PORT | driver peer ROLE METHOD RELAY LOCAL SECONDS
//!
//! With the method `observed` a peer also offers the address that the relay saw it under, as it is; with `stock` only what
//! libp2p itself makes of that address. A peer prints `direct` once `identify` has been exchanged over a connection that does
//! not lead through the relay, and exits 1 after SECONDS without one.

use std::error::Error;
use std::net::SocketAddrV4;
use std::process::exit;
use std::time::Duration;

use futures::StreamExt as _;
use libp2p::core::ConnectedPoint;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::behaviour::NewExternalAddrCandidate;
use libp2p::swarm::{ConnectionId, FromSwarm, NetworkBehaviour, Swarm, SwarmEvent};
use libp2p::{Multiaddr, PeerId, SwarmBuilder, dcutr, identify, noise, relay, tcp, yamux};
use tokio::time::{sleep, timeout};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// How soon b asks for a again while a is not there yet.
const AGAIN: Duration = Duration::from_millis(50);

#[derive(NetworkBehaviour)]
struct Relay {
    relay: relay::Behaviour,
    identify: identify::Behaviour,
}

#[derive(NetworkBehaviour)]
struct Peer {
    relay: relay::client::Behaviour,
    identify: identify::Behaviour,
    dcutr: dcutr::Behaviour,
}

#[tokio::main]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["relay", at] => serve(address(at)?).await,
        ["peer", role, method, relay, local, seconds] => {
            let punch = punch(role, method, address(relay)?, address(local)?);
            if let Ok(result) = timeout(Duration::from_secs(seconds.parse()?), punch).await {
                return result;
            }
            eprintln!("no direct connection after {seconds} s");
            exit(1)
        }
        _ => {
            eprintln!("usage: driver relay IP:PORT | driver peer ROLE METHOD RELAY LOCAL SECONDS");
            exit(2)
        }
    }
}

fn address(text: &str) -> Result<Multiaddr> {
    let at: SocketAddrV4 = text.parse()?;
    Ok(Multiaddr::from(*at.ip()).with(Protocol::Tcp(at.port())))
}

/// Everybody knows who everybody is.
fn key(name: &str) -> Result<Keypair> {
    let mut secret = [0; 32];
    secret[..name.len()].copy_from_slice(name.as_bytes());
    Ok(Keypair::ed25519_from_bytes(secret)?)
}

fn id(name: &str) -> Result<PeerId> {
    Ok(key(name)?.public().to_peer_id())
}

fn identify(key: &Keypair) -> identify::Behaviour {
    identify::Behaviour::new(identify::Config::new("/driver/1".into(), key.public()))
}

async fn serve(at: Multiaddr) -> Result<()> {
    let mut swarm = SwarmBuilder::with_existing_identity(key("relay")?)
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)?
        .with_behaviour(|key| Relay {
            relay: relay::Behaviour::new(key.public().to_peer_id(), relay::Config::default()),
            identify: identify(key),
        })?
        .build();
    swarm.add_external_address(at.clone());
    swarm.listen_on(at)?;
    loop {
        swarm.select_next_some().await;
    }
}

async fn punch(role: &str, method: &str, relay: Multiaddr, local: Multiaddr) -> Result<()> {
    let mut swarm = SwarmBuilder::with_existing_identity(key(role)?)
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)?
        .with_relay_client(noise::Config::new, yamux::Config::default)?
        .with_behaviour(|key, relay| Peer {
            relay,
            identify: identify(key),
            dcutr: dcutr::Behaviour::new(key.public().to_peer_id()),
        })?
        .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(60)))
        .build();
    swarm.listen_on(local)?;
    while !matches!(swarm.select_next_some().await, SwarmEvent::NewListenAddr { .. }) {}
    let relay = relay.with(Protocol::P2p(id("relay")?));
    swarm.dial(relay.clone())?;
    let observed = learn(&mut swarm).await?;
    if method == "observed" {
        let candidate = FromSwarm::NewExternalAddrCandidate(NewExternalAddrCandidate { addr: &observed });
        swarm.behaviour_mut().dcutr.on_swarm_event(candidate);
    }
    let through = relay.with(Protocol::P2pCircuit);
    match role {
        "a" => drop(swarm.listen_on(through)?),
        _ => meet(&mut swarm, through.with(Protocol::P2p(id("a")?))).await?,
    }
    watch(&mut swarm).await
}

/// Waits until the relay has said under which address it sees this peer, and knows who this peer is.
async fn learn(swarm: &mut Swarm<Peer>) -> Result<Multiaddr> {
    let (mut observed, mut told) = (None, false);
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::Behaviour(PeerEvent::Identify(identify::Event::Received { info, .. })) => {
                eprintln!("the relay sees {}", info.observed_addr);
                observed = Some(info.observed_addr);
            }
            SwarmEvent::Behaviour(PeerEvent::Identify(identify::Event::Sent { .. })) => told = true,
            SwarmEvent::OutgoingConnectionError { error, .. } => return Err(error.into()),
            _ => {}
        }
        if let (Some(observed), true) = (&observed, told) {
            return Ok(observed.clone());
        }
    }
}

/// Dials a through the relay until it is there.
async fn meet(swarm: &mut Swarm<Peer>, peer: Multiaddr) -> Result<()> {
    loop {
        swarm.dial(peer.clone())?;
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::ConnectionEstablished { endpoint, .. } if endpoint.is_relayed() => return Ok(()),
                SwarmEvent::OutgoingConnectionError { .. } => break,
                _ => {}
            }
        }
        sleep(AGAIN).await;
    }
}

/// Goes on until the time is up, and prints `direct` when both sides have identified themselves over a direct connection.
async fn watch(swarm: &mut Swarm<Peer>) -> Result<()> {
    let mut direct: Vec<ConnectionId> = Vec::new();
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::ConnectionEstablished { endpoint, connection_id, .. } => {
                eprintln!("connected: {}", described(&endpoint));
                direct.extend((!endpoint.is_relayed()).then_some(connection_id));
            }
            SwarmEvent::Behaviour(PeerEvent::Identify(identify::Event::Received { connection_id, .. }))
                if direct.contains(&connection_id) =>
            {
                println!("direct");
            }
            SwarmEvent::Behaviour(PeerEvent::Dcutr(dcutr::Event { result, .. })) => eprintln!("DCUtR: {result:?}"),
            SwarmEvent::OutgoingConnectionError { error, .. } => eprintln!("dial: {error}"),
            _ => {}
        }
    }
}

fn described(endpoint: &ConnectedPoint) -> String {
    match endpoint {
        ConnectedPoint::Dialer { address, .. } => format!("dialled {address}"),
        ConnectedPoint::Listener { local_addr, send_back_addr } => format!("{send_back_addr} came to {local_addr}"),
    }
}
