//! `testbed conformance`: how far does each NAT do what the RFCs ask?

use std::io::{self, Write};
use std::process::ExitCode;

use futures::StreamExt as _;
use futures::stream;

use crate::cli::args::ConformanceArgs;
use crate::cli::command_error::CommandError;
use crate::cli::interrupt;
use crate::cli::output::print;
use crate::cli::prove::subjects;
use crate::probe::conformance::{Conformance, conform};
use crate::report::escape::{harmless, harmless_lines};

/// NATs that are measured at the same time: most of it is waiting for late answers.
const AT_ONCE: usize = 24;

/// `testbed conformance`: exit code 0 when every NAT passes and fails what its declaration says, 1 when one surprises,
/// 2 when one could not be measured, 3 when it was interrupted before any of these.
///
/// # Errors
/// When there is no such NAT, or nothing can be measured here.
pub fn run(args: &ConformanceArgs) -> Result<ExitCode, CommandError> {
    let subjects = subjects(&args.wanted)?;
    let runtime = interrupt::runtime(args.rights.into())?;
    let mut codes = Vec::new();
    let all = async {
        let mut results = stream::iter(subjects.into_iter().map(conform)).buffered(AT_ONCE);
        while let Some(result) = results.next().await {
            codes.push(exit_code(&result));
            print(|out| write(&result, out))?;
        }
        Ok::<_, CommandError>(())
    };
    let whole = runtime.block_on(interrupt::unless_wanted(all)).transpose()?;
    Ok(interrupt::exit_code(&codes, whole))
}

fn exit_code(result: &Conformance) -> u8 {
    match &result.error {
        Some(_) => 2,
        None => u8::from(!result.checks.iter().all(|checked| checked.as_expected())),
    }
}

fn write(result: &Conformance, out: &mut impl Write) -> io::Result<()> {
    if let Some(why) = &result.error {
        return writeln!(out, "{}: could not be measured: {}", result.nat, harmless_lines(why));
    }
    writeln!(out, "{} ({} ms)", result.nat, result.took.as_millis())?;
    for checked in &result.checks {
        let (check, verdict) = (&checked.check, checked.verdict);
        writeln!(
            out,
            "  {:<34} {:<6}  {verdict:<14}  {}",
            check.id,
            check.level,
            harmless(&checked.observed)
        )?;
        if !checked.as_expected() {
            writeln!(out, "    expected by its declaration: {}", checked.expected)?;
            writeln!(out, "    asked: {}", check.asks)?;
            writeln!(out, "    sent: {}", check.packets)?;
        }
    }
    Ok(())
}
