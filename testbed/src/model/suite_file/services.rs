//! `[[program.services]]` of a suite: what runs beside the peers and the rendezvous server.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_spanned::Spanned;
use toml::Value;

use crate::model::problem::Checker;
use crate::model::program::{Readiness, Service};
use crate::model::suite_file::command;
use crate::model::topology::{NodeKind, NodeName, Topology};

/// What logs call the rendezvous server and the peers.
const TAKEN: [&str; 3] = ["rendezvous", "peer-a", "peer-b"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServiceDoc {
    name: Spanned<String>,
    node: Option<Spanned<String>>,
    command: Spanned<Vec<Spanned<String>>>,
    ready: Spanned<Value>,
}

/// Reads them in their order.
pub(super) fn read(checker: &mut Checker<'_>, docs: &[ServiceDoc], topology: &Topology) -> Vec<Service> {
    let mut names = BTreeSet::new();
    let mut services = Vec::new();
    for doc in docs {
        let name = checked_name(checker, &doc.name);
        if !names.insert(doc.name.get_ref()) {
            checker.report(doc.name.span(), format!("two services are called \"{}\"", doc.name.get_ref()));
        }
        let node = match &doc.node {
            Some(node) => checked_node(checker, node, topology),
            None => Some(NodeName::core()),
        };
        let command = command::read(checker, "command", &doc.command, topology);
        command::refuse_placeholders_of_a_peer(checker, &doc.command);
        let ready = readiness(checker, &doc.ready);
        if let (Some(name), Some(node), Some(ready)) = (name, node, ready) {
            services.push(Service { name, node, command, ready });
        }
    }
    services
}

/// The name is part of a file's.
fn checked_name(checker: &mut Checker<'_>, name: &Spanned<String>) -> Option<String> {
    let text = name.get_ref();
    let checked = match NodeName::new(text) {
        Ok(_) if TAKEN.contains(&text.as_str()) => Err(format!("\"{text}\" is the name of something else")),
        Ok(_) => Ok(text.clone()),
        Err(_) => Err(format!(
            "bad name {text:?} of a service: it is made of lower-case letters, digits and dashes, and begins with a letter"
        )),
    };
    checker.keep(name.span(), checked)
}

/// Programs of a NAT belong to the NAT: what they bind is not free for mappings, and its proof knows nothing of them.
fn checked_node(checker: &mut Checker<'_>, node: &Spanned<String>, topology: &Topology) -> Option<NodeName> {
    let text = node.get_ref();
    let found = topology.nodes.iter().find(|(name, _)| name.as_str() == text);
    let checked = match found {
        Some((name, spec)) if matches!(spec.kind, NodeKind::Host | NodeKind::Router) => Ok(name.clone()),
        Some(_) => Err(format!("\"{text}\" is neither a host nor a router: services run in those alone")),
        None => Err(format!("the topology \"{}\" has no node \"{text}\"", topology.name)),
    };
    checker.keep(node.span(), checked)
}

fn readiness(checker: &mut Checker<'_>, ready: &Spanned<Value>) -> Option<Readiness> {
    const FORM: &str = "ready must be { tcp = PORT }, { udp = PORT } or { stdout = \"some text\" }";
    let table = ready.get_ref().as_table().filter(|table| table.len() == 1);
    let port =
        |value: &Value| value.as_integer().and_then(|n| u16::try_from(n).ok()).filter(|port| *port > 0);
    let read = table.and_then(|table| table.iter().next()).and_then(|(key, value)| match key.as_str() {
        "tcp" => port(value).map(Readiness::Tcp),
        "udp" => port(value).map(Readiness::Udp),
        "stdout" => {
            value.as_str().filter(|text| !text.is_empty()).map(|text| Readiness::Stdout(text.to_owned()))
        }
        _ => None,
    });
    checker.keep(ready.span(), read.ok_or(FORM))
}
