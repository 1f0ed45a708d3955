//! A node that lives: a namespace to enter, programs to start in it, and for a NAT its rules and its memory.

use std::sync::Arc;

use crate::kernel::conntrack::Conntrack;
use crate::kernel::error::{Error, Result};
use crate::kernel::namespace::{Inside, Namespace};
use crate::kernel::process::{Command, Init, Place, Process};
use crate::kernel::ruleset::{DynamicSet, Nft};
use crate::kernel::sysctl::{self, Sysctl};
use crate::kernel::tcp_sockets::TcpSockets;
use crate::kernel::time_namespace::TimeNamespace;
use crate::lab::nat_rules::NatConfig;
use crate::lab::recorder::Recorder;
use crate::model::evidence::CtEntry;
use crate::model::topology::NodeName;

/// A node of a lab.
#[derive(Debug)]
pub struct Node {
    pub(super) name: NodeName,
    pub(super) namespace: Namespace,
    pub(super) clocks: Option<TimeNamespace>,
    pub(super) init: Arc<Init>,
    pub(super) sockets: TcpSockets,
    pub(super) nat: Option<Nat>,
}

/// What a node has in addition when it is a NAT.
#[derive(Debug)]
pub(super) struct Nat {
    pub(super) conntrack: Conntrack,
    pub(super) recorder: Recorder,
    /// The sets and maps that its rules fill, which outlive a flush of conntrack.
    pub(super) memory: Vec<DynamicSet>,
    /// Sysctls that a profile changed, with what they were before.
    pub(super) changed: Vec<Sysctl>,
}

impl Node {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &NodeName {
        &self.name
    }

    /// Its network namespace.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Runs `work` inside, on a thread of its own; sockets made there belong to the node.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn enter<T: Send>(&self, work: impl FnOnce(&Inside) -> T + Send) -> Result<T> {
        self.namespace.enter(work).map_err(at(&self.name))
    }

    /// Starts a program in the node, with the node's clocks, and waits until it runs. It ends with the lab.
    ///
    /// # Errors
    /// When it cannot be executed.
    pub async fn spawn(&self, command: impl Into<Command>) -> Result<Process> {
        let place = Place { namespace: &self.namespace, clocks: self.clocks.as_ref() };
        self.init.spawn(&command.into(), place).await.map_err(at(&self.name))
    }

    /// The rules in force, as nft lists them: without counters and contents of sets.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn ruleset(&self) -> Result<String> {
        self.enter(|inside| Nft::get().list(inside))?.map_err(at(&self.name))
    }

    /// The entries of its connection tracking; none if it is no NAT.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn mappings(&self) -> Result<Vec<CtEntry>> {
        let dump = |nat: &Nat| nat.conntrack.dump().map_err(at(&self.name));
        self.nat.as_ref().map_or_else(|| Ok(Vec::new()), dump)
    }

    /// Gives the node the rules and settings of a NAT, in place of those it had.
    ///
    /// # Errors
    /// When it is no NAT, nft refuses the rules, or the kernel a setting. The rules are then those that it had; the
    /// settings need not be.
    pub fn set_nat(&mut self, config: &NatConfig) -> Result<()> {
        let Some(nat) = &mut self.nat else {
            return Err(at(&self.name)(Error::other("set the rules of a NAT", "it is none")));
        };
        let load = |inside: &Inside| {
            while let Some(before) = nat.changed.pop() {
                before.write(inside)?;
            }
            for (key, value) in &config.sysctls {
                nat.changed.push(Sysctl::new(key, sysctl::read::<String>(inside, key)?));
                Sysctl::new(key, value).write(inside)?;
            }
            let nft = Nft::get();
            nft.replace(inside, &config.ruleset)?;
            // Listing takes longer than loading, and most rules fill no sets.
            nat.memory =
                if config.ruleset.contains("dynamic") { nft.dynamic_sets(inside)? } else { Vec::new() };
            Ok(())
        };
        self.namespace.enter(load).flatten().map_err(at(&self.name))?;
        self.forget()
    }

    /// Ends every TCP connection that a socket in the node has a part in; listeners stay.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn end_connections(&self) -> Result<()> {
        self.sockets.end_all().map(drop).map_err(at(&self.name))
    }

    /// Makes a NAT forget every mapping and all that its rules have learnt.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn forget(&self) -> Result<()> {
        let Some(nat) = &self.nat else { return Ok(()) };
        nat.conntrack.flush().map_err(at(&self.name))?;
        if nat.memory.is_empty() {
            return Ok(());
        }
        self.enter(|inside| Nft::get().flush(inside, &nat.memory))?.map_err(at(&self.name))
    }
}

/// Says at which node something happened.
pub(super) fn at(node: &NodeName) -> impl Fn(Error) -> Error {
    move |error| error.at(format!("node \"{node}\""))
}
