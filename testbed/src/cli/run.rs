//! `testbed run`: everything checked, then the run, its folder and its table.

use std::io::Write;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::runtime::Runtime;

use crate::cli::args::{Accepted, RunArgs};
use crate::cli::baseline::{self, SuiteCoverage};
use crate::cli::command_error::CommandError;
use crate::cli::output::{print, terminal_width};
use crate::cli::select::{self, Selected};
use crate::cli::shard;
use crate::lab;
use crate::model::template;
use crate::report::exit_status::{ExitStatus, UndecidedReason};
use crate::report::folder::Folder;
use crate::report::recorder::{RecordedRun, Recorder};
use crate::report::terminal;
use crate::run::capacity;
use crate::run::{self, Cancel, RunRequest};

/// Where runs are put that are not told where to go.
const RUNS: &str = "testbed-runs";

/// Trials at the same time on each processor, unless told otherwise: as many as the limits of this machine let fit, between these
/// two. Nearly all of a trial is waiting; what more of them would gain, the labs that they need would cost.
const LEAST_JOBS: usize = 16;
const MOST_JOBS: usize = 128;

/// `testbed run`.
///
/// # Errors
/// When something is wrong with what was asked for, or nothing can be run here.
pub fn run(args: &RunArgs) -> Result<ExitCode, CommandError> {
    let catalogue = args.selection.nats.catalogue()?;
    let selected = select::select(&args.selection, &catalogue)?;
    let (selected, part) = shard::take(selected, args.shard, &catalogue)?;
    let puncher = puncher(args.puncher.as_deref(), &selected)?;
    let known =
        args.baseline.as_deref().map(|file| baseline::of_suite(file, &selected.suite.name)).transpose()?;
    // What needs rights is tried before anything is written.
    let runtime = lab::setup(args.rights.into())?;
    capacity::require_one(&selected.suite).map_err(|why| CommandError::new(why.to_string()))?;
    let fitting = capacity::capacity(&selected.suite)?.trials;
    let folder = folder(args.out.as_deref(), &selected.suite.name)?;
    let request = RunRequest {
        suite: selected.suite,
        part,
        until_sure: args.until_sure.map(NonZeroU32::get),
        cells: selected.cells,
        catalogue,
        jobs: args.jobs.map_or(default_jobs(fitting), |jobs| jobs.get() as usize),
        seed: args.seed.unwrap_or_else(|| if args.shard.is_some() { 1 } else { clock_seed() }),
        puncher,
        keep: args.keep.into(),
    };
    let recorded = record(request, folder, &runtime)?;
    conclude_with(&recorded, known.map(|known| known.for_run_of(extent(args))), &args.accepted)
}

/// Prints the table, compares with what is known, and finds the exit code; the last lines say what is not decided and
/// what to do about it.
///
/// # Errors
/// When something cannot be written.
pub(super) fn conclude_with(
    recorded: &RecordedRun,
    known: Option<baseline::KnownBaseline>,
    accepted: &Accepted,
) -> Result<ExitCode, CommandError> {
    conclude(recorded)?;
    let compared = known.map(|known| baseline::compare(recorded, known)).transpose()?;
    let status = ExitStatus::of_run(&recorded.results, compared.as_ref());
    print(|out| {
        if status.has(UndecidedReason::NoExpectation) {
            terminal::advice(&recorded.results, &recorded.folder, out)?;
        }
        status.explanation(&accepted.allow).map_or(Ok(()), |why| writeln!(out, "{why}"))
    })?;
    Ok(ExitCode::from(status.code(&accepted.allow)))
}

/// How much of the suite is asked for.
fn extent(args: &RunArgs) -> SuiteCoverage {
    let whole = args.selection.filter.is_empty() && args.selection.method.is_none() && args.shard.is_none();
    if whole { SuiteCoverage::Whole } else { SuiteCoverage::Narrowed }
}

/// Runs, and records what happens until the end or until Ctrl-C.
fn record(request: RunRequest, folder: Folder, runtime: &Runtime) -> Result<RecordedRun, CommandError> {
    let mut recorder = Recorder::new(folder);
    let (stop, cancel) = Cancel::new();
    let run = runtime.block_on(async {
        tokio::spawn(async move {
            stop_signal().await;
            let _ = stop.send(true);
        });
        run::run(request, cancel, |event| recorder.event(&event)).await
    });
    let recorded = recorder.finish();
    run.map_err(|error| match error {
        run::RunError::Kernel(error) => CommandError::from(error),
        other => CommandError::new(other.to_string()),
    })?;
    Ok(recorded)
}

/// Waits for Ctrl-C, for the signal that service managers send, or for the end of the terminal.
async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let Ok(mut signals) = kinds.into_iter().map(signal).collect::<Result<Vec<_>, _>>() else {
        return std::future::pending().await;
    };
    let each = signals.iter_mut().map(|signal| Box::pin(signal.recv()));
    futures::future::select_all(each).await;
}

/// Prints the table.
fn conclude(recorded: &RecordedRun) -> Result<(), CommandError> {
    print(|out| {
        terminal::write(&recorded.results, terminal_width(), out)?;
        terminal::hint(&recorded.results, &recorded.folder, out)
    })?;
    if let Some(why) = &recorded.trouble {
        return Err(CommandError::new(format!("cannot write to \"{}\": {why}", recorded.folder.display())));
    }
    Ok(())
}

/// The puncher that was named, or the one beside this program, or the one in `PATH`.
fn puncher(named: Option<&Path>, selected: &Selected) -> Result<PathBuf, CommandError> {
    let programs = selected.suite.parts.iter().map(|part| &part.program);
    let mut words = programs.flat_map(|program| program.commands().flatten());
    if !words.any(|word| template::uses(word, "puncher")) {
        return Ok(named.unwrap_or(Path::new("puncher")).to_owned());
    }
    if let Some(named) = named {
        let found = std::path::absolute(named).ok().filter(|path| path.is_file());
        return found.ok_or_else(|| {
            let message = format!("cannot run the puncher \"{}\": there is no such file", named.display());
            CommandError::with_help(message, "--puncher takes the path of a program")
        });
    }
    let beside = std::env::current_exe().ok().map(|exe| exe.with_file_name("puncher"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).map(|folder| folder.join("puncher"));
    beside.into_iter().chain(in_path).find(|candidate| candidate.is_file()).ok_or_else(|| {
        CommandError::with_help(
            "cannot find puncher beside testbed or in PATH",
            "cargo build --release builds both; --puncher PATH names another",
        )
    })
}

pub(super) fn folder(out: Option<&Path>, suite: &str) -> Result<Folder, CommandError> {
    let (made, path) = match out {
        Some(path) => (Folder::create(path), path),
        None => (Folder::create_numbered(Path::new(RUNS), suite), Path::new(RUNS)),
    };
    made.map_err(|why| {
        let message = format!("cannot record the run in \"{}\": {why}", path.display());
        CommandError::with_help(message, "--out names a folder that is empty or does not exist yet")
    })
}

/// How many trials run at the same time, unless told otherwise, where this many fit: so few only if this machine is to tell what
/// limits it.
pub(super) fn default_jobs(fitting: usize) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    fitting.clamp(processors * LEAST_JOBS, processors * MOST_JOBS)
}

/// A seed for those who do not care: recorded in the results, so that the run can be repeated.
fn clock_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or_default()
}
