//! Devices, addresses, neighbours and routes by rtnetlink: the only place where that crate is used.
//!
//! [`Links`] is one netlink socket inside one namespace. It is made by a thread that is in there, within a tokio
//! runtime that then serves it, and closes when dropped: once a lab stands, nothing needs it any more.
//!
//! Devices get the index that the caller chooses, so that nobody has to look one up. Links are never deleted: that
//! takes the kernel a grace period of milliseconds each, while a namespace that is let go cleans up by itself.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use nix::errno::Errno;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressMessage};
use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkAttribute, LinkXdp, State};
use rtnetlink::packet_route::tc::TcHandle;
use rtnetlink::{
    Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder, new_connection,
};
use tokio::task::AbortHandle;

use crate::kernel::error::{Error, Result};
use crate::kernel::namespace::{Inside, Namespace};

/// The index of the loopback device, which every namespace has.
pub const LOOPBACK: u32 = 1;

/// In the place of a descriptor: what is there is taken away (`IFLA_XDP_FD` of `linux/if_link.h`).
const NO_PROGRAM: i32 = -1;

/// How long a device may take from being set up to carrying frames; the kernel's worker needs microseconds.
const CARRIER_DEADLINE: Duration = Duration::from_secs(5);

/// A veth device uses one queue each way unless it is told otherwise, but makes one for each possible processor first, with
/// folders in sysfs (drivers/net/veth.c, veth_init_queues and veth_get_num_queues): much of the time that it takes.
const ONE_QUEUE: [LinkAttribute; 2] = [LinkAttribute::NumTxQueues(1), LinkAttribute::NumRxQueues(1)];

/// Device, address and route requests of one namespace.
#[derive(Debug)]
pub struct Links {
    handle: Handle,
    connection: AbortHandle,
}

/// One end of a veth pair, or a bridge.
#[derive(Debug, Clone, Copy)]
pub struct Device<'a> {
    /// Its index in its namespace, from 2.
    pub index: u32,
    /// Its name, at most 15 bytes.
    pub name: &'a str,
    /// Its MAC address.
    pub mac: [u8; 6],
}

impl Links {
    /// Opens the socket in the namespace of this thread; the thread must also be in the context of a tokio runtime.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn open(_: &Inside) -> Result<Self> {
        let (connection, handle, _) =
            new_connection().map_err(|e| Error::io("configure links", "socket(NETLINK_ROUTE)", &e))?;
        Ok(Self { handle, connection: tokio::spawn(connection).abort_handle() })
    }

    /// The same in another namespace, within a tokio runtime.
    ///
    /// # Errors
    /// When there are no descriptors left, or the namespace cannot be entered.
    pub fn within(namespace: &Namespace) -> Result<Self> {
        let runtime = tokio::runtime::Handle::current();
        namespace.enter(|inside| {
            let _context = runtime.enter();
            Self::open(inside)
        })?
    }

    /// Makes a veth pair: `near` in this namespace, `far` born in another one. Both ends are down.
    ///
    /// # Errors
    /// When the kernel refuses, as for all requests below.
    pub async fn add_veth(&self, near: Device<'_>, far: Device<'_>, far_namespace: &Namespace) -> Result<()> {
        // Setting an end up in the same message fails with ENOTCONN: the pair is not a pair yet.
        let mut peer = LinkUnspec::new_with_name(far.name).index(far.index).address(far.mac.to_vec()).build();
        peer.attributes.push(LinkAttribute::NetNsFd(far_namespace.as_fd().as_raw_fd()));
        peer.attributes.extend(ONE_QUEUE);
        let pair = LinkMessageBuilder::<LinkVeth>::new(near.name, far.name)
            .index(near.index)
            .address(near.mac.to_vec())
            .set_info_data(InfoData::Veth(InfoVeth::Peer(peer)));
        let mut pair = pair.build();
        pair.attributes.extend(ONE_QUEUE);
        let answer = self.handle.link().add(pair).execute().await;
        answer.map_err(|e| {
            refused(format!("create the veth pair {} - {}", near.name, far.name), "RTM_NEWLINK", &e)
        })
    }

    /// Makes a bridge, which is down.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn add_bridge(&self, bridge: Device<'_>) -> Result<()> {
        let message = LinkBridge::new(bridge.name).index(bridge.index).address(bridge.mac.to_vec());
        let answer = self.handle.link().add(message.build()).execute().await;
        answer.map_err(|e| refused(format!("create the bridge {}", bridge.name), "RTM_NEWLINK", &e))
    }

    /// Makes the device `port` a port of the device `bridge`.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn attach(&self, port: u32, bridge: u32) -> Result<()> {
        let message = LinkUnspec::new_with_index(port).controller(bridge).build();
        let answer = self.handle.link().set(message).execute().await;
        answer.map_err(|e| refused(format!("attach device {port} to bridge {bridge}"), "RTM_SETLINK", &e))
    }

    /// Sets a device up.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn set_up(&self, device: u32) -> Result<()> {
        let message = LinkUnspec::new_with_index(device).up().build();
        let answer = self.handle.link().set(message).execute().await;
        answer.map_err(|e| refused(format!("set device {device} up"), "RTM_SETLINK", &e))
    }

    /// Gives a device an address.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn add_address(&self, device: u32, address: Ipv4Addr, prefix: u8) -> Result<()> {
        let answer = self.handle.address().add(device, address.into(), prefix).execute().await;
        answer.map_err(|e| {
            refused(format!("give device {device} the address {address}/{prefix}"), "RTM_NEWADDR", &e)
        })
    }

    /// Takes an address from a device.
    ///
    /// # Errors
    /// When the device does not have it.
    pub async fn remove_address(&self, device: u32, address: Ipv4Addr, prefix: u8) -> Result<()> {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.prefix_len = prefix;
        message.header.index = device;
        message.attributes.push(AddressAttribute::Local(address.into()));
        let answer = self.handle.address().del(message).execute().await;
        answer.map_err(|e| {
            refused(format!("take the address {address}/{prefix} from device {device}"), "RTM_DELADDR", &e)
        })
    }

    /// Limits the size of packets on a device, in bytes.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn set_mtu(&self, device: u32, mtu: u32) -> Result<()> {
        let message = LinkUnspec::new_with_index(device).mtu(mtu).build();
        let answer = self.handle.link().set(message).execute().await;
        answer.map_err(|e| refused(format!("set the MTU of device {device} to {mtu}"), "RTM_SETLINK", &e))
    }

    /// Tells once and for all which MAC address a neighbour on a device has.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn add_neighbour(&self, device: u32, address: Ipv4Addr, mac: [u8; 6]) -> Result<()> {
        let request = self.handle.neighbours().add(device, address.into()).link_layer_address(&mac);
        let answer = request.execute().await;
        answer.map_err(|e| {
            refused(format!("add the neighbour {address} on device {device}"), "RTM_NEWNEIGH", &e)
        })
    }

    /// Routes `to`/`prefix` through the next hop `via`.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn add_route(&self, to: Ipv4Addr, prefix: u8, via: Ipv4Addr) -> Result<()> {
        let route = RouteMessageBuilder::<Ipv4Addr>::new().destination_prefix(to, prefix).gateway(via);
        let answer = self.handle.route().add(route.build()).execute().await;
        answer.map_err(|e| refused(format!("route {to}/{prefix} via {via}"), "RTM_NEWROUTE", &e))
    }

    /// Takes from all devices what programs have put on them to handle packets: queueing disciplines with their filters, and XDP.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn clear_devices(&self) -> Result<()> {
        const TRIED: &str = "take filters and queueing disciplines from the devices";
        let asked = self.handle.qdisc().get().execute().try_collect::<Vec<_>>().await;
        for found in asked.map_err(|e| refused(TRIED.to_owned(), "RTM_GETQDISC", &e))? {
            // What the kernel gave a device by itself has no handle, and cannot be taken.
            if found.header.handle == TcHandle::UNSPEC {
                continue;
            }
            let mut request = self.handle.qdisc().del(found.header.index);
            request.message_mut().header = found.header;
            request.execute().await.map_err(|e| refused(TRIED.to_owned(), "RTM_DELQDISC", &e))?;
        }
        let asked = self.handle.link().get().execute().try_collect::<Vec<_>>().await;
        let links = asked.map_err(|e| refused(TRIED.to_owned(), "RTM_GETLINK", &e))?;
        for link in links {
            for mode in xdp_modes(&link.attributes) {
                let mut message = LinkUnspec::new_with_index(link.header.index).build();
                let none = vec![LinkXdp::Fd(NO_PROGRAM), LinkXdp::Flags(mode)];
                message.attributes.push(LinkAttribute::Xdp(none));
                let answer = self.handle.link().set(message).execute().await;
                answer.map_err(|e| refused(TRIED.to_owned(), "RTM_SETLINK", &e))?;
            }
        }
        Ok(())
    }

    /// Waits until a device carries frames.
    ///
    /// The end of a pair that is set up first gets its carrier from the second, and a worker of the kernel then turns
    /// on its queue: what is sent before is lost. Newer kernels let the question itself wait for the worker.
    ///
    /// # Errors
    /// When the device does not exist, or its other end is down.
    pub async fn wait_for_carrier(&self, device: u32) -> Result<()> {
        let tried = || format!("wait for the carrier of device {device}");
        let deadline = Instant::now() + CARRIER_DEADLINE;
        loop {
            let mut answers = self.handle.link().get().match_index(device).execute();
            let answer = answers.try_next().await.map_err(|e| refused(tried(), "RTM_GETLINK", &e))?;
            let attributes = answer.map(|link| link.attributes).unwrap_or_default();
            if attributes.contains(&LinkAttribute::OperState(State::Up)) {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(Error::other(tried(), format!("it did not come within {CARRIER_DEADLINE:?}")));
            }
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    }
}

impl Drop for Links {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// The modes in which XDP programs are on a device (`XDP_FLAGS_*_MODE` of `linux/if_link.h`).
fn xdp_modes(attributes: &[LinkAttribute]) -> impl Iterator<Item = u32> {
    let all = attributes.iter().filter_map(|attribute| match attribute {
        LinkAttribute::Xdp(xdp) => Some(xdp),
        _ => None,
    });
    all.flatten().filter_map(|xdp| match xdp {
        LinkXdp::SkbProgId(_) => Some(1 << 1),
        LinkXdp::DrvProgId(_) => Some(1 << 2),
        _ => None,
    })
}

/// Takes the kernel's errno out of rtnetlink's error.
fn refused(tried: String, call: &str, error: &rtnetlink::Error) -> Error {
    match error {
        rtnetlink::Error::NetlinkError(answer) => {
            Error::call(tried, call, Errno::from_raw(answer.raw_code().wrapping_neg()))
        }
        other => Error::other(tried, format!("{call}: {other}")),
    }
}
