//! From a profile of the catalogue to what makes a node this NAT: generated rules, a user's ruleset file, or a program.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::kernel::error::{Error, Result};
use crate::kernel::user_file;
use crate::lab::nat_program;
use crate::lab::nat_rules::foreign::{self, RulesFormat};
use crate::lab::nat_rules::{NatConfig, NatSite, by_program, render, render_own};
use crate::model::address_plan::AddressPlan;
use crate::model::catalogue::{Catalogue, Profile, Ruleset};
use crate::model::topology::NodeName;

/// What makes a node at `site` this NAT.
///
/// # Errors
/// When the user's ruleset file cannot be read.
pub fn config(profile: &Profile, site: &NatSite) -> Result<NatConfig> {
    let made = made(profile, site)?;
    Ok(NatConfig { datapath: profile.datapath, ..made })
}

fn made(profile: &Profile, site: &NatSite) -> Result<NatConfig> {
    let behavior = &profile.behavior;
    match &profile.ruleset {
        Ruleset::Generated => Ok(render(behavior, site)),
        Ruleset::File(file) => {
            let path = Path::new(&profile.folder).join(file);
            let text = user_file::read(&path).map_err(|why| {
                let tried = format!("make the NAT \"{}\"", profile.name);
                Error::other(tried, format!("read {}: {why}", path.display()))
            })?;
            let rules = foreign::adapt(&text, &profile.foreign, site);
            match foreign::format(&rules) {
                RulesFormat::Nft => Ok(NatConfig { file: Some(path), ..render_own(&rules, behavior, site) }),
                RulesFormat::Iptables(variant) => {
                    let words = foreign::restore_command(&rules, variant);
                    Ok(by_program(&profile.name, &words, folder(profile)?, behavior, site))
                }
            }
        }
        Ruleset::Command(words) => Ok(by_program(&profile.name, words, folder(profile)?, behavior, site)),
    }
}

/// What keeps a NAT's program, if it has one, from being started or from being shown what it is to see, as far as its files tell.
#[must_use]
pub fn obstacle(config: &NatConfig) -> Option<Error> {
    config.command.as_ref().and_then(nat_program::obstacle)
}

/// What makes a node of a planned lab the NAT `profile` of the catalogue.
///
/// # Errors
/// When there is no such profile, the node has no way up, or as [`config`].
pub fn config_in(
    catalogue: &Catalogue,
    plan: &AddressPlan,
    node: &NodeName,
    profile: &str,
) -> Result<NatConfig> {
    let tried = || format!("make \"{node}\" a NAT");
    let found = catalogue.get(profile);
    let found = found.ok_or_else(|| Error::other(tried(), format!("there is no \"{profile}\"")))?;
    let site = NatSite::of(plan, node).ok_or_else(|| Error::other(tried(), "it has no way up"))?;
    config(found, &site)
}

/// What makes nodes of a planned lab the NATs `profiles` of the catalogue.
///
/// # Errors
/// As [`config_in`].
pub fn configs_in(
    catalogue: &Catalogue,
    plan: &AddressPlan,
    profiles: &BTreeMap<NodeName, String>,
) -> Result<BTreeMap<NodeName, NatConfig>> {
    let config = |(node, profile): (&NodeName, &String)| {
        Ok((node.clone(), config_in(catalogue, plan, node, profile)?))
    };
    profiles.iter().map(config).collect()
}

/// The folder of the profile's catalogue, whatever folder this process is in later. Without `..`: programs are not shown the folders
/// that such a path leads through.
fn folder(profile: &Profile) -> Result<PathBuf> {
    let folder = profile.folder.join(".");
    std::fs::canonicalize(&folder).map_err(|e| {
        let named = profile.folder.display();
        Error::io(format!("find \"{named}\", the folder of the NAT \"{}\"", profile.name), "realpath", &e)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::behavior::Behavior;

    #[test]
    fn the_folder_of_a_program_is_named_by_its_own_path() {
        let found = tempfile::tempdir().expect("a folder");
        let real = found.path().canonicalize().expect("a folder");
        std::fs::create_dir(real.join("below")).expect("room on the disk");
        let of = |path| {
            folder(&Profile { folder: path, ..Profile::generated("mine", Behavior::port_preserving()) })
        };
        assert_eq!(of(real.join("below/..")).expect("a folder"), real);
        let here = std::env::current_dir().and_then(|here| here.canonicalize()).expect("a folder");
        assert_eq!(of(PathBuf::new()).expect("a folder"), here);
        let missing = of(real.join("nowhere")).expect_err("there is no such folder");
        let named = format!("find \"{}\"", real.join("nowhere").display());
        assert!(missing.to_string().contains(&named), "{missing}");
    }
}
