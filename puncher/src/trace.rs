//! SYNs that live for few hops: which routers are on the way, and whether an external address is really this side's.
//!
//! It only sends and listens; what it amounts to is decided in `classify::path`.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::classify::path::{ProbeFate, is_own_address};
use crate::platform::{Host, System as _};
use crate::socket::{self, DialFailure};

/// RFC 863: a port that no mapping has and nothing listens on.
const DISCARD_PORT: u16 = 9;

/// What is known of the way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RouteTrace {
    /// Which router, if any, said that a SYN of this many hops had lived too long; in order of hops, from 1.
    pub(crate) routers: Vec<Option<Ipv4Addr>>,
    /// Whether the external address is that of a NAT on the way.
    pub(crate) is_own_address: bool,
}

/// Looks at the way to `server` and at that to the address that the server says is this side's. The SYNs leave now, in
/// order.
pub(crate) fn trace_route(
    local: SocketAddrV4,
    server: SocketAddrV4,
    external: Ipv4Addr,
    most_hops: u8,
    wait: Duration,
) -> impl Future<Output = RouteTrace> + Send + 'static {
    let routers = routers(local, server, most_hops, wait);
    let towards_it = fates(local, SocketAddrV4::new(external, DISCARD_PORT), most_hops, wait);
    async move {
        let (routers, fates) = tokio::join!(routers, towards_it);
        let fates: Vec<ProbeFate> = fates.into_iter().map(|end| end.fate()).collect();
        RouteTrace { is_own_address: external == *local.ip() || is_own_address(&routers, &fates), routers }
    }
}

/// The routers that say a SYN has lived too long, by how many hops it was given; up to the first that arrives. The SYNs
/// leave now, in order.
pub(crate) fn routers(
    local: SocketAddrV4,
    server: SocketAddrV4,
    most_hops: u8,
    wait: Duration,
) -> impl Future<Output = Vec<Option<Ipv4Addr>>> + Send + 'static {
    let ends = fates(local, server, most_hops, wait);
    async move {
        let before_arrival = ends.await.into_iter().take_while(|end| *end != ProbeEnd::Arrived);
        before_arrival.map(|end| if let ProbeEnd::Died(router) = end { Some(router) } else { None }).collect()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ProbeEnd {
    Arrived,
    Died(Ipv4Addr),
    NoWay,
    Unknown,
}

impl ProbeEnd {
    fn fate(self) -> ProbeFate {
        match self {
            Self::Died(router) => ProbeFate::Died(router),
            Self::NoWay => ProbeFate::NoWay,
            Self::Arrived | Self::Unknown => ProbeFate::Ended,
        }
    }
}

/// What becomes of SYNs of 1, 2, … hops.
fn fates(
    local: SocketAddrV4,
    to: SocketAddrV4,
    most_hops: u8,
    wait: Duration,
) -> impl Future<Output = Vec<ProbeEnd>> + Send + 'static {
    let from = SocketAddrV4::new(*local.ip(), 0);
    let most_hops = if Host::CANNOT_LIMIT_HOPS.is_some() { 0 } else { most_hops };
    let dials: Vec<_> = (1..=most_hops).map(|hops| (hops, socket::dial_hops(from, to, hops))).collect();
    async move {
        let mut ends = JoinSet::new();
        for (hops, dialled) in dials {
            ends.spawn(async move { (hops, end(dialled.ok(), wait).await) });
        }
        let mut ends = ends.join_all().await;
        ends.sort_by_key(|(hops, _)| *hops);
        ends.into_iter().map(|(_, end)| end).collect()
    }
}

async fn end(stream: Option<TcpStream>, wait: Duration) -> ProbeEnd {
    // The kernel itself knew of no way.
    let Some(stream) = stream else { return ProbeEnd::NoWay };
    match timeout(wait, socket::settled(&stream)).await {
        Ok(Ok(())) => ProbeEnd::Arrived,
        Ok(Err(refusal)) => match Host::icmp_error(&stream) {
            Some(error) if error.kind == socket::TIME_EXCEEDED => ProbeEnd::Died(error.from),
            _ if refusal == DialFailure::Unreachable => ProbeEnd::NoWay,
            _ => ProbeEnd::Unknown,
        },
        Err(_) => ProbeEnd::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_a_nat_the_own_address_is_known() {
        let local = SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0);
        let server = SocketAddrV4::new(Ipv4Addr::LOCALHOST, DISCARD_PORT);
        let wait = Duration::from_millis(20);
        assert!(trace_route(local, server, Ipv4Addr::LOCALHOST, 2, wait).await.is_own_address);
        // On the loopback device every address is next door: nothing confirms it.
        assert!(!trace_route(local, server, Ipv4Addr::new(127, 9, 9, 9), 2, wait).await.is_own_address);
    }
}
