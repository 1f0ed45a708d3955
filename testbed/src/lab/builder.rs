//! Says what a lab is to be: a topology, the NAT of each node, and what is watched.

use std::collections::BTreeMap;

use crate::kernel::error::{Error, Result};
use crate::lab::handle::Lab;
use crate::lab::nat_rules::{NatConfig, NatSite};
use crate::lab::nat_source;
use crate::lab::wire::WireEngine;
use crate::model::address_plan::AddressPlan;
use crate::model::address_pool::NatAddressing;
use crate::model::behavior::Behavior;
use crate::model::catalogue::{Catalogue, Profile};
use crate::model::topology::{NodeKind, NodeName, Topology};

/// A lab that is yet to be built; made by [`Lab::new`].
#[derive(Debug, Clone)]
#[must_use = "a lab is built by `build`"]
pub struct LabBuilder {
    topology: Topology,
    catalogue: Option<Catalogue>,
    nats: BTreeMap<String, NatChoice>,
    engine: Option<WireEngine>,
    watch: Watch,
}

/// The links that a lab records packets of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Watch {
    /// Those that are wires.
    #[default]
    Wires,
    /// All.
    EveryLink,
}

/// Which NAT a node is to be: a name of the catalogue, a [`Behavior`], or a [`Profile`].
#[derive(Debug, Clone)]
pub struct NatChoice(Choice);

#[derive(Debug, Clone)]
enum Choice {
    Named(String),
    Behaving(Box<Behavior>),
    Profile(Box<Profile>),
}

impl From<&str> for NatChoice {
    fn from(name: &str) -> Self {
        Self(Choice::Named(name.to_owned()))
    }
}

impl From<Behavior> for NatChoice {
    fn from(behavior: Behavior) -> Self {
        Self(Choice::Behaving(Box::new(behavior)))
    }
}

impl From<Profile> for NatChoice {
    fn from(profile: Profile) -> Self {
        Self(Choice::Profile(Box::new(profile)))
    }
}

impl Lab {
    /// Begins a lab of this topology. A node of the kind NAT for which nothing is chosen forwards without translation.
    #[expect(clippy::new_ret_no_self, reason = "the builder reads as the lab that it makes")]
    pub fn new(topology: &Topology) -> LabBuilder {
        LabBuilder {
            topology: topology.clone(),
            catalogue: None,
            nats: BTreeMap::new(),
            engine: None,
            watch: Watch::default(),
        }
    }
}

impl LabBuilder {
    /// Gives `node` its NAT: by the name that the catalogue has for it (`testbed nat list` lists them), by a
    /// [`Behavior`], or by a [`Profile`].
    pub fn nat(mut self, node: impl Into<String>, nat: impl Into<NatChoice>) -> Self {
        self.nats.insert(node.into(), nat.into());
        self
    }

    /// Looks names of NATs up in this catalogue, in place of the one that comes with testbed.
    pub fn catalogue(mut self, catalogue: Catalogue) -> Self {
        self.catalogue = Some(catalogue);
        self
    }

    /// Has the wires carried by an engine that other labs use too. Without this a lab has an engine of its own: one thread.
    pub fn engine(mut self, engine: &WireEngine) -> Self {
        self.engine = Some(engine.clone());
        self
    }

    /// Says which links packets are recorded on.
    pub fn watch(mut self, links: Watch) -> Self {
        self.watch = links;
        self
    }

    /// Builds the lab. It is gone when it is dropped, and when this process ends, however it ends. Needs the context of a
    /// tokio runtime, and what [`crate::setup`] gets.
    ///
    /// # Errors
    /// When the topology is no tree, a NAT is chosen for a node that is none, no NAT has the name or the behaviour that was
    /// chosen, or the kernel refuses.
    pub async fn build(self) -> Result<Lab> {
        let profiles = self.profiles()?;
        let addressing = NatAddressing::of(profiles.iter().map(|(node, profile)| (node, &profile.behavior)));
        let engine = match self.engine {
            Some(engine) => engine,
            None => WireEngine::start().map_err(|why| Error::other("start the wires", why.to_string()))?,
        };
        let nats = |plan: &AddressPlan| configs(&profiles, plan);
        let mut lab = Lab::build_with_nats(&self.topology, &addressing, nats, &engine).await?;
        if self.watch == Watch::EveryLink {
            lab.watch_every_link(&engine)?;
        }
        Ok(lab)
    }

    /// The profile of each node that a NAT was chosen for.
    fn profiles(&self) -> Result<BTreeMap<NodeName, Profile>> {
        let embedded = std::cell::LazyCell::new(Catalogue::embedded);
        let catalogue = || self.catalogue.as_ref().unwrap_or_else(|| &embedded);
        let chosen = |(node, NatChoice(choice)): (&String, &NatChoice)| {
            let refuse = |why: String| Error::other(format!("make \"{node}\" a NAT"), why);
            let found = self.topology.nodes.iter().find(|(name, _)| name.as_str() == node);
            let (name, spec) = found.ok_or_else(|| refuse("the topology has no such node".to_owned()))?;
            if spec.kind != NodeKind::Nat {
                return Err(refuse("the topology says that it is none".to_owned()));
            }
            let profile = match choice {
                Choice::Named(nat) => {
                    catalogue().get(nat).cloned().ok_or_else(|| unknown(catalogue(), nat))?
                }
                Choice::Profile(profile) => Profile::clone(profile),
                Choice::Behaving(behavior) => Profile::generated(node.clone(), **behavior),
            };
            profile.behavior.check().map_err(|why| refuse(why.to_string()))?;
            Ok((name.clone(), profile))
        };
        self.nats.iter().map(chosen).collect()
    }
}

fn unknown(catalogue: &Catalogue, name: &str) -> Error {
    let (message, help) = catalogue.unknown(name);
    Error::other("build a lab", message).with_help(help)
}

fn configs(
    profiles: &BTreeMap<NodeName, Profile>,
    plan: &AddressPlan,
) -> Result<BTreeMap<NodeName, NatConfig>> {
    let config = |(node, profile): (&NodeName, &Profile)| {
        let nowhere = || Error::other(format!("make \"{node}\" a NAT"), "it has no way up");
        let site = NatSite::of(plan, node).ok_or_else(nowhere)?;
        Ok((node.clone(), nat_source::config(profile, &site)?))
    };
    profiles.iter().map(config).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::behavior::{Allocation, Mapping};

    fn refusal(builder: LabBuilder) -> String {
        builder.profiles().expect_err("a wrong choice").to_string()
    }

    #[test]
    fn nats_are_chosen_by_name_by_behaviour_and_by_profile() {
        let pair = Topology::named("pair").expect("it is built in");
        let symmetric = Behavior { mapping: Mapping::AddressAndPortDependent, ..Behavior::port_preserving() };
        let chosen =
            Lab::new(&pair).nat("nat-a", "full-cone").nat("nat-b", symmetric).profiles().expect("two NATs");
        let of = |node: &str| &chosen[&NodeName::new(node).expect("a good name")];
        assert_eq!(of("nat-a"), Catalogue::embedded().get("full-cone").expect("it is in the catalogue"));
        assert_eq!(of("nat-b").behavior, symmetric);
        let again = Lab::new(&pair).nat("nat-b", of("nat-a").clone()).profiles().expect("a NAT");
        assert_eq!(again.values().next(), Some(of("nat-a")));
    }

    #[test]
    fn a_wrong_choice_is_refused_before_anything_is_built() {
        let pair = Topology::named("pair").expect("it is built in");
        let impossible =
            Behavior { allocation: Allocation::Sequential { step: 0 }, ..Behavior::port_preserving() };
        let lab = || Lab::new(&pair);
        for (builder, expected) in [
            (lab().nat("nat-c", "random"), "cannot make \"nat-c\" a NAT: the topology has no such node"),
            (
                lab().nat("peer-a", "random"),
                "cannot make \"peer-a\" a NAT: the topology says that it is none",
            ),
            (lab().nat("nat-a", "randon"), "cannot build a lab: unknown NAT \"randon\""),
        ] {
            assert_eq!(refusal(builder), expected);
        }
        assert!(refusal(lab().nat("nat-a", impossible)).starts_with("cannot make \"nat-a\" a NAT: "));
    }
}
