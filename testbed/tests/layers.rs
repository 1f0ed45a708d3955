//! A layer uses only the layers below it.

use std::fs;
use std::path::{Path, PathBuf};

/// Bottom to top.
const LAYERS: [&str; 6] = ["model", "kernel", "lab", "run", "report", "cli"];

#[test]
fn no_layer_uses_one_above_it() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for (rank, layer) in LAYERS.iter().enumerate() {
        let files = files_of(&source, layer);
        assert!(!files.is_empty(), "the layer {layer} has no file");
        for file in files {
            let text = fs::read_to_string(&file).expect("a source file");
            let above = upward(&text, rank).into_iter();
            wrong.extend(above.map(|(line, used)| format!("{}:{line}: {layer} uses {used}", file.display())));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_upward_line_is_found() {
    let text =
        "use crate::model::suite::Cell;\n// crate::cli is only named here\nuse crate::{kernel, report};\n";
    assert_eq!(upward(text, 2), [(3, "report".to_owned())]);
    assert_eq!(upward("let x = crate::judge::verdict::percent(1.0);", 1), [(1, "run".to_owned())]);
}

/// Lines that name a layer above `rank`, outside of comments.
fn upward(text: &str, rank: usize) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or_default();
        for used in code.split("crate::").skip(1).flat_map(names) {
            if LAYERS[rank + 1..].contains(&used.as_str()) {
                found.push((number + 1, used));
            }
        }
    }
    found
}

/// The modules that follow `crate::`: one, or those of a list in braces.
fn names(after: &str) -> Vec<String> {
    let word = |text: &str| text.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    match after.strip_prefix('{') {
        Some(list) => list.split(',').map(word).collect(),
        None => vec![word(after)],
    }
}

/// All files of a layer: `src/LAYER.rs` and what lies below `src/LAYER`.
fn files_of(source: &Path, layer: &str) -> Vec<PathBuf> {
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
