//! `testbed fuzz-nat`: random packets through real NATs, held against the reference.

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::cli::args::FuzzArgs;
use crate::cli::command_error::CommandError;
use crate::cli::output::print;
use crate::cli::{interrupt, prove};
use crate::probe::fuzz::{Disagreement, FuzzReport, fuzz};

/// `testbed fuzz-nat`: exit code 0 when the reference agrees with every NAT, 1 when it does not with one, 3 when it was
/// interrupted before, 4 when no sequence could be played.
///
/// # Errors
/// When there is no such NAT, or nothing can be measured here.
pub fn run(args: &FuzzArgs) -> Result<ExitCode, CommandError> {
    let subjects = prove::subjects(&args.wanted)?;
    let runtime = interrupt::runtime(args.rights.into())?;
    let time = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |time| time.as_secs());
    let seed = args.seed.unwrap_or_else(time);
    let stop = Arc::new(AtomicBool::new(false));
    let wish = Arc::clone(&stop);
    runtime.spawn(async move {
        interrupt::wanted().await;
        wish.store(true, Ordering::Relaxed);
    });
    let mut codes = Vec::new();
    for subject in subjects {
        let report = runtime.block_on(fuzz(subject, seed, args.time, Arc::clone(&stop)))?;
        let interrupted = stop.load(Ordering::Relaxed);
        codes.push(match (&report.disagreement, interrupted, report.sequences) {
            (Some(_), ..) => 1,
            (None, true, _) => interrupt::CODE,
            (None, false, 0) => 4,
            (None, false, _) => 0,
        });
        print(|out| write(&report, seed, out))?;
        if interrupted {
            interrupt::tell();
            break;
        }
    }
    let code = [1, interrupt::CODE, 4].into_iter().find(|code| codes.contains(code)).unwrap_or(0);
    Ok(ExitCode::from(code))
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
