//! Records the links that have no wire, where every link is to be captured.
//!
//! Wires see their own frames always. A bare link needs a packet socket of its own; that costs time for each frame, so it
//! is opened only on request. It listens at the lower end, in the host or the inner NAT: the end towards the core lies in
//! the node of the NAT, whose rules and programs could show a frame there that nobody got, or hide one.

use std::collections::BTreeMap;

use crate::kernel::error::{Error, Result};
use crate::kernel::packet_socket::PacketSocket;
use crate::lab::node::Node;
use crate::lab::wire::{Tap, TapLimits, TapSpec, Wire, WireEngine, WireError};
use crate::model::address_plan::{AddressPlan, LinkPlan};
use crate::model::evidence::Direction;
use crate::model::topology::NodeName;

/// What of a lab can be watched.
#[derive(Debug, Clone, Copy)]
pub(super) struct Links<'a> {
    pub(super) plan: &'a AddressPlan,
    pub(super) nodes: &'a BTreeMap<NodeName, Node>,
    pub(super) wires: &'a BTreeMap<u16, Wire>,
}

/// Taps on all bare links of a lab.
#[derive(Debug)]
pub(super) struct Capture {
    taps: Vec<Tap>,
}

impl Capture {
    /// Opens the taps, and has the lab's wires keep as much of each frame as they do.
    ///
    /// # Errors
    /// When the kernel refuses a socket, or the wire engine has ended.
    pub(super) fn open(lab: Links<'_>, engine: &WireEngine, limits: TapLimits) -> Result<Self> {
        let mut taps = Vec::new();
        for (number, link) in (0..).zip(&lab.plan.links) {
            match lab.wires.get(&number) {
                Some(wire) => wire.set_tap_limits(limits).map_err(ended)?,
                None => taps.push(listen(lab, engine, number, link, limits)?),
            }
        }
        Ok(Self { taps })
    }

    /// The taps.
    pub(super) fn taps(&self) -> &[Tap] {
        &self.taps
    }
}

fn listen(
    lab: Links<'_>,
    engine: &WireEngine,
    number: u16,
    link: &LinkPlan,
    limits: TapLimits,
) -> Result<Tap> {
    let device = &lab.plan.nodes[&link.lower].devices[link.lower_device].name;
    let socket = lab.nodes[&link.lower].enter(|inside| PacketSocket::listener(inside, device))??;
    let name = format!("link of \"{}\"", link.lower);
    let spec = TapSpec { name, link: number, inward: Direction::Down, limits };
    engine.add_tap(socket, spec).map_err(ended)
}

fn ended(error: WireError) -> Error {
    Error::other("capture the links", error.to_string())
}
