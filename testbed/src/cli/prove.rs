//! `testbed nat prove`: does each NAT do what the catalogue declares?

use std::io::{self, Write};
use std::process::ExitCode;

use futures::StreamExt as _;
use futures::stream;

use crate::cli::args::{ProveArgs, WantedNats};
use crate::cli::command_error::CommandError;
use crate::cli::interrupt;
use crate::cli::output::print;
use crate::model::event::ProofResult;
use crate::probe::prove::{Depth, Subject, prove};
use crate::report::escape::{harmless, harmless_lines};

/// NATs that are proved at the same time: most of a full proof is waiting for timers.
const AT_ONCE: usize = 24;

/// `testbed nat prove`: exit code 0 when every NAT does what it declares, 1 when one does something else, 2 when one
/// could not be measured, 3 when it was interrupted before any of these.
///
/// # Errors
/// When there is no such NAT, or nothing can be measured here.
pub fn run(args: &ProveArgs) -> Result<ExitCode, CommandError> {
    let subjects = subjects(&args.wanted)?;
    let runtime = interrupt::runtime(args.rights.into())?;
    let depth = if args.quick { Depth::Quick } else { Depth::Full };
    let mut codes = Vec::new();
    let all = async {
        let mut proofs =
            stream::iter(subjects.into_iter().map(|subject| prove(subject, depth))).buffered(AT_ONCE);
        while let Some(proof) = proofs.next().await {
            codes.push(exit_code(&proof));
            print(|out| write(&proof, out))?;
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
