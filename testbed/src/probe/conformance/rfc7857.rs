//! RFC 7857 (BCP 127), updates to NAT behavioral requirements: what packets can show.

use crate::kernel::error::Result;
use crate::model::behavior::{Allocation, Behavior, Collision};
use crate::model::packet::TcpFlags;
use crate::probe::prove::bench::Side;
use crate::probe::prove::collision::{Colliding, read_collision};
use crate::probe::prove::frame::Probe;
use crate::probe::prove::lifetimes::{lifetime, read_flush_interval};
use crate::probe::prove::mapping;
use crate::probe::prove::prober::{Fate, Prober};

use super::rfc5382::{TRANSITORY, shortest};
use super::{ConformanceCheck, ConformanceVerdict, Observation, RequirementLevel, ToldBy, pass_if};

pub(super) const CHECKS: &[ConformanceCheck] = &[
    ConformanceCheck {
        id: "RFC 7857 section 2.2 (translation)",
        level: RequirementLevel::Must,
        asks: "when the NAT receives a TCP RST matching an existing mapping, it MUST translate the packet",
        packets: "an established connection; RST in",
        told_by: ToldBy::Packets,
        expect: |_| ConformanceVerdict::Pass,
        measure: reset_is_translated,
    },
    ConformanceCheck {
        id: "RFC 7857 section 2.2 (session)",
        level: RequirementLevel::Should,
        asks: "the NAT SHOULD wait for 4 minutes before deleting the session",
        packets: "an established connection; RST in; its entry is read",
        told_by: ToldBy::Tracking,
        expect: |b| shortest(b, &["close"], TRANSITORY),
        measure: |p, _| {
            let left = lifetime(p, "close")?;
            let left = left.map(|left| p.bench.absolute().map_or(left, |timeout| timeout.limit().min(left)));
            let seen =
                left.map_or("the session is gone".to_owned(), |left| format!("{} s left", left.as_secs()));
            let flushed = read_flush_interval(p);
            let seen = flushed.map_or(seen.clone(), |every| {
                format!("{seen}, and all are forgotten every {} s", every.as_secs())
            });
            let passes = left.is_some_and(|left| left.as_secs() + 2 >= TRANSITORY.as_secs());
            Ok(Observation::new(pass_if(passes && flushed.is_none()), seen))
        },
    },
    ConformanceCheck {
        id: "RFC 7857 section 9",
        level: RequirementLevel::Should,
        asks: "a NAPT that does not implement port preservation SHOULD obfuscate selection of the ephemeral port",
        packets: "SYNs from many inside endpoints",
        told_by: ToldBy::Packets,
        expect: |b| match b.allocation {
            Allocation::Preserving => ConformanceVerdict::NotApplicable,
            Allocation::Sequential { .. } => ConformanceVerdict::Fail,
            Allocation::Random | Allocation::Hash { .. } => ConformanceVerdict::Pass,
        },
        measure: obfuscation,
    },
    ConformanceCheck {
        id: "RFC 7857 section 9 (collision)",
        level: RequirementLevel::Should,
        asks: "a NAPT that does implement port preservation SHOULD obfuscate the ephemeral port of a packet only if the port \
               must be changed",
        packets: "SYNs of two hosts from the same port, and from ports outside the pool",
        told_by: ToldBy::Packets,
        expect: |b| match Colliding::of(b) {
            Some(_) => pass_if(b.collision == Collision::Random),
            None => ConformanceVerdict::NotApplicable,
        },
        measure: |p, b| {
            let Some(colliding) = Colliding::of(b) else {
                return Ok(Observation::not_applicable("no two mappings want one port that has one owner"));
            };
            let seen = read_collision(p, colliding)?;
            Ok(Observation::new(pass_if(seen.value() == Some(&Collision::Random)), seen.to_string()))
        },
    },
];

fn reset_is_translated(prober: &mut Prober, _: &Behavior) -> Result<Observation> {
    let flow = prober.flow(Side::Inside0);
    let Some((external, theirs)) = prober.establish(&flow)? else {
        return Ok(Observation::new(ConformanceVerdict::Fail, "the handshake did not get through"));
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
