use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Every source file of the library, by the path of its module.
fn modules() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let (mut modules, mut folders) = (BTreeMap::new(), vec![root.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder of sources") {
            let path: PathBuf = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path.strip_prefix(&root).expect("below the root").with_extension("");
            let name = name.to_str().expect("a name in UTF-8").replace('/', "::");
            let name = name.strip_suffix("::mod").unwrap_or(&name).to_owned();
            if !name.starts_with("cli") && name != "main" && name != "lib" {
                modules.insert(name, std::fs::read_to_string(&path).expect("a source file"));
            }
        }
    }
    assert!(modules.len() > 20, "{:?}", modules.keys());
    modules
}

#[test]
fn no_public_type_name_is_used_twice() {
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    for (module, text) in modules() {
        for line in text.lines() {
            let Some(rest) = line.strip_prefix("pub ").or_else(|| line.strip_prefix("pub(crate) ")) else {
                continue;
            };
            let mut words = rest.split(|letter: char| !letter.is_alphanumeric());
            if let (Some("struct" | "enum" | "trait" | "type"), Some(name)) = (words.next(), words.next())
                && let Some(other) = seen.insert(name.to_owned(), module.clone())
            {
                panic!("{name} is in {other} and in {module}");
            }
        }
    }
}

/// What a file imports, as far as it is another file of the crate. A folder and its files are one family: they may know
/// each other.
fn imports(modules: &BTreeMap<String, String>, module: &str) -> BTreeSet<String> {
    let text = &modules[module];
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let used = code.lines().filter_map(|line| line.trim_start().strip_prefix("use crate::"));
    let named = used.flat_map(|path| {
        let path = path.trim_end_matches(';');
        let whole = path.split(['{', ' ']).next().unwrap_or_default().trim_end_matches("::");
        let listed = path.split(['{', '}']).nth(1).unwrap_or_default().split(',').map(str::trim);
        let listed: Vec<_> =
            listed.map(|item| format!("{whole}::{}", item.split("::").next().unwrap_or_default())).collect();
        [vec![whole.to_owned()], listed].concat()
    });
    let family = |name: &str| name.split("::").next().unwrap_or_default().to_owned();
    let files = named.filter_map(|path| {
        let mut path = path.as_str();
        loop {
            if modules.contains_key(path) {
                return Some(path.to_owned());
            }
            path = path.rsplit_once("::")?.0;
        }
    });
    files.filter(|other| family(other) != family(module)).collect()
}

#[test]
fn imports_have_no_cycle() {
    let modules = modules();
    let mut left: BTreeMap<_, _> =
        modules.keys().map(|module| (module.clone(), imports(&modules, module))).collect();
    assert!(left["driver"].contains("error") && left["config"].contains("method"), "{left:?}");
    loop {
        let free: Vec<_> =
            left.iter().filter(|(_, uses)| uses.is_empty()).map(|(name, _)| name.clone()).collect();
        if free.is_empty() {
            break;
        }
        for name in free {
            left.remove(&name);
            left.values_mut().for_each(|uses| {
                uses.remove(&name);
            });
        }
    }
    assert!(left.is_empty(), "these import each other: {left:#?}");
}

#[test]
fn a_library_user_gets_none_of_the_commands_crates() {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--prefix", "none", "--edges", "normal", "--no-default-features"])
        .args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")])
        .output()
        .expect("cargo runs");
    let tree = String::from_utf8_lossy(&tree.stdout);
    let has = |name: &str| tree.lines().any(|line| line.split(' ').next() == Some(name));
    assert!(has("puncher") && has("tokio"), "{tree}");
    for name in ["clap", "anyhow", "humantime"] {
        assert!(!has(name), "{name} in {tree}");
    }
}
