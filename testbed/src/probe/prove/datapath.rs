//! Finds out what carries the packets of a NAT across: connection tracking knows the mapping or not, and a segment keeps its
//! sequence number or not.

use crate::kernel::error::Result;
use crate::model::datapath::Datapath;
use crate::model::evidence::{CtChange, Tuple};

use super::bench::{ArrivedPacket, Side};
use super::finding::Finding;
use super::frame::Probe;
use super::prober::{Flow, Prober};
use super::reading::Reading;

/// Why a NAT of sockets is not asked something: the questions know a segment by its numbers.
pub(in crate::probe) const BY_NUMBER: &str = "its sockets have sequence numbers of their own";

/// Why a NAT that keeps records of its own is not asked something.
pub(in crate::probe) const BY_TRACKING: &str =
    "connection tracking, which would tell the timers, does not know its connections";

/// The name of the row.
pub const DATAPATH: &str = "datapath";

/// One row: what is declared, against what is seen.
pub(super) fn datapath(prober: &mut Prober) -> Result<Finding> {
    let declared = prober.bench.datapath();
    Ok(Finding::new(DATAPATH, declared.name(), read_datapath(prober)?.to_string()))
}

/// What carries the packets across, whatever is declared.
pub(in crate::probe) fn read_datapath(prober: &mut Prober) -> Result<Reading<Datapath>> {
    prober.bench.changes()?;
    let flow = prober.flow(Side::Inside0);
    let syn = Probe::syn(flow.inside, flow.remote, flow.isn);
    let came_out = |seen: &[ArrivedPacket]| sighting(seen, &flow).is_some();
    let seen = prober.bench.ask_unknown(flow.side, &syn, came_out)?;
    let Some(out) = sighting(&seen, &flow) else {
        return Ok(Reading::Other("nothing gets out".to_owned()));
    };
    let reply = Tuple { source: flow.remote, destination: out.packet.source };
    let changes = prober.bench.changes()?;
    let is_tracked = changes.iter().any(|(change, entry)| *change == CtChange::New && entry.reply == reply);
    let same = out.packet.tcp().is_some_and(|tcp| tcp.sequence == flow.isn);
    Ok(Reading::Value(match (is_tracked && same, same) {
        (true, _) => Datapath::Conntrack,
        (false, true) => Datapath::Packets,
        (false, false) => Datapath::Sockets,
    }))
}

/// The SYN that came out towards the remote endpoint of a flow.
fn sighting<'a>(seen: &'a [ArrivedPacket], flow: &Flow) -> Option<&'a ArrivedPacket> {
    let is_it = |seen: &&ArrivedPacket| {
        let opening = seen.packet.tcp().is_some_and(|tcp| tcp.flags.is_opening());
        seen.side == Side::Outside && seen.packet.destination == flow.remote && opening
    };
    seen.iter().find(is_it)
}
