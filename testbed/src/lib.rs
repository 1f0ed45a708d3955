//! Builds real NATs out of the Linux kernel, connects hosts through them, and shows what the NATs did.
//!
//! As a library, testbed gives a Rust program or test a lab: a network of namespaces that only exists while the program
//! holds it. Two peers behind two NATs, one of them with a link of 20 ms, connect to each other:
//!
//! ```no_run
#![doc = include_str!("../examples/two_peers.rs")]
//! ```
//!
//! - [`setup()`] gets the rights to build labs, with or without root, and starts a runtime.
//! - [`Topology`] says which nodes there are: drawn node by node, by the name of one that comes with testbed, or from a file.
//! - [`Lab::new`] gives each NAT a name of the [`Catalogue`] or a [`Behavior`], and builds the lab.
//! - [`Node::spawn`] starts a program in a node. [`Node::enter`] runs a closure there, to open sockets.
//! - [`Lab::set_link`] changes the conditions of a link while packets cross it.
//! - [`Lab::evidence`] hands out the packets of all links and the conntrack events of all NATs.
//!
//! Labs need Linux, nftables, and root or a user namespace. Nothing in a lab reaches the host's network.
//!
//! The rest of the crate is the command `testbed`, which runs suites of trials and judges them. Without the feature `cli`
//! the crate has neither the command nor the reports, and needs none of the crates that only these use.

#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
#[doc(hidden)]
pub mod judge;
#[doc(hidden)]
pub mod kernel;
#[doc(hidden)]
pub mod lab;
#[doc(hidden)]
pub mod model;
#[doc(hidden)]
pub mod probe;
#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod report;
#[doc(hidden)]
pub mod run;

pub use kernel::error::{Errno, Error, Refusal, Result};
pub use kernel::namespace::{Inside, Namespace};
pub use kernel::process::{Capabilities, Command, CpuTime, Output, Process, Signal, Stdio, Terminal};
pub use lab::wire::{FrameSighting, Held, ReleaseOrder, TapLimits, Wire, WireEngine, WireError};
pub use lab::{Lab, LabBuilder, NatChoice, Node, Rights, Watch, prepare, setup};
pub use model::address_plan::{AddressPlan, DevicePlan, LinkPlan, Mac, Network, NodePlan, RoutePlan};
pub use model::behavior::{
    Allocation, Behavior, Filtering, Hairpinning, IcmpError, InvalidPackets, Mapping, Overloading, Pool,
    PortRange, Strictness, SynAfterSyn, Timeouts, Translation, UnsolicitedSyn,
};
pub use model::catalogue::{Catalogue, Profile, Ruleset};
pub use model::conditions::{Conditions, LinkConditions};
pub use model::evidence::{
    CtChange, CtEntry, CtEvent, CtState, Direction, Evidence, Fate, Frame, Nanos, Tuple,
};
pub use model::feasibility::Impossible;
pub use model::packet::{IcmpMessage, Packet, PacketKind, QuotedSegment, Segment, TcpFlags};
pub use model::port_set::{MapShare, PortSet};
pub use model::problem::{Problem, Problems};
pub use model::topology::{NodeKind, NodeName, NodeSpec, Topology, TopologyError, Uplink};
pub use model::topology_builder::TopologyBuilder;
