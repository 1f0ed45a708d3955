//! Measures that a NAT gives UDP the same mapping, allocation and filtering as TCP: programs learn by the one what they use for
//! the other.

use std::net::SocketAddrV4;

use crate::kernel::error::Result;
use crate::model::behavior::{Allocation, Behavior, Filtering, Mapping, Translation};
use crate::model::packet::PacketKind;

use super::bench::{ArrivedPacket, Side};
use super::finding::Finding;
use super::mapping::step_of;
use super::prober::{Flow, Prober};
use super::room::{ALIKE, draws_like, few_endpoints, few_ports, own_pool, room, room_to_keep};

/// Mappings by which an allocation is told. Random ports of a pool of 64 have a common step once in 10^15 times; of a smaller pool there
/// are more.
const MAPPINGS: usize = 12;

/// What is sent to tell mappings apart. That random ports of a pool of 20 are all the same happens once in 10^9 times; of a smaller
/// pool, more are sent.
const FLOWS: usize = 8;

/// One row: all three, as far as they can be told.
pub(in crate::probe) fn like_tcp(prober: &mut Prober, declared: &Behavior) -> Result<Vec<Finding>> {
    let mapping = mapping(prober, declared)?;
    prober.bench.forget()?;
    let allocation = allocation(prober, declared)?;
    prober.bench.forget()?;
    let filtering = filtering(prober, declared)?;
    let filtered = match declared.translation {
        Translation::Router => Filtering::EndpointIndependent,
        Translation::Nat | Translation::Firewall => declared.filtering,
    };
    let expected = match declared.translation {
        Translation::Nat => {
            format!("{} mapping, {}, {filtered} filtering", declared.mapping, kind(declared.allocation))
        }
        Translation::Router | Translation::Firewall => {
            format!("no mapping, preserving, {filtered} filtering")
        }
    };
    let observed = format!("{mapping} mapping, {allocation}, {filtering} filtering");
    let paired = declared.addresses.count > 1 && !declared.addresses.are_arbitrary();
    let (expected, observed) = match paired {
        true => (format!("{expected}, TCP's address"), format!("{observed}, {}", address(prober, declared)?)),
        false => (expected, observed),
    };
    Ok(vec![Finding::new("udp", expected, observed)])
}

/// An allocation without its numbers: a hash looks random to anyone who does not know it.
fn kind(allocation: Allocation) -> String {
    match allocation {
        Allocation::Preserving => "preserving".to_owned(),
        Allocation::Sequential { step } => format!("sequential, step {step}"),
        Allocation::Random | Allocation::Hash { .. } => "random".to_owned(),
    }
}

/// What the external endpoint of an inside endpoint depends on.
fn mapping(prober: &mut Prober, declared: &Behavior) -> Result<String> {
    let inside = prober.inside(Side::Inside0);
    let first = prober.remote();
    let all = u16::try_from(draws_like(FLOWS, few_endpoints(declared))).unwrap_or(u16::MAX);
    let taken = room(declared).map_or(all, |room| all.min(u16::try_from(room).unwrap_or(all)));
    // One more than there is surely room for: what is refused needs a mapping of its own.
    let flows = all.min(taken + 1);
    let mut by_port = Vec::new();
    for n in 0..flows {
        by_port.push(send(prober, inside, SocketAddrV4::new(*first.ip(), first.port() + n))?);
    }
    prober.breathe(room(declared))?;
    let mut by_address = Vec::new();
    for _ in 0..flows {
        let other = prober.remote();
        by_address.push(send(prober, inside, SocketAddrV4::new(*other.ip(), first.port()))?);
    }
    let is_refused = |all: &[Option<SocketAddrV4>]| all[..usize::from(taken)].contains(&None);
    if is_refused(&by_port) || is_refused(&by_address) {
        return Ok("unknown".to_owned());
    }
    if by_port.iter().chain(&by_address).all(|external| *external == Some(inside)) && !translates(declared) {
        return Ok("no".to_owned());
    }
    let same = |all: &[Option<SocketAddrV4>]| all.windows(2).all(|two| two[0] == two[1]);
    Ok(match (same(&by_port), same(&by_address)) {
        (true, true) => Mapping::EndpointIndependent.to_string(),
        (true, false) => Mapping::AddressDependent.to_string(),
        (false, false) => Mapping::AddressAndPortDependent.to_string(),
        (false, true) => "port-dependent".to_owned(),
    })
}

fn translates(declared: &Behavior) -> bool {
    declared.translation == Translation::Nat
}

/// Whether hosts have for UDP the external address that they have for TCP (RFC 6888, REQ-2). That 32 of them do by chance, with two
/// addresses, happens once in 4e9 times.
fn address(prober: &mut Prober, declared: &Behavior) -> Result<&'static str> {
    const HOSTS: u8 = 32;
    for n in 0..HOSTS {
        prober.breathe(room(declared))?;
        let (flow, remote) = (prober.flow(Side::Inside0), prober.remote());
        let [a, b, c, first] = Side::Inside0.address().octets();
        let inside = SocketAddrV4::new([a, b, c, first + n].into(), flow.inside.port());
        let tcp = prober.open(&Flow { inside, ..flow })?;
        let udp = send(prober, inside, remote)?;
        if tcp.map(|external| *external.ip()) != udp.map(|external| *external.ip()) {
            return Ok("another address");
        }
    }
    Ok("TCP's address")
}

/// How fresh ports are chosen, by fresh inside endpoints whose own ports lie in their pool.
fn allocation(prober: &mut Prober, declared: &Behavior) -> Result<String> {
    let mut ports = Vec::new();
    let mut kept = 0;
    let count = MAPPINGS.max(draws_like(ALIKE, few_ports(declared)));
    while ports.len() < count {
        let own = own_pool(declared, Side::Inside0).filter(|_| declared.allocation == Allocation::Preserving);
        let inside = match own {
            Some(own) => prober.inside_of(Side::Inside0, own),
            None => prober.inside(Side::Inside0),
        };
        let remote = prober.remote();
        prober.breathe(room_to_keep(declared))?;
        let Some(external) = send(prober, inside, remote)? else { return Ok("no way out".to_owned()) };
        kept += usize::from(external.port() == inside.port());
        ports.push(external.port());
    }
    Ok(match (kept == ports.len(), step_of(declared, &ports)) {
        (true, _) => "preserving".to_owned(),
        (false, Some(step)) => format!("sequential, step {step}"),
        (false, None) => "random".to_owned(),
    })
}

/// Who may send to a mapping.
fn filtering(prober: &mut Prober, declared: &Behavior) -> Result<String> {
    let mut admitted = Vec::new();
    for other_address in [false, true] {
        prober.breathe(room(declared))?;
        let (inside, remote) = (prober.inside(Side::Inside0), prober.remote());
        let Some(external) = send(prober, inside, remote)? else { return Ok("unknown".to_owned()) };
        let stranger = match other_address {
            false => SocketAddrV4::new(*remote.ip(), remote.port() + 1),
            true => SocketAddrV4::new(*prober.remote().ip(), remote.port()),
        };
        let seen = prober.bench.ask_udp(Side::Outside, stranger, external)?;
        admitted.push(seen.iter().any(|seen| {
            is_udp(seen, Side::Inside0) && (seen.packet.source, seen.packet.destination) == (stranger, inside)
        }));
    }
    Ok(match admitted[..] {
        [true, true] => Filtering::EndpointIndependent.to_string(),
        [true, false] => Filtering::AddressDependent.to_string(),
        [false, false] => Filtering::AddressAndPortDependent.to_string(),
        _ => "port-dependent".to_owned(),
    })
}

/// Sends a datagram from inside; the external endpoint that it gets. A fresh port that is taken is drawn again by the next one.
fn send(prober: &mut Prober, inside: SocketAddrV4, remote: SocketAddrV4) -> Result<Option<SocketAddrV4>> {
    for _ in 0..FLOWS {
        let seen = prober.bench.ask_udp(Side::Inside0, inside, remote)?;
        let out = seen.iter().find(|seen| is_udp(seen, Side::Outside) && seen.packet.destination == remote);
        if let Some(out) = out {
            return Ok(Some(out.packet.source));
        }
    }
    Ok(None)
}

fn is_udp(seen: &ArrivedPacket, side: Side) -> bool {
    seen.side == side && seen.packet.kind == PacketKind::Udp
}
