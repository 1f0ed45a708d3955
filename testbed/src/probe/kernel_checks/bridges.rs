//! What rules of IP see of packets that a bridge passes on from port to port (br_netfilter): containers of one host are on a bridge.

use crate::kernel::error::Result;
use crate::probe::prove::bench::{ShownToIp, Side, WAN};
use crate::probe::prove::frame::Probe;
use crate::probe::prove::prober::{Fate, Prober, fate};

use super::rules::of_bridge;
use super::{ALWAYS, CheckSpec, Observed};

/// Tries of what either always happens or never does.
const TRIES: usize = 5;

pub(super) const CHECKS: &[CheckSpec] = &[
    CheckSpec {
        id: "bridged",
        asks: "are packets translated that only cross a bridge, with bridge-nf-call-iptables = 1?",
        packets: "5 SYNs from one port of a bridge to a host at the other",
        expected: &[(ALWAYS, &["translated"])],
        rules: of_bridge,
        measure: |p| crossed(p, ShownToIp::Yes),
    },
    CheckSpec {
        id: "bridged-unseen",
        asks: "… and with bridge-nf-call-iptables = 0?",
        packets: "5 SYNs from one port of a bridge to a host at the other",
        expected: &[(ALWAYS, &["as they were"])],
        rules: of_bridge,
        measure: |p| crossed(p, ShownToIp::No),
    },
];

fn crossed(prober: &mut Prober, shown: ShownToIp) -> Result<Observed> {
    prober.bench.bridge_insides(shown)?;
    let (mut translated, mut untouched) = (0, 0);
    for _ in 0..TRIES {
        let flow = prober.flow(Side::Inside0);
        let syn = Probe::syn(flow.inside, flow.remote, flow.isn);
        let seen = prober.bench.ask_across((flow.side, Side::Inside1), &syn)?;
        match fate(&seen, flow.side, &syn, prober.bench.datapath()) {
            Fate::Delivered { side: Side::Inside1, source, .. } if source == flow.inside => untouched += 1,
            Fate::Delivered { side: Side::Inside1, source, .. } if *source.ip() == WAN => translated += 1,
            _ => {}
        }
    }
    let word = match (translated, untouched) {
        (TRIES, 0) => "translated",
        (0, TRIES) => "as they were",
        (0, 0) => "kept",
        _ => "something else",
    };
    Ok(Observed::new(word, format!("{translated} translated, {untouched} as they were, of {TRIES}")))
}
