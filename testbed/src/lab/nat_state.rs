//! The rules and settings that make a namespace a NAT: put there, put in the place of others, and what they have learnt.

use std::collections::BTreeMap;

use crate::kernel::error::Result;
use crate::kernel::namespace::Inside;
use crate::kernel::ruleset::{DynamicSet, Nft, RulesSource};
use crate::kernel::sysctl::{Sysctl, Tree};
use crate::lab::nat_rules::NatConfig;

/// What a NAT's rules and settings have left in its namespace.
#[derive(Debug, Default)]
pub(super) struct NatState {
    /// The sets and maps that its rules fill, which outlive a flush of conntrack.
    memory: Vec<DynamicSet>,
    /// Sysctls that are pinned, with what they were before the first NAT that pinned them.
    pinned: BTreeMap<String, String>,
    /// Who wrote the rules.
    source: RulesSource,
}

impl NatState {
    /// Puts rules and settings in the place of those that were there.
    ///
    /// # Errors
    /// When nft refuses the rules or the kernel a setting. The rules are then those that it had; the settings need not be.
    pub(super) fn replace(&mut self, inside: &Inside, config: &NatConfig) -> Result<()> {
        self.set(&mut Tree::of(inside), &config.sysctls)?;
        self.source = config.source;
        self.memory = Self::load(inside, config)?;
        Ok(())
    }

    /// Who reads the rules that are there.
    pub(super) fn nft(&self) -> &'static Nft {
        Nft::of(self.source)
    }

    /// Puts settings in the place of those that were there.
    ///
    /// # Errors
    /// When the kernel refuses one.
    pub(super) fn set(&mut self, tree: &mut Tree<'_>, sysctls: &[(String, String)]) -> Result<()> {
        for (key, value) in sysctls {
            let before = tree.exchange(&Sysctl::new(key, value))?;
            self.pinned.entry(before.key).or_insert(before.value);
        }
        let free = self.pinned.keys().filter(|key| sysctls.iter().all(|(pinned, _)| pinned != *key));
        for key in free.cloned().collect::<Vec<_>>() {
            tree.write(&Sysctl::new(key.as_str(), &self.pinned[&key]))?;
            self.pinned.remove(&key);
        }
        Ok(())
    }

    /// Puts rules in the place of those that were there. Returns the sets and maps that they fill.
    ///
    /// # Errors
    /// When nft refuses them; the rules are then those that there were.
    pub(super) fn load(inside: &Inside, config: &NatConfig) -> Result<Vec<DynamicSet>> {
        let NatConfig { ruleset, source, .. } = config;
        let nft = Nft::of(*source);
        nft.replace(inside, &config.script()).map_err(config.at_file())?;
        // Listing takes longer than loading, and most rules fill no sets.
        if ruleset.contains("dynamic") {
            nft.dynamic_sets(inside, Some(ruleset.as_str()))
        } else {
            Ok(Vec::new())
        }
    }

    /// Hears who wrote the rules that were loaded, and which sets and maps they fill.
    pub(super) fn remember(&mut self, source: RulesSource, memory: Vec<DynamicSet>) {
        (self.source, self.memory) = (source, memory);
    }

    /// Finds the sets and maps that the rules fill, wherever they come from.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(super) fn learn(&mut self, inside: &Inside) -> Result<()> {
        self.memory = self.nft().dynamic_sets(inside, None)?;
        Ok(())
    }

    /// The sets and maps that the rules fill.
    pub(super) fn memory(&self) -> &[DynamicSet] {
        &self.memory
    }
}
