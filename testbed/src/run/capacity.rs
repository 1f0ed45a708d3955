//! How many trials fit on this machine at a time, by the limits of descriptors, processes and memory. A run that asks for more
//! gets fewer and is told; what does not even fit once is not run.

use crate::kernel::error::Result;
use crate::kernel::limits::{Ceiling, Ceilings, ceilings};
use crate::kernel::processors;
use crate::lab::nat_rules::most_mappings;
use crate::model::axis_value;
use crate::model::catalogue::Catalogue;
use crate::model::suite::{Cell, Section, Suite};
use crate::model::topology::{NodeKind, NodeName, Topology};
use crate::run::prepared_cell::PreparedCell;
use crate::run::request::{RunError, RunRequest};
use crate::run::sandbox;
use crate::run::trial::GRACE;

/// What this process holds open besides labs: streams, results, the wires' engine, the runtime, and what it opens for moments.
const FILES_BESIDES: u64 = 64;

/// Threads of this process: the wires' two, those that enter namespaces for a moment, and as many workers as processors.
const THREADS_BESIDES: u64 = 12;

/// Processes of a program that does as most do; threads for each processor come on top. How many a program may have is
/// another matter, and is in `sandbox`.
const PROCESSES_OF_A_PROGRAM: u64 = 2;

/// What this process takes besides labs, and a trial: its lab, its evidence, and three programs of the size of an interpreter.
const MEMORY_BESIDES: u64 = 48 << 20;
const MEMORY_OF_A_TRIAL: u64 = 24 << 20;

/// Addresses of this process besides labs, most of them stacks and arenas that are never touched, and of a trial.
const ADDRESSES_BESIDES: u64 = 1 << 30;
const ADDRESSES_OF_A_TRIAL: u64 = 32 << 20;

/// How many trials a limit lets run at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fit {
    ceiling: Ceiling,
    /// What a trial needs of it, and the run besides its trials.
    each: u64,
    besides: u64,
}

impl Fit {
    fn trials(&self) -> usize {
        usize::try_from(self.ceiling.room().saturating_sub(self.besides) / self.each).unwrap_or(usize::MAX)
    }

    /// The limit with its value, and what is needed for one trial.
    fn shortage(&self) -> String {
        let Ceiling { name, limit, used } = &self.ceiling;
        let need = used + self.besides + self.each;
        format!("{name} is {limit}, {used} of it are used, and one trial needs {need} in all")
    }
}

/// How many trials fit at a time, and why not more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capacity {
    /// The number; 0 where not even one fits.
    pub trials: usize,
    /// The limit that is the tightest: its name and value, and what a trial needs.
    pub because: String,
}

/// How many trials of a suite fit at a time.
///
/// # Errors
/// When the kernel does not tell its limits.
pub fn capacity(suite: &Suite) -> Result<Capacity> {
    let fits = fits(&ceilings()?, suite);
    let tightest = fits.iter().min_by_key(|fit| fit.trials());
    let because = tightest.map(Fit::shortage).unwrap_or_default();
    Ok(Capacity { trials: tightest.map_or(usize::MAX, Fit::trials), because })
}

/// Whether at least one trial fits.
///
/// # Errors
/// When none does: with the limit, its value and the need.
pub fn require_one(suite: &Suite) -> std::result::Result<(), RunError> {
    match capacity(suite)? {
        Capacity { trials: 0, because } => Err(RunError::NoRoom(because)),
        _ => Ok(()),
    }
}

/// Fits the number of trials at a time to the machine, and says so where that makes a difference.
///
/// # Errors
/// When not even one trial fits: with the limit, its value and the need.
pub(super) fn fit(request: &mut RunRequest) -> std::result::Result<Option<String>, RunError> {
    require_one(&request.suite)?;
    let Capacity { trials, because } = capacity(&request.suite)?;
    let trials = trials.max(1);
    let fewer = trials < request.jobs;
    request.jobs = request.jobs.min(trials);
    Ok(fewer.then(|| format!("no more than {trials} trials run at a time: {because}")))
}

/// What a program of the cell needs and may not have, if anything: the limit, its value and the need.
pub(super) fn shortage_of_programs(prepared: &PreparedCell, ceilings: &Ceilings) -> Option<String> {
    let need = u64::from(sandbox::least_files(&prepared.part.budget_of(&prepared.cell)));
    let Ceiling { name, limit, .. } = &ceilings.files_of_a_program;
    (*limit < need).then(|| {
        let syns = prepared.part.budget_of(&prepared.cell).syns;
        format!("{name} is {limit}, and each program needs {need} for its budget of {syns} SYNs")
    })
}

/// Mappings that a program makes besides those of its budget: to its servers, and for what it measures there.
const MAPPINGS_BESIDES: u32 = 256;

/// Which NAT of a cell could not remember all that its budget allows, if any: the NAT, its limit and the need.
#[must_use]
pub fn shortage_of_sets(part: &Section, cell: &Cell, catalogue: &Catalogue) -> Option<String> {
    let (topology, syns) = (&part.topology, part.budget_of(cell).syns);
    let longest = part.program.start + part.budget.deadline + GRACE;
    let of_neighbour = (cell.neighbours().unwrap_or_default() * longest.as_secs_f64()).ceil() as u32;
    topology.of_kind(NodeKind::Nat).find_map(|nat| {
        let name = cell.nat(nat)?;
        let limit = most_mappings(&catalogue.get(name)?.behavior)?;
        let below = |hosts: Vec<&NodeName>| -> u32 {
            let is_below = |host: &&&NodeName| topology.nats_above(host).contains(nat);
            u32::try_from(hosts.iter().filter(is_below).count()).unwrap_or(u32::MAX)
        };
        let (neighbours, hosts) = (below(axis_value::neighbours(topology)), below(topology.of_kind(NodeKind::Host).collect()));
        let peers = hosts.saturating_sub(neighbours);
        let need = peers
            .saturating_mul(syns.saturating_add(MAPPINGS_BESIDES))
            .saturating_add(neighbours.saturating_mul(of_neighbour));
        (need > limit).then(|| {
            format!(
                "the NAT \"{name}\" ({nat}) can remember {limit} mappings, and a budget of {syns} SYNs, with what others open \
                 behind it, needs {need}"
            )
        })
    })
}

fn fits(ceilings: &Ceilings, suite: &Suite) -> Vec<Fit> {
    let most = |of: fn(&Section) -> u64| suite.parts.iter().map(|part| of(part)).max().unwrap_or(1).max(1);
    let fit = |ceiling: &Ceiling, each, besides| Fit { ceiling: ceiling.clone(), each, besides };
    let mut fits = vec![fit(&ceilings.files, most(|part| files_of_a_trial(&part.topology)), FILES_BESIDES)];
    let processors = processors::count() as u64;
    for ceiling in &ceilings.processes {
        fits.push(fit(ceiling, most(processes_of_a_trial), THREADS_BESIDES + processors));
    }
    fits.extend(ceilings.memory.iter().map(|ceiling| fit(ceiling, MEMORY_OF_A_TRIAL, MEMORY_BESIDES)));
    let addresses = ceilings.addresses.iter();
    fits.extend(addresses.map(|ceiling| fit(ceiling, ADDRESSES_OF_A_TRIAL, ADDRESSES_BESIDES)));
    fits
}

/// A lab holds a namespace and two descriptors more for each node, a socket for each link that is watched, and two for each
/// node's own init; a trial has pipes of three programs, and some more while it starts them.
fn files_of_a_trial(topology: &Topology) -> u64 {
    5 * topology.nodes.len() as u64 + 16
}

/// The inits of the lab and of the nodes with programs, the programs themselves, a thread for each node while the lab is built,
/// and one for each neighbour.
fn processes_of_a_trial(part: &Section) -> u64 {
    let programs = 1 + part.program.commands().count() as u64;
    let nats = part.topology.of_kind(NodeKind::Nat).count() as u64;
    let neighbours = axis_value::neighbours(&part.topology).len() as u64;
    1 + programs + nats + neighbours + programs * (PROCESSES_OF_A_PROGRAM + processors::count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fit(limit: u64, used: u64) -> Fit {
        Fit { ceiling: Ceiling { name: "pids.max".into(), limit, used }, each: 20, besides: 10 }
    }

    #[test]
    fn what_is_used_and_what_the_run_needs_besides_is_not_there_for_trials() {
        assert_eq!(fit(1000, 0).trials(), 49);
        assert_eq!(fit(1000, 500).trials(), 24);
        assert_eq!([fit(29, 0).trials(), fit(30, 0).trials(), fit(30, 1).trials()], [0, 1, 0]);
    }

    #[test]
    fn a_shortage_names_the_limit_its_value_and_the_need() {
        assert_eq!(
            fit(40, 15).shortage(),
            "pids.max is 40, 15 of it are used, and one trial needs 45 in all"
        );
    }
}
