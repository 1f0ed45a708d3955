//! A suite as TOML: the serde mirror, and the way from it to a checked [`Suite`], each problem with its line.
//!
//! Reading files is left to the caller, who also says which names exist.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Deserialize;
use serde_spanned::Spanned;
use toml::Value;

use crate::model::problem::{Checker, Problems, suggestion};
use crate::model::suite::{Axis, AxisKey, Budget, Claim, Program, Suite};
use crate::model::topology::{NodeKind, NodeName, Topology};
use crate::model::{axis_value, quantity, template, topology_file};

/// Trials a cell where the suite does not say.
const DEFAULT_TRIALS: u32 = 20;

/// What a suite may refer to.
#[derive(Clone, Copy)]
pub struct Known<'a> {
    /// Names of the NAT catalogue.
    pub nats: &'a [&'a str],
    /// Methods of the puncher that comes with testbed.
    pub methods: &'a [&'a str],
    /// The file of a topology, as its name and its text, or a sentence that says why there is none.
    pub topology: &'a FindFile<'a>,
}

/// Finds a file by the name that a suite gives it.
pub type FindFile<'a> = dyn Fn(&str) -> Result<(String, String), String> + 'a;

impl std::fmt::Debug for Known<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Known").field("nats", &self.nats).field("methods", &self.methods).finish()
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct SuiteDoc {
    name: String,
    summary: String,
    topology: Spanned<String>,
    trials: Option<Spanned<i64>>,
    deadline: Option<Spanned<String>>,
    budget_syns: Option<Spanned<i64>>,
    axes: Spanned<AxesDoc>,
    program: Option<Spanned<ProgramDoc>>,
}

type AxesDoc = BTreeMap<Spanned<String>, ValuesDoc>;
type ValuesDoc = Spanned<Vec<Spanned<Value>>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProgramDoc {
    rendezvous: Option<Spanned<Vec<Spanned<String>>>>,
    peer: Spanned<Vec<Spanned<String>>>,
    judge: Option<Spanned<Value>>,
}

/// Reads and checks a suite; `file` is the name that problems carry.
///
/// # Errors
/// Everything that is wrong with it, or with the topology that it names.
pub fn parse(file: &str, text: &str, known: &Known<'_>) -> Result<Suite, Problems> {
    let mut checker = Checker::new(file, text);
    let doc: SuiteDoc = checker.read()?;
    let program = match &doc.program {
        Some(own) => own_program(&mut checker, own.get_ref()),
        None => Some(own_puncher()),
    };
    let methods = if doc.program.is_none() { Some(known.methods) } else { None };
    let trials =
        doc.trials.as_ref().map_or(Some(DEFAULT_TRIALS), |v| at_least_one(&mut checker, "trials", v));
    let budget = budget(&mut checker, &doc);
    let topology = topology(&mut checker, &doc.topology, known)?;
    let axes = topology.as_ref().map(|topology| {
        let names = Names { nats: known.nats, methods, topology };
        axes(&mut checker, &doc.axes, &names)
    });
    let suite = (|| {
        let (name, summary) = (doc.name, doc.summary);
        Some(Suite {
            name,
            summary,
            topology: topology?,
            axes: axes?,
            trials: trials?,
            budget: budget?,
            program: program?,
        })
    })();
    checker.finish(suite)
}

/// The commands that the puncher of this project is started with.
#[must_use]
pub fn own_puncher() -> Program {
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
    Program {
        rendezvous: Some(words("{puncher} rendezvous --listen {rendezvous} --listen {rendezvous_alt}")),
        peer: words(
            "{puncher} connect --json --rendezvous {rendezvous} --rendezvous {rendezvous_alt} \
             --meeting {meeting} --role {role} --bind {local_ip}:{local_port} --method {method} \
             --budget-syns {budget_syns} --deadline {deadline} --seed {seed} --key-file {key_file}",
        ),
        claim: Claim::Json,
    }
}

/// The names that the values of axes may have.
struct Names<'a> {
    nats: &'a [&'a str],
    /// `None` when a foreign program is run: it knows its own methods.
    methods: Option<&'a [&'a str]>,
    topology: &'a Topology,
}

fn at_least_one(checker: &mut Checker<'_>, key: &str, value: &Spanned<i64>) -> Option<u32> {
    let checked = u32::try_from(*value.get_ref()).ok().filter(|number| *number > 0);
    let refuse = || format!("{key} must be at least 1, not {}", value.get_ref());
    checker.keep(value.span(), checked.ok_or_else(refuse))
}

fn budget(checker: &mut Checker<'_>, doc: &SuiteDoc) -> Option<Budget> {
    let default = Budget::default();
    let syns = match &doc.budget_syns {
        Some(value) => at_least_one(checker, "budget-syns", value),
        None => Some(default.syns),
    };
    let deadline = match &doc.deadline {
        Some(value) => checker.keep(value.span(), quantity::positive_duration(value.get_ref())),
        None => Some(default.deadline),
    };
    Some(Budget { syns: syns?, deadline: deadline?, ..default })
}

/// The topology of that name, if it can be had.
///
/// # Errors
/// What is wrong with the topology's own file.
fn topology(
    checker: &mut Checker<'_>,
    name: &Spanned<String>,
    known: &Known<'_>,
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

/// All axes, in the order of the file.
fn axes(checker: &mut Checker<'_>, doc: &Spanned<AxesDoc>, names: &Names<'_>) -> Vec<Axis> {
    let mut in_order: Vec<_> = doc.get_ref().iter().collect();
    in_order.sort_by_key(|(key, _)| key.span().start);
    let mut axes = Vec::new();
    for (key, values) in in_order {
        if let Some(key) = axis_key(checker, key, names.topology) {
            let values = axis_values(checker, &key, values, names);
            axes.push(Axis { key, values });
        }
    }
    for nat in names.topology.of_kind(NodeKind::Nat) {
        if !axes.iter().any(|axis| axis.key == AxisKey::Nat(nat.clone())) && checker.is_clean() {
            let message = format!("no axis \"{nat}\": the topology has a NAT of that name");
            checker.report_with_help(doc.span(), message, format!("add {nat} = [\"port-preserving\"]"));
        }
    }
    axes
}

fn axis_key(checker: &mut Checker<'_>, key: &Spanned<String>, topology: &Topology) -> Option<AxisKey> {
    let parsed = axis_value::key(key.get_ref(), topology);
    if parsed.is_none() {
        let keys = axis_value::keys(topology);
        let names: Vec<&str> = keys.iter().map(String::as_str).collect();
        let listed = format!("the axes here are {}", names.join(", "));
        let help = suggestion(key.get_ref(), names.iter().copied(), listed);
        checker.report_with_help(key.span(), format!("unknown axis \"{}\"", key.get_ref()), help);
    }
    parsed
}

fn axis_values(
    checker: &mut Checker<'_>,
    key: &AxisKey,
    values: &ValuesDoc,
    names: &Names<'_>,
) -> Vec<String> {
    if values.get_ref().is_empty() {
        checker.report(values.span(), format!("the axis \"{key}\" has no value"));
    }
    let mut seen = Vec::new();
    for value in values.get_ref() {
        let Some(text) = as_text(checker, key, value) else { continue };
        if seen.contains(&text) {
            checker.report(value.span(), format!("the axis \"{key}\" has the value \"{text}\" twice"));
        }
        check_value(checker, value.span(), key, &text, names);
        seen.push(text);
    }
    seen
}

fn as_text(checker: &mut Checker<'_>, key: &AxisKey, value: &Spanned<Value>) -> Option<String> {
    match value.get_ref() {
        Value::String(text) => Some(text.clone()),
        Value::Integer(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        other => {
            let message =
                format!("a value of the axis \"{key}\" is text or a number, not {}", other.type_str());
            checker.report(value.span(), message);
            None
        }
    }
}

fn check_value(checker: &mut Checker<'_>, span: Range<usize>, key: &AxisKey, text: &str, names: &Names<'_>) {
    match key {
        AxisKey::Nat(_) => known_name(checker, span, ("NAT", "testbed nat list"), text, names.nats),
        AxisKey::Method => {
            if let Some(methods) = names.methods {
                known_name(checker, span, ("method", "puncher connect --help"), text, methods);
            }
        }
        _ => drop(checker.keep(span, axis_value::check(key, text))),
    }
}

/// Notes a problem unless `name` is one of `known`; `what` is the kind of name and the command that lists them.
fn known_name(checker: &mut Checker<'_>, span: Range<usize>, what: (&str, &str), name: &str, known: &[&str]) {
    if !known.contains(&name) {
        let help = suggestion(name, known.iter().copied(), format!("list them with: {}", what.1));
        checker.report_with_help(span, format!("unknown {} \"{name}\"", what.0), help);
    }
}

fn own_program(checker: &mut Checker<'_>, doc: &ProgramDoc) -> Option<Program> {
    let rendezvous = doc.rendezvous.as_ref().map(|command| command_template(checker, "rendezvous", command));
    let peer = command_template(checker, "peer", &doc.peer);
    let claim = doc.judge.as_ref().map_or(Some(Claim::Json), |judge| claim(checker, judge));
    Some(Program { rendezvous, peer, claim: claim? })
}

fn command_template(
    checker: &mut Checker<'_>,
    key: &str,
    command: &Spanned<Vec<Spanned<String>>>,
) -> Vec<String> {
    if command.get_ref().is_empty() {
        checker.report(command.span(), format!("the command \"{key}\" is empty"));
    }
    for argument in command.get_ref() {
        checker.keep(argument.span(), template::check(argument.get_ref()));
    }
    command.get_ref().iter().map(|argument| argument.get_ref().clone()).collect()
}

fn claim(checker: &mut Checker<'_>, judge: &Spanned<Value>) -> Option<Claim> {
    match judge.get_ref() {
        Value::String(form) if form == "json" => return Some(Claim::Json),
        Value::String(form) if form == "exit" => return Some(Claim::Exit),
        Value::Table(table) if table.len() == 1 => match table.get("stdout") {
            Some(Value::String(text)) if !text.is_empty() => return Some(Claim::Stdout(text.clone())),
            _ => (),
        },
        _ => (),
    }
    checker.report(judge.span(), "judge must be \"json\", \"exit\" or { stdout = \"some text\" }");
    None
}

#[cfg(test)]
mod tests;
