//! `testbed run kernel`: what the kernel's own NAT does, check by check; `testbed kernels`: several such runs in a table.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use crate::cli::args::{KernelsArgs, RunArgs};
use crate::cli::baseline;
use crate::cli::command_error::CommandError;
use crate::cli::output::print;
use crate::cli::run as suite;
use crate::lab;
use crate::model::event::{Ending, Event, RunInfo};
use crate::model::shard::Shard;
use crate::probe::kernel_checks;
use crate::report::recorder::Recorder;
use crate::report::{folder, kernels};
use crate::run::environment::environment;

/// The name under which `run` finds the checks.
pub const SUITE: &str = "kernel";

/// Checks at the same time. Some fill thousands of ports; none waits.
const AT_ONCE: usize = 2;

/// `testbed run kernel`: exit codes as for any run.
///
/// # Errors
/// When something is wrong with what was asked for, or nothing can be run here.
pub fn run(args: &RunArgs) -> Result<ExitCode, CommandError> {
    let unfit = [
        (args.shard.is_some(), "--shard"),
        (args.until_sure.is_some(), "--until-sure"),
        (args.selection.trials.is_some(), "--trials"),
        (args.selection.method.is_some(), "--method"),
        (!args.selection.filter.is_empty(), "--filter"),
    ];
    if let Some((_, option)) = unfit.into_iter().find(|(given, _)| *given) {
        let message = format!("cannot use {option} with the suite \"{SUITE}\": its checks have no axes");
        return Err(CommandError::new(message));
    }
    let known = args.baseline.as_deref().map(|file| baseline::of_suite(file, SUITE)).transpose()?;
    let runtime = lab::setup(args.rights.into())?;
    let mut recorder = Recorder::new(suite::folder(args.out.as_deref(), SUITE)?);
    let began = Instant::now();
    let environment = environment(None);
    let kernel = environment.kernel.clone();
    let checks: Vec<_> = kernel_checks::checks().collect();
    recorder.event(&Event::RunStarted(RunInfo {
        suite: SUITE.to_owned(),
        cells: Vec::new(),
        part: Shard::whole([]),
        trials: 1,
        trials_in_all: checks.len() as u64,
        jobs: AT_ONCE,
        seed: args.seed.unwrap_or_default(),
        environment,
    }));
    runtime.block_on(kernel_checks::run(checks, &kernel, AT_ONCE, |check| {
        recorder.event(&Event::KernelChecked(check));
    }));
    recorder.event(&Event::RunFinished { ending: Ending::Complete, took: began.elapsed() });
    suite::conclude_with(&recorder.finish(), known, &args.accepted)
}

/// `testbed kernels`.
///
/// # Errors
/// When a run cannot be read, or has no checks of the kernel.
pub fn table(args: &KernelsArgs) -> Result<ExitCode, CommandError> {
    let runs = args.runs.iter().map(|run| folder::read(run)).collect::<Result<Vec<_>, _>>();
    let runs = runs.map_err(CommandError::new)?;
    let table = kernels::table(&runs.iter().collect::<Vec<_>>());
    if table.is_empty() {
        let message = "none of these runs has checks of the kernel";
        return Err(CommandError::with_help(message, "testbed run kernel makes them"));
    }
    print(|out| out.write_all(table.trim_start().as_bytes()))
}
