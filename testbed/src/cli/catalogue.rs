//! `--nats`: catalogues of the user's own, added to the one that comes with testbed.

use std::path::Path;

use crate::cli::args::{OwnNats, WantedNats};
use crate::cli::command_error::CommandError;
use crate::kernel::user_file;
use crate::model::catalogue::{Catalogue, Profile};

impl OwnNats {
    /// The catalogue that comes with testbed and these; where names are the same, the last one counts.
    ///
    /// # Errors
    /// When a file cannot be read, or what is wrong in it.
    pub(super) fn catalogue(&self) -> Result<Catalogue, CommandError> {
        self.nats.iter().try_fold(Catalogue::embedded(), |all, file| Ok(all.with(read(file)?)))
    }

    /// The names of these alone.
    fn names(&self) -> Result<Vec<String>, CommandError> {
        let mut names = Vec::new();
        for file in &self.nats {
            names.extend(read(file)?.profiles().map(|profile| profile.name.clone()));
        }
        names.dedup();
        Ok(names)
    }
}

impl WantedNats {
    /// The profiles that were asked for.
    ///
    /// # Errors
    /// When there is no such NAT, or a file is wrong.
    pub(super) fn profiles(&self) -> Result<Vec<Profile>, CommandError> {
        let catalogue = self.own.catalogue()?;
        if self.all {
            return Ok(catalogue.profiles().cloned().collect());
        }
        let own = if self.names.is_empty() { self.own.names()? } else { Vec::new() };
        self.names.iter().chain(&own).map(|name| profile(&catalogue, name).cloned()).collect()
    }
}

/// The profile of that name.
pub(super) fn profile<'a>(catalogue: &'a Catalogue, name: &str) -> Result<&'a Profile, CommandError> {
    catalogue.get(name).ok_or_else(|| {
        let (message, help) = catalogue.unknown(name);
        CommandError::with_help(message, help)
    })
}

fn read(file: &Path) -> Result<Catalogue, CommandError> {
    let text = user_file::read(file).map_err(|why| {
        let message = format!("cannot read the NATs of \"{}\": {why}", file.display());
        CommandError::with_help(message, "--nats takes a file of NATs, as testbed nat measure prints it")
    })?;
    Ok(Catalogue::parse(&text, &file.to_string_lossy())?)
}
