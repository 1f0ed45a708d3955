//! The house rules that a reader relies on: a layer uses only the layers below it, only `kernel` touches Linux, and a name
//! stands for one thing.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Bottom to top.
const LAYERS: [&str; 8] = ["model", "judge", "kernel", "lab", "probe", "run", "report", "cli"];

/// What reaches Linux past the standard library and tokio. `kernel` alone may.
const LINUX: [&str; 5] = ["libc", "nix", "socket2", "/proc/", "/sys/"];

#[test]
fn no_layer_uses_one_above_it() {
    let mut wrong = Vec::new();
    for (rank, layer) in LAYERS.iter().enumerate() {
        let files = files_of(layer);
        assert!(!files.is_empty(), "the layer {layer} has no file");
        for file in files {
            let above = upward(&read(&file), rank).into_iter();
            wrong.extend(above.map(|(line, used)| format!("{}:{line}: {layer} uses {used}", file.display())));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_upward_line_is_found() {
    let text =
        "use crate::model::suite::Cell;\n// crate::cli is only named here\nuse crate::{kernel, report};\n";
    assert_eq!(upward(text, 3), [(3, "report".to_owned())]);
    assert_eq!(upward("let x = crate::run::seed::new(1.0);", 1), [(1, "run".to_owned())]);
}

#[test]
fn only_the_kernel_layer_touches_linux() {
    let mut wrong = Vec::new();
    for file in LAYERS.iter().filter(|layer| **layer != "kernel").flat_map(|layer| files_of(layer)) {
        let found = past_the_kernel_layer(&read(&file)).into_iter();
        wrong.extend(found.map(|(line, word)| format!("{}:{line}: uses {word}", file.display())));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_way_past_the_kernel_layer_is_found() {
    let text = "// libc is only named here\nlet a = libc::ENOBUFS;\nuse nix::errno::Errno;\nopen(\"/proc/stat\");\nuse tokio::net::unix::pipe;\n";
    assert_eq!(past_the_kernel_layer(text), [(2, "libc"), (3, "nix"), (4, "/proc/")]);
}

#[test]
fn a_public_type_name_stands_for_one_thing() {
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in LAYERS.iter().flat_map(|layer| files_of(layer)) {
        for name in public_types(&read(&file)) {
            places.entry(name).or_default().push(file.display().to_string());
        }
    }
    assert!(places.len() > 100, "only {} public types were found", places.len());
    let twice: Vec<_> = places.iter().filter(|(_, files)| files.len() > 1).collect();
    assert!(twice.is_empty(), "names of several public types: {twice:#?}");
}

#[test]
fn public_types_are_read() {
    let text = "pub struct One;\npub(super) struct Two;\n    pub enum Three {\npub type Four<'a> = u8;\npub fn five() {}\n// pub struct Six;\npub trait Seven {}\n";
    assert_eq!(public_types(text), ["One", "Three", "Four", "Seven"]);
}

/// Lines that name a layer above `rank`, outside of comments.
fn upward(text: &str, rank: usize) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, code) in code_lines(text) {
        for used in code.split("crate::").skip(1).flat_map(names) {
            if LAYERS[rank + 1..].contains(&used.as_str()) {
                found.push((number, used));
            }
        }
    }
    found
}

/// Lines that reach Linux directly, outside of comments, and the word that does.
fn past_the_kernel_layer(text: &str) -> Vec<(usize, &'static str)> {
    let mut found = Vec::new();
    for (number, code) in code_lines(text) {
        let uses = |word: &&&str| match word.starts_with('/') {
            true => code.contains(**word),
            false => paths(code).any(|first| first == **word),
        };
        found.extend(LINUX.iter().filter(uses).map(|word| (number, *word)));
    }
    found
}

/// The first names of all paths of a line: `nix` of `nix::errno::Errno`.
fn paths(code: &str) -> impl Iterator<Item = &str> {
    let name = |c: char| c.is_alphanumeric() || c == '_';
    let words = code.split(move |c: char| !name(c) && c != ':').filter(|word| word.contains("::"));
    words.filter_map(|path| path.split("::").next())
}

/// The names of the types that a file makes public beyond its layer.
fn public_types(text: &str) -> Vec<String> {
    let kinds = ["struct ", "enum ", "trait ", "type "];
    let named = |(_, code): (usize, &str)| {
        let item = code.trim_start().strip_prefix("pub ")?;
        let item = kinds.iter().find_map(|kind| item.strip_prefix(kind))?;
        Some(item.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect())
    };
    code_lines(text).filter_map(named).collect()
}

/// The lines of a file, from 1, without their comments.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(at, line)| {
        let comment = line.find("//").filter(|at| !line[..*at].ends_with(':'));
        (at + 1, &line[..comment.unwrap_or(line.len())])
    })
}

/// The modules that follow `crate::`: one, or those of a list in braces.
fn names(after: &str) -> Vec<String> {
    let word = |text: &str| text.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    match after.strip_prefix('{') {
        Some(list) => list.split(',').map(word).collect(),
        None => vec![word(after)],
    }
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).expect("a source file")
}

/// All files of a layer: `src/LAYER.rs` and what lies below `src/LAYER`.
fn files_of(layer: &str) -> Vec<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    let mut folders = vec![source.join(layer)];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.expect("a readable folder").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                files.push(path);
            }
        }
    }
    let file = source.join(format!("{layer}.rs"));
    files.extend(file.is_file().then_some(file));
    files
}
