//! A node that lives: a namespace to enter, programs to start in it, and for a NAT its rules and its memory.

use crate::kernel::conntrack::Conntrack;
use crate::kernel::error::Result;
use crate::kernel::namespace::{Inside, Namespace};
use crate::kernel::process::{Command, Init, Place, Process};
use crate::kernel::ruleset::{DynamicSet, Nft};
use crate::kernel::sysctl::Sysctl;
use crate::kernel::time_namespace::TimeNamespace;
use crate::lab::nat_rules::NatConfig;
use crate::lab::recorder::Recorder;
use crate::model::evidence::CtEntry;
use crate::model::topology::NodeName;
use std::sync::Arc;

/// A node of a lab.
#[derive(Debug)]
pub struct Node {
    pub(super) name: NodeName,
    pub(super) namespace: Namespace,
    pub(super) clocks: Option<TimeNamespace>,
    pub(super) init: Arc<Init>,
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
        self.namespace.enter(work)
    }

    /// Starts a program in the node, with the node's clocks.
    ///
    /// # Errors
    /// When it cannot be executed.
    pub async fn spawn(&self, command: &Command) -> Result<Process> {
        let place = Place { namespace: &self.namespace, clocks: self.clocks.as_ref() };
        self.init.spawn(command, place).await
    }

    /// The entries of its connection tracking; none if it is no NAT.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn mappings(&self) -> Result<Vec<CtEntry>> {
        self.nat.as_ref().map_or_else(|| Ok(Vec::new()), |nat| nat.conntrack.dump())
    }

    /// Gives the node the rules and settings of a NAT, in place of those it had.
    ///
    /// # Errors
    /// When nft refuses the rules, or the kernel a setting.
    pub fn set_nat(&mut self, config: &NatConfig) -> Result<()> {
        let before = self.nat.as_mut().map(|nat| std::mem::take(&mut nat.changed)).unwrap_or_default();
        let (memory, changed) = self.namespace.enter(|inside| {
            for sysctl in before.iter().rev() {
                sysctl.write(inside)?;
            }
            let changed = pin(inside, config)?;
            let nft = Nft::get();
            nft.replace(inside, &config.ruleset)?;
            Result::Ok((nft.dynamic_sets(inside)?, changed))
        })??;
        if let Some(nat) = &mut self.nat {
            (nat.memory, nat.changed) = (memory, changed);
        }
        self.forget()
    }

    /// Makes a NAT forget every mapping and all that its rules have learnt.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn forget(&self) -> Result<()> {
        let Some(nat) = &self.nat else { return Ok(()) };
        nat.conntrack.flush()?;
        if !nat.memory.is_empty() {
            self.namespace.enter(|inside| Nft::get().flush(inside, &nat.memory))??;
        }
        Ok(())
    }
}

/// Writes the settings of a profile and returns what they were.
fn pin(inside: &Inside, config: &NatConfig) -> Result<Vec<Sysctl>> {
    let pin = |(key, value): &(String, String)| {
        let before: String = crate::kernel::sysctl::read(inside, key)?;
        Sysctl::new(key, value).write(inside)?;
        Ok(Sysctl::new(key, before))
    };
    config.sysctls.iter().map(pin).collect()
}
