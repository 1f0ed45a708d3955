//! RFC 7857 (BCP 127), updates to NAT behavioral requirements: what packets can show.

use crate::kernel::error::Result;
use crate::model::behavior::{Allocation, Behavior};
use crate::model::packet::TcpFlags;
use crate::run::prove::bench::Side;
use crate::run::prove::frame::Probe;
use crate::run::prove::lifetimes::lifetime;
use crate::run::prove::mapping;
use crate::run::prove::prober::{Fate, Prober};

use super::rfc5382::{TRANSITORY, shortest};
use super::{Check, Level, Observation, Verdict, pass_if};

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "RFC 7857 section 2.2 (translation)",
        level: Level::Must,
        asks: "when the NAT receives a TCP RST matching an existing mapping, it MUST translate the packet",
        packets: "an established connection; RST in",
        expect: |_| Verdict::Pass,
        measure: reset_is_translated,
    },
    Check {
        id: "RFC 7857 section 2.2 (session)",
        level: Level::Should,
        asks: "the NAT SHOULD wait for 4 minutes before deleting the session",
        packets: "an established connection; RST in; its entry is read",
        expect: |b| shortest(b, &["close"], TRANSITORY),
        measure: |p, _| {
            let left = lifetime(p, "close")?;
            let seen =
                left.map_or("the session is gone".to_owned(), |left| format!("{} s left", left.as_secs()));
            let passes = left.is_some_and(|left| left.as_secs() + 2 >= TRANSITORY.as_secs());
            Ok(Observation::new(pass_if(passes), seen))
        },
    },
    Check {
        id: "RFC 7857 section 9",
        level: Level::Should,
        asks: "a NAPT that does not implement port preservation SHOULD obfuscate selection of the ephemeral port",
        packets: "SYNs from many inside endpoints",
        expect: |b| match b.allocation {
            Allocation::Preserving => Verdict::NotApplicable,
            Allocation::Sequential { .. } => Verdict::Fail,
            Allocation::Random | Allocation::Hash { .. } => Verdict::Pass,
        },
        measure: obfuscation,
    },
];

fn reset_is_translated(prober: &mut Prober, _: &Behavior) -> Result<Observation> {
    let flow = prober.flow(Side::Inside0);
    let Some((external, theirs)) = prober.establish(&flow)? else {
        return Ok(Observation::new(Verdict::Fail, "the handshake did not get through"));
    };
    let numbers = (theirs.wrapping_add(1), flow.isn.wrapping_add(1));
    let reset = Probe::ack((flow.remote, external), TcpFlags::RST, numbers);
    let fate = prober.fate(Side::Outside, &reset)?;
    let passes = matches!(fate, Fate::Delivered { destination, .. } if destination == flow.inside);
    Ok(Observation::new(
        pass_if(passes),
        if passes { "it arrived inside" } else { "it did not arrive inside" },
    ))
}

fn obfuscation(prober: &mut Prober, declared: &Behavior) -> Result<Observation> {
    let found = mapping::allocation(prober, declared)?;
    let seen = found.into_iter().next().map_or(String::new(), |finding| finding.observed);
    Ok(if seen.starts_with("preserving") {
        Observation::not_applicable("it preserves ports")
    } else {
        Observation::new(pass_if(!seen.starts_with("sequential")), seen)
    })
}
