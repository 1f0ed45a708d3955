//! Measures who is let in, and what becomes of what is not: filtering, unsolicited SYNs, SYN after SYN, invalid packets,
//! hairpinning and strictness.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::kernel::error::Result;
use crate::model::axis::NatAxis;
use crate::model::behavior::{
    Allocation, Behavior, Filtering, Hairpinning, IcmpError, InvalidPackets, Overloading, Pool, Strictness,
    SynAfterSyn, Translation, UnsolicitedSyn,
};
use crate::model::datapath::Datapath;
use crate::model::packet::TcpFlags;

use super::bench::{Side, WAN, site};
use super::datapath::BY_NUMBER;
use super::finding::Finding;
use super::frame::Probe;
use super::prober::{Fate, Flow, Prober};
use super::reading::Reading;
use super::room::{few_exclusive_ports, own_pool, room, too_few};

/// A port that no mapping ever has: inside endpoints on the bench have ports from 1024 on, and so have mappings.
const UNMAPPED: u16 = 999;

/// What a SYN did not come out of.
const NO_WAY_OUT: &str = "a SYN did not get out";

/// Who may send to an external endpoint (RFC 4787 section 5).
pub(in crate::probe) fn filtering(prober: &mut Prober, declared: &Behavior) -> Result<Finding> {
    let reading = read_filtering(prober)?;
    Ok(Finding::of(NatAxis::Filtering, declared, reading.to_string()))
}

/// Who may send to an external endpoint, whatever is declared: a SYN from another port of the address that was sent to,
/// then, to another mapping, a SYN from another address.
pub(in crate::probe) fn read_filtering(prober: &mut Prober) -> Result<Reading<Filtering>> {
    let mut admitted = Vec::new();
    for stranger in [Stranger::OtherPort, Stranger::OtherAddress] {
        // A host may have only one mapping at a time.
        prober.bench.forget()?;
        let (flow, external) = prober.open_fresh(Side::Inside0)?;
        let Some(external) = external else {
            return Ok(Reading::Other(NO_WAY_OUT.to_owned()));
        };
        let source = match stranger {
            Stranger::OtherPort => SocketAddrV4::new(*flow.remote.ip(), flow.remote.port() + 1),
            Stranger::OtherAddress => SocketAddrV4::new(*prober.remote().ip(), flow.remote.port()),
        };
        let came = match prober.knock(source, external)? {
            Fate::Delivered { source: seen, destination, .. } => Some((seen, destination)),
            _ => None,
        };
        if let Some((from, to)) = came.filter(|came| *came != (source, flow.inside)) {
            let observed = format!("a SYN from {source} to {external} arrives as one from {from} to {to}");
            return Ok(Reading::Other(observed));
        }
        admitted.push(came.is_some());
    }
    Ok(match admitted[..] {
        [true, true] => Reading::Value(Filtering::EndpointIndependent),
        [true, false] => Reading::Value(Filtering::AddressDependent),
        [false, false] => Reading::Value(Filtering::AddressAndPortDependent),
        _ => Reading::Other("other addresses are admitted, other ports are not".to_owned()),
    })
}

#[derive(Clone, Copy)]
enum Stranger {
    OtherPort,
    OtherAddress,
}

/// The answer, at once, to a SYN for which there is no mapping (RFC 5382 REQ-4).
pub(in crate::probe) fn unsolicited_syn(prober: &mut Prober, declared: &Behavior) -> Result<Finding> {
    let targets = closed_targets(prober, declared)?;
    let observed = match read_unsolicited_syn(prober, declared.translation, &targets)? {
        // Connection tracking would tell who resets it; on the wire both are the same.
        Reading::Value(UnsolicitedSyn::Reset)
            if prober.bench.datapath() != Datapath::Conntrack
                && declared.unsolicited_syn == UnsolicitedSyn::Kernel =>
        {
            declared.unsolicited_syn.to_string()
        }
        // That there is an answer later is for the full proof to see.
        Reading::Value(UnsolicitedSyn::Drop)
            if declared.unsolicited_syn == UnsolicitedSyn::IcmpAfterSixSeconds =>
        {
            declared.unsolicited_syn.to_string()
        }
        reading => reading.to_string(),
    };
    Ok(Finding::of(NatAxis::UnsolicitedSyn, declared, observed))
}

/// The answer, at once, to a SYN to any of these endpoints, whatever is declared.
pub(in crate::probe) fn read_unsolicited_syn(
    prober: &mut Prober,
    translation: Translation,
    targets: &[SocketAddrV4],
) -> Result<Reading<UnsolicitedSyn>> {
    let read = |target: &SocketAddrV4| Ok((*target, read_answer(prober, translation, *target)?));
    Ok(Reading::in_common(&targets.iter().map(read).collect::<Result<Vec<_>>>()?))
}

/// The answer, at once, to a SYN to this endpoint.
fn read_answer(
    prober: &mut Prober,
    translation: Translation,
    target: SocketAddrV4,
) -> Result<Reading<UnsolicitedSyn>> {
    let stranger = prober.remote();
    prober.bench.new_entries()?;
    let fate = prober.knock(stranger, target)?;
    // What the NAT's own stack refuses is tracked for a moment; what a rule refuses never is.
    let by_stack = prober.bench.new_entries()?.contains(&(stranger, target));
    Ok(match fate {
        Fate::SynAck => Reading::Other("a SYN/ACK of its own".to_owned()),
        Fate::Reset if by_stack => Reading::Value(UnsolicitedSyn::Kernel),
        Fate::Reset => Reading::Value(UnsolicitedSyn::Reset),
        Fate::ResetFrom(source) => Reading::Other(format!("a reset from {source}")),
        Fate::Icmp(3, code) => {
            icmp(code).map_or_else(|| Reading::Other(format!("ICMP 3/{code}")), Reading::Value)
        }
        Fate::Icmp(kind, code) => Reading::Other(format!("ICMP {kind}/{code}")),
        Fate::Silence => Reading::Value(UnsolicitedSyn::Drop),
        Fate::Delivered { .. } if translation == Translation::Router => {
            Reading::Value(UnsolicitedSyn::Kernel)
        }
        Fate::Delivered { destination, .. } => Reading::Other(format!("it reaches {destination}")),
    })
}

/// An endpoint behind the NAT that no mapping leads to.
pub(in crate::probe) fn unmapped_target(translation: Translation) -> SocketAddrV4 {
    match translation {
        Translation::Nat => SocketAddrV4::new(WAN, UNMAPPED),
        Translation::Firewall | Translation::Router => SocketAddrV4::new(Side::Inside0.address(), UNMAPPED),
    }
}

/// Endpoints that are closed to a stranger: one without a mapping at each external address of a NAT that behaves so, and that of a
/// mapping.
pub(in crate::probe) fn closed_targets(
    prober: &mut Prober,
    declared: &Behavior,
) -> Result<Vec<SocketAddrV4>> {
    let mut targets = unmapped_targets(declared);
    targets.extend(closed_mapping(prober, declared)?);
    Ok(targets)
}

/// An endpoint without a mapping at each external address.
fn unmapped_targets(declared: &Behavior) -> Vec<SocketAddrV4> {
    match declared.translation {
        Translation::Nat => {
            site().external(declared).iter().map(|own| SocketAddrV4::new(own, UNMAPPED)).collect()
        }
        other => vec![unmapped_target(other)],
    }
}

/// An endpoint that a mapping leads to, if strangers are not let in through it: to them it is closed like any other.
fn closed_mapping(prober: &mut Prober, declared: &Behavior) -> Result<Option<SocketAddrV4>> {
    match declared.filtering {
        Filtering::EndpointIndependent => Ok(None),
        Filtering::AddressDependent | Filtering::AddressAndPortDependent => {
            Ok(prober.open_fresh(Side::Inside0)?.1)
        }
    }
}

/// The refusal by ICMP type 3 with this code.
pub(in crate::probe) fn icmp(code: u8) -> Option<UnsolicitedSyn> {
    let refusals = UnsolicitedSyn::ALL.iter().copied();
    refusals
        .into_iter()
        .find(|answer| matches!(answer, UnsolicitedSyn::Icmp(error) if IcmpError::code(*error) == code))
}

/// What becomes of a SYN from the endpoint that a SYN went to (RFC 5382 REQ-2a).
pub(in crate::probe) fn syn_after_syn(prober: &mut Prober, declared: &Behavior) -> Result<Finding> {
    let reading = read_syn_after_syn(prober)?;
    Ok(Finding::of(NatAxis::SynAfterSyn, declared, reading.to_string()))
}

/// What becomes of a SYN from the endpoint that a SYN went to, whatever is declared.
pub(in crate::probe) fn read_syn_after_syn(prober: &mut Prober) -> Result<Reading<SynAfterSyn>> {
    let (flow, external) = prober.open_fresh(Side::Inside0)?;
    let Some(external) = external else { return Ok(Reading::Other(NO_WAY_OUT.to_owned())) };
    let fate = prober.knock(flow.remote, external)?;
    if prober.bench.datapath() == Datapath::Sockets && fate == Fate::SynAck {
        // The socket that sent the SYN answers: the simultaneous open is the NAT's own, and the inside hears of it afterwards.
        return Ok(Reading::Value(SynAfterSyn::Accept));
    }
    let values = SynAfterSyn::ALL.iter().copied();
    let value = values.into_iter().find(|value| shows_syn_after_syn(*value, &fate, flow.inside));
    Ok(value.map_or_else(|| Reading::Other(undeclarable(&fate)), Reading::Value))
}

/// Whether this is what becomes of the second SYN, towards `inside`, at a NAT with this value.
fn shows_syn_after_syn(value: SynAfterSyn, fate: &Fate, inside: SocketAddrV4) -> bool {
    match value {
        SynAfterSyn::Accept => {
            matches!(fate, Fate::Delivered { destination, .. } if *destination == inside)
        }
        SynAfterSyn::Drop => matches!(fate, Fate::Silence),
        SynAfterSyn::Reset => matches!(fate, Fate::Reset),
    }
}

/// What became of a packet, where no value of the axis says so.
fn undeclarable(fate: &Fate) -> String {
    match fate {
        Fate::Delivered { source, destination, .. } => format!("it reaches {destination} as {source}"),
        Fate::Silence => "silence".to_owned(),
        Fate::Reset => "reset".to_owned(),
        Fate::ResetFrom(source) => format!("a reset from {source}"),
        Fate::SynAck => "a SYN/ACK of its own".to_owned(),
        Fate::Icmp(kind, code) => format!("ICMP {kind}/{code}"),
    }
}

/// What becomes of a SYN/ACK from inside that answers nothing.
pub(in crate::probe) fn invalid_packets(prober: &mut Prober, declared: &Behavior) -> Result<Finding> {
    let reading = read_invalid_packets(prober)?;
    Ok(Finding::of(NatAxis::InvalidPackets, declared, reading.to_string()))
}

/// What becomes of a SYN/ACK from inside that answers nothing, whatever is declared.
pub(in crate::probe) fn read_invalid_packets(prober: &mut Prober) -> Result<Reading<InvalidPackets>> {
    let flow = prober.flow(Side::Inside0);
    let stray = Probe::ack((flow.inside, flow.remote), TcpFlags::SYN, (flow.isn, 1));
    let fate = prober.fate(Side::Inside0, &stray)?;
    // What belongs to no connection of such a NAT's own never gets out, whatever the inside is told.
    if prober.bench.datapath() == Datapath::Sockets && !matches!(fate, Fate::Delivered { .. }) {
        return Ok(Reading::Value(InvalidPackets::Drop));
    }
    let shows = |value: &&InvalidPackets| match value {
        InvalidPackets::Leak => matches!(fate, Fate::Delivered { source, .. } if source == flow.inside),
        InvalidPackets::Drop => matches!(fate, Fate::Silence),
    };
    let value = InvalidPackets::ALL.iter().find(shows);
    Ok(value.map_or_else(|| Reading::Other(undeclarable(&fate)), |value| Reading::Value(*value)))
}

/// Whether inside hosts reach each other's external endpoints, and which source they see (RFC 5382 REQ-8).
pub(in crate::probe) fn hairpinning(prober: &mut Prober, declared: &Behavior) -> Result<Option<Finding>> {
    if declared.translation != Translation::Nat {
        return Ok(None);
    }
    if few_exclusive_ports(declared) == Some(1) {
        // A hairpinned connection takes two ports at a time.
        return Ok(Some(Finding::not_looked_at(NatAxis::Hairpinning.name(), &too_few(1))));
    }
    let reading = read_hairpinning(prober, declared)?;
    Ok(Some(Finding::of(NatAxis::Hairpinning, declared, reading.to_string())))
}

/// Whether inside hosts reach each other's external endpoints, of a NAT with the addresses and the quota of `known`: the callee has to see
/// an address that the caller may have.
pub(in crate::probe) fn read_hairpinning(
    prober: &mut Prober,
    known: &Behavior,
) -> Result<Reading<Hairpinning>> {
    let (caller, own) = prober.open_fresh(Side::Inside0)?;
    let one_at_a_time = room(known) == Some(1);
    if one_at_a_time {
        // The hairpinned connection may need a mapping of its own.
        prober.bench.forget()?;
    }
    let (callee, external) = prober.open_fresh(Side::Inside1)?;
    let (Some(external), Some(own)) = (external, own) else {
        return Ok(Reading::Other(NO_WAY_OUT.to_owned()));
    };
    let may_have = |address: Ipv4Addr| match known.addresses.are_arbitrary() || one_at_a_time {
        true => site().external(known).contains(address),
        false => address == *own.ip(),
    };
    let syn = Probe::syn(caller.inside, external, prober.isn());
    let mut fate = prober.fate(Side::Inside0, &syn)?;
    // Where there are few ports, its SYN may be dropped because the port that was drawn is the callee's.
    for _ in 0..few_exclusive_ports(known).map_or(0, |_| AGAIN) {
        if fate == Fate::Silence {
            fate = prober.fate(Side::Inside0, &syn)?;
        }
    }
    Ok(match fate {
        Fate::Delivered { side: Side::Inside1, source, destination } if destination == callee.inside => {
            match source {
                source if may_have(*source.ip()) => Reading::Value(Hairpinning::On),
                source => Reading::Other(format!("on, but the callee sees {source}")),
            }
        }
        Fate::Delivered { destination, .. } => Reading::Other(format!("it reaches {destination}")),
        Fate::SynAck => Reading::Other("a SYN/ACK of its own".to_owned()),
        Fate::Silence | Fate::Reset | Fate::ResetFrom(_) | Fate::Icmp(..) => Reading::Value(Hairpinning::Off),
    })
}

/// Whether two hosts with the same port, which both would keep, share an external endpoint towards different remotes
/// (RFC 5382 REQ-7). NATs that do not preserve ports need more than a few mappings to tell.
pub(in crate::probe) fn overloading(prober: &mut Prober, declared: &Behavior) -> Result<Option<Finding>> {
    let preserving = declared.allocation == Allocation::Preserving && declared.pool == Pool::Kernel;
    let telling = preserving || declared.overloading == Overloading::Off;
    if declared.translation != Translation::Nat || !telling {
        return Ok(None);
    }
    let reading = match few_exclusive_ports(declared) {
        Some(_) => read_shared_of_few(prober, declared)?,
        None => {
            let one = prober.flow(Side::Inside0);
            read_shared_port(prober, one)?
        }
    };
    Ok(Some(Finding::of(NatAxis::Overloading, declared, reading.to_string())))
}

/// Whether hosts of a NAT with few ports share an external endpoint. If they do not, the second may get none at all.
fn read_shared_of_few(prober: &mut Prober, declared: &Behavior) -> Result<Reading<Overloading>> {
    /// Where there is one address, a few hosts tell.
    const FEW_HOSTS: u8 = 8;
    let hosts = if declared.addresses.count == 1 { FEW_HOSTS } else { SHARING_HOSTS };
    let own = own_pool(declared, Side::Inside0).filter(|_| declared.allocation == Allocation::Preserving);
    let [a, b, c, first] = Side::Inside1.address().octets();
    for host in first..first + hosts {
        prober.bench.forget()?;
        let mut one = prober.flow(Side::Inside0);
        if let Some(own) = own {
            one.inside = prober.inside_of(Side::Inside0, own);
        }
        let Some(external) = prober.open(&one)? else { return Ok(Reading::Other(NO_WAY_OUT.to_owned())) };
        let inside = SocketAddrV4::new(Ipv4Addr::new(a, b, c, host), one.inside.port());
        let remote = prober.remote();
        let other = prober.flow_between(Side::Inside1, inside, remote);
        match prober.open_at_once(&other)? {
            Some(found) if found == external => return Ok(Reading::Value(Overloading::On)),
            Some(found) if found.ip() == external.ip() => return Ok(Reading::Value(Overloading::Off)),
            Some(_) | None => {}
        }
    }
    Ok(Reading::Value(Overloading::Off))
}

/// How often a SYN that vanished is sent again, where a port that was drawn may have been taken. Rules draw up to eight times for each
/// SYN: of two ports, none of these draws finds the free one with a probability of 2^-48.
const AGAIN: usize = 5;

/// Hosts of which one has to get a certain address of a pool: of eight, that none does happens once in 10^11 times.
const SHARING_HOSTS: u8 = 200;

/// Whether a host on the other network that has the port of `one` shares its external endpoint.
pub(in crate::probe) fn read_shared_port(prober: &mut Prober, one: Flow) -> Result<Reading<Overloading>> {
    let Some(external) = prober.open(&one)? else { return Ok(Reading::Other(NO_WAY_OUT.to_owned())) };
    let [a, b, c, first] = Side::Inside1.address().octets();
    // Where the NAT has several addresses, one of these hosts gets the same as the first.
    for host in first..first + SHARING_HOSTS {
        let inside = SocketAddrV4::new(Ipv4Addr::new(a, b, c, host), one.inside.port());
        let remote = prober.remote();
        let other = prober.flow_between(Side::Inside1, inside, remote);
        match prober.open(&other)? {
            Some(found) if found == external => return Ok(Reading::Value(Overloading::On)),
            Some(found) if found.ip() == external.ip() => return Ok(Reading::Value(Overloading::Off)),
            Some(_) => {}
            None => return Ok(Reading::Other(NO_WAY_OUT.to_owned())),
        }
    }
    let seen = format!("none of {SHARING_HOSTS} hosts gets the address {} as well", external.ip());
    Ok(Reading::Other(seen))
}

/// What becomes of data far outside the window of a connection that stands.
pub(in crate::probe) fn strictness(prober: &mut Prober, declared: &Behavior) -> Result<Option<Finding>> {
    let blind = declared.translation == Translation::Router
        || (declared.translation == Translation::Firewall
            && declared.invalid_packets == InvalidPackets::Leak);
    if prober.bench.datapath() == Datapath::Sockets {
        return Ok(Some(Finding::not_looked_at(NatAxis::Strictness.name(), BY_NUMBER)));
    }
    if blind {
        // Nothing is translated and nothing dropped: whatever connection tracking thinks of it cannot be seen.
        return Ok(None);
    }
    let reading = read_strictness(prober)?;
    Ok(Some(Finding::of(NatAxis::Strictness, declared, reading.to_string())))
}

/// What becomes of data far outside the window of a connection that stands, whatever is declared.
pub(in crate::probe) fn read_strictness(prober: &mut Prober) -> Result<Reading<Strictness>> {
    const FAR: u32 = 1 << 29;
    let flow = prober.flow(Side::Inside0);
    let Some((external, theirs)) = prober.establish(&flow)? else {
        return Ok(Reading::Other("a handshake did not get through".to_owned()));
    };
    let numbers = (theirs.wrapping_add(FAR), flow.isn.wrapping_add(1));
    let data = Probe { payload: b"data", ..Probe::ack((flow.remote, external), TcpFlags(0), numbers) };
    Ok(match prober.fate(Side::Outside, &data)? {
        Fate::Delivered { .. } => Reading::Value(Strictness::Liberal),
        _ => Reading::Value(Strictness::Strict),
    })
}
