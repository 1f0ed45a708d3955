//! The commands that only print: `list`, `plan`, `check`.

use std::io::Write as _;
use std::process::ExitCode;

use crate::cli::args::{CheckArgs, PlanArgs};
use crate::cli::command_error::CommandError;
use crate::cli::kernel;
use crate::cli::output::print;
use crate::cli::run;
use crate::cli::select;
use crate::kernel::{preflight, user_namespace};
use crate::model::catalogue::Catalogue;
use crate::model::embedded::{SUITES, TOPOLOGIES};
use crate::model::suite::Suite;
use crate::model::{prediction, topology_file};
use crate::probe::kernel_checks;
use crate::report::machine;
use crate::report::plan::Plan;
use crate::run::capacity::{self, Capacity};
use crate::run::cost;

/// `testbed list`.
///
/// # Errors
/// When standard output cannot be written.
pub fn list() -> Result<ExitCode, CommandError> {
    let catalogue = Catalogue::embedded();
    let mut lines = vec!["suites".to_owned()];
    for embedded in SUITES {
        let suite = select::suite(embedded.name, &catalogue)?;
        let cells = suite.cells();
        let trials: u64 = cells.iter().map(|cell| u64::from(suite.part(cell).trials)).sum();
        let (name, summary) = (suite.name, suite.summary);
        lines.push(format!("  {name:20} {summary} ({} cells, {trials} trials)", cells.len()));
    }
    let checks = kernel_checks::checks().count();
    lines.push(format!("  {:20} what the kernel's own NAT does ({checks} checks; no plan)", kernel::SUITE));
    lines.push("topologies".to_owned());
    for embedded in TOPOLOGIES {
        let topology = topology_file::parse(embedded.file, embedded.text)?;
        lines.push(format!("  {:20} {}", topology.name, topology.summary));
    }
    print(|out| lines.iter().try_for_each(|line| writeln!(out, "{line}")))
}

/// `testbed plan`.
///
/// # Errors
/// When the suite is wrong, no cell is left, or standard output cannot be written.
pub fn plan(args: &PlanArgs) -> Result<ExitCode, CommandError> {
    let catalogue = args.selection.nats.catalogue()?;
    let selected = select::select(&args.selection, &catalogue)?;
    let expect = |cell| (cell, prediction::expect(&selected.suite, cell, &catalogue));
    let plan = Plan { suite: &selected.suite, cells: selected.cells.iter().map(expect).collect() };
    print(|out| if args.json { plan.write_json(out) } else { plan.write(out) })
}

/// `testbed check`: exit code 0 when labs can be built, and a trial of the suite fits if one is named; else 2.
///
/// # Errors
/// When the suite is wrong, or standard output cannot be written.
pub fn check(args: &CheckArgs) -> Result<ExitCode, CommandError> {
    let catalogue = Catalogue::embedded();
    let suite = args.suite.as_deref().map(|name| select::suite(name, &catalogue)).transpose()?;
    if args.rights.rootless {
        user_namespace::enter_user_namespace()?;
    }
    let findings = preflight::look();
    print(|out| machine::write(&findings, out))?;
    let mut fits = true;
    if let Some(mut suite) = suite {
        if let Some(trials) = args.trials {
            suite.change_sections(|part| part.trials = trials.get());
        }
        let (line, one_fits) = extent(&suite, &catalogue)?;
        fits = one_fits;
        print(|out| writeln!(out, "{line}"))?;
    }
    let sufficient = fits && preflight::is_sufficient(&findings);
    Ok(if sufficient { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

/// How many trials of a suite fit at a time and how long it takes, as a line, and whether any fits.
fn extent(suite: &Suite, catalogue: &Catalogue) -> Result<(String, bool), CommandError> {
    let Capacity { trials: fitting, because } = capacity::capacity(suite)?;
    let name = &suite.name;
    if fitting == 0 {
        return Ok((format!("no trial of the suite {name} fits here: {because}"), false));
    }
    let cells = suite.cells();
    let at_a_time = fitting.min(run::default_jobs(fitting));
    let takes = cost::expected_time_of_all(suite, catalogue, &cells, at_a_time)
        .map_err(|why| CommandError::new(why.to_string()))?;
    let trials: u64 = cells.iter().map(|cell| u64::from(suite.part(cell).trials)).sum();
    let line = format!(
        "the suite {name}: {} cells, {trials} trials; {fitting} trials fit at a time; about {} s with {at_a_time} at a \
         time, longer where processors are busy",
        cells.len(),
        takes.as_secs().max(1)
    );
    Ok((line, true))
}
