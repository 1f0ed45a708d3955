//! The namespaces of a bench, and the cables between them.

use std::net::Ipv4Addr;

use tokio::runtime::Handle;

use super::{HOSTS, Side};
use crate::kernel::error::Result;
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
pub(super) async fn bridge(links: &Links) -> Result<()> {
    const BRIDGE: Device<'_> = Device { index: 9, name: "bridge", mac: [2, 0x54, 0x50, 0, 9, 1] };
    links.add_bridge(BRIDGE).await?;
    for side in [Side::Inside0, Side::Inside1] {
        links.attach(side.device_index(), BRIDGE.index).await?;
    }
    links.set_up(BRIDGE.index).await?;
    links.wait_for_carrier(BRIDGE.index).await
}
