//! Command templates: which placeholders there are, and what a command becomes when they are replaced.
//!
//! What each placeholder means stands in `docs/puncher-contract.md`.

use std::collections::BTreeMap;

use crate::model::problem::suggestion;

/// Every placeholder that a command template may use.
pub const PLACEHOLDERS: [&str; 16] = [
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

/// The values of the placeholders.
pub type Values = BTreeMap<&'static str, String>;

/// Replaces every placeholder of one argument; `{{` and `}}` become braces.
///
/// # Errors
/// A sentence about an unknown placeholder, a lone brace, or a placeholder that has no value here.
pub fn expand(argument: &str, values: &Values) -> Result<String, String> {
    let lookup = |name: &'static str| {
        values.get(name).cloned().ok_or_else(|| format!("the placeholder {{{name}}} has no value here"))
    };
    replace(argument, lookup)
}

/// Checks one argument of a template without replacing anything.
///
/// # Errors
/// A sentence about an unknown placeholder or a lone brace.
pub fn check(argument: &str) -> Result<(), String> {
    replace(argument, |_| Ok(String::new())).map(drop)
}

/// Whether an argument uses a placeholder.
#[must_use]
pub fn uses(argument: &str, placeholder: &str) -> bool {
    let mut used = false;
    let note = |name: &'static str| {
        used |= name == placeholder;
        Ok(String::new())
    };
    replace(argument, note).is_ok() && used
}

fn replace(
    argument: &str,
    mut lookup: impl FnMut(&'static str) -> Result<String, String>,
) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = argument;
    while let Some(at) = rest.find(['{', '}']) {
        out.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            out.push_str(brace);
            rest = after;
        } else if let (Some(end), "{") = (rest.find('}'), brace) {
            out.push_str(&lookup(known(&rest[..end])?)?);
            rest = &rest[end + 1..];
        } else {
            return Err(format!("\"{argument}\" has a lone brace: write a literal one twice"));
        }
    }
    Ok(out + rest)
}

fn known(name: &str) -> Result<&'static str, String> {
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
        let values = Values::from([("local_ip", "10.0.0.2".to_owned()), ("local_port", "4000".to_owned())]);
        for (template, expected) in [
            ("{local_ip}:{local_port}", "10.0.0.2:4000"),
            ("plain", "plain"),
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
        assert!(uses("x{seed}", "seed") && !uses("{{seed}}", "seed"));
    }
}
