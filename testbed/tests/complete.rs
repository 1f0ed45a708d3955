//! What the compiler cannot see of a list: that each of its members is documented, and each cause found and provoked.

use std::fs;
use std::path::{Path, PathBuf};

use testbed::model::axis::NatAxis;
use testbed::model::behavior::{
    Allocation, Filtering, Hairpinning, InvalidPackets, Mapping, Overloading, Strictness, SynAfterSyn,
    Translation, UnsolicitedSyn,
};
use testbed::model::catalogue::Catalogue;
use testbed::model::cause::Cause;
use testbed::model::embedded::{SUITES, TOPOLOGIES};
use testbed::model::theory::Method;
use testbed::probe::kernel_checks;
use testbed::report::format::Format;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace")
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap_or_else(|why| panic!("{file}: {why}"))
}

/// Fails unless `file` holds what `wanted` makes of each member.
#[track_caller]
fn holds_all<T: std::fmt::Debug>(
    file: &str,
    members: impl IntoIterator<Item = T>,
    wanted: impl Fn(&T) -> String,
) {
    let text = read(file);
    let missing: Vec<_> =
        members.into_iter().map(|member| wanted(&member)).filter(|wanted| !text.contains(wanted)).collect();
    assert!(missing.is_empty(), "{file} lacks {missing:?}");
}

#[test]
fn every_axis_of_a_nat_and_every_value_of_it_is_documented() {
    const PAGE: &str = "docs/nat-behaviour.md";
    holds_all(PAGE, NatAxis::ALL, |axis| format!("| `{}`", axis.name().to_lowercase().replace(' ', "-")));
    let words = [
        Translation::WORDS,
        Mapping::WORDS,
        Allocation::WORDS,
        Filtering::WORDS,
        UnsolicitedSyn::WORDS,
        SynAfterSyn::WORDS,
        InvalidPackets::WORDS,
        Hairpinning::WORDS,
        Overloading::WORDS,
        Strictness::WORDS,
    ];
    holds_all(PAGE, words.concat(), |word| format!("`{word}`"));
}

#[test]
fn every_method_is_documented() {
    holds_all("docs/puncher.md", Method::ALL, |method| format!("`{method}`"));
}

#[test]
fn every_format_is_documented() {
    let formats = Format::WORDS.join("|");
    holds_all("docs/results.md", [formats], |formats| format!("--format {formats}`"));
}

#[test]
fn every_check_of_the_kernel_is_documented() {
    let page = read("docs/kernels.md").replace("**", "");
    let missing: Vec<_> = kernel_checks::checks()
        .map(|check| check.id)
        .filter(|id| !page.contains(&format!("\n| {id} |")))
        .collect();
    assert!(missing.is_empty(), "docs/kernels.md lacks {missing:?}");
}

#[test]
fn every_cause_is_documented() {
    holds_all("docs/judging.md", Cause::ALL, |cause| cause.name().to_owned());
}

#[test]
fn every_cause_is_found() {
    name_all_causes("found by", &["testbed/src/judge", "testbed/src/run"]);
}

#[test]
fn every_cause_is_provoked() {
    name_all_causes("provoked by a test in", &["testbed/tests/lab/causes"]);
}

/// Fails unless the sources of these folders name every cause.
#[track_caller]
fn name_all_causes(what: &str, folders: &[&str]) {
    let text: String = folders.iter().flat_map(|folder| sources(&root().join(folder))).collect();
    let missing: Vec<_> = Cause::ALL.iter().filter(|cause| !names(&text, **cause)).collect();
    assert!(missing.is_empty(), "not {what} {folders:?}: {missing:?}");
}

/// Whether the source names this very cause.
fn names(text: &str, cause: Cause) -> bool {
    let name = format!("Cause::{cause:?}");
    let whole = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
    text.match_indices(&name).any(|(at, _)| whole(&text[at + name.len()..]))
}

/// What the files of a folder say, without their comments and their unit tests.
fn sources(folder: &Path) -> Vec<String> {
    let mut all = Vec::new();
    for path in entries(folder) {
        if path.is_dir() {
            all.extend(sources(&path));
        } else if path.extension().is_some_and(|end| end == "rs")
            && !path.ends_with("src/judge/cause/tests.rs")
        {
            let text = fs::read_to_string(&path).expect("a source file");
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
            all.push(lines.collect::<Vec<_>>().join("\n"));
        }
    }
    all
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let read = fs::read_dir(folder).unwrap_or_else(|why| panic!("{}: {why}", folder.display()));
    let mut all: Vec<PathBuf> = read.map(|entry| entry.expect("an entry").path()).collect();
    all.sort();
    all
}

#[test]
fn every_file_of_topologies_is_built_in_and_documented() {
    let built_in: Vec<&str> = SUITES.iter().chain(TOPOLOGIES).map(|embedded| embedded.name).collect();
    let files: Vec<PathBuf> =
        entries(&root().join("topologies")).into_iter().filter(|path| path.is_file()).collect();
    let stems = files.iter().filter_map(|file| file.file_stem()?.to_str()).filter(|stem| *stem != "nats");
    let missing: Vec<_> = stems.filter(|stem| !built_in.contains(stem)).collect();
    assert!(missing.is_empty(), "testbed/src/model/embedded.rs lacks {missing:?}");
    holds_all("docs/suites.md", built_in, |name| format!("`{name}`"));
}

#[test]
fn every_step_of_a_trial_that_the_documentation_names_is_there() {
    const PAGE: &str = "docs/architecture.md";
    let page = read(PAGE);
    let (_, steps) = page.split_once("\n## Follow one trial\n").expect("the section");
    let steps = steps.split("\n## ").next().unwrap_or_default();
    // The first word of a step, and what stands in its parentheses.
    let words = steps.lines().filter(|line| line.starts_with("  → ")).flat_map(str::split_whitespace);
    let paths: Vec<&str> = words
        .map(|word| word.trim_matches(|c: char| !c.is_alphanumeric()))
        .filter(|word| word.contains('/'))
        .collect();
    assert!(paths.len() > 20, "{PAGE} names only {paths:?}");
    let missing: Vec<_> =
        paths.iter().filter(|path| !root().join("testbed/src").join(path).exists()).collect();
    assert!(missing.is_empty(), "{PAGE} names what is not there: {missing:?}");
}

#[test]
fn every_profile_is_used_by_a_suite() {
    let suites: String = SUITES.iter().map(|suite| suite.text).collect();
    let catalogue = Catalogue::embedded();
    let missing: Vec<_> = catalogue
        .profiles()
        .map(|profile| profile.name.as_str())
        .filter(|name| !suites.contains(&format!("\"{name}\"")))
        .collect();
    assert!(missing.is_empty(), "no suite in topologies/ uses {missing:?}");
}
