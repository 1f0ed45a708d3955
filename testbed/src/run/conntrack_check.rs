//! Every trial proves its NATs again, for free: what they tracked must be what they declare.

use crate::lab::nat_rules::NatSite;
use crate::model::address_plan::AddressPlan;
use crate::model::catalogue::Catalogue;
use crate::model::evidence::{CtChange, CtEntry, Evidence};
use crate::model::outcome::{Cause, Failure};
use crate::model::topology::NodeName;
use crate::probe::prove::{Inconsistency, consistent};
use crate::run::prepared_cell::LabSpec;

/// The first mapping that a NAT would not have made if it behaved as it declares.
pub(super) fn contradiction(
    catalogue: &Catalogue,
    plan: &AddressPlan,
    setting: &LabSpec,
    evidence: &Evidence,
) -> Option<Failure> {
    let wrong = |(node, profile): (&NodeName, &String)| {
        let (declared, site) = (&catalogue.get(profile)?.behavior, NatSite::of(plan, node)?);
        let entries = translated(evidence, node, &site);
        let Inconsistency { axis, why } = consistent(declared, &site, &entries).err()?;
        let detail = format!(
            "NAT \"{profile}\" in \"{node}\" does not do what it declares ({axis}; conntrack): {why}"
        );
        Some(Cause::LabError.because(detail))
    };
    setting.nats.iter().find_map(wrong)
}

/// The entries that a NAT made, in order, without those from one of its inner networks to another.
fn translated(evidence: &Evidence, node: &NodeName, site: &NatSite) -> Vec<CtEntry> {
    let new = evidence.conntrack.iter().filter(|e| e.node == *node && e.change == CtChange::New);
    let within = |entry: &CtEntry| {
        site.lans.iter().any(|(_, lan)| lan.contains(*entry.original.destination.ip()))
            && entry.original == entry.reply.reversed()
    };
    new.map(|e| e.entry).filter(|entry| !within(entry)).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::SocketAddrV4;

    use super::*;
    use crate::model::address_pool::NatAddressing;
    use crate::model::evidence::{CtEvent, CtState, Tuple};
    use crate::model::topology::Topology;

    fn said(profile: &str, external: [u16; 2]) -> Option<Failure> {
        let pair = Topology::named("pair").expect("it is embedded");
        let plan = AddressPlan::new(&pair, &NatAddressing::default()).expect("a good tree");
        let node = NodeName::new("nat-a").expect("a good name");
        let end = |text: &str| text.parse::<SocketAddrV4>().expect("an endpoint");
        let event = |(port, remote): (u16, &str)| {
            let entry = CtEntry {
                original: Tuple { source: end("10.0.0.2:4000"), destination: end(remote) },
                reply: Tuple { source: end(remote), destination: end(&format!("192.0.2.2:{port}")) },
                state: Some(CtState::SynSent),
                status: 0,
                id: u32::from(port),
            };
            CtEvent { node: node.clone(), at: 1, after: 1, change: CtChange::New, entry }
        };
        let remotes = ["203.0.113.1:7000", "203.0.113.2:7001"];
        let conntrack = external.into_iter().zip(remotes).map(event).collect();
        let evidence = Evidence { conntrack, ..Evidence::default() };
        let nats = BTreeMap::from([(node.clone(), profile.to_owned())]);
        let setting = LabSpec { wiring: 0, addressing: NatAddressing::default(), nats };
        contradiction(&Catalogue::embedded(), &plan, &setting, &evidence)
    }

    #[test]
    fn a_mapping_that_the_declared_nat_would_not_make_is_an_error_of_the_lab() {
        assert_eq!(said("port-preserving", [4000, 4000]), None);
        assert_eq!(said("sequential", [20_000, 20_001]), None);
        let failure = said("port-preserving", [4000, 4001]).expect("two ports for one endpoint");
        assert_eq!(failure.cause, Cause::LabError);
        assert!(
            failure.detail.starts_with("NAT \"port-preserving\" in \"nat-a\" does not do"),
            "{failure:?}"
        );
        assert!(said("sequential", [20_000, 30_001]).is_some(), "a port outside the pool");
    }
}
