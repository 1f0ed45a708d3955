//! `testbed fuzz-nat`: random packets through real NATs, held against the reference.

use std::io::{self, Write};
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use crate::cli::args::FuzzArgs;
use crate::cli::command_error::CommandError;
use crate::cli::output::{print, print_error};
use crate::cli::{interrupt, prove};
use crate::kernel::error::Error;
use crate::probe::fuzz::{Disagreement, FuzzReport, fuzz};

/// `testbed fuzz-nat`: exit code 0 when the reference agrees with every NAT, 1 when it does not with one, 2 when one could not be
/// compared, 3 when it was interrupted before, 4 when no sequence could be played. What was found of the others is told all the same.
///
/// # Errors
/// When there is no such NAT, or nothing can be measured here.
pub fn run(args: &FuzzArgs) -> Result<ExitCode, CommandError> {
    let subjects = prove::subjects(&args.wanted)?;
    let runtime = interrupt::runtime(args.rights.into())?;
    let time = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |time| time.as_secs());
    let seed = args.seed.unwrap_or_else(time);
    let (codes, whole) = runtime.block_on(async {
        // One for all NATs: no wish is missed between two of them.
        let mut wish = pin!(interrupt::wanted());
        let mut codes = Vec::new();
        for subject in subjects {
            let seen = Arc::new(Mutex::new(FuzzReport::of(&subject.name)));
            let done = tokio::select! {
                done = fuzz(subject, seed, args.time, &seen) => Some(done),
                () = &mut wish => None,
            };
            let report = seen.lock().clone();
            codes.extend(tell(&report, seed, done.as_ref())?);
            if done.is_none() {
                interrupt::tell();
                return Ok((codes, None));
            }
        }
        Ok::<_, CommandError>((codes, Some(())))
    })?;
    Ok(interrupt::exit_code(&codes, whole))
}

/// Tells what was seen of a NAT and how that ended, `None` for an interruption; as exit codes, too.
fn tell(report: &FuzzReport, seed: u64, done: Option<&Result<(), Error>>) -> Result<Vec<u8>, CommandError> {
    let failed = done.and_then(|done| done.as_ref().err());
    if failed.is_none() || report.sequences > 0 {
        print(|out| write(report, seed, out))?;
    }
    if let Some(why) = failed {
        let what = format!("cannot compare \"{}\" with the reference", report.nat);
        print_error(&CommandError::because(what, why).to_string());
    }
    let ending = match (done, report.sequences) {
        (Some(Err(_)), _) => 2,
        (Some(Ok(())), 0) => 4,
        (Some(Ok(())) | None, _) => 0,
    };
    Ok(vec![ending, u8::from(report.disagreement.is_some())])
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
