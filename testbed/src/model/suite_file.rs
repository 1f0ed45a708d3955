//! A suite as TOML: the serde mirror, and the way from it to a checked [`Suite`], each problem with its line.
//!
//! Reading files is left to the caller, who also says which names exist.

mod addresses;
mod axes;
mod command;
mod expect;
mod program;
mod services;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_spanned::Spanned;
use toml::Value;

use crate::model::addresses::Addresses;
use crate::model::problem::{Checker, Problems};
use crate::model::suite::{Budget, LowPorts, MOST_TRIALS, Program, Section, Suite};
use crate::model::topology::{NodeKind, NodeName, Topology};
use crate::model::{quantity, topology_file};

use axes::{AxesDoc, GroupsDoc, Names};
use expect::ExpectDoc;
use program::ProgramDoc;

pub use program::own_puncher;

/// Trials a cell where the suite does not say.
const DEFAULT_TRIALS: u32 = 20;

/// The most cells of a part: all of them are kept in memory.
const MOST_CELLS: usize = 100_000;

/// The longest name of a suite in bytes: folders and the files of a run are called by it.
const LONGEST_NAME: usize = 100;

/// What a suite may refer to.
#[derive(Clone, Copy)]
pub struct KnownNames<'a> {
    /// Names of the NAT catalogue.
    pub nats: &'a [&'a str],
    /// Methods of the puncher that comes with testbed.
    pub methods: &'a [&'a str],
    /// The file of a topology, as its name and its text, or a sentence that says why there is none.
    pub topology: &'a FindFile<'a>,
    /// What keeps a path of the machine from being shown to programs, if anything.
    pub path: &'a LookAtPath<'a>,
}

/// Looks at a path of the machine as a suite writes it, perhaps with placeholders.
pub type LookAtPath<'a> = dyn Fn(&str, PathKind) -> Result<(), PathProblem> + 'a;

/// What programs are to have of a path of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PathKind {
    /// A file or a folder to read.
    Readable,
    /// A folder to write to.
    Writable,
    /// A folder in place of the machine's root.
    Root,
}

/// Why programs cannot have a path of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathProblem {
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
}

/// Finds a file by the name that a suite gives it.
pub type FindFile<'a> = dyn Fn(&str) -> Result<(String, String), String> + 'a;

impl std::fmt::Debug for KnownNames<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KnownNames").field("nats", &self.nats).field("methods", &self.methods).finish()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct SuiteDoc {
    name: Spanned<String>,
    summary: String,
    topology: Option<Spanned<String>>,
    trials: Option<Spanned<i64>>,
    deadline: Option<Spanned<String>>,
    budget_syns: Option<Spanned<i64>>,
    low_ports: Option<bool>,
    addresses: Option<Spanned<Value>>,
    unordered: Option<Spanned<[Spanned<String>; 2]>>,
    axes: Option<Spanned<AxesDoc>>,
    program: Option<Spanned<ProgramDoc>>,
    #[serde(default)]
    groups: GroupsDoc,
    #[serde(default)]
    expect: Vec<ExpectDoc>,
    part: Option<Vec<PartDoc>>,
}

/// A part; what it leaves out is as the suite says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct PartDoc {
    name: Spanned<String>,
    #[serde(default)]
    summary: String,
    topology: Option<Spanned<String>>,
    trials: Option<Spanned<i64>>,
    deadline: Option<Spanned<String>>,
    budget_syns: Option<Spanned<i64>>,
    low_ports: Option<bool>,
    addresses: Option<Spanned<Value>>,
    unordered: Option<Spanned<[Spanned<String>; 2]>>,
    axes: Spanned<AxesDoc>,
    program: Option<Spanned<ProgramDoc>>,
    #[serde(default)]
    expect: Vec<ExpectDoc>,
}

/// Reads and checks a suite; `file` is the name that problems carry.
///
/// # Errors
/// Everything that is wrong with it, or with a topology that it names.
pub fn parse(file: &str, text: &str, known: &KnownNames<'_>) -> Result<Suite, Problems> {
    let mut checker = Checker::new(file, text);
    let doc: SuiteDoc = checker.read()?;
    axes::check_groups(&mut checker, &doc.groups);
    let start = doc.axes.as_ref().map_or(0, |axes| axes.span().start);
    let parts = match (&doc.part, &doc.axes) {
        (None, Some(axes)) => vec![the_only_part(&mut checker, &doc, axes, known)?],
        (Some(parts), None) if !parts.is_empty() => {
            let read = |part| named_part(&mut checker, &doc, part, known);
            parts.iter().map(read).collect::<Result<_, _>>()?
        }
        (None | Some(_), None) => {
            checker.report(start..start, "a suite has [axes], or a [[part]] with axes");
            Vec::new()
        }
        (Some(_), Some(axes)) => {
            checker.report(axes.span(), "a suite has either axes or parts: give each [[part]] its own");
            Vec::new()
        }
    };
    let parts: Option<Vec<_>> = parts.into_iter().map(|part| part.map(Arc::new)).collect();
    check_suite_name(&mut checker, &doc.name);
    let name = doc.name.into_inner();
    let doubts = checker.doubts();
    let suite = parts.map(|parts| Suite { name, summary: doc.summary, parts, folder: None, doubts });
    if let (Some(suite), true) = (&suite, checker.is_clean()) {
        let of_parts = doc.part.iter().flatten().map(|part| part.expect.as_slice());
        expect::check_cells(&mut checker, (&doc.expect, of_parts), suite);
    }
    checker.finish(suite)
}

/// What both a suite and its parts may say; what is `None` here is left to the suite, or to testbed.
struct CommonKeys<'a> {
    topology: Option<&'a Spanned<String>>,
    trials: Option<&'a Spanned<i64>>,
    deadline: Option<&'a Spanned<String>>,
    budget_syns: Option<&'a Spanned<i64>>,
    low_ports: Option<bool>,
    addresses: Option<&'a Spanned<Value>>,
    unordered: Option<&'a Spanned<[Spanned<String>; 2]>>,
    program: Option<&'a Spanned<ProgramDoc>>,
    axes: &'a Spanned<AxesDoc>,
    groups: &'a GroupsDoc,
    /// A part's own come first.
    expect: [&'a [ExpectDoc]; 2],
}

fn the_only_part(
    checker: &mut Checker<'_>,
    doc: &SuiteDoc,
    axes: &Spanned<AxesDoc>,
    known: &KnownNames<'_>,
) -> Result<Option<Section>, Problems> {
    let keys = CommonKeys {
        topology: doc.topology.as_ref(),
        trials: doc.trials.as_ref(),
        deadline: doc.deadline.as_ref(),
        budget_syns: doc.budget_syns.as_ref(),
        low_ports: doc.low_ports,
        addresses: doc.addresses.as_ref(),
        unordered: doc.unordered.as_ref(),
        program: doc.program.as_ref(),
        axes,
        groups: &doc.groups,
        expect: [&[], &doc.expect],
    };
    part(checker, keys, known)
}

fn named_part(
    checker: &mut Checker<'_>,
    doc: &SuiteDoc,
    own: &PartDoc,
    known: &KnownNames<'_>,
) -> Result<Option<Section>, Problems> {
    check_part_name(checker, doc, &own.name);
    let keys = CommonKeys {
        topology: own.topology.as_ref().or(doc.topology.as_ref()),
        trials: own.trials.as_ref().or(doc.trials.as_ref()),
        deadline: own.deadline.as_ref().or(doc.deadline.as_ref()),
        budget_syns: own.budget_syns.as_ref().or(doc.budget_syns.as_ref()),
        low_ports: own.low_ports.or(doc.low_ports),
        addresses: own.addresses.as_ref().or(doc.addresses.as_ref()),
        unordered: own.unordered.as_ref().or(doc.unordered.as_ref()),
        program: own.program.as_ref().or(doc.program.as_ref()),
        axes: &own.axes,
        groups: &doc.groups,
        expect: [&own.expect, &doc.expect],
    };
    let (name, summary) = (own.name.get_ref().clone(), own.summary.clone());
    Ok(part(checker, keys, known)?.map(|part| Section { name, summary, ..part }))
}

/// The folder of a run is called by the suite's name.
fn check_suite_name(checker: &mut Checker<'_>, name: &Spanned<String>) {
    let text = name.get_ref();
    let leads_elsewhere = text.contains('/') || text.starts_with('.');
    if text.is_empty() || leads_elsewhere || text.chars().any(char::is_control) {
        let why = "a folder is called by it, so that it needs a letter, no \"/\", and no dot in front";
        checker.report(name.span(), format!("bad name {text:?} of a suite: {why}"));
    }
    if text.len() > LONGEST_NAME {
        let why = format!("the name of a suite has at most {LONGEST_NAME} bytes, not {}", text.len());
        checker.report(name.span(), why);
    }
}

/// The names of parts begin the names of their cells.
fn check_part_name(checker: &mut Checker<'_>, doc: &SuiteDoc, name: &Spanned<String>) {
    let text = name.get_ref();
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if text.is_empty() || !text.bytes().all(good) {
        let message =
            format!("bad name \"{text}\" of a part: lower-case letters, digits and dashes make one");
        checker.report(name.span(), message);
    }
    let earlier = doc.part.iter().flatten().map(|part| &part.name);
    let earlier: BTreeSet<_> =
        earlier.filter(|other| other.span().start < name.span().start).map(Spanned::get_ref).collect();
    if earlier.contains(text) {
        checker.report(name.span(), format!("two parts are called \"{text}\""));
    }
}

/// A part without a name; `None` when a problem was noted.
///
/// # Errors
/// What is wrong with the topology's own file.
fn part(
    checker: &mut Checker<'_>,
    keys: CommonKeys<'_>,
    known: &KnownNames<'_>,
) -> Result<Option<Section>, Problems> {
    let trials = keys.trials.map_or(Some(DEFAULT_TRIALS), |v| count(checker, "trials", v, MOST_TRIALS));
    let budget = budget(checker, &keys);
    let addresses = match keys.addresses {
        Some(value) => addresses::read(checker, value),
        None => Some(Addresses::default()),
    };
    let topology = match keys.topology {
        Some(name) => topology(checker, name, known)?,
        None => {
            checker.report(keys.axes.span(), "no topology: add topology = \"pair\"");
            None
        }
    };
    Ok((|| {
        let topology = Topology { addresses: addresses?, ..topology? };
        let program = match keys.program {
            Some(own) => program::read(checker, own.get_ref(), &topology, known.path),
            None => Some(own_puncher()),
        };
        if let (Some(doc), Some(program), Some(budget)) = (keys.program, &program, &budget)
            && program.start >= budget.deadline
        {
            let (start, deadline) = (program.start, budget.deadline);
            let why = format!(
                "programs begin {start:?} after they are started, when their deadline of {deadline:?} has passed"
            );
            checker.report(doc.span(), why);
        }
        let names = Names {
            nats: known.nats,
            methods: known.methods,
            own_program: keys.program.is_some(),
            topology: &topology,
            groups: keys.groups,
        };
        let axes = axes::read(checker, keys.axes, &names);
        let cells = axes.iter().fold(1_usize, |cells, axis| cells.saturating_mul(axis.values.len()));
        if cells > MOST_CELLS {
            let why = format!("these axes make {cells} cells, and at most {MOST_CELLS} can be run");
            checker.report(keys.axes.span(), why);
        }
        let unordered = match keys.unordered {
            Some(pair) => Some(axes::unordered(checker, pair, &axes)?),
            None => None,
        };
        let recorded = keys.expect.iter().flat_map(|docs| expect::read(checker, docs, &topology)).collect();
        let (trials, budget, program): (u32, Budget, Program) = (trials?, budget?, program?);
        let (name, summary) = (String::new(), String::new());
        Some(Section { name, summary, topology, axes, unordered, trials, budget, program, recorded })
    })())
}

fn count(checker: &mut Checker<'_>, key: &str, value: &Spanned<i64>, most: u32) -> Option<u32> {
    let checked = u32::try_from(*value.get_ref()).ok().filter(|number| (1..=most).contains(number));
    let refuse = || match *value.get_ref() {
        number if number > 0 => format!("{key} must be at most {most}, not {number}"),
        number => format!("{key} must be at least 1, not {number}"),
    };
    checker.keep(value.span(), checked.ok_or_else(refuse))
}

fn budget(checker: &mut Checker<'_>, keys: &CommonKeys<'_>) -> Option<Budget> {
    let default = Budget::default();
    let syns = match keys.budget_syns {
        Some(value) => count(checker, "budget-syns", value, u32::MAX),
        None => Some(default.syns),
    };
    let deadline = match keys.deadline {
        Some(value) => checker.keep(value.span(), deadline(value.get_ref())),
        None => Some(default.deadline),
    };
    let low_ports = match keys.low_ports {
        Some(true) => LowPorts::Allowed,
        Some(false) => LowPorts::Forbidden,
        None => default.low_ports,
    };
    Some(Budget { syns: syns?, deadline: deadline?, low_ports })
}

fn deadline(text: &str) -> Result<Duration, String> {
    quantity::positive_duration(text).and_then(|_| quantity::time_of_trial(text))
}

/// The topology of that name, if there is one.
///
/// # Errors
/// What is wrong with the topology's own file.
fn topology(
    checker: &mut Checker<'_>,
    name: &Spanned<String>,
    known: &KnownNames<'_>,
) -> Result<Option<Topology>, Problems> {
    let Some((file, text)) = checker.keep(name.span(), (known.topology)(name.get_ref())) else {
        return Ok(None);
    };
    let topology = topology_file::parse(&file, &text)?;
    for peer in ["peer-a", "peer-b"] {
        let is_host = |node: &NodeName| node.as_str() == peer;
        if !topology.of_kind(NodeKind::Host).any(is_host) {
            checker.report(name.span(), format!("the topology \"{}\" has no host \"{peer}\"", topology.name));
        }
    }
    Ok(Some(topology))
}

#[cfg(test)]
mod tests;
