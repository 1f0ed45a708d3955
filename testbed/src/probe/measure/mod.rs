//! Measures a NAT of which nothing is known, and says what is to be declared of it: the proof turned round.
//!
//! `survey` asks, on the bench of the proof and with its questions; `infer` concludes, without a socket or
//! a clock. What comes out is then proved like any declaration, so that what the description leaves out shows.

mod infer;
mod infer_ports;
mod inference;
mod kind;
mod pool;
mod ports;
mod seed;
mod survey;
mod timers;

use std::time::{Duration, Instant};

use crate::kernel::error::Result;
use crate::kernel::host;
use crate::lab::nat_rules::NatConfig;
use crate::lab::nat_source;
use crate::model::catalogue::{Profile, Ruleset};
use crate::model::datapath::Datapath;
use crate::model::description::Description;
use crate::model::event::ProofResult;
use crate::probe::prove::{Depth, Subject, prove, site};

/// A measured NAT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeasuredNat {
    /// What it does, and how that is known.
    pub description: Description,
    /// The full proof of the description.
    pub proof: ProofResult,
    /// How long both took.
    pub took: Duration,
}

impl MeasuredNat {
    /// Whether every axis was told and can be declared, and the proof found nothing else.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.description.is_complete() && self.proof.holds()
    }
}

/// Measures the NAT that a profile's rules or program make, whatever the profile declares of it.
///
/// # Errors
/// When the NAT cannot be built or asked, with what was tried.
pub async fn measure(profile: &Profile) -> Result<MeasuredNat> {
    let started = Instant::now();
    let config = free(nat_source::config(profile, &site())?);
    let datapath = match profile.ruleset {
        // Rules of testbed's own use connection tracking, where they have anything to track.
        Ruleset::Generated => Datapath::default(),
        Ruleset::File(_) | Ruleset::Command(_) => survey::datapath(&config).await?,
    };
    let config = NatConfig { datapath, ..config };
    let (behavior, axes) = infer::infer(&survey::survey(&config).await?);
    let measured = Profile { behavior, datapath, ..profile.clone() };
    let proof = prove(Subject::of(&measured)?, Depth::Full).await;
    let of = match &profile.ruleset {
        Ruleset::Generated => format!("the NAT {} of the catalogue", profile.name),
        Ruleset::File(file) => file.clone(),
        Ruleset::Command(words) => words.join(" "),
    };
    let release = host::kernel_release();
    let description = Description {
        name: profile.name.clone(),
        summary: format!("measured: {of}"),
        source: format!("testbed {} on Linux {release}", env!("CARGO_PKG_VERSION")),
        ruleset: profile.ruleset.clone(),
        datapath,
        foreign: profile.foreign.clone(),
        behavior,
        axes,
    };
    Ok(MeasuredNat { description, proof, took: started.elapsed() })
}

/// The same, with a program that may change the settings which a declaration would pin: nothing is declared yet.
fn free(config: NatConfig) -> NatConfig {
    let declared: Vec<String> = config.sysctls.iter().map(|(key, _)| key.clone()).collect();
    let command = config.command.map(|mut command| {
        let of_axes = |key: &String| declared.contains(key) && key.contains("nf_conntrack_tcp");
        command.pinned.retain(|key| !of_axes(key));
        command
    });
    NatConfig { command, ..config }
}
