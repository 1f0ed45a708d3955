//! From a profile of the catalogue to what makes a node this NAT: generated rules, a user's ruleset file, or a program.

use std::path::{Path, PathBuf};

use crate::kernel::error::{Error, Result};
use crate::lab::nat_rules::{NatConfig, NatSite, by_program, render, render_own};
use crate::model::catalogue::{Profile, Ruleset};

/// What makes a node at `site` this NAT.
///
/// # Errors
/// When the user's ruleset file cannot be read.
pub fn config(profile: &Profile, site: &NatSite) -> Result<NatConfig> {
    let behavior = &profile.behavior;
    match &profile.ruleset {
        Ruleset::Generated => Ok(render(behavior, site)),
        Ruleset::File(file) => {
            let path = Path::new(&profile.folder).join(file);
            let text = std::fs::read_to_string(&path).map_err(|e| {
                Error::io(
                    format!("make the NAT \"{}\"", profile.name),
                    format!("read {}", path.display()),
                    &e,
                )
            })?;
            Ok(render_own(&text, behavior, site))
        }
        Ruleset::Command(words) => Ok(by_program(&profile.name, words, folder(profile)?, behavior, site)),
    }
}

/// The folder of the profile's catalogue, whatever folder this process is in later.
fn folder(profile: &Profile) -> Result<PathBuf> {
    let folder = Path::new(&profile.folder).join(".");
    let tried = || format!("find the folder of the NAT \"{}\"", profile.name);
    let absolute = std::path::absolute(folder).map_err(|e| Error::io(tried(), "getcwd", &e))?;
    Ok(absolute.components().collect())
}
