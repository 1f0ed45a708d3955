//! Which of the names that are known somebody most likely meant.

use std::fmt;

/// Which of `known` the user most likely meant by `word`: the same in other letters, a typing error, or a name of which it is
/// a part.
#[must_use]
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let typed = word.to_lowercase();
    let near = 1 + typed.chars().count() / 4;
    // Few mistype the first letter.
    let begins_otherwise = |candidate: &str| candidate.chars().next() != typed.chars().next();
    let known: Vec<(String, &str)> = known.into_iter().map(|name| (name.to_lowercase(), name)).collect();
    let measured = known.iter().map(|(lower, name)| {
        (strsim::levenshtein(&typed, lower), begins_otherwise(lower), lower.len(), *name)
    });
    let mistyped = measured.filter(|(distance, ..)| *distance <= near).min().map(|(.., name)| name);
    mistyped.or_else(|| shortened(&typed, &known))
}

/// Shorter words are part of too many names.
const SHORTEST_PART: usize = 3;

/// The shortest name that begins with `typed`, or else one that has it as a word.
fn shortened<'a>(typed: &str, known: &[(String, &'a str)]) -> Option<&'a str> {
    if typed.chars().count() < SHORTEST_PART {
        return None;
    }
    let is_word = |name: &str| name.split(['-', '_', '/']).any(|part| part.starts_with(typed));
    let found = known.iter().filter(|(lower, _)| lower.starts_with(typed) || is_word(lower));
    found.min_by_key(|(lower, _)| (!lower.starts_with(typed), lower.len())).map(|(_, name)| *name)
}

/// `did you mean "x"? ` when something is near, then `otherwise`.
#[must_use]
pub fn suggestion<'a>(
    word: &str,
    known: impl IntoIterator<Item = &'a str>,
    otherwise: impl fmt::Display,
) -> String {
    match nearest(word, known) {
        Some(near) => format!("did you mean \"{near}\"? {otherwise}"),
        None => otherwise.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_and_a_short_name_are_near_and_another_word_is_not() {
        let known = ["port-preserving", "sequential", "random"];
        for (word, expected) in [
            ("port-preservin", Some("port-preserving")),
            ("sequental", Some("sequential")),
            ("radnom", Some("random")),
            ("Random", Some("random")),
            ("SEQUENTIAL", Some("sequential")),
            ("port", Some("port-preserving")),
            ("preserving", Some("port-preserving")),
            ("seq", Some("sequential")),
            ("se", None),
            ("full-cone", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, known), expected, "{word}");
        }
    }
}
