//! `testbed run`: everything checked, then each suite run, recorded and shown.

use std::collections::BTreeSet;
use std::io;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::cli::args::RunArgs;
use crate::cli::baseline::{self, KnownBaseline, SuiteCoverage};
use crate::cli::command_error::CommandError;
use crate::cli::conclude::{Conclusion, conclude, exit_code};
use crate::cli::kernel;
use crate::cli::origin::{self, Owner, Puncher};
use crate::cli::output::charset;
use crate::cli::select::{self, Selected};
use crate::cli::stored_run::RUNS;
use crate::cli::{interrupt, rerun, shard};
use crate::kernel::{limits, processors, user_file};
use crate::lab;
use crate::model::catalogue::Catalogue;
use crate::model::event::Event;
use crate::model::outcome::Verdict;
use crate::model::shard::Shard;
use crate::model::template;
use crate::report::folder::Folder;
use crate::report::progress::Progress;
use crate::report::recorder::{RecordedRun, Recorder};
use crate::report::results::{EndingDoc, VerdictDoc};
use crate::run::capacity;
use crate::run::{self, Cancel, RunRequest};

/// Trials at the same time on each processor, unless told otherwise: as many as the limits of this machine let fit, between these
/// two. Nearly all of a trial is waiting; what more of them would gain, the labs that they need would cost.
const LEAST_JOBS: usize = 16;
const MOST_JOBS: usize = 128;

/// One suite, checked and ready to be run.
#[derive(Debug)]
struct Prepared {
    name: String,
    known: Option<KnownBaseline>,
    what: RunKind,
}

/// What is run.
#[derive(Debug)]
enum RunKind {
    /// Cells of a suite.
    Suite(Box<(Selected, Shard, Puncher)>),
    /// The checks of the kernel.
    Kernel,
}

/// `testbed run`.
///
/// # Errors
/// When something is wrong with what was asked for, or nothing can be run here.
pub fn run(args: &RunArgs) -> Result<ExitCode, CommandError> {
    let catalogue = args.selection.nats.catalogue()?;
    refuse_what_needs_one_suite(args)?;
    let prepare = |name: &String| prepare(name, args, &catalogue);
    let prepared = args.selection.suites.iter().map(prepare).collect::<Result<Vec<_>, _>>()?;
    refuse_same_folders(args, &prepared)?;
    // Where there is hardly room for anything, setting up would fail first, and not say at which limit.
    limits::raise_descriptor_limit()?;
    prepared.iter().try_for_each(require_room)?;
    // What needs rights is tried before anything is written.
    let runtime = lab::setup(args.rights.into())?;
    let detail = args.verbosity.detail();
    let mut ended: Vec<Conclusion> = Vec::new();
    for one in prepared {
        let folder = folder(out(args, &one.name).as_deref(), &one.name)?;
        let recorded = match one.what {
            RunKind::Suite(suite) => record_suite(*suite, folder, args, (&catalogue, &runtime))?,
            RunKind::Kernel => kernel::record(folder, args, &runtime)?,
        };
        let conclusion = conclude(recorded, one.known, &args.accepted, detail)?;
        let stop = conclusion.results.ending == EndingDoc::Interrupted
            || args.fail_fast && conclusion.status.is_red();
        ended.push(conclusion);
        if stop {
            break;
        }
    }
    exit_code(&ended, &args.accepted)
}

/// Whether at least one trial fits into what this process may have.
fn require_room(prepared: &Prepared) -> Result<(), CommandError> {
    match &prepared.what {
        RunKind::Suite(suite) => Ok(capacity::require_one(&suite.0.suite)?),
        RunKind::Kernel => Ok(()),
    }
}

/// A baseline, and a run to be run again, are of one suite.
fn refuse_what_needs_one_suite(args: &RunArgs) -> Result<(), CommandError> {
    let given = [(args.baseline.is_some(), "--baseline"), (args.rerun.is_some(), "--rerun")];
    match given.into_iter().find(|(given, _)| *given && args.selection.suites.len() > 1) {
        Some((_, option)) => {
            let message = format!("cannot use {option} with several suites: its file is of one");
            Err(CommandError::with_help(message, "run each suite by a command of its own"))
        }
        None => Ok(()),
    }
}

/// Two suites of the same name cannot go to the same folder.
fn refuse_same_folders(args: &RunArgs, prepared: &[Prepared]) -> Result<(), CommandError> {
    let mut names = BTreeSet::new();
    match prepared.iter().find(|one| !names.insert(&one.name)) {
        Some(twice) if args.out.is_some() => Err(CommandError::new(format!(
            "cannot record the suite \"{}\" twice in the folder that --out names",
            twice.name
        ))),
        _ => Ok(()),
    }
}

/// Checks everything that can be checked of a suite before anything runs.
fn prepare(name: &str, args: &RunArgs, catalogue: &Catalogue) -> Result<Prepared, CommandError> {
    let known =
        |suite: &str| args.baseline.as_deref().map(|file| baseline::of_suite(file, suite)).transpose();
    if name == kernel::SUITE {
        kernel::refuse_unfit(args)?;
        let known = known(kernel::SUITE)?;
        return Ok(Prepared { name: kernel::SUITE.to_owned(), known, what: RunKind::Kernel });
    }
    let selected = select::select(name, &args.selection, catalogue)?;
    let selected = match args.rerun.as_deref() {
        Some(run) => rerun::only_unexpected(selected, run)?,
        None => selected,
    };
    let (selected, part) = shard::take(selected, args.shard, catalogue)?;
    let puncher = puncher(args.puncher.as_deref(), &selected)?;
    let name = selected.suite.name.clone();
    let known = known(&name)?.map(|known| known.for_run_of(extent(args)));
    Ok(Prepared { name, known, what: RunKind::Suite(Box::new((selected, part, puncher))) })
}

/// How much of the suite is asked for.
fn extent(args: &RunArgs) -> SuiteCoverage {
    let selection = &args.selection;
    let changed = !selection.filter.is_empty() || selection.method.is_some() || !selection.instead.is_empty();
    let whole = !changed && args.shard.is_none();
    if whole && args.rerun.is_none() { SuiteCoverage::Whole } else { SuiteCoverage::Narrowed }
}

/// Where the run of a suite goes, if that was said: of several, each into a folder below.
fn out(args: &RunArgs, suite: &str) -> Option<PathBuf> {
    let several = args.selection.suites.len() > 1;
    args.out.as_ref().map(|out| if several { out.join(suite) } else { out.clone() })
}

fn record_suite(
    (selected, part, puncher): (Selected, Shard, Puncher),
    folder: Folder,
    args: &RunArgs,
    (catalogue, runtime): (&Catalogue, &Runtime),
) -> Result<RecordedRun, CommandError> {
    let fitting = capacity::capacity(&selected.suite)?.trials;
    let origin = origin::of_run(Some((&selected.suite, &puncher)));
    let recorder = Recorder::new(folder, origin, Progress::on_stderr(args.verbosity.detail(), charset()));
    let request = RunRequest {
        suite: selected.suite,
        part,
        until_sure: args.until_sure.map(NonZeroU32::get),
        cells: selected.cells,
        catalogue: catalogue.clone(),
        jobs: args.jobs.map_or(default_jobs(fitting), |jobs| jobs.get() as usize),
        seed: args.seed.unwrap_or_else(|| if args.shard.is_some() { 1 } else { clock_seed() }),
        puncher: puncher.path,
        keep: args.keep.into(),
        mutation: None,
    };
    let policy = if args.fail_fast { StopPolicy::AtFirstRed } else { StopPolicy::AtTheEnd };
    record(request, recorder, runtime, policy)
}

/// How far a run goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StopPolicy {
    AtTheEnd,
    /// Until a cell differs or is an error.
    AtFirstRed,
}

/// Runs, and records what happens until the end or until Ctrl-C.
fn record(
    request: RunRequest,
    mut recorder: Recorder,
    runtime: &Runtime,
    policy: StopPolicy,
) -> Result<RecordedRun, CommandError> {
    let (stop, cancel) = Cancel::new();
    let stop = Arc::new(stop);
    let run = runtime.block_on(async {
        let wish = Arc::clone(&stop);
        tokio::spawn(async move {
            interrupt::wanted().await;
            let _ = wish.send(true);
        });
        run::run(request, cancel, |event| {
            recorder.event(&event);
            if policy == StopPolicy::AtFirstRed {
                stop_at_red(&event, &stop, &mut recorder);
            }
        })
        .await
    });
    let error = match run {
        Ok(_) => return Ok(recorder.finish()),
        Err(error) => CommandError::from(error),
    };
    match recorder.has_begun() {
        true => drop(recorder.finish()),
        false => recorder.discard(),
    }
    Err(error)
}

/// Stops the run at its first cell that differs or is an error.
fn stop_at_red(event: &Event, stop: &watch::Sender<bool>, recorder: &mut Recorder) {
    let Event::CellFinished(cell) = event else { return };
    if matches!(cell.verdict, Verdict::Differs | Verdict::Error) && !stop.send_replace(true) {
        let id = &cell.cell.id;
        let verdict = VerdictDoc::from(cell.verdict).words();
        recorder.event(&Event::Warning(format!("--fail-fast ended the run at {id} ({verdict})")));
    }
}

/// The puncher that was named, or the one beside this program, or the one in `PATH`.
fn puncher(named: Option<&Path>, selected: &Selected) -> Result<Puncher, CommandError> {
    let programs = selected.suite.parts.iter().map(|part| &part.program);
    let mut words = programs.flat_map(|program| program.commands().flatten());
    if !words.any(|word| template::uses(word, "puncher")) {
        return Ok(Puncher { path: named.unwrap_or(Path::new("puncher")).to_owned(), owner: Owner::User });
    }
    if let Some(named) = named {
        return Ok(Puncher { path: named_puncher(named)?, owner: Owner::User });
    }
    let beside = std::env::current_exe().ok().map(|exe| exe.with_file_name("puncher"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).map(|folder| folder.join("puncher"));
    let found = beside.into_iter().chain(in_path).find(|candidate| candidate.is_file()).ok_or_else(|| {
        CommandError::with_help(
            "cannot find puncher beside testbed or in PATH",
            "cargo build --release builds both; --puncher PATH names another",
        )
    })?;
    Ok(Puncher { path: found, owner: Owner::Testbed })
}

/// The program that was named, as programs are started: whatever folder they start in.
fn named_puncher(named: &Path) -> Result<PathBuf, CommandError> {
    let refuse = |why: &str, help: String| {
        CommandError::with_help(format!("cannot run the puncher \"{}\": {why}", named.display()), help)
    };
    if named.is_dir() {
        let inside = named.join("puncher");
        let help = match inside.is_file() {
            true => format!("--puncher takes the program itself: --puncher {}", inside.display()),
            false => "--puncher takes the path of a program".to_owned(),
        };
        return Err(refuse("it is a folder", help));
    }
    match std::path::absolute(named).ok().filter(|path| path.is_file()) {
        Some(path) => Ok(path),
        None => Err(refuse("there is no such file", "--puncher takes the path of a program".to_owned())),
    }
}

pub(super) fn folder(out: Option<&Path>, suite: &str) -> Result<Folder, CommandError> {
    let (made, path) = match out {
        Some(path) => (Folder::create(path), path),
        None => (Folder::create_numbered(Path::new(RUNS), suite), Path::new(RUNS)),
    };
    made.map_err(|why| cannot_record(path, &why))
}

/// Why a run cannot have this folder.
pub(super) fn cannot_record(path: &Path, why: &io::Error) -> CommandError {
    let message = format!("cannot record the run in \"{}\": {}", path.display(), user_file::words(why));
    let help = match why.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "name a folder on a disk that has room: --out DIR"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "name a folder that you can write to: --out DIR"
        }
        _ => "name a folder that is empty or does not exist yet: --out DIR",
    };
    CommandError::with_help(message, help)
}

/// How many trials run at the same time, unless told otherwise, where this many fit: so few only if this machine is to tell what
/// limits it.
pub(super) fn default_jobs(fitting: usize) -> usize {
    let processors = processors::count();
    fitting.clamp(processors * LEAST_JOBS, processors * MOST_JOBS)
}

/// A seed for those who do not care: recorded in the results, so that the run can be repeated.
fn clock_seed() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_cannot_be_had_says_which_could() {
        for (why, help) in [
            (io::ErrorKind::StorageFull, "on a disk that has room"),
            (io::ErrorKind::QuotaExceeded, "on a disk that has room"),
            (io::ErrorKind::PermissionDenied, "that you can write to"),
            (io::ErrorKind::ReadOnlyFilesystem, "that you can write to"),
            (io::ErrorKind::AlreadyExists, "that is empty or does not exist yet"),
        ] {
            let said = cannot_record(Path::new("out"), &why.into()).to_string();
            assert!(said.ends_with(&format!("\n  help: name a folder {help}: --out DIR")), "{said}");
        }
    }
}
