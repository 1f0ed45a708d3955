//! The commands that only print: `list`, `plan`, `check`.

use std::io::Write as _;
use std::process::ExitCode;

use crate::cli::args::{PlanArgs, RightsArgs};
use crate::cli::command_error::CommandError;
use crate::cli::kernel;
use crate::cli::output::print;
use crate::cli::select;
use crate::kernel::{preflight, user_namespace};
use crate::model::catalogue::Catalogue;
use crate::model::embedded::{SUITES, TOPOLOGIES};
use crate::model::{prediction, topology_file};
use crate::probe::kernel_checks;
use crate::report::machine;
use crate::report::plan::Plan;

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

/// `testbed check`: exit code 0 when labs can be built, else 2.
///
/// # Errors
/// When standard output cannot be written.
pub fn check(rights: RightsArgs) -> Result<ExitCode, CommandError> {
    if rights.rootless {
        user_namespace::enter_user_namespace()?;
    }
    let findings = preflight::look();
    print(|out| machine::write(&findings, out))?;
    Ok(if preflight::is_sufficient(&findings) { ExitCode::SUCCESS } else { ExitCode::from(2) })
}
