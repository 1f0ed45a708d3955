//! The NATs of a trial as the reference NAT looks at them: what each declares, and the links on both its sides.

use crate::judge::reference::{self, NatView};
use crate::model::address_plan::AddressPlan;
use crate::model::catalogue::Catalogue;
use crate::model::datapath::Datapath;
use crate::model::evidence::{CtEvent, Evidence};
use crate::model::kernel_rules::KernelRules;
use crate::model::topology::NodeName;
use crate::run::prepared_cell::LabSpec;

/// The NATs of a lab.
#[derive(Debug)]
pub(super) struct NatViews<'a> {
    /// Those that the reference checks.
    pub(super) checked: Vec<NatView<'a>>,
    /// Those of sockets, through which no packet passes, and the one that is changed in the middle of a trial: it does not do what it
    /// declares, and shows in the causes.
    pub(super) others: Vec<NatView<'a>>,
}

impl<'a> NatViews<'a> {
    /// All NATs of a lab of this kernel. `changed` is the one that restarts during the trial, or gets another address.
    pub(super) fn of(
        (catalogue, kernel): (&'a Catalogue, KernelRules),
        plan: &AddressPlan,
        setting: &'a LabSpec,
        changed: Option<&NodeName>,
    ) -> Self {
        let all = setting.nats.iter().filter_map(|nat| view((catalogue, kernel), plan, nat));
        let (checked, others) =
            all.partition(|nat| nat.datapath != Datapath::Sockets && Some(nat.node) != changed);
        Self { checked, others }
    }

    /// Puts the mappings that packets show of NATs which keep records of their own in the place of what connection tracking says of
    /// their nodes: it knows nothing of them, or something else. Returns all that connection tracking said, if there is such a NAT.
    pub(super) fn show_mappings(&self, evidence: &mut Evidence) -> Option<Vec<CtEvent>> {
        let all = self.checked.iter().chain(&self.others);
        let own: Vec<&NatView<'_>> = all.filter(|nat| nat.datapath != Datapath::Conntrack).collect();
        if own.is_empty() {
            return None;
        }
        let is_of_another = |event: &&CtEvent| own.iter().all(|nat| *nat.node != event.node);
        let rewrite = own.iter().filter(|nat| nat.datapath == Datapath::Packets);
        let seen = rewrite.flat_map(|nat| reference::mappings_seen(evidence, nat));
        let mut shown: Vec<CtEvent> =
            evidence.conntrack.iter().filter(is_of_another).cloned().chain(seen).collect();
        shown.sort_by_key(|event| event.at);
        Some(std::mem::replace(&mut evidence.conntrack, shown))
    }
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
