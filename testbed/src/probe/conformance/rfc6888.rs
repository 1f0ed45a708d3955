//! RFC 6888 (BCP 127), requirements for carrier-grade NATs: what packets can show.

use crate::kernel::error::Result;
use crate::model::behavior::{Behavior, ExternalAddresses, Filtering, Pool, Pooling};
use crate::probe::prove::addresses;
use crate::probe::prove::bench::Side;
use crate::probe::prove::bulk;
use crate::probe::prove::filtering;
use crate::probe::prove::frame::Probe;
use crate::probe::prove::prober::{Fate, Prober};

use super::{ConformanceCheck, ConformanceVerdict, Observation, RequirementLevel, ToldBy, pass_if};

pub(super) const CHECKS: &[ConformanceCheck] = &[
    ConformanceCheck {
        id: "RFC 6888 REQ-2",
        level: RequirementLevel::Must,
        asks: "a CGN MUST have a default \"IP address pooling\" behavior of \"Paired\"",
        packets: "two SYNs from each of 200 hosts, to different remote endpoints",
        told_by: ToldBy::Packets,
        expect: |b| match b.addresses {
            ExternalAddresses { count: 1, .. } => ConformanceVerdict::NotApplicable,
            ExternalAddresses { pooling, .. } => pass_if(pooling == Pooling::Paired),
        },
        measure: |p, b| {
            if b.addresses == ExternalAddresses::ONE {
                return Ok(Observation::not_applicable("it has one address"));
            }
            let seen = addresses::read_addresses(p, b)?;
            let paired = seen.value().is_some_and(|seen| seen.count > 1 && seen.pooling == Pooling::Paired);
            Ok(Observation::new(pass_if(paired), seen.to_string()))
        },
    },
    ConformanceCheck {
        id: "RFC 6888 REQ-4",
        level: RequirementLevel::Must,
        asks: "a CGN MUST support limiting the number of external ports that are assigned per subscriber",
        packets: "SYNs from more inside endpoints of one host than it may have mappings; one from another host",
        told_by: ToldBy::Packets,
        expect: |b| {
            if b.quota.is_some() { ConformanceVerdict::Pass } else { ConformanceVerdict::NotApplicable }
        },
        measure: |p, b| {
            Ok(match bulk::quota(p, b)? {
                Some(finding) => {
                    Observation::new(pass_if(finding.agrees), format!("{} mappings", finding.observed))
                }
                None => Observation::not_applicable("no limit is configured"),
            })
        },
    },
    ConformanceCheck {
        id: "RFC 6888 REQ-7",
        level: RequirementLevel::Should,
        asks: "it is RECOMMENDED that a CGN use an \"endpoint-independent filtering\" behavior",
        packets: "SYN out; SYN in from another port of the same address, and from another address",
        told_by: ToldBy::Packets,
        expect: |b| match (is_carrier_grade(b), b.filtering) {
            (false, _) => ConformanceVerdict::NotApplicable,
            (true, filtering) => pass_if(filtering == Filtering::EndpointIndependent),
        },
        measure: |p, b| {
            if !is_carrier_grade(b) {
                return Ok(Observation::not_applicable("it has no subscribers"));
            }
            let seen = filtering::read_filtering(p)?;
            let independent = seen.value() == Some(&Filtering::EndpointIndependent);
            Ok(Observation::new(pass_if(independent), seen.to_string()))
        },
    },
    ConformanceCheck {
        id: "RFC 6888 REQ-11b",
        level: RequirementLevel::Should,
        asks: "it SHOULD send an ICMP Destination Unreachable message with code 1 (Host Unreachable) to the sender",
        packets: "SYNs from inside until the limit is reached, and one more",
        told_by: ToldBy::Packets,
        expect: |b| {
            if b.quota.is_some() { ConformanceVerdict::Fail } else { ConformanceVerdict::NotApplicable }
        },
        measure: refusal,
    },
];

/// Whether the NAT treats hosts as subscribers with a share each.
fn is_carrier_grade(behavior: &Behavior) -> bool {
    behavior.quota.is_some() || matches!(behavior.pool, Pool::Blocks { .. })
}

fn refusal(prober: &mut Prober, declared: &Behavior) -> Result<Observation> {
    let Some(quota) = declared.quota else {
        return Ok(Observation::not_applicable("no limit is configured"));
    };
    for _ in 0..quota {
        prober.open_fresh(Side::Inside0)?;
    }
    let flow = prober.flow(Side::Inside0);
    let fate = prober.fate(flow.side, &Probe::syn(flow.inside, flow.remote, flow.isn))?;
    Ok(Observation::new(pass_if(fate == Fate::Icmp(3, 1)), fate.to_string()))
}
