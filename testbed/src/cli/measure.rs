//! `testbed nat measure`: what do these rules do, and what profile says so?

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use futures::StreamExt as _;
use futures::stream;

use crate::cli::args::MeasureArgs;
use crate::cli::catalogue::profile;
use crate::cli::command_error::CommandError;
use crate::cli::interrupt;
use crate::cli::output::{print, print_error};
use crate::cli::rule_devices::unknown_devices;
use crate::kernel::user_file;
use crate::model::behavior::Behavior;
use crate::model::catalogue::{Catalogue, ForeignNames, Profile, Ruleset};
use crate::model::description::profile_name;
use crate::probe::measure::{MeasuredNat, measure};
use crate::report::escape::harmless;
use crate::report::origin::quoted;

/// What to do where there are no rules.
const RULES: &str = "give a file with rules for nft -f, or with the output of iptables-save";

/// NATs that are measured at the same time: most of it is waiting for timers.
const AT_ONCE: usize = 12;

/// `testbed nat measure`: exit code 0 when every axis was told and the proof of the profile holds, 1 when the proof found
/// something else, 2 when a NAT could not be measured, 3 when some axis could not be told or declared.
///
/// # Errors
/// When there is no such NAT or file, or nothing can be measured here.
pub fn run(args: &MeasureArgs) -> Result<ExitCode, CommandError> {
    let profiles = profiles(args)?;
    profiles.iter().filter_map(foreign_devices).for_each(|hint| print_error(&hint));
    let runtime = interrupt::runtime(args.rights.into())?;
    let mut codes = Vec::new();
    let all = async {
        let measured = profiles.iter().map(|profile| async move { (profile, measure(profile).await) });
        let mut measured = stream::iter(measured).buffered(AT_ONCE);
        while let Some((profile, measured)) = measured.next().await {
            codes.push(measured.as_ref().map_or(2, exit_code));
            match &measured {
                Ok(measured) => print(|out| write(measured, out)).map(drop)?,
                Err(why) => {
                    let what = format!("cannot measure \"{}\"", profile.name);
                    print_error(&CommandError::because(what, why).to_string());
                }
            }
        }
        Ok::<_, CommandError>(())
    };
    let whole = runtime.block_on(interrupt::unless_wanted(all)).transpose()?;
    Ok(interrupt::exit_code(&codes, whole))
}

/// What is to be measured.
fn profiles(args: &MeasureArgs) -> Result<Vec<Profile>, CommandError> {
    let named = |default: String| args.name.clone().unwrap_or(default);
    if let Some(file) = &args.rules {
        check_rules(file)?;
        let stem = file.file_stem().unwrap_or(file.as_os_str()).to_string_lossy().into_owned();
        let ruleset = Ruleset::File(file.to_string_lossy().into_owned());
        let foreign = ForeignNames {
            devices: args.device.iter().cloned().collect(),
            networks: args.network.iter().cloned().collect(),
        };
        return Ok(vec![Profile { foreign, ..of_rules(named(profile_name(&stem)), ruleset) }]);
    }
    if let Some(program) = args.command.first() {
        let stem = Path::new(program).file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let ruleset = Ruleset::Command(args.command.clone());
        return Ok(vec![of_rules(named(profile_name(&stem.unwrap_or_default())), ruleset)]);
    }
    let catalogue = args.own.catalogue()?;
    if args.all {
        return Ok(catalogue.profiles().cloned().collect());
    }
    let mut profiles = Vec::new();
    for name in &args.nat {
        let found = profile(&catalogue, name)?.clone();
        profiles.push(Profile { name: named(found.name.clone()), ..found });
    }
    Ok(profiles)
}

/// Refuses what cannot be read, and files of testbed that are no rules.
fn check_rules(file: &Path) -> Result<(), CommandError> {
    let name = file.display().to_string();
    let text = user_file::read(file).map_err(|why| {
        let message = format!("cannot read the rules \"{name}\": {why}");
        let help = match Catalogue::embedded().get(&name) {
            Some(_) => format!("this measures the NAT of that name: testbed nat measure --nat {name}"),
            None => RULES.to_owned(),
        };
        CommandError::with_help(message, help)
    })?;
    // No ruleset that does something is TOML.
    let table = text.parse::<toml::Table>().unwrap_or_default();
    if table.is_empty() {
        return Ok(());
    }
    let Some(nats) = table.get("nat").and_then(toml::Value::as_table) else {
        let message = format!("cannot measure \"{name}\": it is a TOML file, not one of rules");
        return Err(CommandError::with_help(message, RULES));
    };
    let message = format!("cannot measure \"{name}\": it is a file of NATs, not of rules");
    let nat = nats.keys().next().map_or("NAME", String::as_str);
    let help = format!("this measures one of them: testbed nat measure --nat {nat} --nats {}", quoted(&name));
    Err(CommandError::with_help(message, help))
}

/// What is to be said of rules that name devices which a NAT of testbed does not have: they do nothing here.
fn foreign_devices(profile: &Profile) -> Option<String> {
    let Ruleset::File(file) = &profile.ruleset else { return None };
    let rules = user_file::read(&Path::new(&profile.folder).join(file)).ok()?;
    let unknown = unknown_devices(&rules);
    let unknown: Vec<&String> =
        unknown.iter().filter(|name| !profile.foreign.devices.contains_key(*name)).collect();
    let first = harmless(unknown.first()?);
    let all: Vec<String> = unknown.iter().map(|name| format!("\"{}\"", harmless(name))).collect();
    Some(format!(
        "testbed: {}: the rules name {}, which this NAT does not have: rules for them do nothing here\n  \
         help: a NAT's devices are wan, lan0 and lan1; say which is meant, as with --device {first}=wan",
        harmless(file),
        all.join(", ")
    ))
}

/// A NAT of which only the rules are known.
fn of_rules(name: String, ruleset: Ruleset) -> Profile {
    let plain = Profile::generated(profile_name(&name), Behavior::port_preserving());
    Profile { ruleset, folder: PathBuf::new(), ..plain }
}

fn exit_code(measured: &MeasuredNat) -> u8 {
    let proof = &measured.proof;
    match (proof.error.as_ref().or(proof.unsupported.as_ref()), proof.holds(), measured.is_complete()) {
        (Some(_), ..) => 2,
        // What cannot be declared is no surprise when the proof finds it.
        (None, false, _) if measured.description.is_complete() => 1,
        (None, true, true) => 0,
        (None, ..) => 3,
    }
}

fn write(measured: &MeasuredNat, out: &mut impl Write) -> io::Result<()> {
    let MeasuredNat { description, proof, took } = measured;
    writeln!(out, "# Measured and proved in {:.1} s.", took.as_secs_f64())?;
    for (axis, why) in description.gaps() {
        writeln!(out, "# Not in this profile: {axis}: {}", harmless(why))?;
    }
    match proof.error.as_ref().or(proof.unsupported.as_ref()) {
        Some(why) => writeln!(out, "# The proof of this profile could not be made: {}", harmless(why))?,
        None if proof.holds() => writeln!(out, "# The proof of this profile holds.")?,
        None => writeln!(out, "# The proof of this profile does not hold:")?,
    }
    for row in proof.rows.iter().filter(|row| !row.agrees) {
        let (axis, expected, observed) =
            (harmless(&row.axis), harmless(&row.expected), harmless(&row.observed));
        writeln!(out, "#   expected {axis}: {expected}\n#   observed {axis}: {observed}")?;
    }
    writeln!(out, "{}", description.text())
}
