//! The namespaces of a bench, the cables between them, and how both are changed.

use std::net::Ipv4Addr;

use tokio::runtime::Handle;

use super::{Bench, HOSTS, Side, WAN};
use crate::kernel::error::{Errno, Error, Result};
use crate::kernel::link::{Device, Links};
use crate::kernel::namespace::Namespace;
use crate::kernel::sysctl::Sysctl;

/// A namespace without IPv6, whose chatter would be in the way, and the means to configure it.
pub(super) fn namespace(runtime: &Handle) -> Result<(Namespace, Links)> {
    let (namespace, links) = Namespace::create(|inside| {
        let _context = runtime.enter();
        // A kernel without IPv6 has no such key, and is quiet anyway.
        let _ = Sysctl::new("net.ipv6.conf.default.disable_ipv6", 1).write(inside);
        Links::open(inside)
    })?;
    Ok((namespace, links?))
}

pub(super) async fn wire_up(nat: &Links, probe: &Links, probe_namespace: &Namespace) -> Result<()> {
    for side in Side::ALL {
        let (nat_mac, probe_mac) = side.macs();
        let (nat_name, probe_name) = side.devices();
        let index = side.device_index();
        let near = Device { index, name: nat_name, mac: nat_mac };
        let far = Device { index, name: probe_name, mac: probe_mac };
        nat.add_veth(near, far, probe_namespace).await?;
        nat.set_up(index).await?;
        probe.set_up(index).await?;
        nat.add_address(index, side.gateway(), 24).await?;
        let [a, b, c, first] = side.address().octets();
        for host in first..first + HOSTS {
            if Ipv4Addr::new(a, b, c, host) != side.gateway() {
                nat.add_neighbour(index, Ipv4Addr::new(a, b, c, host), probe_mac).await?;
            }
        }
    }
    nat.add_route(Ipv4Addr::UNSPECIFIED, 0, Side::Outside.address()).await?;
    for side in Side::ALL {
        nat.wait_for_carrier(side.device_index()).await?;
        probe.wait_for_carrier(side.device_index()).await?;
    }
    Ok(())
}

/// Whether rules of IP are shown what a bridge carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::probe) enum ShownToIp {
    Yes,
    No,
}

/// Makes both devices downwards ports of a bridge.
async fn bridge(links: &Links) -> Result<()> {
    const BRIDGE: Device<'_> = Device { index: 9, name: "bridge", mac: [2, 0x54, 0x50, 0, 9, 1] };
    links.add_bridge(BRIDGE).await?;
    for side in [Side::Inside0, Side::Inside1] {
        links.attach(side.device_index(), BRIDGE.index).await?;
    }
    links.set_up(BRIDGE.index).await?;
    links.wait_for_carrier(BRIDGE.index).await
}

impl Bench {
    /// Takes the external address from the NAT, for good: nothing can be asked from outside afterwards.
    pub(in crate::probe) fn remove_external_address(&self) -> Result<()> {
        let links = self.nat.enter(|inside| {
            let _context = self.runtime.enter();
            Links::open(inside)
        })??;
        let device = Side::Outside.device_index();
        self.runtime.block_on(links.remove_address(device, WAN, 24))
    }

    /// Makes both devices downwards ports of one bridge, whose packets the rules of IP are shown or not.
    ///
    /// # Errors
    /// When br_netfilter, which would show them, is not loaded; nothing here loads a module.
    pub(in crate::probe) fn bridge_insides(&self, shown: ShownToIp) -> Result<()> {
        const SETTING: &str = "net.bridge.bridge-nf-call-iptables";
        let value = u8::from(shown == ShownToIp::Yes);
        let links = self.nat.enter(|inside| {
            let _context = self.runtime.enter();
            Sysctl::new(SETTING, value).write(inside).map_err(|error| match error.errno() {
                Some(Errno::ENOENT) => Error::lacking(format!("set {SETTING}"), "br_netfilter is not loaded"),
                _ => error,
            })?;
            Links::open(inside)
        })??;
        self.runtime.block_on(bridge(&links))
    }
}
