//! Measures who is let in, and what becomes of what is not: filtering, unsolicited SYNs, SYN after SYN, invalid packets,
//! hairpinning and strictness.

use std::net::SocketAddrV4;

use crate::kernel::error::Result;
use crate::model::axis::NatAxis;
use crate::model::behavior::{
    Allocation, Behavior, Filtering, Hairpinning, IcmpError, InvalidPackets, Overloading, Pool, Strictness,
    SynAfterSyn, Translation, UnsolicitedSyn,
};
use crate::model::packet::TcpFlags;

use super::bench::{Side, WAN};
use super::finding::Finding;
use super::frame::Probe;
use super::prober::{Fate, Prober};

/// A port that no mapping ever has: inside endpoints on the bench have ports from 1024 on, and so have mappings.
const UNMAPPED: u16 = 999;

/// What a SYN did not come out of.
const NO_WAY_OUT: &str = "a SYN did not get out";

/// Role may send to an external endpoint (RFC 4787 section 5): a SYN from another port of the address that was sent to,
/// then, to another mapping, a SYN from another address.
pub(in crate::probe) fn filtering(prober: &mut Prober, declared: &Behavior) -> Result<Finding> {
    let mut admitted = Vec::new();
    for stranger in [Stranger::OtherPort, Stranger::OtherAddress] {
        let (flow, external) = prober.open_fresh(Side::Inside0)?;
        let Some(external) = external else {
            return Ok(Finding::of(NatAxis::Filtering, declared, NO_WAY_OUT.to_owned()));
        };
        let source = match stranger {
            Stranger::OtherPort => SocketAddrV4::new(*flow.remote.ip(), flow.remote.port() + 1),
            Stranger::OtherAddress => SocketAddrV4::new(*prober.remote().ip(), flow.remote.port()),
        };
        let came = match prober.knock(source, external)? {
            Fate::Delivered { source: seen, destination, .. } => Some((seen, destination)),
            _ => None,
        };
        if came.is_some_and(|came| came != (source, flow.inside)) {
            let observed = format!("a SYN from {source} to {external} arrives as {came:?}");
            return Ok(Finding::of(NatAxis::Filtering, declared, observed));
        }
        admitted.push(came.is_some());
    }
    let observed = match admitted[..] {
        [true, true] => Filtering::EndpointIndependent.to_string(),
        [true, false] => Filtering::AddressDependent.to_string(),
        [false, false] => Filtering::AddressAndPortDependent.to_string(),
        _ => "other addresses are admitted, other ports are not".to_owned(),
    };
    Ok(Finding::of(NatAxis::Filtering, declared, observed))
}

#[derive(Clone, Copy)]
enum Stranger {
    OtherPort,
    OtherAddress,
}

/// The answer, at once, to a SYN for which there is no mapping (RFC 5382 REQ-4).
pub(in crate::probe) fn unsolicited_syn(prober: &mut Prober, declared: &Behavior) -> Result<Finding> {
    let target = match declared.translation {
        Translation::Nat => SocketAddrV4::new(WAN, UNMAPPED),
        Translation::Firewall | Translation::Router => SocketAddrV4::new(Side::Inside0.address(), UNMAPPED),
    };
    let stranger = prober.remote();
    prober.bench.new_entries()?;
    let fate = prober.knock(stranger, target)?;
    // What the NAT's own stack refuses is tracked for a moment; what a rule refuses never is.
    let by_stack = prober.bench.new_entries()?.contains(&(stranger, target));
    let observed = match fate {
        Fate::Reset if by_stack => UnsolicitedSyn::Kernel.to_string(),
        Fate::Reset => UnsolicitedSyn::Reset.to_string(),
        Fate::Icmp(3, code) => icmp(code).map_or(format!("ICMP 3/{code}"), |answer| answer.to_string()),
        Fate::Icmp(kind, code) => format!("ICMP {kind}/{code}"),
        Fate::Silence if declared.unsolicited_syn == UnsolicitedSyn::IcmpAfterSixSeconds => {
            // That there is an answer later is for the full proof to see.
            declared.unsolicited_syn.to_string()
        }
        Fate::Silence => UnsolicitedSyn::Drop.to_string(),
        Fate::Delivered { .. } if declared.translation == Translation::Router => {
            UnsolicitedSyn::Kernel.to_string()
        }
        Fate::Delivered { destination, .. } => format!("it reaches {destination}"),
    };
    Ok(Finding::of(NatAxis::UnsolicitedSyn, declared, observed))
}

/// An endpoint behind the NAT that no mapping leads to.
pub(in crate::probe) fn unmapped_target(declared: &Behavior) -> SocketAddrV4 {
    match declared.translation {
        Translation::Nat => SocketAddrV4::new(WAN, UNMAPPED),
        Translation::Firewall | Translation::Router => SocketAddrV4::new(Side::Inside0.address(), UNMAPPED),
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
    let (flow, external) = prober.open_fresh(Side::Inside0)?;
    let observed = match external {
        None => NO_WAY_OUT.to_owned(),
        Some(external) => {
            let fate = prober.knock(flow.remote, external)?;
            let value =
                SynAfterSyn::ALL.iter().find(|value| shows_syn_after_syn(**value, &fate, flow.inside));
            value.map_or_else(|| undeclarable(&fate), SynAfterSyn::to_string)
        }
    };
    Ok(Finding::of(NatAxis::SynAfterSyn, declared, observed))
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
        Fate::Icmp(kind, code) => format!("ICMP {kind}/{code}"),
    }
}

/// What becomes of a SYN/ACK from inside that answers nothing.
pub(in crate::probe) fn invalid_packets(prober: &mut Prober, declared: &Behavior) -> Result<Finding> {
    let flow = prober.flow(Side::Inside0);
    let stray = Probe::ack((flow.inside, flow.remote), TcpFlags::SYN, (flow.isn, 1));
    let fate = prober.fate(Side::Inside0, &stray)?;
    let shows = |value: &&InvalidPackets| match value {
        InvalidPackets::Leak => matches!(fate, Fate::Delivered { source, .. } if source == flow.inside),
        InvalidPackets::Drop => matches!(fate, Fate::Silence),
    };
    let value = InvalidPackets::ALL.iter().find(shows);
    let observed = value.map_or_else(|| undeclarable(&fate), InvalidPackets::to_string);
    Ok(Finding::of(NatAxis::InvalidPackets, declared, observed))
}

/// Whether inside hosts reach each other's external endpoints, and which source they see (RFC 5382 REQ-8).
pub(in crate::probe) fn hairpinning(prober: &mut Prober, declared: &Behavior) -> Result<Option<Finding>> {
    if declared.translation != Translation::Nat {
        return Ok(None);
    }
    let (callee, external) = prober.open_fresh(Side::Inside1)?;
    let (caller, own) = prober.open_fresh(Side::Inside0)?;
    let (Some(external), Some(own)) = (external, own) else {
        return Ok(Some(Finding::of(NatAxis::Hairpinning, declared, NO_WAY_OUT.to_owned())));
    };
    let syn = Probe::syn(caller.inside, external, prober.isn());
    let observed = match prober.fate(Side::Inside0, &syn)? {
        Fate::Delivered { side: Side::Inside1, source, destination } if destination == callee.inside => {
            match source {
                source if *source.ip() == *own.ip() => Hairpinning::On.to_string(),
                source => format!("on, but the callee sees {source}"),
            }
        }
        Fate::Delivered { destination, .. } => format!("it reaches {destination}"),
        Fate::Silence | Fate::Reset | Fate::Icmp(..) => Hairpinning::Off.to_string(),
    };
    Ok(Some(Finding::of(NatAxis::Hairpinning, declared, observed)))
}

/// Whether two hosts with the same port, which both would keep, share an external endpoint towards different remotes
/// (RFC 5382 REQ-7). NATs that do not preserve ports need more than a few mappings to tell.
pub(in crate::probe) fn overloading(prober: &mut Prober, declared: &Behavior) -> Result<Option<Finding>> {
    let preserving = declared.allocation == Allocation::Preserving && declared.pool == Pool::Kernel;
    let telling = preserving || declared.overloading == Overloading::Off;
    if declared.translation != Translation::Nat || !telling {
        return Ok(None);
    }
    let one = prober.flow(Side::Inside0);
    let inside = SocketAddrV4::new(Side::Inside1.address(), one.inside.port());
    let remote = prober.remote();
    let other = prober.flow_between(Side::Inside1, inside, remote);
    let observed = match (prober.open(&one)?, prober.open(&other)?) {
        (Some(a), Some(b)) if a == b => Overloading::On.to_string(),
        (Some(_), Some(_)) => Overloading::Off.to_string(),
        _ => NO_WAY_OUT.to_owned(),
    };
    Ok(Some(Finding::of(NatAxis::Overloading, declared, observed)))
}

/// What becomes of data far outside the window of a connection that stands.
pub(in crate::probe) fn strictness(prober: &mut Prober, declared: &Behavior) -> Result<Option<Finding>> {
    let blind = declared.translation == Translation::Router
        || (declared.translation == Translation::Firewall
            && declared.invalid_packets == InvalidPackets::Leak);
    if blind {
        // Nothing is translated and nothing dropped: whatever connection tracking thinks of it cannot be seen.
        return Ok(None);
    }
    let flow = prober.flow(Side::Inside0);
    let observed = match prober.establish(&flow)? {
        None => "a handshake did not get through".to_owned(),
        Some((external, theirs)) => {
            const FAR: u32 = 1 << 29;
            let numbers = (theirs.wrapping_add(FAR), flow.isn.wrapping_add(1));
            let data =
                Probe { payload: b"data", ..Probe::ack((flow.remote, external), TcpFlags(0), numbers) };
            match prober.fate(Side::Outside, &data)? {
                Fate::Delivered { .. } => Strictness::Liberal.to_string(),
                _ => Strictness::Strict.to_string(),
            }
        }
    };
    Ok(Some(Finding::of(NatAxis::Strictness, declared, observed)))
}
