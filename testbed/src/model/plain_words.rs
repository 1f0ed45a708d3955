//! What a reader of TOML or JSON says of a value that does not fit, in words that a person who wrote the file knows.

use crate::model::suggestion::suggestion;

/// The reader's message in plain words, and what may have been meant. What is not known here is left as it is.
#[must_use]
pub fn plain_words(message: &str) -> (String, Option<String>) {
    let message = message.trim_end().replace('\n', ", ");
    for (start, what) in [("unknown field ", "key"), ("unknown variant ", "value")] {
        if let Some(rest) = message.strip_prefix(start) {
            return unknown(rest, what);
        }
    }
    if message.starts_with("EOF while parsing") {
        return ("the text ends in the middle".to_owned(), None);
    }
    // TOML's own of a word that is to be one of several.
    if message == "wanted string or table" {
        return ("expected a string".to_owned(), None);
    }
    let said = missing(&message).or_else(|| mismatch(&message));
    (said.unwrap_or_else(|| message.replace('`', "\"")), None)
}

/// What is wrong with a text that was to be JSON, with its line.
#[must_use]
pub fn of_json(error: &serde_json::Error) -> String {
    let message = of_json_line(error);
    if error.line() == 0 { message } else { format!("line {}: {message}", error.line()) }
}

/// The same of a text that is a single line.
#[must_use]
pub fn of_json_line(error: &serde_json::Error) -> String {
    let said = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    plain_words(said.strip_suffix(&place).unwrap_or(&said)).0
}

/// `` `x`, expected one of `a`, `b` ``.
fn unknown(rest: &str, what: &str) -> (String, Option<String>) {
    let mut quoted = rest.split('`').skip(1).step_by(2);
    let word = quoted.next().unwrap_or_default();
    let known: Vec<&str> = quoted.collect();
    let listed = match known.as_slice() {
        [] => format!("there is no {what} here"),
        known => format!("known are: {}", known.join(", ")),
    };
    (format!("unknown {what} \"{word}\""), Some(suggestion(word, known.iter().copied(), listed)))
}

/// ``missing field `x` ``.
fn missing(message: &str) -> Option<String> {
    let key = message.strip_prefix("missing field `")?.split('`').next()?;
    Some(format!("the key \"{key}\" is missing"))
}

/// `invalid type: string "5", expected i64`, and the same of a value or a length.
fn mismatch(message: &str) -> Option<String> {
    let kinds = ["invalid type: ", "invalid value: ", "invalid length "];
    let (kind, rest) = kinds.iter().find_map(|kind| Some((*kind, message.strip_prefix(kind)?)))?;
    let (found, expected) = rest.rsplit_once(", expected ")?;
    if let Some(out_of_range) = out_of_range(found, expected) {
        return Some(out_of_range);
    }
    let found = match (kind == kinds[2], found) {
        (true, "1") => "1 value".to_owned(),
        (true, _) => format!("{found} values"),
        (false, _) => found_kind(found),
    };
    Some(format!("expected {}, found {found}", expected_kind(expected)))
}

/// A whole number that its type cannot hold: `` integer `99999999999` `` where `u32` was expected.
fn out_of_range(found: &str, expected: &str) -> Option<String> {
    let number = found.strip_prefix("integer `")?.split('`').next()?;
    let (lowest, highest) = match expected {
        "i8" => (i8::MIN.into(), i8::MAX.into()),
        "i16" => (i16::MIN.into(), i16::MAX.into()),
        "i32" => (i32::MIN.into(), i32::MAX.into()),
        "i64" | "isize" => (i64::MIN.into(), i64::MAX.into()),
        "u8" => (0, u8::MAX.into()),
        "u16" => (0, u16::MAX.into()),
        "u32" => (0, u32::MAX.into()),
        "u64" | "usize" => (0, i128::from(u64::MAX)),
        _ => return None,
    };
    // What is negative where nothing may be is told as that.
    let value: i128 = number.parse().ok().filter(|value| *value >= 0 || lowest < 0)?;
    (!(lowest..=highest).contains(&value))
        .then(|| format!("expected a whole number from {lowest} to {highest}, found the number {number}"))
}

/// What the reader met.
fn found_kind(found: &str) -> String {
    let (kind, value) = found.split_once(' ').unwrap_or((found, ""));
    let value = value.trim_matches('`');
    match kind {
        "string" => format!("the string {value}"),
        // `999 as i128`: the type is the reader's matter.
        "integer" => format!("the number {}", value.split('`').next().unwrap_or(value)),
        "floating" => format!("the number {}", value.trim_start_matches("point").trim().trim_matches('`')),
        "boolean" => value.to_owned(),
        "map" => "a table".to_owned(),
        "sequence" => "a list".to_owned(),
        _ => found.replace('`', "\""),
    }
}

/// How the reader calls what is a table to a person.
const TABLES: [&str; 4] = ["a map", "struct ", "internally tagged enum ", "adjacently tagged enum "];

/// What the reader wanted: types by their names, and our own.
fn expected_kind(expected: &str) -> String {
    let integers = ["i8", "i16", "i32", "i64", "isize", "an integer"];
    let naturals = ["u8", "u16", "u32", "u64", "usize"];
    match expected {
        kind if integers.contains(&kind) => "a whole number".to_owned(),
        kind if naturals.contains(&kind) => "a whole number that is not negative".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list".to_owned(),
        "variant identifier" | "string or map" | "field identifier" => "a string".to_owned(),
        kind if kind.starts_with("variant of enum ") || kind.starts_with("enum ") => "a string".to_owned(),
        kind if TABLES.iter().any(|table| kind.starts_with(table)) => "a table".to_owned(),
        other => match other.strip_prefix("an array of length ") {
            Some(length) => format!("a list of {length} values"),
            None => other.replace('`', "\""),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields, rename_all = "kebab-case")]
    #[expect(dead_code, reason = "only whether it can be read matters")]
    struct Doc {
        number: i64,
        share: Option<f64>,
        word: Option<String>,
        is_on: Option<bool>,
        pair: Option<[String; 2]>,
        list: Option<Vec<u32>>,
        kind: Option<Kind>,
        inner: Option<Box<Doc>>,
        event: Option<Event>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(tag = "event")]
    enum Event {
        Said {},
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        Host,
        Router,
    }

    /// What is said of such a text.
    fn said(text: &str) -> String {
        let error = toml::from_str::<Doc>(text).expect_err("it is wrong");
        let (message, help) = plain_words(error.message());
        help.map_or_else(|| message.clone(), |help| format!("{message}; {help}"))
    }

    #[test]
    fn json_is_told_of_with_its_line() {
        let said = |text: &str| of_json(&serde_json::from_str::<Doc>(text).expect_err("it is wrong"));
        assert_eq!(said("{\n\"number\": true}"), "line 2: expected a whole number, found true");
        assert_eq!(
            said("{\"number\":1,\"event\":{\"event\":[]}}"),
            "line 1: expected a string, found a list"
        );
        assert_eq!(said("{}"), "line 1: the key \"number\" is missing");
    }

    #[test]
    fn no_word_of_the_reader_s_own_is_left() {
        for (text, expected) in [
            ("", "the key \"number\" is missing"),
            ("number = \"5\"", "expected a whole number, found the string \"5\""),
            ("number = 1.5", "expected a whole number, found the number 1.5"),
            ("number = [1]", "expected a whole number, found a list"),
            ("number = 1\nshare = true", "expected a number, found true"),
            ("number = 1\nword = 7", "expected a string, found the number 7"),
            ("number = 1\nis-on = \"yes\"", "expected true or false, found the string \"yes\""),
            ("number = 1\npair = [\"a\"]", "expected a list of 2 values, found 1 value"),
            ("number = 1\nlist = \"a\"", "expected a list, found the string \"a\""),
            ("number = 1\nlist = [-1]", "expected a whole number that is not negative, found the number -1"),
            ("number = 1\ninner = 3", "expected a table, found the number 3"),
            (
                "number = 99999999999999999999",
                "expected a whole number from -9223372036854775808 to 9223372036854775807, found the number 99999999999999999999",
            ),
            (
                "number = 1\nlist = [99999999999999]",
                "expected a whole number from 0 to 4294967295, found the number 99999999999999",
            ),
            ("number = 1\nkind = []", "expected a string"),
            ("number = 1\nevent = { event = 1 }", "expected a string, found the number 1"),
            ("number = 1\nevent = 1", "expected a table, found the number 1"),
            (
                "number = 1\nkind = \"hots\"",
                "unknown value \"hots\"; did you mean \"host\"? known are: host, router",
            ),
            (
                "number = 1\nis_on = true",
                "unknown key \"is_on\"; did you mean \"is-on\"? known are: number, share, word, is-on, pair, list, kind, inner, event",
            ),
        ] {
            assert_eq!(said(text), expected, "{text}");
        }
    }
}
