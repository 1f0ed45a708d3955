//! The house rules that a reader relies on: a layer uses only the layers below it, only `kernel` touches Linux, and a name
//! stands for one thing.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
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

#[test]
fn modules_side_by_side_do_not_use_each_other_in_a_circle() {
    let mut circles = Vec::new();
    for layer in LAYERS {
        let files = modules_of(layer);
        circles.extend(circles_of(&files));
    }
    circles.extend(circles_of(&modules_of_puncher()));
    assert!(circles.is_empty(), "{}", circles.join("\n"));
}

#[test]
fn a_circle_is_found() {
    let modules = |texts: &[(&str, &str)]| {
        texts.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    };
    let round = modules(&[
        ("lab", "mod a; pub use a::A;"),
        ("lab::a", "use crate::lab::{\n    b::{B, C},\n};"),
        ("lab::b", "fn b() -> crate::lab::c::inner::D {}"),
        ("lab::c", ""),
        ("lab::c::inner", "use crate::lab::a::A; use crate::lab::c::E;"),
    ]);
    assert_eq!(circles_of(&round), ["lab::a -> lab::b -> lab::c -> lab::a"]);
    let by_parent = modules(&[
        ("lab::a", "use super::b::{B, C};"),
        ("lab::b", ""),
        ("lab::b::inner", "use super::{D, other::E};\nuse super::super::a::A;"),
        ("lab::b::other", "use super::inner::F;"),
    ]);
    let circles = ["lab::a -> lab::b -> lab::a", "lab::b::inner -> lab::b::other -> lab::b::inner"];
    assert_eq!(circles_of(&by_parent), circles);
    let straight = modules(&[
        ("lab::a", "use crate::lab::b::B;\n// crate::lab::c is only named here"),
        ("lab::b", "use crate::lab::c::C;"),
        ("lab::c", "#[cfg(test)]\nmod tests {\n    use crate::lab::a::A;\n}"),
    ]);
    assert_eq!(circles_of(&straight), Vec::<String>::new());
}

#[test]
fn a_private_type_name_is_not_that_of_a_module_it_uses() {
    let mut twice = Vec::new();
    for layer in LAYERS {
        let files = modules_of(layer);
        let types: BTreeMap<&String, Vec<String>> =
            files.iter().map(|(name, text)| (name, private_types(without_tests(text)))).collect();
        for (name, text) in &files {
            for used in used_modules(name, text, &files) {
                let both = types[name].iter().filter(|own| types[&used].contains(*own));
                twice.extend(both.map(|both| format!("{both}: in {name} and in {used}, which it uses")));
            }
        }
    }
    assert!(twice.is_empty(), "{}", twice.join("\n"));
}

/// The modules of a layer with their text, without those that only tests have.
fn modules_of(layer: &str) -> BTreeMap<String, String> {
    modules_among(&files_of(layer), &source_of("testbed"))
}

/// The same of all modules of the other crate.
fn modules_of_puncher() -> BTreeMap<String, String> {
    let source = source_of("puncher");
    let modules = modules_among(&files_below(&source), &source);
    assert!(
        modules.contains_key("rendezvous::server"),
        "only {} modules of puncher were found",
        modules.len()
    );
    modules
}

fn modules_among(files: &[PathBuf], source: &Path) -> BTreeMap<String, String> {
    let all: BTreeMap<String, String> =
        files.iter().map(|file| (module_of(file, source), read(file))).collect();
    let for_tests = |name: &str| {
        let (parent, own) = name.rsplit_once("::").unwrap_or(("", name));
        let declared = format!("mod {own};");
        let parent = all.get(parent).map(String::as_str).unwrap_or_default();
        let mut lines = parent.lines().zip(parent.lines().skip(1));
        lines.any(|(before, line)| before == "#[cfg(test)]" && line.ends_with(&declared))
    };
    all.iter().filter(|(name, _)| !for_tests(name)).map(|(name, text)| (name.clone(), text.clone())).collect()
}

/// `lab::wire::core` for `src/lab/wire/core.rs`.
fn module_of(file: &Path, source: &Path) -> String {
    let path = file.strip_prefix(source).expect("a source file").with_extension("");
    let mut words: Vec<_> = path.iter().map(|word| word.to_string_lossy()).collect();
    words.pop_if(|word| word == "mod");
    words.join("::")
}

/// The circles among modules that have the same parent; what lies below a module counts as part of it.
fn circles_of(files: &BTreeMap<String, String>) -> Vec<String> {
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, text) in files {
        for used in used_modules(name, text, files) {
            if let Some((from, to)) = siblings(name, &used) {
                uses.entry(from).or_default().insert(to);
            }
        }
    }
    let reach = |start: &String| -> Option<Vec<String>> {
        // Breadth first, so that the circle is the shortest.
        let mut ways = VecDeque::from([vec![start.clone()]]);
        let mut seen = BTreeSet::new();
        while let Some(way) = ways.pop_front() {
            for next in uses.get(&way[way.len() - 1]).into_iter().flatten() {
                let longer = [way.clone(), vec![next.clone()]].concat();
                if next == start {
                    return Some(longer);
                }
                if seen.insert(next.clone()) {
                    ways.push_back(longer);
                }
            }
        }
        None
    };
    let found = uses.keys().filter_map(reach);
    // Each circle is told once, from the first of its modules.
    found.filter(|way| way.iter().min() == way.first()).map(|way| way.join(" -> ")).collect()
}

/// The two modules under the same parent that two modules belong to, if they are different ones.
fn siblings(from: &str, to: &str) -> Option<(String, String)> {
    let (from, to): (Vec<_>, Vec<_>) = (from.split("::").collect(), to.split("::").collect());
    let shared = from.iter().zip(&to).take_while(|(one, other)| one == other).count();
    let prefix = |words: &[&str]| words.get(..=shared).map(|words| words.join("::"));
    prefix(&from).zip(prefix(&to))
}

/// The modules of `files` that the module `name` uses by their path from the crate or from its parent, apart from its tests.
fn used_modules(name: &str, text: &str, files: &BTreeMap<String, String>) -> BTreeSet<String> {
    let code: Vec<&str> = code_lines(without_tests(text)).map(|(_, code)| code).collect();
    let code = code.join("\n");
    let from_crate = code.split("crate::").skip(1).flat_map(|after| expand(after).0);
    let mut used: BTreeSet<_> = from_crate.filter_map(|path| module_in(&path, files)).collect();
    let mut from = name;
    for after in code.split("super::").skip(1) {
        let above = from.rsplit_once("::").map_or("", |(above, _)| above);
        // Nothing stands between the words of `super::super::`.
        from = if after.is_empty() { above } else { name };
        let paths = expand(after).0;
        let paths = paths.iter().map(|path| format!("{above}::{}", path.trim_start_matches("::")));
        // What is no module of the parent's is an item of the parent itself.
        used.extend(paths.filter_map(|path| module_in(&path, files)).filter(|used| used != above));
    }
    used
}

/// The module that a path leads into: the longest beginning that is one.
fn module_in(path: &str, files: &BTreeMap<String, String>) -> Option<String> {
    let mut path = path;
    loop {
        if files.contains_key(path) {
            return Some(path.to_owned());
        }
        path = path.rsplit_once("::")?.0;
    }
}

/// All paths that a `use` tree names, and what follows it: `a::{b, c::d}` names `a::b` and `a::c::d`.
fn expand(text: &str) -> (Vec<String>, &str) {
    let text = text.trim_start();
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(text.len());
    let (path, mut rest) = text.split_at(end);
    let path = path.trim_end_matches("::");
    if !rest.starts_with('{') {
        return (vec![path.to_owned()], rest);
    }
    let mut all = Vec::new();
    rest = &rest[1..];
    while !rest.trim_start().is_empty() && !rest.trim_start().starts_with('}') {
        let (inner, after) = expand(rest);
        all.extend(inner.into_iter().map(|inner| format!("{path}::{inner}")));
        // Past `as name`, to the next of the list or to its end.
        let next = after.find([',', '}']).unwrap_or(after.len());
        rest = after[next..].strip_prefix(',').unwrap_or(&after[next..]);
    }
    (all, rest.trim_start().strip_prefix('}').unwrap_or_default())
}

/// What stands above the tests of a file; a file of tests has nothing else.
fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text)
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
    types(text, |code| code.trim_start().strip_prefix("pub "))
}

/// The names of the types that a file keeps to itself or to its layer.
fn private_types(text: &str) -> Vec<String> {
    types(text, |code| match code.strip_prefix("pub(") {
        Some(code) => code.split_once(") ").map(|(_, item)| item),
        None => Some(code),
    })
}

fn types(text: &str, item: impl Fn(&str) -> Option<&str>) -> Vec<String> {
    let kinds = ["struct ", "enum ", "trait ", "type "];
    let named = |(_, code): (usize, &str)| {
        // Associated types and types within functions stand indented.
        let item = item(code)?;
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
    let source = source_of("testbed");
    let mut files = files_below(&source.join(layer));
    let file = source.join(format!("{layer}.rs"));
    files.extend(file.is_file().then_some(file));
    files
}

/// The folder with the source files of a crate.
fn source_of(package: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name(package).join("src")
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
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
    files
}
