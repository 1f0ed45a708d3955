//! `testbed nat`: the catalogue, and what each NAT is made of.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::cli::args::OwnNats;
use crate::cli::catalogue::profile;
use crate::cli::command_error::CommandError;
use crate::cli::output::{list_width, print};
use crate::lab::nat_rules::{NatCommand, NatConfig, NatSite};
use crate::lab::nat_source;
use crate::model::address_plan::AddressPlan;
use crate::model::address_pool::NatAddressing;
use crate::model::behavior::Behavior;
use crate::model::catalogue::Profile;
use crate::model::datapath::Datapath;
use crate::model::theory;
use crate::model::topology::{NodeName, Topology};
use crate::report::lines;

/// `testbed nat list`.
///
/// # Errors
/// When standard output cannot be written.
pub fn list(own: &OwnNats) -> Result<ExitCode, CommandError> {
    let catalogue = own.catalogue()?;
    let width = catalogue.profiles().map(|profile| profile.name.len()).max().unwrap_or(0);
    let screen = list_width();
    print(|out| {
        catalogue.profiles().try_for_each(|profile| {
            let Profile { name, summary, behavior, .. } = profile;
            lines::columns(name, (width, summary), screen, out)?;
            lines::columns("", (width + 2, &theory::describe(behavior)), screen, out)
        })
    })
}

/// `testbed nat show`: the rules as `nft -f` takes them, or the program as a shell does, with everything else in comments.
///
/// # Errors
/// When there is no such NAT, its ruleset file cannot be read, or standard output cannot be written.
pub fn show(name: &str, own: &OwnNats) -> Result<ExitCode, CommandError> {
    let catalogue = own.catalogue()?;
    let profile = profile(&catalogue, name)?;
    let config = config(profile)?;
    print(|out| write(profile, &config, out))
}

/// What makes nat-a of the topology `pair` this NAT.
///
/// # Errors
/// When its ruleset file cannot be read.
pub(super) fn config(profile: &Profile) -> Result<NatConfig, CommandError> {
    Ok(nat_source::config(profile, &site(&profile.behavior)?)?)
}

/// Where nat-a of the topology `pair` stands if it behaves so.
fn site(behavior: &Behavior) -> Result<NatSite, CommandError> {
    let topology = Topology::named("pair").expect("it is embedded");
    let node = NodeName::new("nat-a").expect("a good name");
    let addressing = NatAddressing::of([(&node, behavior)]);
    let plan = AddressPlan::new(&topology, &addressing).map_err(|why| CommandError::new(why.to_string()))?;
    Ok(NatSite::of(&plan, &node).expect("the plan has an address for every node"))
}

fn write(profile: &Profile, config: &NatConfig, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "# {}: {}", profile.name, profile.summary)?;
    writeln!(out, "# {}", theory::describe(&profile.behavior))?;
    match profile.datapath {
        Datapath::Conntrack => {}
        Datapath::Packets => writeln!(out, "# datapath: packets, rewritten past connection tracking")?,
        Datapath::Sockets => {
            writeln!(out, "# datapath: sockets, each connection ends there and another begins")?
        }
    }
    for (about, text) in [("equipment", &profile.equipment), ("source", &profile.source)] {
        if !text.is_empty() {
            writeln!(out, "# {about}: {text}")?;
        }
    }
    let what = if config.command.is_some() { "This is the program" } else { "These are the rules" };
    writeln!(out, "# {what} of nat-a in the topology \"pair\"; its sysctls are")?;
    for (key, value) in &config.sysctls {
        writeln!(out, "#   {key} = {value}")?;
    }
    if let Some(timeout) = config.absolute {
        let seconds = timeout.as_secs();
        writeln!(
            out,
            "# No rule can end connections at an age: testbed deletes the entry of each, {seconds} s after its"
        )?;
        writeln!(out, "# first packet, by netlink, as `conntrack -D` does.")?;
    }
    if let Some(every) = config.flush_every {
        let seconds = every.as_secs();
        writeln!(
            out,
            "# No rule can forget everything at regular intervals: testbed does, every {seconds} s, by netlink, as"
        )?;
        writeln!(out, "# `conntrack -F` and `nft flush set` do.")?;
    }
    match &config.command {
        None => write_rules(config, out),
        Some(command) => write_command(command, out),
    }
}

/// The rules, with each of the definitions that are before those of a user on a line of its own.
fn write_rules(config: &NatConfig, out: &mut impl Write) -> io::Result<()> {
    writeln!(out)?;
    for definition in &config.definitions {
        writeln!(out, "{}", definition.trim_end_matches("; "))?;
    }
    out.write_all(config.ruleset.as_bytes())
}

/// The program as a shell starts it.
fn write_command(command: &NatCommand, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "\ncd {}", quoted(&command.folder.to_string_lossy()))?;
    for (name, value) in &command.variables {
        writeln!(out, "export {name}={}", quoted(value))?;
    }
    let words: Vec<String> = command.words.iter().map(|word| quoted(word)).collect();
    writeln!(out, "{}", words.join(" "))
}

/// A word as shells take it for one.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=+,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}
