//! Labs that wait for their next trial: taken when one fits, built with the NATs' rules when none does.
//!
//! A lab keeps the NATs that it was built with. To load other rules into it takes two to three times as long as a new lab with
//! these rules, because the kernel first has to release those that are there.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Deref;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use crate::kernel::error::{Error, Result};
use crate::kernel::heartbeat::Heartbeat;
use crate::kernel::processors;
use crate::kernel::sandbox::Sandbox;
use crate::lab::nat_rules::{NatConfig, NatSite};
use crate::lab::nat_source;
use crate::lab::{Lab, WireEngine};
use crate::model::address_plan::AddressPlan;
use crate::model::catalogue::Catalogue;
use crate::model::evidence::Nanos;
use crate::model::kernel_rules::KernelRules;
use crate::model::suite::Suite;
use crate::model::topology::{NodeName, Topology};
use crate::run::prepared_cell::LabSpec;
use crate::run::request::{Mutation, RunRequest};
use crate::run::sandbox;

/// The labs of a run.
#[derive(Debug)]
pub(super) struct LabPool {
    engine: WireEngine,
    /// Tells whether this process runs.
    heart: Arc<Heartbeat>,
    /// The wiring of each part of the suite.
    topologies: Vec<Topology>,
    catalogue: Catalogue,
    most: usize,
    processors: usize,
    /// What the kernel does where kernels differ.
    kernel: KernelRules,
    /// What programs see, by part of the suite.
    sandboxes: Vec<Arc<Sandbox>>,
    idle_labs: Mutex<IdleLabs>,
    /// The NAT that has the rules of another one from now on.
    mutation: OnceLock<Mutation>,
}

/// The labs that nobody uses, and how many there are in all.
#[derive(Debug, Default)]
struct IdleLabs {
    /// The one that was given back last comes last.
    idle: VecDeque<BuiltLab>,
    made: usize,
}

/// A lab with the NATs that it has.
#[derive(Debug)]
pub(super) struct BuiltLab {
    pub(super) lab: Lab,
    pub(super) setting: LabSpec,
}

/// A lab of the pool in use. Unless it is given back, it is dropped and makes room for another: only code that knows that the lab
/// is clean may give it to the next.
#[derive(Debug)]
pub(super) struct PooledLab<'a> {
    pool: &'a LabPool,
    /// Always there but while it is being built, given back or dropped.
    built: Option<BuiltLab>,
}

impl PooledLab<'_> {
    /// Gives the lab back, clean enough for the next trial's reset.
    pub(super) fn give_back(mut self) {
        self.pool.idle_labs().idle.extend(self.built.take());
        std::mem::forget(self);
    }
}

impl Deref for PooledLab<'_> {
    type Target = BuiltLab;

    fn deref(&self) -> &BuiltLab {
        self.built.as_ref().expect("a lab is there from when it is handed out until it is given back")
    }
}

impl Drop for PooledLab<'_> {
    fn drop(&mut self) {
        drop(self.built.take());
        self.pool.idle_labs().made -= 1;
    }
}

impl LabPool {
    /// A pool of as many labs as trials may run at a time, and what programs see in there.
    ///
    /// # Errors
    /// When what the suite names cannot be shown to them.
    pub(super) fn new(engine: WireEngine, kernel: KernelRules, request: &RunRequest) -> Result<Self> {
        let RunRequest { suite, catalogue, jobs, .. } = request;
        let (topologies, catalogue) = (wirings(suite), catalogue.clone());
        let sandboxes = sandbox::of_run(request)?;
        let heart = Heartbeat::of_process().map_err(|why| Error::io("start the heartbeat", "clone", &why))?;
        let processors = processors::count();
        let (idle_labs, mutation, most) = (Mutex::default(), OnceLock::new(), *jobs);
        Ok(Self {
            engine,
            heart,
            topologies,
            catalogue,
            most,
            processors,
            kernel,
            sandboxes,
            idle_labs,
            mutation,
        })
    }

    /// What the kernel of all labs does where kernels differ.
    pub(super) fn kernel(&self) -> KernelRules {
        self.kernel
    }

    /// From now on a NAT has the rules of another one, in every lab.
    pub(super) fn mutate(&self, mutation: Mutation) {
        let mut labs = self.idle_labs();
        labs.made -= labs.idle.len();
        labs.idle.clear();
        let _ = self.mutation.set(mutation);
    }

    /// The profile whose rules a NAT has.
    fn rules_of<'a>(&'a self, node: &NodeName, profile: &'a str) -> &'a str {
        let mutated = self.mutation.get().filter(|mutation| mutation.node == *node);
        mutated.map_or(profile, |mutation| &mutation.rules_of)
    }

    /// For how long at most this process, and the thread of the wires, did nothing since `since`.
    pub(super) fn largest_gaps_since(&self, since: Nanos) -> [(&'static str, Duration); 2] {
        let own = ("testbed", self.heart.largest_gap_since(since));
        [own, ("the thread of the wires", self.engine.heart().largest_gap_since(since))]
    }

    /// How many processors may be used.
    pub(super) fn processors(&self) -> usize {
        self.processors
    }

    /// What programs see in a lab of that setting.
    pub(super) fn sandbox(&self, setting: &LabSpec) -> &Arc<Sandbox> {
        &self.sandboxes[setting.wiring]
    }

    /// A lab of that setting.
    ///
    /// # Errors
    /// When none can be built.
    pub(super) async fn take(&self, setting: &LabSpec) -> Result<PooledLab<'_>> {
        let found = self.find(setting);
        // From here on the lab is counted, and is not any more if what follows fails or is given up.
        let mut pooled = PooledLab { pool: self, built: None };
        pooled.built = Some(match found {
            Some(built) => built,
            None => self.make(setting).await?,
        });
        Ok(pooled)
    }

    /// A lab of that setting, if one is there. If not, there is room for one more.
    fn find(&self, setting: &LabSpec) -> Option<BuiltLab> {
        let mut labs = self.idle_labs();
        if let Some(at) = labs.idle.iter().rposition(|s| &s.setting == setting) {
            return labs.idle.remove(at);
        }
        // The one that nobody has wanted for the longest time makes room.
        let given_up = if labs.made < self.most { None } else { labs.idle.pop_front() };
        labs.made += usize::from(given_up.is_none());
        drop(labs);
        drop(given_up);
        None
    }

    /// Drops the labs of that setting that nobody uses: each that stands costs memory, and makes it slower to build others.
    pub(super) fn give_up(&self, setting: &LabSpec) {
        let mut labs = self.idle_labs();
        let (given_up, kept): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut labs.idle).into_iter().partition(|lab| &lab.setting == setting);
        labs.made -= given_up.len();
        labs.idle = kept;
        drop(labs);
        drop(given_up);
    }

    async fn make(&self, setting: &LabSpec) -> Result<BuiltLab> {
        let topology = &self.topologies[setting.wiring];
        let rules =
            |(node, profile): (&NodeName, &String)| (node.clone(), self.rules_of(node, profile).to_owned());
        let profiles: BTreeMap<_, _> = setting.nats.iter().map(rules).collect();
        let nats = |plan: &_| nat_source::configs_in(&self.catalogue, plan, &profiles);
        let mut lab = Lab::build_with_nats(topology, &setting.addressing, nats, &self.engine).await?;
        // What a NAT keeps for itself is seen only inside of it, and a cause must not depend on what is kept.
        lab.watch_every_link(&self.engine)?;
        Ok(BuiltLab { lab, setting: setting.clone() })
    }

    /// The rules and settings of a NAT in a lab.
    pub(super) fn config(&self, plan: &AddressPlan, node: &NodeName, profile: &str) -> Result<NatConfig> {
        nat_source::config_in(&self.catalogue, plan, node, self.rules_of(node, profile))
    }

    /// The rules and settings of the NAT that `setting` has in the place of a node, where it stands at `site`.
    pub(super) fn rules_at(&self, setting: &LabSpec, node: &NodeName, site: &NatSite) -> Result<NatConfig> {
        let named = setting.nats.get(node).map(|name| self.rules_of(node, name));
        let profile = named.and_then(|name| self.catalogue.get(name));
        let missing = || Error::other(format!("make \"{node}\" a NAT"), "the cell has none there");
        nat_source::config(profile.ok_or_else(missing)?, site)
    }

    fn idle_labs(&self) -> MutexGuard<'_, IdleLabs> {
        self.idle_labs.lock()
    }
}

/// The wirings of a suite, by part.
fn wirings(suite: &Suite) -> Vec<Topology> {
    suite.parts.iter().map(|part| part.topology.clone()).collect()
}
