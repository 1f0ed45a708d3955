//! The commands that only print: `list`, `plan`, `check`.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;

use serde::Serialize;

use crate::cli::args::{CheckArgs, ListArgs, PlanArgs};
use crate::cli::catalogue::profile;
use crate::cli::command_error::CommandError;
use crate::cli::output::{list_width, print, print_data};
use crate::cli::run;
use crate::cli::select::{self, Selected};
use crate::cli::{kernel, nat};
use crate::kernel::preflight::{Finding, State};
use crate::kernel::{host, preflight, processors, user_namespace};
use crate::lab::nat_source;
use crate::model::catalogue::Catalogue;
use crate::model::embedded::{SUITES, TOPOLOGIES};
use crate::model::plural::counted;
use crate::model::suite::{AxisKey, Cell, Section, Suite};
use crate::model::{prediction, topology_file};
use crate::probe::kernel_checks;
use crate::probe::support::{self, MissingRule};
use crate::report::lines;
use crate::report::machine::{self, LabsHere};
use crate::report::plan::{KernelPlan, Plan, PlannedCheck};
use crate::run::capacity::{self, Capacity};
use crate::run::cost::{self, Places};
use crate::run::{first_words, sandbox, scripts};

/// Columns of the names in a list.
const NAMES: usize = 21;

/// What comes with testbed.
#[derive(Debug, Serialize)]
struct ListDoc {
    suites: Vec<SuiteDoc>,
    topologies: Vec<TopologyDoc>,
}

/// A suite, or the checks of the kernel, which have neither cells nor trials.
#[derive(Debug, Serialize)]
struct SuiteDoc {
    name: String,
    summary: String,
    cells: usize,
    trials: u64,
    checks: usize,
}

#[derive(Debug, Serialize)]
struct TopologyDoc {
    name: String,
    summary: String,
}

/// `testbed list`.
///
/// # Errors
/// When standard output cannot be written.
pub fn list(args: ListArgs) -> Result<ExitCode, CommandError> {
    let listed = listed()?;
    if args.json {
        return print_data(|out| {
            serde_json::to_writer_pretty(&mut *out, &listed)?;
            writeln!(out)
        });
    }
    let width = list_width();
    print(|out| {
        writeln!(out, "suites")?;
        for suite in &listed.suites {
            let SuiteDoc { name, summary, cells, trials, checks } = suite;
            let size = match checks {
                0 => format!("{}, {}", counted(*cells, "cell"), trials_of(*trials)),
                checks => counted(*checks, "check"),
            };
            lines::columns(&format!("  {name}"), (NAMES, &format!("{summary} ({size})")), width, out)?;
        }
        writeln!(out, "topologies")?;
        listed.topologies.iter().try_for_each(|TopologyDoc { name, summary }| {
            lines::columns(&format!("  {name}"), (NAMES, summary), width, out)
        })
    })
}

fn trials_of(count: u64) -> String {
    counted(usize::try_from(count).unwrap_or(usize::MAX), "trial")
}

fn listed() -> Result<ListDoc, CommandError> {
    let catalogue = Catalogue::embedded();
    let mut suites = Vec::new();
    for embedded in SUITES {
        let suite = select::suite(embedded.name, &catalogue)?;
        let cells = suite.cells();
        let trials = cells.iter().map(|cell| u64::from(suite.part(cell).trials)).sum();
        suites.push(SuiteDoc {
            name: suite.name,
            summary: suite.summary,
            cells: cells.len(),
            trials,
            checks: 0,
        });
    }
    suites.push(SuiteDoc {
        name: kernel::SUITE.to_owned(),
        summary: kernel::SUMMARY.to_owned(),
        cells: 0,
        trials: 0,
        checks: kernel_checks::checks().count(),
    });
    let mut topologies = Vec::new();
    for embedded in TOPOLOGIES {
        let topology = topology_file::parse(embedded.file, embedded.text)?;
        topologies.push(TopologyDoc { name: topology.name, summary: topology.summary });
    }
    Ok(ListDoc { suites, topologies })
}

/// What one suite would run.
enum Planned {
    Suite(Selected),
    Kernel(KernelPlan),
}

/// `testbed plan`.
///
/// # Errors
/// When a suite is wrong, no cell is left, a program of the suite cannot be executed or shown what it is to see, a NAT could not
/// remember what a budget allows, or standard output cannot be written.
pub fn plan(args: &PlanArgs) -> Result<ExitCode, CommandError> {
    let catalogue = args.selection.nats.catalogue()?;
    let planned = |name: &String| match name.as_str() {
        kernel::SUITE => Ok(Planned::Kernel(kernel_plan())),
        name => select::select(name, &args.selection, &catalogue).map(Planned::Suite),
    };
    let planned = args.selection.suites.iter().map(planned).collect::<Result<Vec<_>, _>>()?;
    if args.json {
        let docs: Vec<serde_json::Value> = planned
            .iter()
            .map(|one| match one {
                Planned::Suite(selected) => of_suite(selected, &catalogue).to_json(),
                Planned::Kernel(plan) => plan.to_json(),
            })
            .collect();
        print_data(|out| {
            match docs.as_slice() {
                [one] => serde_json::to_writer_pretty(&mut *out, one)?,
                several => serde_json::to_writer_pretty(&mut *out, several)?,
            }
            writeln!(out)
        })?;
        return feasible(&planned, &catalogue);
    }
    let width = list_width();
    print(|out| {
        for (number, one) in planned.iter().enumerate() {
            if number > 0 {
                writeln!(out)?;
            }
            match one {
                Planned::Suite(selected) => of_suite(selected, &catalogue).write(width, out)?,
                Planned::Kernel(plan) => plan.write(width, out)?,
            }
        }
        Ok(())
    })?;
    feasible(&planned, &catalogue)
}

/// An error where a program of a suite cannot be executed or shown what it is to see, a NAT of its cells has no rules or no program, or
/// could not remember what a budget allows.
fn feasible(planned: &[Planned], catalogue: &Catalogue) -> Result<ExitCode, CommandError> {
    let suites = || {
        planned.iter().filter_map(|one| match one {
            Planned::Suite(selected) => Some(selected),
            Planned::Kernel(_) => None,
        })
    };
    let no_program = |part: &Arc<Section>, folder: Option<&Path>| {
        first_words::obstacle(&part.program, None).or_else(|| scripts::obstacle(&part.program, folder))
    };
    let no_room = |suite: &Suite, cell: &Cell| {
        let why = capacity::shortage_of_sets(suite.part(cell), cell, catalogue)?;
        Some(format!("cannot run the cell {}: {why}", cell.id))
    };
    let mut obstacles = suites().filter_map(|Selected { suite, cells }| {
        let program = suite.parts.iter().find_map(|part| no_program(part, suite.folder.as_deref()));
        program.or_else(|| cells.iter().find_map(|cell| no_room(suite, cell)))
    });
    if let Some(why) = obstacles.next() {
        return Err(CommandError::new(why));
    }
    if let Some(error) = suites().find_map(|selected| sandbox::obstacle(&selected.suite)) {
        return Err(error.into());
    }
    let values = suites().flat_map(|selected| &selected.cells).flat_map(|cell| &cell.values);
    let names = values.filter(|(key, _)| matches!(key, AxisKey::Nat(_))).map(|(_, name)| name);
    for name in names.collect::<BTreeSet<_>>() {
        let config = nat::config(profile(catalogue, name)?)?;
        if let Some(error) = nat_source::obstacle(&config) {
            return Err(error.into());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn of_suite<'a>(selected: &'a Selected, catalogue: &Catalogue) -> Plan<'a> {
    let expect = |cell| (cell, prediction::expect(&selected.suite, cell, catalogue));
    Plan { suite: &selected.suite, cells: selected.cells.iter().map(expect).collect() }
}

/// What the suite kernel asks of this machine's kernel.
fn kernel_plan() -> KernelPlan {
    let running = host::kernel_release();
    let release = kernel_checks::release(&running);
    let planned = |check: &kernel_checks::CheckSpec| {
        let ((major, minor), expected) = check.expected_of(release);
        PlannedCheck {
            id: check.id.to_owned(),
            asks: check.asks.to_owned(),
            packets: check.packets.to_owned(),
            expected: expected.join(" or "),
            since: (major > 0).then(|| format!("{major}.{minor}")),
        }
    };
    KernelPlan {
        suite: kernel::SUITE.to_owned(),
        summary: kernel::SUMMARY.to_owned(),
        kernel: running,
        checks: kernel_checks::checks().map(planned).collect(),
    }
}

/// `testbed check`: exit code 0 when labs can be built, and a trial of the suite fits if one is named; else 2.
///
/// # Errors
/// When the suite is wrong, or standard output cannot be written.
pub fn check(args: &CheckArgs) -> Result<ExitCode, CommandError> {
    let catalogue = Catalogue::embedded();
    let suite = args.suite.as_deref().map(|name| select::suite(name, &catalogue)).transpose()?;
    suite.iter().for_each(select::tell_doubts);
    if args.rights.rootless {
        user_namespace::enter_user_namespace()?;
    }
    let mut findings = preflight::look();
    if preflight::is_sufficient(&findings) {
        findings.push(nats_of_this_kernel(&catalogue)?);
    }
    let sufficient = preflight::is_sufficient(&findings);
    let labs = match sufficient {
        true => LabsHere::Possible,
        false if !args.rights.rootless && is_possible_rootless() => LabsHere::OnlyRootless,
        false => LabsHere::Impossible,
    };
    print(|out| machine::write(&findings, labs, list_width(), out))?;
    let mut fits = true;
    if let Some(mut suite) = suite {
        if let Some(trials) = args.trials {
            suite.change_sections(|part| part.trials = trials.get());
        }
        let (line, one_fits) = extent(&suite, &catalogue)?;
        fits = one_fits;
        print(|out| lines::write_behind(0, &line, "  ", list_width(), out))?;
    }
    Ok(if fits && sufficient { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

/// Whether labs could be built with --rootless: this program finds out in a process of its own, since a user namespace is
/// entered once and for all.
fn is_possible_rootless() -> bool {
    let Ok(program) = std::env::current_exe() else { return false };
    let mut again = Command::new(program);
    let quiet =
        again.args(["check", "--rootless"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    quiet.status().is_ok_and(|status| status.success())
}

/// How many NATs of the catalogue this kernel has the code for, and which rules the others miss.
fn nats_of_this_kernel(catalogue: &Catalogue) -> Result<Finding, CommandError> {
    let missing = support::missing_rules(catalogue)?;
    let all = catalogue.profiles().count();
    let absent: usize = missing.iter().map(|rule| rule.nats.len()).sum();
    let lacks = missing.iter().map(|MissingRule { rule, nats }| format!("; no {}: {rule}", nats.join(", ")));
    let (state, seen) = match absent {
        0 => (State::Works, format!("all {all} that come with testbed")),
        _ => (State::Absent, format!("{} of {all}{}", all - absent, lacks.collect::<String>())),
    };
    Ok(Finding {
        what: "NATs",
        state,
        seen,
        how: "their rules are checked by the kernel",
        needed_for: "cells with these NATs, which are skipped without",
        help: None,
    })
}

/// How many trials of a suite can run at the same time and how long all of them take, as a line, and whether any fits.
fn extent(suite: &Suite, catalogue: &Catalogue) -> Result<(String, bool), CommandError> {
    let Capacity { trials: fitting, because } = capacity::capacity(suite)?;
    let name = &suite.name;
    if fitting == 0 {
        return Ok((format!("no trial of the suite {name} fits here: {because}"), false));
    }
    let cells = suite.cells();
    let trials: u64 = cells.iter().map(|cell| u64::from(suite.part(cell).trials)).sum();
    let all = usize::try_from(trials).unwrap_or(usize::MAX);
    let at_a_time = fitting.min(run::default_jobs(fitting)).min(all).max(1);
    let places = Places { trials: at_a_time, processors: processors::count() };
    let forecast = cost::forecast_of_suite(suite, catalogue, &cells, places)?;
    let room = match fitting >= all {
        true => "all could run at the same time".to_owned(),
        false => format!("{} could run at the same time", counted(fitting, "trial")),
    };
    let line = format!(
        "the suite {name}: {}, {}; {room}. With {at_a_time} at a time the run takes about {} s if no other program needs the \
         processors",
        counted(cells.len(), "cell"),
        trials_of(trials),
        forecast.takes.as_secs().max(1)
    );
    Ok((line, true))
}
