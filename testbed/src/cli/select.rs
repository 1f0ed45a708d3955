//! From the words of the command line to a checked suite and its cells.

use std::collections::BTreeSet;
use std::path::Path;

use crate::cli::args::{NatsInstead, Selection};
use crate::cli::catalogue::profile;
use crate::cli::command_error::CommandError;
use crate::cli::output::print_error;
use crate::cli::{filter, kernel};
use crate::kernel::sandbox::ShownFiles;
use crate::kernel::user_file;
use crate::model::catalogue::Catalogue;
use crate::model::embedded::{self, Embedded, SUITES, TOPOLOGIES};
use crate::model::problem::suggestion;
use crate::model::suite::{Axis, AxisKey, Cell, Program, Suite};
use crate::model::suite_file::{self, KnownNames, PathKind, PathProblem};
use crate::model::template::{self, Values};
use crate::model::theory::METHODS;

/// A suite with what the command line changed, and the cells that are left.
#[derive(Debug)]
pub struct Selected {
    /// The suite.
    pub suite: Suite,
    /// Its cells after the filters, at least one.
    pub cells: Vec<Cell>,
}

/// Reads a suite and picks its cells.
///
/// # Errors
/// When there is no such suite, it is wrong, or no cell is left.
pub fn select(name: &str, selection: &Selection, catalogue: &Catalogue) -> Result<Selected, CommandError> {
    let mut suite = suite(name, catalogue)?;
    if let Some(trials) = selection.trials {
        suite.change_sections(|part| part.trials = trials.get());
    }
    if let Some(method) = &selection.method {
        set_method(&mut suite, method)?;
    }
    put_nats(&mut suite, &selection.instead, catalogue)?;
    let cells = filter::select(&suite, &selection.filter)?;
    tell_doubts(&suite);
    Ok(Selected { suite, cells })
}

/// Says on standard error what may be a mistake in a suite, before anything runs.
pub(super) fn tell_doubts(suite: &Suite) {
    suite.doubts.iter().for_each(|doubt| print_error(&format!("testbed: warning: {doubt}")));
}

/// The suite of that name, or in that file.
pub(super) fn suite(name: &str, catalogue: &Catalogue) -> Result<Suite, CommandError> {
    if is_path(name) {
        let text = read(Path::new(name))?;
        let folder = Path::new(name).parent().unwrap_or(Path::new(""));
        // Without "..": programs see the folder by this name, and nothing of what lies above it.
        let real = std::fs::canonicalize(folder.join(".")).unwrap_or_else(|_| folder.to_owned());
        let mut suite = parse(name, &text, (folder, &real), catalogue)?;
        let folder = real;
        let mut names_folder = false;
        suite.change_sections(|part| names_folder |= bind_folder(&mut part.program, &folder));
        suite.folder = names_folder.then_some(folder);
        return Ok(suite);
    }
    let found = embedded::find(SUITES, name).ok_or_else(|| unknown_suite(name))?;
    parse(found.file, found.text, (Path::new(""), Path::new("")), catalogue)
}

/// Reads a suite whose folder is called so, as its user does and really.
fn parse(
    file: &str,
    text: &str,
    (folder, real): (&Path, &Path),
    catalogue: &Catalogue,
) -> Result<Suite, CommandError> {
    let nats: Vec<&str> = catalogue.profiles().map(|profile| profile.name.as_str()).collect();
    let topology = |name: &str| topology(name, folder);
    let path = |text: &str, kind| can_be_shown(text, kind, real);
    let known = KnownNames { nats: &nats, methods: METHODS, topology: &topology, path: &path };
    Ok(suite_file::parse(file, text, &known)?)
}

/// Whether a path of this machine, which a suite in that folder names, can be shown to programs.
fn can_be_shown(text: &str, kind: PathKind, folder: &Path) -> Result<(), PathProblem> {
    let values = Values::from([("suite_dir".to_owned(), folder.to_string_lossy().into_owned())]);
    // Which puncher that is, is known when something is run.
    let Ok(path) = template::expand(text, &values) else { return Ok(()) };
    let problem = |message| PathProblem { message, help: None };
    let found = std::fs::metadata(&path)
        .map_err(|why| problem(format!("cannot show \"{path}\" to programs: {}", user_file::words(&why))))?;
    if kind != PathKind::Readable && !found.is_dir() {
        return Err(problem(format!("\"{path}\" is no folder")));
    }
    // Just what a run does.
    let (path, mut shown) = (Path::new(&path), ShownFiles::default());
    let done = match kind {
        PathKind::Readable => shown.add(path),
        PathKind::Writable => shown.add_writable(path),
        PathKind::Root => ShownFiles::with_root(path).map(drop),
    };
    done.map_err(|why| PathProblem { help: why.help().map(str::to_owned), ..problem(why.to_string()) })
}

/// Replaces `{suite_dir}`: programs are started elsewhere, so it must be absolute. Returns whether there was any.
fn bind_folder(program: &mut Program, folder: &Path) -> bool {
    let mut found = false;
    let folder = folder.to_string_lossy();
    for argument in program.templates_mut() {
        if let Ok(bound) = template::bind(argument, "suite_dir", folder.trim_end_matches("/.")) {
            found |= template::uses(argument, "suite_dir");
            *argument = bound;
        }
    }
    found
}

/// The file of a topology: one that comes with testbed, or a path beside the suite.
fn topology(name: &str, folder: &Path) -> Result<(String, String), String> {
    if is_path(name) {
        let path = folder.join(name);
        let text = user_file::read(&path);
        return text
            .map(|text| (path.display().to_string(), text))
            .map_err(|why| format!("cannot read the topology \"{}\": {why}", path.display()));
    }
    let found = embedded::find(TOPOLOGIES, name);
    found.map(|found| (found.file.to_owned(), found.text.to_owned())).ok_or_else(|| {
        let listed = format!("there are {}", names(TOPOLOGIES));
        let help = suggestion(name, TOPOLOGIES.iter().map(|t| t.name), listed);
        format!("unknown topology \"{name}\": {help}, and the path of a file")
    })
}

/// A name with a slash or an ending is the path of a file.
fn is_path(name: &str) -> bool {
    name.contains('/') || name.ends_with(".toml")
}

fn read(path: &Path) -> Result<String, CommandError> {
    user_file::read(path).map_err(|why| {
        let message = format!("cannot read the suite \"{}\": {why}", path.display());
        CommandError::with_help(message, "give the path of a suite, or a name that this prints: testbed list")
    })
}

fn unknown_suite(name: &str) -> CommandError {
    let known: Vec<&str> = SUITES.iter().map(|suite| suite.name).chain([kernel::SUITE]).collect();
    let listed = format!("there are {}, and the path of a file", known.join(", "));
    let file = format!("{name}.toml");
    let help = match Path::new(&file).is_file() {
        true => format!("did you mean the file \"{file}\"? {listed}"),
        false => suggestion(name, known.iter().copied(), listed),
    };
    CommandError::with_help(format!("unknown suite \"{name}\""), help)
}

fn names(all: &[Embedded]) -> String {
    all.iter().map(|embedded| embedded.name).collect::<Vec<_>>().join(", ")
}

/// Replaces the NATs of the suite by those of the command line.
///
/// # Errors
/// When there is no such NAT, or the suite has no such axis.
pub(super) fn put_nats(
    suite: &mut Suite,
    instead: &NatsInstead,
    catalogue: &Catalogue,
) -> Result<(), CommandError> {
    instead.by_node().try_for_each(|(node, names)| set_nats(suite, node, names, catalogue))
}

/// Replaces the NATs of a node by others.
fn set_nats(
    suite: &mut Suite,
    node: &str,
    names: &[String],
    catalogue: &Catalogue,
) -> Result<(), CommandError> {
    for name in names {
        profile(catalogue, name)?;
    }
    let mut found = false;
    suite.change_sections(|part| {
        let axes = part.axes.iter_mut();
        for axis in axes.filter(|axis| matches!(axis.key, AxisKey::Nat(_)) && axis.key.to_string() == node) {
            axis.values = names.to_vec();
            found = true;
        }
    });
    if found {
        return Ok(());
    }
    let message = format!("the suite \"{}\" has no axis {node}", suite.name);
    Err(CommandError::with_help(message, "show its axes with: testbed plan SUITE"))
}

/// What may be a mistake in a method that takes the place of those that the suite names.
fn doubt_about(suite: &Suite, method: &str, named: &BTreeSet<String>) -> Option<String> {
    if METHODS.contains(&method) {
        return None;
    }
    let known = named.iter().map(String::as_str).chain(METHODS.iter().copied());
    let otherwise = "if your program has a method of that name, ignore this";
    let help = suggestion(method, known, otherwise);
    let suite = &suite.name;
    Some(format!(
        "neither theory nor the suite \"{suite}\" knows the method \"{method}\" of --method\n  help: {help}"
    ))
}

/// Replaces the methods of the suite by one.
fn set_method(suite: &mut Suite, method: &str) -> Result<(), CommandError> {
    let ours = suite.parts.iter().any(|part| part.program == suite_file::own_puncher());
    if ours && !METHODS.contains(&method) {
        let listed = format!("there are {}", METHODS.join(", "));
        let help = suggestion(method, METHODS.iter().copied(), listed);
        return Err(CommandError::with_help(format!("unknown method \"{method}\""), help));
    }
    let axes = suite.parts.iter().flat_map(|part| &part.axes).filter(|axis| axis.key == AxisKey::Method);
    let named: BTreeSet<String> = axes.flat_map(|axis| axis.values.clone()).collect();
    if !named.contains(method) {
        suite.doubts = doubt_about(suite, method, &named).into_iter().collect();
    }
    suite.change_sections(|part| {
        let values = vec![method.to_owned()];
        match part.axes.iter_mut().find(|axis| axis.key == AxisKey::Method) {
            Some(axis) => axis.values = values,
            None => part.axes.push(Axis { key: AxisKey::Method, values }),
        }
    });
    Ok(())
}
