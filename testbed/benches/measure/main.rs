//! How fast it all is, measured in one run: `scripts/bench` builds and starts this. Figures depend on the machine, so
//! they are no tests; what is compared with each other is measured in turns.
//!
//! Programs beside it are run as a user would run them: `TESTBED` names the program to measure, `PUNCHER` its puncher, and `AGAINST`
//! the folder with both programs of another build, which trials are measured with in turns.

mod labs;
mod memory;
mod runs;
mod sandbox;
mod spray;
mod table;
mod wire;

use std::process::{Command, ExitCode, Stdio};

use crate::table::Table;

/// A part of the benchmark by name.
type Part = (&'static str, fn(&mut Table));

const PARTS: [Part; 9] = [
    ("lab", labs::build),
    ("ruleset", labs::rulesets),
    ("trials", runs::trials),
    ("matrix", runs::matrix),
    ("sandbox", sandbox::sandbox),
    ("timing", runs::timing),
    ("spray", spray::spray),
    ("wire", wire::wire),
    ("memory", memory::memory),
];

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let known = |word: &&String| *word == "--json" || PARTS.iter().any(|(name, _)| name == word);
    if let Some(wrong) = words.iter().find(|word| !known(word)) {
        table::say(&format!(
            "unknown word \"{wrong}\"; parts are: {}",
            PARTS.map(|(name, _)| name).join(", ")
        ));
        return ExitCode::from(2);
    }
    let wanted =
        |name: &str| words.iter().all(|word| word == "--json") || words.iter().any(|word| word == name);
    let mut table = Table::default();
    let parts: Vec<_> = PARTS.into_iter().filter(|(name, _)| wanted(name)).collect();
    for (name, part) in &parts {
        if *name == "memory" && parts.len() > 1 {
            table.append(in_another_process(name));
        } else {
            table::say(&format!("measuring {name}"));
            part(&mut table);
        }
    }
    table.print(!words.iter().any(|word| word == "--json"));
    ExitCode::SUCCESS
}

/// Measures a part in a process that has not grown by what was measured before.
fn in_another_process(part: &str) -> Table {
    let this = std::env::current_exe().expect("a program");
    let output =
        Command::new(this).args([part, "--json"]).stderr(Stdio::inherit()).output().expect("a process");
    assert!(output.status.success(), "{part}: {}", output.status);
    serde_json::from_slice(&output.stdout).expect("a table")
}
