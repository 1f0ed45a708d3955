//! RFC 5382 REQ-4, its second sentence: an unsolicited SYN whose connection the inside opens within six seconds.

use std::thread::sleep;
use std::time::Duration;

use crate::kernel::error::Result;
use crate::model::behavior::{Behavior, Filtering, Mapping, Translation, UnsolicitedSyn};
use crate::probe::prove::bench::Side;
use crate::probe::prove::frame::Probe;
use crate::probe::prove::prober::{Fate, Prober};

use super::{ConformanceCheck, ConformanceVerdict, Observation, RequirementLevel, ToldBy, pass_if};

/// More than the six seconds after which a NAT may answer.
const BEYOND: Duration = Duration::from_millis(6_300);

pub(super) const CHECK: ConformanceCheck = ConformanceCheck {
    id: "RFC 5382 REQ-4 (outbound SYN)",
    level: RequirementLevel::Must,
    asks: "if during this interval the NAT receives and translates an outbound SYN for the connection the NAT MUST \
           silently drop the original unsolicited inbound SYN packet",
    packets: "SYN in to a mapping that does not admit it, SYN out for the same connection, the SYN in again after 6.3 s",
    told_by: ToldBy::Packets,
    expect,
    measure,
};

/// Only where the endpoint can be known before the connection is opened, and the SYN is not let in by itself.
fn expect(declared: &Behavior) -> ConformanceVerdict {
    if !is_testable(declared) {
        return ConformanceVerdict::NotApplicable;
    }
    let silent =
        matches!(declared.unsolicited_syn, UnsolicitedSyn::Drop | UnsolicitedSyn::IcmpAfterSixSeconds);
    pass_if(silent && !declared.syn_after_syn.ends_the_first())
}

fn is_testable(declared: &Behavior) -> bool {
    declared.translation != Translation::Router
        && declared.mapping == Mapping::EndpointIndependent
        && declared.filtering != Filtering::EndpointIndependent
}

fn measure(prober: &mut Prober, declared: &Behavior) -> Result<Observation> {
    if !is_testable(declared) {
        return Ok(Observation::not_applicable(
            "no SYN is unsolicited at an endpoint that is known beforehand",
        ));
    }
    let (first, external) = prober.open_fresh(Side::Inside0)?;
    let Some(external) = external else {
        return Ok(Observation::new(ConformanceVerdict::Fail, "a first SYN did not come out"));
    };
    let remote = prober.remote();
    let syn = Probe::syn(remote, external, prober.isn());
    let at_once = prober.fate(Side::Outside, &syn)?;
    let outbound = prober.flow_between(Side::Inside0, first.inside, remote);
    let again = prober.open(&outbound)?;
    sleep(BEYOND);
    // Whatever was said to the SYN meanwhile is read together with the answer to its retransmission.
    let late = prober.fate(Side::Outside, &syn)?;
    let unanswered = |fate| matches!(fate, Fate::Silence | Fate::Delivered { .. });
    let passes = at_once == Fate::Silence && again == Some(external) && unanswered(late);
    let out = again.map_or_else(|| "not out".to_owned(), |endpoint| format!("out as {endpoint}"));
    let seen = format!("{at_once} at once, {out}, after 6.3 s {late}");
    Ok(Observation::new(pass_if(passes), seen))
}
