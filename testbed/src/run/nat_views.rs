//! The NATs of a trial as the reference NAT looks at them: what each declares, and the links on both its sides.

use std::borrow::Cow;

use crate::judge::reference::{self, NatView};
use crate::model::address_plan::AddressPlan;
use crate::model::catalogue::Catalogue;
use crate::model::datapath::Datapath;
use crate::model::evidence::Evidence;
use crate::model::kernel_rules::KernelRules;
use crate::model::topology::NodeName;
use crate::run::prepared_cell::LabSpec;

/// All NATs of a lab of this kernel, but for `changed`: one that restarts in the middle of a trial, or gets another address, does
/// not do what it declares, and shows in the causes. And but for those of sockets, through which no packet passes.
pub(super) fn nat_views<'a>(
    (catalogue, kernel): (&'a Catalogue, KernelRules),
    plan: &AddressPlan,
    setting: &'a LabSpec,
    changed: Option<&NodeName>,
) -> Vec<NatView<'a>> {
    let views = views((catalogue, kernel), plan, setting);
    let passes = |nat: &NatView<'_>| nat.datapath != Datapath::Sockets && Some(nat.node) != changed;
    views.into_iter().filter(passes).collect()
}

/// All of them.
pub(super) fn views<'a>(
    (catalogue, kernel): (&'a Catalogue, KernelRules),
    plan: &AddressPlan,
    setting: &'a LabSpec,
) -> Vec<NatView<'a>> {
    setting.nats.iter().filter_map(|nat| view((catalogue, kernel), plan, nat)).collect()
}

fn view<'a>(
    (catalogue, kernel): (&'a Catalogue, KernelRules),
    plan: &AddressPlan,
    (node, profile): (&'a NodeName, &'a String),
) -> Option<NatView<'a>> {
    let found = catalogue.get(profile)?;
    let declared = &found.behavior;
    let below = (0..).zip(&plan.links).filter(|(_, link)| link.upper == *node);
    let devices = &plan.nodes.get(node)?.devices;
    let down = below.filter_map(|(number, link)| Some((number, devices.get(link.upper_device)?.address?)));
    Some(NatView {
        node,
        profile,
        declared,
        outer: plan.addresses(node)?,
        up: plan.uplink(node)?,
        down: down.collect(),
        datapath: found.datapath,
        kernel,
    })
}

/// The evidence, with the mappings that packets show of NATs which keep records of their own in place of what connection tracking
/// says of their nodes: it knows nothing of them, or something else.
pub(super) fn with_mappings_seen<'a>(evidence: &'a Evidence, nats: &[NatView<'_>]) -> Cow<'a, Evidence> {
    let own: Vec<&NatView<'_>> = nats.iter().filter(|nat| nat.datapath != Datapath::Conntrack).collect();
    if own.is_empty() {
        return Cow::Borrowed(evidence);
    }
    let mut seen = evidence.clone();
    seen.conntrack.retain(|event| own.iter().all(|nat| *nat.node != event.node));
    let rewrite = own.iter().filter(|nat| nat.datapath == Datapath::Packets);
    seen.conntrack.extend(rewrite.flat_map(|nat| reference::mappings_seen(evidence, nat)));
    seen.conntrack.sort_by_key(|event| event.at);
    Cow::Owned(seen)
}
