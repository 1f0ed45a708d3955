//! `--filter`: which cells of a suite are run.
//!
//! A cell must match every filter. It matches a filter if it has any one of its values.

use std::str::FromStr;

use crate::cli::command_error::CommandError;
use crate::model::problem::suggestion;
use crate::model::suite::{Cell, Suite};

/// The name under which a filter finds a cell's id.
const CELL: &str = "cell";

/// The name under which a filter finds the part of the suite that a cell belongs to.
const PART: &str = "part";

/// One `AXIS=VALUE,VALUE`, or with `!=` its contrary; values may be globs with `*` and `?`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    key: String,
    sense: Sense,
    values: Vec<String>,
}

/// Which cells a filter admits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sense {
    /// Those that have one of its values.
    AnyOf,
    /// Those that have none of them.
    NoneOf,
}

/// What a filter looks like, for messages about one that cannot be read.
const FORM: &str = "expected AXIS=VALUE or AXIS!=VALUE, as in nat-a=random";

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, values) = text.split_once('=').ok_or(FORM)?;
        let (key, sense) = match key.strip_suffix('!') {
            Some(key) => (key, Sense::NoneOf),
            None => (key, Sense::AnyOf),
        };
        let values: Vec<String> = values.split(',').map(|value| value.trim().to_owned()).collect();
        if key.trim().is_empty() || values.iter().any(String::is_empty) {
            return Err(FORM.to_owned());
        }
        Ok(Self { key: key.trim().to_owned(), sense, values })
    }
}

impl std::fmt::Display for Filter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = match self.sense {
            Sense::AnyOf => "=",
            Sense::NoneOf => "!=",
        };
        write!(f, "{}{sign}{}", self.key, self.values.join(","))
    }
}

impl Filter {
    fn admits(&self, cell: &Cell) -> bool {
        let of_axis = || cell.values.iter().find(|(key, _)| key.to_string() == self.key);
        let value = match self.key.as_str() {
            CELL => Some(cell.id.as_str()),
            PART => Some(cell.part.name.as_str()),
            _ => of_axis().map(|(_, v)| v.as_str()),
        };
        let fits = value.is_some_and(|value| self.values.iter().any(|pattern| matches(pattern, value)));
        fits == (self.sense == Sense::AnyOf)
    }
}

/// The cells that every filter admits.
///
/// # Errors
/// When a filter names an axis that the suite has not, or no cell is left.
pub fn select(suite: &Suite, filters: &[Filter]) -> Result<Vec<Cell>, CommandError> {
    let axes = suite.axis_names();
    let known = || axes.iter().map(String::as_str).chain([CELL, PART]);
    for filter in filters {
        if !known().any(|key| key == filter.key) {
            let message =
                format!("cannot filter by \"{}\": the suite \"{}\" has no such axis", filter.key, suite.name);
            let listed = format!("its axes are {}", axes.join(", "));
            return Err(CommandError::with_help(message, suggestion(&filter.key, known(), listed)));
        }
    }
    let all = suite.cells();
    let idle = |filter: &&Filter| filter.sense == Sense::NoneOf && all.iter().all(|cell| filter.admits(cell));
    if let Some(idle) = filters.iter().find(idle) {
        let message = format!("cannot filter by {idle}: no cell of \"{}\" has that value", suite.name);
        return Err(CommandError::with_help(message, known_values(suite, idle)));
    }
    let left: Vec<Cell> = all.iter().filter(|cell| filters.iter().all(|f| f.admits(cell))).cloned().collect();
    if left.is_empty() { Err(nothing(suite, &all, filters)) } else { Ok(left) }
}

/// Why no cell is left, and which values there are.
fn nothing(suite: &Suite, all: &[Cell], filters: &[Filter]) -> CommandError {
    let Some(empty) = filters.iter().find(|filter| !all.iter().any(|cell| filter.admits(cell))) else {
        let message = format!("nothing to run: no cell of \"{}\" meets all filters at once", suite.name);
        return CommandError::NothingToRun {
            message,
            help: Some(format!("see the cells with: testbed plan {}", suite.name)),
        };
    };
    let message = match empty.sense {
        Sense::AnyOf => format!("nothing to run: no cell of \"{}\" has {empty}", suite.name),
        Sense::NoneOf => format!("nothing to run: {empty} leaves out every cell of \"{}\"", suite.name),
    };
    CommandError::NothingToRun { message, help: Some(known_values(suite, empty)) }
}

/// Which values a filter could have named.
fn known_values(suite: &Suite, filter: &Filter) -> String {
    let values = values(suite, &filter.key);
    if values.is_empty() {
        return format!("see the cells with: testbed plan {}", suite.name);
    }
    let listed = format!("the values of {} are {}", filter.key, values.join(", "));
    suggestion(&filter.values[0], values.iter().copied(), listed)
}

/// All values that an axis has in any part, or the names of the parts.
fn values<'a>(suite: &'a Suite, key: &str) -> Vec<&'a str> {
    let axes = suite.parts.iter().flat_map(|part| &part.axes).filter(|axis| axis.key.to_string() == key);
    let parts =
        suite.parts.iter().map(|part| part.name.as_str()).filter(|name| key == PART && !name.is_empty());
    let mut values: Vec<&str> = Vec::new();
    for value in axes.flat_map(|axis| &axis.values).map(String::as_str).chain(parts) {
        if !values.contains(&value) {
            values.push(value);
        }
    }
    values
}

/// Whether a pattern with `*` (any text) and `?` (one character) fits the whole of a text.
fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where the last star stands, and how much of the text it has swallowed up to.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => (p, t) = (p + 1, t + 1),
            _ => match star {
                Some((at, swallowed)) => {
                    star = Some((at, swallowed + 1));
                    (p, t) = (at + 1, swallowed + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_fit_whole_texts() {
        for (pattern, text, expected) in [
            ("random", "random", true),
            ("random", "randomly", false),
            ("ran*", "random", true),
            ("*-preserving", "port-preserving", true),
            ("*r*n*", "random", true),
            ("r?ndom", "random", true),
            ("r?dom", "random", false),
            ("*", "", true),
            ("?", "", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn a_filter_is_an_axis_and_values() {
        let filter: Filter = "nat-a=random, hash-*".parse().expect("a good filter");
        assert_eq!(filter.to_string(), "nat-a=random,hash-*");
        let filter: Filter = "nat-a!=random".parse().expect("a good filter");
        assert_eq!(filter.to_string(), "nat-a!=random");
        for wrong in ["", "nat-a", "=x", "nat-a=", "nat-a=x,,y", "!=x", "nat-a!="] {
            assert!(wrong.parse::<Filter>().is_err(), "{wrong}");
        }
    }
}
