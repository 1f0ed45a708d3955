//! What happens to real networks while somebody uses them: a NAT restarts or gets another address, a link carries small
//! packets only. A lab that was renumbered is not reset by [`Lab::reset`]: drop it.

use std::net::Ipv4Addr;

use tokio::runtime::Handle;

use crate::kernel::error::{Error, Result};
use crate::kernel::link::Links;
use crate::kernel::sysctl::Sysctl;
use crate::lab::handle::Lab;
use crate::lab::nat_rules::{NatConfig, NatSite};
use crate::lab::netns::FIRST_DEVICE;
use crate::lab::node::at;
use crate::model::address_plan::{DevicePlan, NodePlan};
use crate::model::address_pool::AddressPool;
use crate::model::topology::NodeName;

/// What a provider hands out instead of the address that a NAT had: the last part of it, far from all others.
const OTHER_HOST: u8 = 200;

impl Lab {
    /// A NAT restarts: its mappings and all that its rules have learnt are gone, its address and rules are as before. A
    /// program that stays while its NAT works is started again.
    ///
    /// # Errors
    /// When there is no such node, the kernel refuses, or the program fails.
    pub async fn restart_nat(&self, node: &NodeName) -> Result<()> {
        self.node(node)?.renew().await
    }

    /// The provider gives a NAT another address, and the NAT makes new rules, as `rules` says for where it stands
    /// then. The old addresses lead nowhere. Returns the new one.
    ///
    /// # Errors
    /// When the node has no address on a way up, or the kernel or nft refuses.
    pub async fn renumber(
        &self,
        node: &NodeName,
        rules: impl FnOnce(&NatSite) -> Result<NatConfig>,
    ) -> Result<Ipv4Addr> {
        let plan = self.plan.nodes.get(node);
        let way_up = plan.and_then(|plan| Some((plan, plan.devices.first()?.address?)));
        let (plan, old) =
            way_up.ok_or_else(|| Error::other(format!("give \"{node}\" another address"), "it has none"))?;
        let [a, b, c, _] = old.address.octets();
        let new = Ipv4Addr::new(a, b, c, OTHER_HOST);
        let config = rules(&NatSite { wan: new, lans: self.plan.networks_below(node) })?;
        let news = std::iter::once(new).chain(config.further.iter().copied());
        let olds = plan.devices[0].pool().into_iter().flat_map(AddressPool::iter);
        let links = self.links_of(node)?;
        let change = async {
            for address in news {
                links.add_address(FIRST_DEVICE, address, old.prefix).await?;
            }
            for address in olds {
                links.remove_address(FIRST_DEVICE, address, old.prefix).await?;
            }
            routes_again(&links, plan).await
        };
        change.await.map_err(at(node))?;
        self.node(node)?.replace_rules(&config).await?;
        Ok(new)
    }

    /// Limits the size of packets on every device of a node, in bytes; from 576, which is what IPv4 hosts must take
    /// (RFC 791 section 3.1), or the kernel's 68.
    ///
    /// # Errors
    /// When there is no such node, or the kernel refuses.
    pub async fn set_mtu(&self, node: &NodeName, mtu: u32) -> Result<()> {
        let devices = self.plan.nodes.get(node).map_or(&[][..], |plan| plan.devices.as_slice());
        let links = self.links_of(node)?;
        for (index, _) in (FIRST_DEVICE..).zip(devices) {
            links.set_mtu(index, mtu).await.map_err(at(node))?;
        }
        Ok(())
    }

    fn links_of(&self, node: &NodeName) -> Result<Links> {
        let runtime = Handle::current();
        let open = |inside: &_| {
            let _context = runtime.enter();
            // The second address of a network must outlive the first.
            Sysctl::new("net.ipv4.conf.all.promote_secondaries", 1).write(inside)?;
            Links::open(inside)
        };
        self.node(node)?.enter(open)?.map_err(at(node))
    }
}

/// Routes whose address went are gone with it.
async fn routes_again(links: &Links, plan: &NodePlan) -> Result<()> {
    let through = |device: &&DevicePlan| device.address.is_some();
    let Some(up) = plan.devices.iter().find(through).and_then(|device| device.address) else { return Ok(()) };
    for route in plan.routes.iter().filter(|route| up.contains(route.via)) {
        // It may have survived.
        let _ = links.add_route(route.to.address, route.to.prefix, route.via).await;
    }
    Ok(())
}
