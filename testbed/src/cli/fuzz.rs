//! `testbed fuzz-nat`: random packets through real NATs, held against the reference.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::cli::args::FuzzArgs;
use crate::cli::command_error::CommandError;
use crate::cli::output::print;
use crate::cli::prove;
use crate::lab;
use crate::probe::fuzz::{Disagreement, FuzzReport, fuzz};

/// `testbed fuzz-nat`: exit code 0 when the reference agrees with every NAT, 1 when it does not with one.
///
/// # Errors
/// When there is no such NAT, or nothing can be measured here.
pub fn run(args: &FuzzArgs) -> Result<ExitCode, CommandError> {
    let subjects = prove::subjects(&args.wanted)?;
    let runtime = lab::setup(args.rights.into())?;
    let time = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |time| time.as_secs());
    let seed = args.seed.unwrap_or_else(time);
    let mut code = ExitCode::SUCCESS;
    for subject in subjects {
        let report = runtime.block_on(fuzz(subject, seed, args.time))?;
        if report.disagreement.is_some() {
            code = ExitCode::from(1);
        }
        print(|out| write(&report, seed, out))?;
    }
    Ok(code)
}

fn write(report: &FuzzReport, seed: u64, out: &mut impl Write) -> io::Result<()> {
    let FuzzReport { nat, sequences, judged, either, not_judged, disagreement } = report;
    writeln!(
        out,
        "{nat}: {sequences} sequences, {judged} packets judged, {either} either, {not_judged} not judged, seed {seed}"
    )?;
    let Some(Disagreement { ladder, contradiction }) = disagreement else { return Ok(()) };
    writeln!(out, "  the reference and the NAT do not agree: {}", contradiction.sentence)?;
    ladder.iter().try_for_each(|line| writeln!(out, "  {line}"))
}
