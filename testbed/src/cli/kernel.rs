//! `testbed run kernel`: what the kernel's own NAT does, check by check; `testbed kernels`: several such runs in a table.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use tokio::runtime::Runtime;

use crate::cli::args::{KernelsArgs, RunArgs};
use crate::cli::command_error::CommandError;
use crate::cli::origin;
use crate::cli::output::{charset, print};
use crate::cli::stored_run::read_run;
use crate::model::event::{Event, Forecast, RunEnd, RunInfo};
use crate::model::shard::Shard;
use crate::probe::kernel_checks;
use crate::report::folder::Folder;
use crate::report::kernels;
use crate::report::progress::Progress;
use crate::report::recorder::{RecordedRun, Recorder};
use crate::run::environment::environment;

/// The name under which `run` finds the checks.
pub const SUITE: &str = "kernel";

/// What they are, in one sentence.
pub(super) const SUMMARY: &str = "what the kernel's own NAT does";

/// Checks at the same time. Some fill thousands of ports; none waits.
const AT_ONCE: usize = 2;

/// Refuses what checks without axes cannot take.
///
/// # Errors
/// Which option that is.
pub(super) fn refuse_unfit(args: &RunArgs) -> Result<(), CommandError> {
    let unfit = [
        (args.shard.is_some(), "--shard"),
        (args.until_sure.is_some(), "--until-sure"),
        (args.rerun.is_some(), "--rerun"),
        (args.selection.trials.is_some(), "--trials"),
        (args.selection.method.is_some(), "--method"),
        (!args.selection.filter.is_empty(), "--filter"),
    ];
    match unfit.into_iter().find(|(given, _)| *given) {
        Some((_, option)) => {
            let message = format!("cannot use {option} with the suite \"{SUITE}\": its checks have no axes");
            Err(CommandError::new(message))
        }
        None => Ok(()),
    }
}

/// Makes the checks and records what came of them.
///
/// # Errors
/// When the run cannot be recorded.
pub(super) fn record(folder: Folder, args: &RunArgs, runtime: &Runtime) -> Result<RecordedRun, CommandError> {
    let progress = Progress::on_stderr(args.verbosity.detail(), charset());
    let mut recorder = Recorder::new(folder, origin::of_run(None), progress);
    let began = Instant::now();
    let environment = environment(None);
    let kernel = environment.kernel.clone();
    let checks: Vec<_> = kernel_checks::checks().collect();
    recorder.event(&Event::RunStarted(RunInfo {
        suite: SUITE.to_owned(),
        summary: SUMMARY.to_owned(),
        cells: Vec::new(),
        part: Shard::whole([]),
        trials: 1,
        trials_in_all: checks.len() as u64,
        forecast: Forecast::default(),
        nats: 0,
        jobs: AT_ONCE,
        seed: args.seed.unwrap_or_default(),
        environment,
    }));
    runtime.block_on(kernel_checks::run(checks, &kernel, AT_ONCE, |check| {
        recorder.event(&Event::KernelChecked(check));
    }));
    recorder.event(&Event::RunFinished { ending: RunEnd::Complete, took: began.elapsed() });
    Ok(recorder.finish())
}

/// `testbed kernels`.
///
/// # Errors
/// When a run cannot be read, or has no checks of the kernel.
pub fn table(args: &KernelsArgs) -> Result<ExitCode, CommandError> {
    let runs = args.runs.iter().map(|run| read_run(run)).collect::<Result<Vec<_>, _>>()?;
    let table = kernels::table(&runs.iter().collect::<Vec<_>>());
    if table.is_empty() {
        let message = "none of these runs has checks of the kernel";
        return Err(CommandError::with_help(message, "testbed run kernel makes them"));
    }
    print(|out| out.write_all(table.trim_start().as_bytes()))
}
