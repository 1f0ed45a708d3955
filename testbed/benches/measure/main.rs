//! How fast it all is, measured in one run: `scripts/bench` builds and starts this. Figures depend on the machine, so
//! they are no tests; what is compared with each other is measured in turns.
//!
//! Programs beside it are run as a user would run them: `TESTBED` names the program to measure, `PUNCHER` its puncher.

mod labs;
mod memory;
mod runs;
mod spray;
mod table;
mod wire;

use std::process::ExitCode;

use crate::table::Table;

/// A part of the benchmark by name.
type Part = (&'static str, fn(&mut Table));

/// Memory comes first: while this process is as small as it began.
const PARTS: [Part; 7] = [
    ("memory", memory::memory),
    ("lab", labs::build),
    ("ruleset", labs::rulesets),
    ("trials", runs::trials),
    ("timing", runs::timing),
    ("spray", spray::spray),
    ("wire", wire::wire),
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
    for (name, part) in PARTS.into_iter().filter(|(name, _)| wanted(name)) {
        table::say(&format!("measuring {name}"));
        part(&mut table);
    }
    table.print(!words.iter().any(|word| word == "--json"));
    ExitCode::SUCCESS
}
