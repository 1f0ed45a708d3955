//! Labs that wait for their next trial: taken when one fits, changed when none does, built when there are too few.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use tokio::task::block_in_place;

use crate::kernel::error::{Error, Result};
use crate::kernel::sandbox::Sandbox;
use crate::lab::nat_rules::{NatConfig, NatSite};
use crate::lab::nat_source;
use crate::lab::{Lab, WireEngine};
use crate::model::address_plan::AddressPlan;
use crate::model::catalogue::{Catalogue, Ruleset};
use crate::model::suite::Suite;
use crate::model::topology::{NodeName, Topology};
use crate::run::prepared_cell::LabSpec;
use crate::run::request::RunRequest;
use crate::run::sandbox;

/// The labs of a run.
#[derive(Debug)]
pub(super) struct LabPool {
    engine: WireEngine,
    /// The wiring of each part of the suite.
    topologies: Vec<Topology>,
    catalogue: Catalogue,
    most: usize,
    sandbox: Arc<Sandbox>,
    shelf: Mutex<Shelf>,
}

/// The labs that nobody uses, and how many there are in all.
#[derive(Debug, Default)]
struct Shelf {
    idle: Vec<PooledLab>,
    made: usize,
}

/// A lab with the NATs that it has.
#[derive(Debug)]
pub(super) struct PooledLab {
    pub(super) lab: Lab,
    pub(super) setting: LabSpec,
}

impl LabPool {
    /// A pool of as many labs as trials may run at a time, and what programs see in there.
    ///
    /// # Errors
    /// When what the suite names cannot be shown to them.
    pub(super) fn new(engine: WireEngine, request: &RunRequest) -> Result<Self> {
        let RunRequest { suite, catalogue, jobs, .. } = request;
        let (topologies, catalogue) = (wirings(suite), catalogue.clone());
        let sandbox = sandbox::of_run(request)?;
        Ok(Self { engine, topologies, catalogue, most: *jobs, sandbox, shelf: Mutex::default() })
    }

    /// What programs see.
    pub(super) fn sandbox(&self) -> &Arc<Sandbox> {
        &self.sandbox
    }

    /// A lab of that setting. Whoever takes it gives it back, or drops it and says so.
    pub(super) async fn take(&self, setting: &LabSpec) -> Result<PooledLab> {
        let found = self.find(setting);
        let taken = match found {
            Found::Fitting(pooled) => Ok(pooled),
            Found::Similar(pooled) => self.change(pooled, setting).await,
            Found::Nothing => self.make(setting).await,
        };
        taken.inspect_err(|_| self.dropped())
    }

    /// Takes a lab back.
    pub(super) fn give_back(&self, pooled: PooledLab) {
        self.shelf().idle.push(pooled);
    }

    /// Hears that a lab was dropped.
    pub(super) fn dropped(&self) {
        self.shelf().made -= 1;
    }

    fn find(&self, setting: &LabSpec) -> Found {
        let mut shelf = self.shelf();
        if let Some(at) = shelf.idle.iter().rposition(|s| &s.setting == setting) {
            return Found::Fitting(shelf.idle.swap_remove(at));
        }
        if shelf.made < self.most || shelf.idle.is_empty() {
            shelf.made += 1;
            return Found::Nothing;
        }
        // What a program has done to its node besides rules, nobody can undo.
        let similar = |s: &PooledLab| s.setting.is_like(setting) && !self.has_programs(&s.setting);
        let similar = shelf.idle.iter().position(similar);
        match similar {
            Some(at) => Found::Similar(shelf.idle.swap_remove(at)),
            None => {
                // One of another wiring makes room.
                drop(shelf.idle.swap_remove(0));
                Found::Nothing
            }
        }
    }

    /// Whether a program makes one of the NATs.
    fn has_programs(&self, setting: &LabSpec) -> bool {
        let mut profiles = setting.nats.values().filter_map(|name| self.catalogue.get(name));
        profiles.any(|profile| matches!(profile.ruleset, Ruleset::Command(_)))
    }

    async fn make(&self, setting: &LabSpec) -> Result<PooledLab> {
        let topology = &self.topologies[setting.wiring];
        let nats = |plan: &_| nat_source::configs_in(&self.catalogue, plan, &setting.nats);
        let mut lab = Lab::build_with_nats(topology, &setting.transparent, nats, &self.engine).await?;
        // What a NAT keeps for itself is seen only inside of it, and a cause must not depend on what is kept.
        lab.watch_every_link(&self.engine)?;
        Ok(PooledLab { lab, setting: setting.clone() })
    }

    /// Gives a lab the NATs of a setting, where they are not those that it has.
    async fn change(&self, mut pooled: PooledLab, setting: &LabSpec) -> Result<PooledLab> {
        let mut rules = BTreeMap::new();
        for (node, profile) in &setting.nats {
            if pooled.setting.nats.get(node) != Some(profile) {
                let config = self.config(pooled.lab.plan(), node, profile)?;
                match config.command {
                    None => drop(rules.insert(node.clone(), config)),
                    Some(_) => pooled.lab.become_nat(node, &config).await?,
                }
            }
        }
        block_in_place(|| pooled.lab.set_nats(&rules))?;
        pooled.setting = setting.clone();
        Ok(pooled)
    }

    /// The rules and settings of a NAT in a lab.
    pub(super) fn config(&self, plan: &AddressPlan, node: &NodeName, profile: &str) -> Result<NatConfig> {
        nat_source::config_in(&self.catalogue, plan, node, profile)
    }

    /// The rules and settings of the NAT that `setting` has in the place of a node, where it stands at `site`.
    pub(super) fn rules_at(&self, setting: &LabSpec, node: &NodeName, site: &NatSite) -> Result<NatConfig> {
        let profile = setting.nats.get(node).and_then(|name| self.catalogue.get(name));
        let missing = || Error::other(format!("make \"{node}\" a NAT"), "the cell has none there");
        nat_source::config(profile.ok_or_else(missing)?, site)
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock()
    }
}

/// The wirings of a suite, by part.
fn wirings(suite: &Suite) -> Vec<Topology> {
    suite.parts.iter().map(|part| part.topology.clone()).collect()
}

/// What the shelf had.
enum Found {
    Fitting(PooledLab),
    Similar(PooledLab),
    Nothing,
}
