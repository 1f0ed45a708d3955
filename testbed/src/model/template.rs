//! Command templates: which placeholders there are, and what a command becomes when they are replaced.
//!
//! What each placeholder means stands in `docs/puncher-contract.md`.

use std::collections::BTreeMap;

use crate::model::problem::suggestion;

/// Every placeholder that a command template may use, but for those that name a node.
pub const PLACEHOLDERS: [&str; 25] = [
    "puncher",
    "rendezvous",
    "rendezvous_ip",
    "rendezvous_port",
    "rendezvous_alt",
    "rendezvous_alt_ip",
    "rendezvous_alt_port",
    "meeting",
    "role",
    "peer_role",
    "local_ip",
    "local_port",
    "method",
    "budget_syns",
    "low_ports",
    "deadline",
    "deadline_ms",
    "seed",
    "key_file",
    "peer_ip",
    "peer_port",
    "start_in_ms",
    "start_delay",
    "start_delay_ms",
    "suite_dir",
];

/// Those that differ from peer to peer: what serves both has no value for them.
pub const OF_A_PEER: [&str; 10] = [
    "role",
    "peer_role",
    "local_ip",
    "local_port",
    "seed",
    "peer_ip",
    "peer_port",
    "start_in_ms",
    "start_delay",
    "start_delay_ms",
];

/// What begins the name of a placeholder that stands for the address of a node: `{ip:relay}`.
pub const ADDRESS_OF: &str = "ip:";

/// The values of the placeholders.
pub type Values = BTreeMap<String, String>;

/// Replaces every placeholder of one argument; `{{` and `}}` become braces.
///
/// # Errors
/// A sentence about an unknown placeholder, a lone brace, or a placeholder that has no value here.
pub fn expand(argument: &str, values: &Values) -> Result<String, String> {
    let text = |piece| match piece {
        Piece::Text(text) => Ok(text.to_owned()),
        Piece::Brace(brace) => Ok(brace.to_owned()),
        Piece::Placeholder(name) => {
            values.get(name).cloned().ok_or_else(|| format!("the placeholder {{{name}}} has no value here"))
        }
    };
    pieces(argument)?.into_iter().map(text).collect()
}

/// Replaces one placeholder of an argument and leaves a template: everything else stays as it was written.
///
/// # Errors
/// A sentence about an unknown placeholder or a lone brace.
pub fn bind(argument: &str, placeholder: &str, value: &str) -> Result<String, String> {
    let text = |piece| match piece {
        Piece::Text(text) => text.to_owned(),
        Piece::Brace(brace) => brace.repeat(2),
        Piece::Placeholder(name) if name == placeholder => value.replace('{', "{{").replace('}', "}}"),
        Piece::Placeholder(name) => format!("{{{name}}}"),
    };
    Ok(pieces(argument)?.into_iter().map(text).collect())
}

/// Checks one argument of a template without replacing anything.
///
/// # Errors
/// A sentence about an unknown placeholder or a lone brace.
pub fn check(argument: &str) -> Result<(), String> {
    pieces(argument).map(drop)
}

/// Whether an argument uses a placeholder.
#[must_use]
pub fn uses(argument: &str, placeholder: &str) -> bool {
    let is_it = |piece: &Piece<'_>| matches!(piece, Piece::Placeholder(name) if *name == placeholder);
    pieces(argument).is_ok_and(|pieces| pieces.iter().any(is_it))
}

/// The nodes whose addresses an argument uses, as far as it is a good template.
#[must_use]
pub fn nodes_of(argument: &str) -> Vec<&str> {
    let node = |piece| match piece {
        Piece::Placeholder(name) => name.strip_prefix(ADDRESS_OF),
        _ => None,
    };
    pieces(argument).unwrap_or_default().into_iter().filter_map(node).collect()
}

/// A part of an argument.
enum Piece<'a> {
    /// Text without braces.
    Text(&'a str),
    /// A literal brace.
    Brace(&'a str),
    /// A placeholder.
    Placeholder(&'a str),
}

fn pieces(argument: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = argument;
    while let Some(at) = rest.find(['{', '}']) {
        let (text, brace) = (&rest[..at], &rest[at..=at]);
        pieces.push(Piece::Text(text));
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            pieces.push(Piece::Brace(brace));
            rest = after;
        } else if let (Some(end), "{") = (rest.find('}'), brace) {
            pieces.push(Piece::Placeholder(known(&rest[..end])?));
            rest = &rest[end + 1..];
        } else {
            return Err(format!("\"{argument}\" has a lone brace: write a literal one twice"));
        }
    }
    pieces.push(Piece::Text(rest));
    Ok(pieces)
}

fn known(name: &str) -> Result<&str, String> {
    if name.starts_with(ADDRESS_OF) {
        return Ok(name);
    }
    PLACEHOLDERS.into_iter().find(|known| *known == name).ok_or_else(|| {
        let listed = "they are listed in docs/puncher-contract.md";
        format!("unknown placeholder {{{name}}}: {}", suggestion(name, PLACEHOLDERS, listed))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_replaced_and_braces_kept() {
        let values = [("local_ip", "10.0.0.2"), ("local_port", "4000"), ("ip:relay", "192.0.2.9")];
        let values = Values::from(values.map(|(name, value)| (name.to_owned(), value.to_owned())));
        for (template, expected) in [
            ("{local_ip}:{local_port}", "10.0.0.2:4000"),
            ("plain", "plain"),
            ("{ip:relay}:80", "192.0.2.9:80"),
            ("{{\"ip\":\"{local_ip}\"}}", "{\"ip\":\"10.0.0.2\"}"),
            ("", ""),
        ] {
            assert_eq!(expand(template, &values).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn wrong_templates_are_refused() {
        for (template, expected) in [
            ("{locl_ip}", "unknown placeholder {locl_ip}: did you mean \"local_ip\"?"),
            ("a{", "lone brace"),
            ("a}b", "lone brace"),
            ("{}", "unknown placeholder {}"),
        ] {
            let why = check(template).expect_err(template);
            assert!(why.contains(expected), "{why}");
        }
        let why = expand("{seed}", &Values::new()).expect_err("no value");
        assert!(why.contains("{seed} has no value"), "{why}");
        assert_eq!(check("{seed}"), Ok(()));
        assert_eq!(bind("{{a}}{suite_dir}/{seed}", "suite_dir", "/x{y").as_deref(), Ok("{{a}}/x{{y/{seed}"));
        assert!(OF_A_PEER.iter().all(|name| PLACEHOLDERS.contains(name)));
        assert!(uses("x{seed}", "seed") && !uses("{{seed}}", "seed"));
        assert_eq!(nodes_of("{ip:relay}/{seed}/{ip:core}"), ["relay", "core"]);
    }
}
