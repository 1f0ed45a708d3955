//! `testbed nat prove`: does each NAT do what the catalogue declares?

use std::io::{self, Write};
use std::process::ExitCode;

use futures::StreamExt as _;
use futures::stream;

use crate::cli::args::{OwnNats, ProveArgs, WantedNats};
use crate::cli::command_error::CommandError;
use crate::cli::interrupt;
use crate::cli::output::print;
use crate::model::axis::NatAxis;
use crate::model::catalogue::{Profile, Ruleset};
use crate::model::datapath::Datapath;
use crate::model::event::ProofResult;
use crate::probe::prove::{DATAPATH, Depth, Subject, prove};
use crate::report::escape::{harmless, harmless_lines};

/// NATs that are proved at the same time: most of a full proof is waiting for timers.
const AT_ONCE: usize = 24;

/// `testbed nat prove`: exit code 0 when every NAT does what it declares, 1 when one does something else, 2 when one
/// could not be measured, 3 when it was interrupted before any of these.
///
/// # Errors
/// When there is no such NAT, or nothing can be measured here.
pub fn run(args: &ProveArgs) -> Result<ExitCode, CommandError> {
    let profiles = args.wanted.profiles()?;
    let subjects = profiles.iter().map(|profile| Ok(Subject::of(profile)?));
    let subjects = subjects.collect::<Result<Vec<_>, CommandError>>()?;
    let mut profiles = profiles.iter();
    let runtime = interrupt::runtime(args.rights.into())?;
    let depth = if args.quick { Depth::Quick } else { Depth::Full };
    let mut codes = Vec::new();
    let all = async {
        let mut proofs =
            stream::iter(subjects.into_iter().map(|subject| prove(subject, depth))).buffered(AT_ONCE);
        while let Some(proof) = proofs.next().await {
            codes.push(exit_code(&proof));
            // They come in the order in which they were asked for.
            let profile = profiles.next();
            print(|out| {
                write(&proof, out)?;
                profile.map_or(Ok(()), |profile| advise(&proof, profile, &args.wanted.own, out))
            })?;
        }
        Ok::<_, CommandError>(())
    };
    let whole = runtime.block_on(interrupt::unless_wanted(all)).transpose()?;
    Ok(interrupt::exit_code(&codes, whole))
}

/// What is to be measured.
pub(super) fn subjects(wanted: &WantedNats) -> Result<Vec<Subject>, CommandError> {
    wanted.profiles()?.iter().map(|profile| Ok(Subject::of(profile)?)).collect()
}

fn exit_code(proof: &ProofResult) -> u8 {
    match (proof.error.as_ref().or(proof.unsupported.as_ref()), proof.holds()) {
        (Some(_), _) => 2,
        (None, false) => 1,
        (None, true) => 0,
    }
}

/// Says what to do about rows that differ, where a user made the rules.
fn advise(proof: &ProofResult, profile: &Profile, own: &OwnNats, out: &mut impl Write) -> io::Result<()> {
    if profile.ruleset == Ruleset::Generated || proof.rows.iter().all(|row| row.agrees) {
        return Ok(());
    }
    // What was asked of the other axes is asked of a NAT of this datapath: they say little where that is another.
    if let Some(datapath) = other_datapath(proof) {
        return writeln!(
            out,
            "  help: every other axis was measured as on the declared datapath; if this NAT is meant to have another, write \
             datapath = \"{datapath}\" and prove it again"
        );
    }
    for row in proof.rows.iter().filter(|row| !row.agrees) {
        let Ok(axis) = row.axis.parse::<NatAxis>() else { continue };
        if !profile.written.contains(&axis) {
            let base = profile.base();
            writeln!(out, "  {axis}: not written in \"{}\", so inherited from \"{base}\"", proof.nat)?;
        }
        let meant = profile.behavior.with_word(axis, &row.observed);
        if meant.is_some_and(|behavior| behavior.check().is_ok()) {
            writeln!(out, "  help: if this NAT is meant to do so, write {axis} = \"{}\"", row.observed)?;
        }
    }
    let command = format!("testbed nat measure --nat {}{}", proof.nat, own.typed());
    writeln!(out, "  help: this prints what to write for what the NAT does: {command}")
}

/// The datapath that a NAT turned out to have, where it declares another.
fn other_datapath(proof: &ProofResult) -> Option<Datapath> {
    let row = proof.rows.iter().find(|row| row.axis == DATAPATH && !row.agrees)?;
    row.observed.parse().ok()
}

fn write(proof: &ProofResult, out: &mut impl Write) -> io::Result<()> {
    let ms = proof.took.as_millis();
    match proof.error.as_ref().or(proof.unsupported.as_ref()) {
        Some(why) => writeln!(out, "{}: could not be measured: {}", proof.nat, harmless_lines(why))?,
        None if proof.holds() => writeln!(out, "{}: behaves as declared ({ms} ms)", proof.nat)?,
        None => writeln!(out, "{}: does not behave as declared ({ms} ms)", proof.nat)?,
    }
    let width = proof.rows.iter().map(|row| row.axis.chars().count()).max().unwrap_or(0);
    for row in &proof.rows {
        let (axis, expected, observed) =
            (harmless(&row.axis), harmless(&row.expected), harmless(&row.observed));
        if row.agrees {
            writeln!(out, "  {axis:width$}  {observed}")?;
        } else {
            writeln!(out, "  expected {axis}: {expected}\n  observed {axis}: {observed}")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::model::behavior::Behavior;
    use crate::model::event::ProofRow;

    /// What is said of rules of a user whose NAT shows this on an axis.
    fn advice(axis: NatAxis, observed: &str) -> String {
        advice_on(vec![row(axis, observed)])
    }

    fn row(axis: NatAxis, observed: &str) -> ProofRow {
        ProofRow {
            axis: axis.name().to_owned(),
            expected: Behavior::port_preserving().value(axis),
            observed: observed.to_owned(),
            agrees: false,
        }
    }

    fn advice_on(rows: Vec<ProofRow>) -> String {
        let proof = ProofResult { nat: "mine".to_owned(), rows, ..ProofResult::default() };
        let mut profile = Profile::generated("mine", Behavior::port_preserving());
        profile.ruleset = Ruleset::File("mine.nft".to_owned());
        let own = OwnNats { nats: vec![PathBuf::from("my nats.toml")] };
        let mut out = Vec::new();
        advise(&proof, &profile, &own, &mut out).expect("room");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn only_what_can_be_declared_is_advised() {
        let inherited = "not written in \"mine\", so inherited from \"port-preserving\"\n";
        let measure = "testbed nat measure --nat mine --nats 'my nats.toml'\n";
        let said = advice(NatAxis::InvalidPackets, "leak");
        assert!(
            said.starts_with(&format!("  invalid-packets: {inherited}")) && said.ends_with(measure),
            "{said}"
        );
        assert!(
            said.contains("  help: if this NAT is meant to do so, write invalid-packets = \"leak\"\n"),
            "{said}"
        );
        // Not with overloading; and the second is no value.
        for (axis, observed) in
            [(NatAxis::Filtering, "address-dependent"), (NatAxis::Hairpinning, "at times")]
        {
            let said = advice(axis, observed);
            assert!(
                said.contains(inherited) && said.ends_with(measure) && !said.contains("so, write "),
                "{said}"
            );
        }
    }

    #[test]
    fn where_the_datapath_is_another_nothing_else_is_advised() {
        let datapath = |observed: &str| ProofRow {
            axis: "datapath".to_owned(),
            expected: "conntrack".to_owned(),
            observed: observed.to_owned(),
            agrees: false,
        };
        let syn_after_syn = || row(NatAxis::SynAfterSyn, "drop");
        let said = advice_on(vec![syn_after_syn(), datapath("packets")]);
        assert!(said.contains("write datapath = \"packets\" and prove it again\n"), "{said}");
        assert_eq!(said.matches("help: ").count(), 1, "{said}");
        let said = advice_on(vec![syn_after_syn(), datapath("nothing gets out")]);
        assert!(
            said.contains("write syn-after-syn = \"drop\"") && !said.contains("write datapath"),
            "{said}"
        );
    }
}
