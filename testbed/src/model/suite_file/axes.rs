//! `[axes]` of a suite or of a part of one: every value checked, groups replaced by what they stand for.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_spanned::Spanned;
use toml::Value;

use crate::model::axis_value;
use crate::model::problem::{Checker, nearest, suggestion};
use crate::model::suite::{Axis, AxisKey};
use crate::model::topology::{NodeKind, Topology};

/// What a group is marked by among the values of an axis.
const GROUP: char = '@';

/// The group of all NATs of the catalogue.
const ALL: &str = "all";

pub(super) type AxesDoc = BTreeMap<Spanned<String>, ValuesDoc>;
type ValuesDoc = Spanned<Vec<Spanned<Value>>>;
pub(super) type GroupsDoc = BTreeMap<Spanned<String>, Vec<Spanned<String>>>;

/// The names that the values of axes may have.
pub(super) struct Names<'a> {
    pub(super) nats: &'a [&'a str],
    pub(super) methods: &'a [&'a str],
    /// Whether a foreign program is run: it knows its own methods, so that others than these are not wrong.
    pub(super) own_program: bool,
    pub(super) topology: &'a Topology,
    pub(super) groups: &'a GroupsDoc,
}

/// Refuses a group whose name stands for something else.
pub(super) fn check_groups(checker: &mut Checker<'_>, groups: &GroupsDoc) {
    if let Some(name) = groups.keys().find(|name| name.get_ref() == ALL) {
        let message = format!("the group \"{ALL}\" is every NAT of the catalogue");
        checker.report_with_help(name.span(), message, "give your group another name");
    }
}

/// All axes, in the order of the file.
pub(super) fn read(checker: &mut Checker<'_>, doc: &Spanned<AxesDoc>, names: &Names<'_>) -> Vec<Axis> {
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
        if let Some(group) = text.strip_prefix(GROUP) {
            seen.extend(members(checker, value.span(), group, key, names, &seen));
            continue;
        }
        if seen.contains(&text) {
            checker.report(value.span(), format!("the axis \"{key}\" has the value \"{text}\" twice"));
        }
        check_value(checker, value.span(), key, &text, names);
        seen.push(text);
    }
    seen
}

/// The values of a group that are not in `so_far` yet.
fn members(
    checker: &mut Checker<'_>,
    span: Range<usize>,
    group: &str,
    key: &AxisKey,
    names: &Names<'_>,
    so_far: &[String],
) -> Vec<String> {
    let new = |value: &&str| !so_far.iter().any(|known| known == value);
    if let (ALL, AxisKey::Nat(_)) = (group, key) {
        return names.nats.iter().filter(|value| new(value)).map(|value| (*value).to_owned()).collect();
    }
    let found = names.groups.iter().find(|(name, _)| name.get_ref() == group);
    if let Some((name, members)) = found
        && members.is_empty()
    {
        checker.report(name.span(), format!("the group \"{group}\" is empty"));
    }
    let Some((_, found)) = found else {
        let known = || names.groups.keys().map(|name| name.get_ref().as_str()).chain([ALL]);
        let listed = format!("there are {}", known().collect::<Vec<_>>().join(", "));
        let help = suggestion(group, known(), listed);
        checker.report_with_help(span, format!("unknown group \"{group}\""), help);
        return Vec::new();
    };
    for value in found {
        check_value(checker, value.span(), key, value.get_ref(), names);
    }
    found.iter().map(|value| value.get_ref().as_str()).filter(new).map(str::to_owned).collect()
}

/// The two axes whose combinations are wanted in one order only.
pub(super) fn unordered(
    checker: &mut Checker<'_>,
    doc: &Spanned<[Spanned<String>; 2]>,
    axes: &[Axis],
) -> Option<[AxisKey; 2]> {
    let [one, other] = doc.get_ref().each_ref().map(|name| {
        let found = axes.iter().find(|axis| axis.key.to_string() == *name.get_ref());
        checker.keep(name.span(), found.ok_or_else(|| format!("no axis \"{}\" here", name.get_ref())))
    });
    match (one, other) {
        (Some(one), Some(other)) if one.key == other.key => {
            checker.report(doc.span(), "two different axes have no order");
            None
        }
        (Some(one), Some(other)) => Some([one.key.clone(), other.key.clone()]),
        _ => None,
    }
}

fn as_text(checker: &mut Checker<'_>, key: &AxisKey, value: &Spanned<Value>) -> Option<String> {
    match value.get_ref() {
        Value::String(text) if text.contains(char::is_control) => {
            let message = format!("the value {text:?} of the axis \"{key}\" has a control character");
            checker.report(value.span(), message);
            None
        }
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
        AxisKey::Method if names.own_program => {
            if let Some((message, help)) = doubtful_method(text, names.methods) {
                checker.doubt(span, message, help);
            }
        }
        AxisKey::Method => {
            known_name(checker, span, ("method", "puncher connect --help"), text, names.methods);
        }
        _ => drop(checker.keep(span, axis_value::check(key, text))),
    }
}

/// What is to be said of a foreign program's method whose name is nearly that of a method which theory knows, and what to do: a
/// program may call its own method so, and then nothing is wrong.
fn doubtful_method(name: &str, known: &[&str]) -> Option<(String, String)> {
    if known.contains(&name) {
        return None;
    }
    let near = nearest(name, known.iter().copied())?;
    let message =
        format!("theory does not know the method \"{name}\", so that it expects nothing of its cells");
    let help = format!("did you mean \"{near}\"? if your program has a method of that name, ignore this");
    Some((message, help))
}

/// Notes a problem unless `name` is one of `known`; `what` is the kind of name and the command that lists them.
fn known_name(checker: &mut Checker<'_>, span: Range<usize>, what: (&str, &str), name: &str, known: &[&str]) {
    if !known.contains(&name) {
        let help = suggestion(name, known.iter().copied(), format!("list them with: {}", what.1));
        checker.report_with_help(span, format!("unknown {} \"{name}\"", what.0), help);
    }
}
