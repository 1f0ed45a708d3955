//! A lab that stands: its nodes by name, its wires, what they saw, and the way back to a clean state.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use futures::future::try_join_all;
use tokio::time::{Instant, sleep};

use crate::kernel::error::{Error, Result};
use crate::kernel::namespace::Namespace;
use crate::kernel::process::{Init, InitReport};
use crate::lab::absolute_timeout::AbsoluteTimeout;
use crate::lab::capture::{Capture, Links};
use crate::lab::nat_program::NatPrograms;
use crate::lab::nat_rules::NatConfig;
use crate::lab::node::{Node, at};
use crate::lab::periodic_flush::PeriodicFlush;
use crate::lab::settling::{Passing, Settling};
use crate::lab::wire::{Stations, TapLimits, Traffic, Wire, WireEngine, WireError};
use crate::model::address_plan::AddressPlan;
use crate::model::conditions::LinkConditions;
use crate::model::evidence::{CtCounters, Evidence};
use crate::model::topology::NodeName;

/// A topology that has been built.
#[derive(Debug)]
pub struct Lab {
    pub(super) plan: Arc<AddressPlan>,
    pub(super) nodes: BTreeMap<NodeName, Node>,
    pub(super) wires: BTreeMap<u16, Wire>,
    pub(super) init: Arc<Init>,
    /// Recorders on the links without a wire, where they are to be watched.
    pub(super) taps: Option<Capture>,
}

impl Lab {
    /// Which address, device and link everything has.
    #[must_use]
    pub fn plan(&self) -> &Arc<AddressPlan> {
        &self.plan
    }

    /// A node, by a [`NodeName`] or by its text.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn node(&self, name: &(impl AsRef<str> + ?Sized)) -> Result<&Node> {
        let name = name.as_ref();
        let node = self.nodes.iter().find(|(n, _)| n.as_str() == name).map(|(_, node)| node);
        let names = || self.nodes.keys().map(NodeName::as_str).collect::<Vec<_>>().join(", ");
        node.ok_or_else(|| {
            let why = format!("the lab has {}", names());
            Error::other(format!("find the node \"{name}\""), why)
        })
    }

    /// The address of a node: of a NAT the external one, of the core the first one.
    ///
    /// # Errors
    /// When there is no such node, or it has no address: a switch has none.
    pub fn address(&self, name: &(impl AsRef<str> + ?Sized)) -> Result<Ipv4Addr> {
        let node = self.node(name)?.name();
        let nowhere = || at(node)(Error::other("find its address", "a switch has none"));
        self.plan.address(node).ok_or_else(nowhere)
    }

    /// All nodes, in the order of their names.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    /// Changes what the wire between `node` and the node above it does to frames that enter from now on.
    ///
    /// # Errors
    /// When there is no such node, its link is no wire, or the wire engine has ended.
    pub fn set_link(&self, node: &(impl AsRef<str> + ?Sized), conditions: LinkConditions) -> Result<()> {
        let node = self.node(node)?.name();
        let wire = self.plan.uplink(node).and_then(|link| self.wire(link));
        let none = || at(node)(Error::other("change its link", "it is no wire"));
        wire.ok_or_else(none)?.set_conditions(conditions).map_err(ended)
    }

    /// The wire of a link, if it has one.
    #[must_use]
    pub fn wire(&self, link: u16) -> Option<&Wire> {
        self.wires.get(&link)
    }

    /// Gives a node the rules and settings of a NAT. A NAT that a program makes is set by [`Lab::become_nat`].
    ///
    /// # Errors
    /// When nft refuses the rules, the kernel a setting, or a program has a part in it.
    #[doc(hidden)]
    pub fn set_nat(&mut self, node: &NodeName, config: &NatConfig) -> Result<()> {
        let found = self.nodes.get_mut(node);
        match found {
            Some(found) => found.set_nat(config),
            None => self.node(node).map(drop),
        }
    }

    /// Gives nodes the rules and settings of NATs, as [`Lab::set_nat`] does one: side by side, since most of the time is
    /// the kernel's and each namespace's own.
    ///
    /// # Errors
    /// As [`Lab::set_nat`], or when a thread cannot be started.
    #[doc(hidden)]
    pub fn set_nats(&mut self, configs: &BTreeMap<NodeName, NatConfig>) -> Result<()> {
        const TRIED: &str = "set the rules of NATs";
        for node in configs.keys() {
            self.node(node)?;
        }
        thread::scope(|scope| {
            let set = |(name, node)| {
                let (node, config): (&mut Node, _) = (node, configs.get(name)?);
                let thread = thread::Builder::new().name("testbed-nat".into());
                Some(thread.spawn_scoped(scope, move || node.set_nat(config)))
            };
            // All are under way before the first is waited for.
            let threads: Vec<_> = self.nodes.iter_mut().filter_map(set).collect();
            threads.into_iter().try_for_each(|thread| {
                let thread = thread.map_err(|e| Error::io(TRIED, "clone", &e))?;
                thread.join().unwrap_or_else(|panic| resume_unwind(panic))
            })
        })
    }

    /// Makes a node a NAT, with its program if it has one, and returns when that works.
    ///
    /// # Errors
    /// When nft refuses the rules, the kernel a setting, or the program fails.
    #[doc(hidden)]
    pub async fn become_nat(&mut self, node: &NodeName, config: &NatConfig) -> Result<()> {
        match self.nodes.get_mut(node) {
            Some(found) => found.become_nat(config).await,
            None => self.node(node).map(drop),
        }
    }

    /// Whether every NAT that a program makes still has it.
    ///
    /// # Errors
    /// When one has ended, with what it said.
    #[doc(hidden)]
    pub async fn check_nat_programs(&self) -> Result<()> {
        for node in self.nodes.values() {
            node.check_program().await?;
        }
        Ok(())
    }

    /// Waits for so long, and where programs make NATs until none of them has had work for so long. One that never rests is waited for two
    /// seconds.
    pub(crate) async fn settle(&self, time: Duration) {
        let mut settling = Settling::begin(time, Instant::now());
        let mut programs = self.nat_programs().await;
        while let Some(pause) = settling.wait(Instant::now(), programs) {
            sleep(pause).await;
            programs = self.nat_programs().await;
        }
    }

    /// As [`Lab::settle`], and until no frame has passed the links that are watched for so long: with a time that is longer than any wire
    /// delays a frame, what is answered has been answered by then, however often.
    pub(crate) async fn fall_silent(&self, time: Duration) {
        let traffic = self.traffic();
        let mut settling = Settling::begin(time, Instant::now());
        let mut passing = Passing::begin(traffic.frames());
        while let Some(pause) =
            settling.wait(Instant::now(), passing.or(self.nat_programs().await, traffic.frames()))
        {
            sleep(pause).await;
        }
    }

    /// What the programs that make NATs are doing.
    async fn nat_programs(&self) -> NatPrograms {
        let mut found = NatPrograms::Absent;
        for node in self.nodes.values() {
            found = found.max(node.nat_program().await);
        }
        found
    }

    /// Watches the links without a wire as well, from now on: their frames come with the rest of the evidence.
    ///
    /// # Errors
    /// When the kernel refuses a socket, or the wire engine has ended.
    #[doc(hidden)]
    pub fn watch_every_link(&mut self, engine: &WireEngine) -> Result<()> {
        if self.taps.is_none() {
            let links = Links { plan: &self.plan, nodes: &self.nodes, wires: &self.wires };
            self.taps = Some(Capture::open(links, engine, TapLimits::default())?);
        }
        Ok(())
    }

    /// Changes what a wire does, or what all of them do where `link` is `None`.
    ///
    /// # Errors
    /// When the wire engine has ended.
    pub fn set_conditions(&self, change: impl Fn(u16, LinkConditions) -> LinkConditions) -> Result<()> {
        let changed = self.wires.iter().map(|(link, wire)| {
            let planned = self.plan.links[usize::from(*link)].wire.unwrap_or_default();
            (wire, change(*link, planned))
        });
        Wire::set_all_conditions(changed.collect()).map_err(ended)
    }

    /// Ends all programs and connections, takes everything off the wires, forgets all mappings and begins a new epoch.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub async fn reset(&self, seed: u64) -> Result<()> {
        self.kill_all().await?;
        // In this order: ending a connection sends a reset, which must not survive on a wire or come to a NAT that has
        // forgotten already.
        self.nodes.values().try_for_each(Node::end_connections)?;
        // So does a NAT that a program makes, of its own connections, and it may still have packets of others.
        for node in self.nodes.values() {
            node.pause_program().await?;
        }
        self.stations().begin_epoch(seed).map_err(ended)?;
        for node in self.nodes.values() {
            node.renew().await?;
        }
        self.evidence().map(drop)
    }

    /// How many frames pass the links that are watched.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.stations().traffic()
    }

    fn stations(&self) -> Stations<'_> {
        Stations::new(self.wires.values(), self.taps.iter().flat_map(Capture::taps))
    }

    /// Ends all programs of the lab and waits until the last is gone. Tells what its inits saw since the last time.
    ///
    /// # Errors
    /// When the init has died.
    pub async fn kill_all(&self) -> Result<InitReport> {
        let own = self.init.kill_all().await?;
        let of_nodes = try_join_all(self.nodes.values().map(Node::end_confined)).await?;
        Ok(of_nodes.into_iter().fold(own, InitReport::and))
    }

    /// What is another than before in a node that was made ready for programs under test, since then: a setting, a device, an
    /// address, a route or a rule. All programs must have been ended.
    ///
    /// # Errors
    /// When the kernel does not tell.
    #[doc(hidden)]
    pub fn changed_by_programs(&self) -> Result<Option<String>> {
        let known = self.nodes.values().filter_map(|node| Some((node, node.before.lock().clone()?)));
        let known: Vec<_> = known.collect();
        let namespaces = known.iter().map(|(node, _)| node.namespace());
        let now = Namespace::enter_each(namespaces, Node::state)?;
        for ((node, before), now) in known.iter().zip(now) {
            if let Some(what) = now.map_err(at(node.name()))?.difference(before) {
                return Ok(Some(format!("node \"{}\": {what}", node.name())));
            }
        }
        Ok(None)
    }

    /// All that was seen since the last time it was asked, or since the reset.
    ///
    /// # Errors
    /// When the wire engine has ended.
    pub fn evidence(&self) -> Result<Evidence> {
        let mut evidence = Evidence { servers: self.plan.servers(), ..Evidence::default() };
        for node in self.nodes.values() {
            if let Some(nat) = &node.nat {
                let (events, lost) = nat.recorder.take();
                evidence.conntrack.extend(events);
                evidence.lost.extend(lost);
                evidence.flushes.extend(nat.flushing.iter().flat_map(|flushing| flushing.take(&node.name)));
                let late = nat.absolute.iter().flat_map(AbsoluteTimeout::take_trouble);
                let late = late.chain(nat.flushing.iter().flat_map(PeriodicFlush::take_trouble));
                evidence.lost.extend(late.map(|what| format!("node \"{}\": {what}", node.name)));
                let counted = nat.take_counted().map_err(at(&node.name))?;
                if counted != CtCounters::default() {
                    evidence.counters.push((node.name.clone(), counted));
                }
            }
        }
        // Last, so that whatever changed an entry is among them.
        for tapped in self.stations().take_frames().map_err(ended)? {
            evidence.frames.extend(tapped.frames);
            evidence.lost.extend(tapped.lost);
        }
        evidence.frames.sort_by_key(|f| f.entered);
        evidence.conntrack.sort_by_key(|e| e.at);
        evidence.flushes.sort_by_key(|f| f.before);
        Ok(evidence)
    }
}

fn ended(error: WireError) -> Error {
    Error::other("use a wire", error.to_string())
}
