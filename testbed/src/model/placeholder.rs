//! Command templates: the placeholders of `docs/puncher-contract.md` and how they are replaced. Pure.

use std::collections::BTreeMap;
use std::fmt;

/// Every placeholder that a command may use.
pub const PLACEHOLDERS: &[&str] = &[
    "puncher",
    "rendezvous",
    "rendezvous_alt",
    "meeting",
    "role",
    "peer_role",
    "local_ip",
    "local_port",
    "method",
    "budget_syns",
    "deadline",
    "seed",
    "key_file",
    "peer_ip",
    "peer_port",
    "start_in_ms",
];

/// Placeholders with their values.
pub type Values = BTreeMap<&'static str, String>;

/// What is wrong with a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TemplateError {
    /// There is no such placeholder.
    Unknown(String),
    /// A brace has no partner.
    Unbalanced(String),
    /// The placeholder exists and has no value here (`{rendezvous}` in a topology without one, say).
    NoValue(String),
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => write!(f, "unknown placeholder {{{name}}}"),
            Self::Unbalanced(text) => {
                write!(f, "a brace without a partner in \"{text}\"; write {{{{ for a literal one")
            }
            Self::NoValue(name) => write!(f, "the placeholder {{{name}}} has no value here"),
        }
    }
}

impl std::error::Error for TemplateError {}

/// One piece of a template.
#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    Text(&'a str),
    Placeholder(&'static str),
}

/// Checks a whole command.
///
/// # Errors
/// The first unknown placeholder or unbalanced brace.
pub fn check(command: &[String]) -> Result<(), TemplateError> {
    command.iter().try_for_each(|word| pieces(word).map(drop))
}

/// Whether any word of a command uses the placeholder.
#[must_use]
pub fn uses(command: &[String], placeholder: &str) -> bool {
    let used = |word: &String| {
        pieces(word).is_ok_and(|p| p.iter().any(|p| matches!(p, Piece::Placeholder(n) if *n == placeholder)))
    };
    command.iter().any(used)
}

/// Replaces every placeholder of a command.
///
/// # Errors
/// As [`check`], and when a placeholder has no value.
pub fn fill(command: &[String], values: &Values) -> Result<Vec<String>, TemplateError> {
    let word = |word: &String| {
        let mut filled = String::new();
        for piece in pieces(word)? {
            match piece {
                Piece::Text(text) => filled.push_str(text),
                Piece::Placeholder(name) => {
                    let value = values.get(name).ok_or_else(|| TemplateError::NoValue(name.to_owned()))?;
                    filled.push_str(value);
                }
            }
        }
        Ok(filled)
    };
    command.iter().map(word).collect()
}

fn pieces(word: &str) -> Result<Vec<Piece<'_>>, TemplateError> {
    let unbalanced = || TemplateError::Unbalanced(word.to_owned());
    let mut pieces = Vec::new();
    let mut rest = word;
    while let Some(at) = rest.find(['{', '}']) {
        let (text, from) = rest.split_at(at);
        pieces.push(Piece::Text(text));
        if let Some(after) = from.strip_prefix("{{").or_else(|| from.strip_prefix("}}")) {
            pieces.push(Piece::Text(&from[..1]));
            rest = after;
            continue;
        }
        let inside = from.strip_prefix('{').ok_or_else(unbalanced)?;
        let (name, after) = inside.split_once('}').ok_or_else(unbalanced)?;
        let known = PLACEHOLDERS.iter().find(|p| **p == name);
        pieces.push(Piece::Placeholder(known.ok_or_else(|| TemplateError::Unknown(name.to_owned()))?));
        rest = after;
    }
    pieces.push(Piece::Text(rest));
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command(words: &[&str]) -> Vec<String> {
        words.iter().map(|w| (*w).to_owned()).collect()
    }

    #[test]
    fn placeholders_are_replaced_and_doubled_braces_are_literal() {
        let values = Values::from([("role", "a".to_owned()), ("local_ip", "10.0.0.2".to_owned())]);
        let filled = fill(&command(&["x", "--as={role}", "{{{local_ip}}}", ""]), &values);
        assert_eq!(filled, Ok(command(&["x", "--as=a", "{10.0.0.2}", ""])));
    }

    #[test]
    fn mistakes_are_named() {
        let said = |word: &str| check(&command(&[word])).expect_err(word).to_string();
        assert_eq!(said("{rolle}"), "unknown placeholder {rolle}");
        assert_eq!(said("a{role"), "a brace without a partner in \"a{role\"; write {{ for a literal one");
        assert_eq!(said("a}"), "a brace without a partner in \"a}\"; write {{ for a literal one");
        let missing = fill(&command(&["{role}"]), &Values::new()).expect_err("no value");
        assert_eq!(missing.to_string(), "the placeholder {role} has no value here");
    }

    #[test]
    fn use_is_seen() {
        assert!(uses(&command(&["p", "--to={peer_ip}"]), "peer_ip"));
        assert!(!uses(&command(&["p", "{{peer_ip}}"]), "peer_ip"));
    }

    #[test]
    fn every_placeholder_is_on_the_contract_page() {
        let page = include_str!("../../../docs/puncher-contract.md");
        for name in PLACEHOLDERS {
            assert!(page.contains(&format!("`{{{name}}}`")), "{name}");
        }
    }
}
