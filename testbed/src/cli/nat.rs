//! `testbed nat`: the catalogue, and what each NAT is made of.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::cli::failure::Failure;
use crate::cli::list::print;
use crate::lab::nat_rules::{self, NatConfig, NatSite};
use crate::model::address_plan::AddressPlan;
use crate::model::behavior::{Behavior, Translation};
use crate::model::catalogue::{Catalogue, Profile, Ruleset};
use crate::model::embedded::{self, TOPOLOGIES};
use crate::model::topology::NodeName;
use crate::model::{theory, topology_file};

/// `testbed nat list`.
///
/// # Errors
/// When standard output cannot be written.
pub fn list() -> Result<ExitCode, Failure> {
    let catalogue = Catalogue::embedded();
    let width = catalogue.profiles().map(|profile| profile.name.len()).max().unwrap_or(0);
    print(|out| {
        catalogue.profiles().try_for_each(|profile| {
            writeln!(out, "{:width$}  {}", profile.name, profile.summary)?;
            writeln!(out, "{:width$}    {}", "", theory::describe(&profile.behavior))
        })
    })
}

/// `testbed nat show`: the rules as `nft -f` takes them, with everything else in comments.
///
/// # Errors
/// When there is no such NAT, or standard output cannot be written.
pub fn show(name: &str) -> Result<ExitCode, Failure> {
    let catalogue = Catalogue::embedded();
    let profile = profile(&catalogue, name)?;
    let config = match &profile.ruleset {
        Ruleset::Generated => config(&profile.behavior)?,
        Ruleset::File(file) => {
            return Err(Failure::new(format!("the NAT \"{name}\" has its rules in \"{file}\"")));
        }
        Ruleset::Command(command) => {
            return Err(Failure::new(format!("the NAT \"{name}\" is the program \"{}\"", command.join(" "))));
        }
    };
    print(|out| write(profile, &config, out))
}

/// The profile of that name.
pub(super) fn profile<'a>(catalogue: &'a Catalogue, name: &str) -> Result<&'a Profile, Failure> {
    catalogue.get(name).ok_or_else(|| {
        let (message, help) = catalogue.unknown(name);
        Failure::with_help(message, help)
    })
}

/// What makes nat-a of the topology `pair` this NAT.
fn config(behavior: &Behavior) -> Result<NatConfig, Failure> {
    let pair = embedded::find(TOPOLOGIES, "pair").expect("it is embedded");
    let topology = topology_file::parse(pair.file, pair.text)?;
    let node = NodeName::new("nat-a").expect("a good name");
    let transparent = (behavior.translation != Translation::Nat).then(|| node.clone()).into_iter().collect();
    let plan = AddressPlan::new(&topology, &transparent).map_err(|why| Failure::new(why.to_string()))?;
    let site = NatSite::of(&plan, &node).expect("the plan has an address for every node");
    Ok(nat_rules::render(behavior, &site))
}

fn write(profile: &Profile, config: &NatConfig, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "# {}: {}", profile.name, profile.summary)?;
    writeln!(out, "# {}", theory::describe(&profile.behavior))?;
    for (about, text) in [("equipment", &profile.equipment), ("source", &profile.source)] {
        if !text.is_empty() {
            writeln!(out, "# {about}: {text}")?;
        }
    }
    writeln!(out, "# These are the rules of nat-a in the topology \"pair\"; its sysctls are")?;
    for (key, value) in &config.sysctls {
        writeln!(out, "#   {key} = {value}")?;
    }
    write!(out, "\n{}", config.ruleset)
}
