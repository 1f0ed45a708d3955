//! Measures what a reset and an ICMP error do to a mapping that just opened (RFC 5382 REQ-9 and REQ-10, RFC 7857
//! section 3.3): whether the way in stays open, and whether the inside gets the same port when it tries again.

use crate::kernel::error::Result;
use crate::lab::nat_rules::remembers_mappings;
use crate::model::behavior::{Allocation, Behavior, Filtering, Translation};
use crate::model::datapath::Datapath;
use crate::model::packet::TcpFlags;

use super::bench::Side;
use super::datapath::BY_NUMBER;
use super::finding::Finding;
use super::frame::{Probe, QuotedIcmpError};
use super::prober::{Fate, Flow, Prober, fate};
use super::room::{draws_like, few_ports, own_pool, room};

/// Connections that are tried again. That a random NAT with a pool of 64 ports draws the same port each time has a
/// probability of 64^-6 < 2e-11; where there are fewer ports, there are more tries.
const TRIES: usize = 6;

/// After a reset that answers the SYN.
pub(super) fn reset(prober: &mut Prober, declared: &Behavior) -> Result<Vec<Finding>> {
    if prober.bench.datapath() == Datapath::Sockets {
        return Ok(vec![Finding::not_looked_at("after a reset", BY_NUMBER)]);
    }
    let tries = draws_like(TRIES, few_ports(declared));
    let mut open = 0;
    let mut kept = 0;
    for _ in 0..tries {
        prober.breathe(room(declared))?;
        let (flow, external) = prober.open_fresh(Side::Inside0)?;
        let Some(external) = external else { continue };
        let numbers = (0, flow.isn.wrapping_add(1));
        prober.fate(Side::Outside, &Probe::ack((flow.remote, external), TcpFlags::RST, numbers))?;
        open += usize::from(matches!(prober.knock(flow.remote, external)?, Fate::Delivered { .. }));

        prober.breathe(room(declared))?;
        let flow = flow_that_keeps(prober, declared)?;
        let Some(external) = prober.open(&flow)? else { continue };
        let numbers = (0, flow.isn.wrapping_add(1));
        prober.fate(Side::Outside, &Probe::ack((flow.remote, external), TcpFlags::RST, numbers))?;
        let again = prober.flow_between(flow.side, flow.inside, flow.remote);
        let again = prober.open(&again)?;
        kept += usize::from(again.is_some_and(|again| again.port() == external.port()));
    }
    let way_in = match declared.filtering {
        // The connection's entry was the only thing that let the remote in, and the reset removed it.
        Filtering::AddressAndPortDependent => "closed",
        Filtering::AddressDependent | Filtering::EndpointIndependent => "open",
    };
    let expected = format!("way in {way_in}, port {}", if keeps_port(declared) { "kept" } else { "new" });
    let observed = format!(
        "way in {}, port {}",
        word((open, tries), "open", "closed"),
        word((kept, tries), "kept", "new")
    );
    Ok(vec![Finding::new("after a reset", expected, observed)])
}

/// A connection whose port the NAT keeps, if it keeps any and may keep this one: it lies in the pool, and nobody else has it.
fn flow_that_keeps(prober: &mut Prober, declared: &Behavior) -> Result<Flow> {
    let own = own_pool(declared, Side::Inside0).filter(|_| declared.allocation == Allocation::Preserving);
    let Some(own) = own else { return Ok(prober.flow(Side::Inside0)) };
    prober.bench.forget()?;
    let (inside, remote) = (prober.inside_of(Side::Inside0, own), prober.remote());
    Ok(prober.flow_between(Side::Inside0, inside, remote))
}

/// Whether the same endpoints get the same external port when nothing but their memory tells.
fn keeps_port(declared: &Behavior) -> bool {
    declared.translation != Translation::Nat
        || remembers_mappings(declared)
        || matches!(declared.allocation, Allocation::Preserving | Allocation::Hash { .. })
}

/// A word for how many of the tries came out so: all, none, or a mixture. Ports may be new all but once or twice.
fn word((count, tries): (usize, usize), yes: &str, no: &str) -> String {
    match (count, no) {
        _ if count == tries => yes.to_owned(),
        (0, _) | (_, "new") => no.to_owned(),
        _ => format!("{yes} {count} times of {tries}"),
    }
}

/// After each ICMP error that a SYN may draw on its way.
pub(super) fn icmp_error(prober: &mut Prober, declared: &Behavior) -> Result<Vec<Finding>> {
    if prober.bench.datapath() == Datapath::Sockets {
        return Ok(vec![Finding::not_looked_at("after an ICMP error", BY_NUMBER)]);
    }
    /// Host and port unreachable, and time exceeded.
    const ERRORS: [(u8, u8); 3] = [(3, 1), (3, 3), (11, 0)];
    let mut delivered = 0;
    let mut open = 0;
    for (kind, code) in ERRORS {
        prober.breathe(room(declared))?;
        let (flow, external) = prober.open_fresh(Side::Inside0)?;
        let Some(external) = external else { continue };
        let syn = Probe::syn(external, flow.remote, flow.isn);
        let error = QuotedIcmpError {
            source: *flow.remote.ip(),
            destination: *external.ip(),
            kind,
            code,
            about: syn,
        };
        let seen = prober.bench.send_icmp_error(Side::Outside, &error)?;
        let inner = Probe::syn(flow.inside, flow.remote, flow.isn);
        delivered += usize::from(
            fate(&seen, Side::Inside0, &inner, prober.bench.datapath()) == Fate::Icmp(kind, code),
        );
        let numbers = (prober.isn(), flow.isn.wrapping_add(1));
        let answer = Probe::ack((flow.remote, external), TcpFlags::SYN, numbers);
        open += usize::from(matches!(prober.fate(Side::Outside, &answer)?, Fate::Delivered { .. }));
    }
    let all = ERRORS.len();
    let observed = format!(
        "{}, way in {}",
        word((delivered, all), "passed on", "lost"),
        word((open, all), "open", "closed")
    );
    Ok(vec![Finding::new("after an ICMP error", "passed on, way in open", observed)])
}
