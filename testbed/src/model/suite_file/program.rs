//! `[program]` of a suite, and the commands of the puncher that comes with testbed.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_spanned::Spanned;
use toml::Value;

use crate::model::problem::Checker;
use crate::model::suite::{Program, Redial, ResultFormat};
use crate::model::template;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProgramDoc {
    rendezvous: Option<Spanned<Vec<Spanned<String>>>>,
    peer: Spanned<Vec<Spanned<String>>>,
    judge: Option<Spanned<Value>>,
    redial: Option<Spanned<String>>,
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
    Program {
        rendezvous: Some(words("{puncher} rendezvous --listen {rendezvous} --listen {rendezvous_alt}")),
        peer: words(
            "{puncher} connect --json --rendezvous {rendezvous} --rendezvous {rendezvous_alt} \
             --meeting {meeting} --role {role} --bind {local_ip}:{local_port} --method {method} \
             --budget-syns {budget_syns} --deadline {deadline} --seed {seed} --key-file {key_file} \
             --start-delay {start_delay} --low-ports {low_ports}",
        ),
        claim: ResultFormat::Json,
        redial: None,
        files: Vec::new(),
        writable: Vec::new(),
        environment: Vec::new(),
    }
}

/// Reads `[program]`.
pub(super) fn read(checker: &mut Checker<'_>, doc: &ProgramDoc) -> Option<Program> {
    let rendezvous = doc.rendezvous.as_ref().map(|command| command_template(checker, "rendezvous", command));
    let peer = command_template(checker, "peer", &doc.peer);
    let claim = doc.judge.as_ref().map_or(Some(ResultFormat::Json), |judge| claim(checker, judge));
    let redial = doc.redial.as_ref().map(|word| redial(checker, word));
    let (files, writable) = (paths(checker, &doc.files), paths(checker, &doc.writable));
    let environment = environment(checker, &doc.env);
    let redial = redial.flatten();
    Some(Program { rendezvous, peer, claim: claim?, redial, files, writable, environment })
}

/// Placeholders that are known before any trial.
const OF_THE_RUN: [&str; 2] = ["puncher", "suite_dir"];

/// Paths of the machine.
fn paths(checker: &mut Checker<'_>, paths: &[Spanned<String>]) -> Vec<String> {
    for path in paths {
        let text = path.get_ref();
        keep_known(checker, path);
        if !text.starts_with('/') && !text.starts_with("{suite_dir}") {
            checker.report(path.span(), format!("\"{text}\" begins neither with / nor with {{suite_dir}}"));
        }
    }
    paths.iter().map(|path| path.get_ref().clone()).collect()
}

fn environment(checker: &mut Checker<'_>, env: &BTreeMap<String, Spanned<String>>) -> Vec<(String, String)> {
    for (name, value) in env {
        keep_known(checker, value);
        if name.is_empty() || name.contains(['=', '\0']) || value.get_ref().contains('\0') {
            checker.report(value.span(), format!("\"{name}\" is no environment variable"));
        }
    }
    env.iter().map(|(name, value)| (name.clone(), value.get_ref().clone())).collect()
}

/// Reports a placeholder that has no value before a trial.
fn keep_known(checker: &mut Checker<'_>, text: &Spanned<String>) {
    checker.keep(text.span(), template::check(text.get_ref()));
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
