//! The commands of a suite, whose arguments are filled in for each trial.

use std::ops::Range;

use serde_spanned::Spanned;

use crate::model::problem::Checker;
use crate::model::template;
use crate::model::topology::{NodeKind, Topology};

/// Reads a command, and reports what is wrong with it.
pub(super) fn read(
    checker: &mut Checker<'_>,
    key: &str,
    command: &Spanned<Vec<Spanned<String>>>,
    topology: &Topology,
) -> Vec<String> {
    if command.get_ref().is_empty() {
        checker.report(command.span(), format!("the command \"{key}\" is empty"));
    }
    for argument in command.get_ref() {
        check_template(checker, argument.span(), argument.get_ref(), topology);
        if argument.get_ref().contains('\0') {
            checker.report(
                argument.span(),
                format!("the argument {:?} has a NUL character", argument.get_ref()),
            );
        }
    }
    command.get_ref().iter().map(|argument| argument.get_ref().clone()).collect()
}

/// Reports placeholders that only peers have values for: the command is of a program that serves both.
pub(super) fn refuse_placeholders_of_a_peer(
    checker: &mut Checker<'_>,
    command: &Spanned<Vec<Spanned<String>>>,
) {
    for argument in command.get_ref() {
        let used = |name: &&&str| template::uses(argument.get_ref(), name);
        if let Some(name) = template::OF_A_PEER.iter().find(used) {
            let why = format!(
                "{{{name}}} is another one for each peer: only the command \"peer\" and stdin have it"
            );
            checker.report(argument.span(), why);
        }
    }
}

/// Reports what is wrong with a text that is filled in for each trial.
pub(super) fn check_template(checker: &mut Checker<'_>, span: Range<usize>, text: &str, topology: &Topology) {
    checker.keep(span.clone(), template::check(text));
    let has_address = |kind| kind != NodeKind::Switch;
    for name in template::nodes_of(text) {
        let found = topology.nodes.iter().find(|(node, _)| node.as_str() == name);
        if !found.is_some_and(|(_, spec)| has_address(spec.kind)) {
            let why =
                format!("{{ip:{name}}}: the topology \"{}\" has no such node with an address", topology.name);
            checker.report(span.clone(), why);
        }
    }
}
