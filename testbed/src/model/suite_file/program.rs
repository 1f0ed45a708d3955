//! `[program]` of a suite, and the commands of the puncher that comes with testbed.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_spanned::Spanned;
use toml::Value;

use crate::model::problem::Checker;
use crate::model::program::{AfterInput, DEFAULT_START, Program, Redial, ResultFormat, StandardInput};
use crate::model::suite_file::command::{self, check_template};
use crate::model::suite_file::services::{self, ServiceDoc};
use crate::model::suite_file::{LookAtPath, PathKind, PathProblem};
use crate::model::topology::Topology;
use crate::model::{quantity, template};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProgramDoc {
    rendezvous: Option<Spanned<Vec<Spanned<String>>>>,
    peer: Spanned<Vec<Spanned<String>>>,
    judge: Option<Spanned<Value>>,
    redial: Option<Spanned<String>>,
    start: Option<Spanned<String>>,
    linger: Option<Spanned<String>>,
    stdin: Option<Spanned<Value>>,
    root: Option<Spanned<String>>,
    #[serde(default)]
    services: Vec<ServiceDoc>,
    #[serde(default)]
    files: Vec<Spanned<String>>,
    #[serde(default)]
    writable: Vec<Spanned<String>>,
    #[serde(default)]
    env: BTreeMap<String, Spanned<String>>,
}

/// The commands that the puncher of this project is started with.
#[must_use]
pub fn own_puncher() -> Program {
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
    let peer = words(
        "{puncher} connect --json --rendezvous {rendezvous} --rendezvous {rendezvous_alt} \
         --meeting {meeting} --role {role} --bind {local_ip}:{local_port} --method {method} \
         --budget-syns {budget_syns} --deadline {deadline} --patience {deadline} --seed {seed} --key-file {key_file} \
         --start-delay {start_delay} --low-ports {low_ports}",
    );
    let rendezvous = words("{puncher} rendezvous --listen {rendezvous} --listen {rendezvous_alt}");
    Program { rendezvous: Some(rendezvous), ..Program::new(peer, ResultFormat::Json) }
}

/// Reads `[program]`; addresses of nodes, and the nodes of services, are those of the topology.
pub(super) fn read(
    checker: &mut Checker<'_>,
    doc: &ProgramDoc,
    topology: &Topology,
    look: &LookAtPath<'_>,
) -> Option<Program> {
    let rendezvous = doc.rendezvous.as_ref().map(|words| {
        command::refuse_placeholders_of_a_peer(checker, words);
        command::read(checker, "rendezvous", words, topology)
    });
    let peer = command::read(checker, "peer", &doc.peer, topology);
    let services = services::read(checker, &doc.services, topology);
    let claim = doc.judge.as_ref().map_or(Some(ResultFormat::Json), |judge| claim(checker, judge))?;
    let redial = doc.redial.as_ref().map(|word| redial(checker, word));
    let start =
        doc.start.as_ref().map(|text| checker.keep(text.span(), quantity::time_of_trial(text.get_ref())));
    let linger = doc.linger.as_ref().and_then(|text| linger(checker, text, &claim));
    let stdin = doc.stdin.as_ref().and_then(|value| standard_input(checker, value, topology));
    Some(Program {
        rendezvous,
        services,
        redial: redial.flatten(),
        start: start.unwrap_or(Some(DEFAULT_START))?,
        linger,
        stdin,
        root: doc
            .root
            .iter()
            .flat_map(|root| paths(checker, std::slice::from_ref(root), (look, PathKind::Root)))
            .next(),
        files: paths(checker, &doc.files, (look, PathKind::Readable)),
        writable: paths(checker, &doc.writable, (look, PathKind::Writable)),
        environment: environment(checker, &doc.env),
        ..Program::new(peer, claim)
    })
}

/// A program that claims success by its exit code has ended when it claims it.
fn linger(checker: &mut Checker<'_>, text: &Spanned<String>, claim: &ResultFormat) -> Option<Duration> {
    if *claim == ResultFormat::Exit {
        let why =
            "linger is for programs that stay: with judge = \"exit\" one has ended when it claims success";
        checker.report(text.span(), why);
        return None;
    }
    checker.keep(text.span(), quantity::time_of_trial(text.get_ref()))
}

/// `"text"`, or `{ text = "text", then = "wait" }`.
fn standard_input(
    checker: &mut Checker<'_>,
    value: &Spanned<Value>,
    topology: &Topology,
) -> Option<StandardInput> {
    let input = match value.get_ref() {
        Value::String(text) => Some(StandardInput { text: text.clone(), then: AfterInput::End }),
        Value::Table(table) if table.len() == 2 => {
            let text = |key: &str| table.get(key).and_then(Value::as_str);
            let then = text("then").and_then(|word| word.parse().ok());
            text("text").zip(then).map(|(text, then)| StandardInput { text: text.to_owned(), then })
        }
        _ => None,
    };
    let form =
        "stdin must be \"some text\" or { text = \"some text\", then = \"wait\" }; \"end\" is the other way";
    let input = checker.keep(value.span(), input.ok_or(form))?;
    check_template(checker, value.span(), &input.text, topology);
    Some(input)
}

/// Placeholders that are known before any trial.
const OF_THE_RUN: [&str; 2] = ["puncher", "suite_dir"];

/// Paths of the machine.
fn paths(
    checker: &mut Checker<'_>,
    paths: &[Spanned<String>],
    (look, kind): (&LookAtPath<'_>, PathKind),
) -> Vec<String> {
    for path in paths {
        let text = path.get_ref();
        keep_known(checker, path);
        if !["/", "{suite_dir}", "{puncher}"].iter().any(|begin| text.starts_with(begin)) {
            let why = format!("\"{text}\" begins neither with /, nor with {{suite_dir}} or {{puncher}}");
            checker.report(path.span(), why);
        } else if template::check(text).is_ok()
            && let Err(PathProblem { message, help }) = look(text, kind)
        {
            match help {
                Some(help) => checker.report_with_help(path.span(), message, help),
                None => checker.report(path.span(), message),
            }
        }
    }
    paths.iter().map(|path| path.get_ref().clone()).collect()
}

fn environment(checker: &mut Checker<'_>, env: &BTreeMap<String, Spanned<String>>) -> Vec<(String, String)> {
    for (name, value) in env {
        keep_known(checker, value);
        if name.is_empty() || name.contains(['=', '\0']) {
            checker.report(value.span(), format!("{name:?} cannot be the name of an environment variable"));
        }
        if value.get_ref().contains('\0') {
            checker.report(value.span(), format!("the value of {name:?} has a NUL character"));
        }
    }
    env.iter().map(|(name, value)| (name.clone(), value.get_ref().clone())).collect()
}

/// Reports a placeholder that has no value before a trial.
fn keep_known(checker: &mut Checker<'_>, text: &Spanned<String>) {
    checker.keep(text.span(), template::check(text.get_ref()));
    if let Some(node) = template::nodes_of(text.get_ref()).first() {
        checker.report(text.span(), format!("{{ip:{node}}} is known in a lab only: use it in a command"));
    }
    let of_a_trial = |name: &&&str| !OF_THE_RUN.contains(name) && template::uses(text.get_ref(), name);
    if let Some(name) = template::PLACEHOLDERS.iter().find(of_a_trial) {
        checker.report(text.span(), format!("{{{name}}} is another one in each trial: use it in a command"));
    }
}

fn redial(checker: &mut Checker<'_>, word: &Spanned<String>) -> Option<Redial> {
    let text = word.get_ref();
    let unknown = |_| format!("unknown redial \"{text}\": there are {}", Redial::WORDS.join(", "));
    checker.keep(word.span(), text.parse().map_err(unknown))
}

fn claim(checker: &mut Checker<'_>, judge: &Spanned<Value>) -> Option<ResultFormat> {
    match judge.get_ref() {
        Value::String(form) if form == "json" => return Some(ResultFormat::Json),
        Value::String(form) if form == "exit" => return Some(ResultFormat::Exit),
        Value::Table(table) if table.len() == 1 => match table.get("stdout") {
            Some(Value::String(text)) if !text.is_empty() => return Some(ResultFormat::Stdout(text.clone())),
            _ => (),
        },
        _ => (),
    }
    checker.report(judge.span(), "judge must be \"json\", \"exit\" or { stdout = \"some text\" }");
    None
}
