//! Text from programs and files, made harmless for a terminal, for Markdown and for XML.
//!
//! A program under test may print anything, and its words end up in notes and details. An escape sequence in them
//! could hide a line or rewrite one, so control characters are shown instead of obeyed.

use std::borrow::Cow;

/// The text on one line, with ` / ` between its lines and every other control character written as `\u{1b}`.
///
/// Lines that only point at a column of the line above, as those of nft do, mean nothing there and are left out.
#[must_use]
pub fn harmless(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_harmful) {
        return Cow::Borrowed(text);
    }
    let points = |line: &&str| line.contains('^') && line.chars().all(|c| "^ ~-".contains(c));
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !points(line));
    Cow::Owned(lines.map(|line| shown(line).into_owned()).collect::<Vec<_>>().join(" / "))
}

/// The text with its lines, and every other control character written as `\u{1b}`.
#[must_use]
pub fn harmless_lines(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_harmful) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.lines().map(|line| shown(line.trim_end()).into_owned()).collect::<Vec<_>>().join("\n"))
}

/// One line, with every control character shown; a tab is a blank.
fn shown(line: &str) -> Cow<'_, str> {
    if !line.chars().any(is_harmful) {
        return Cow::Borrowed(line);
    }
    let mut out = String::with_capacity(line.len() + 16);
    for c in line.chars() {
        match c {
            '\t' => out.push(' '),
            c if is_harmful(c) => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    Cow::Owned(out)
}

/// The text without anything that Markdown or HTML would act upon.
pub(super) fn markdown(text: &str) -> String {
    let mut out = String::new();
    for c in harmless(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '!' => out.extend(['\\', c]),
            other => out.push(other),
        }
    }
    out
}

/// One line of text as the content of an element or an attribute of XML or HTML.
pub(super) fn xml(text: &str) -> String {
    let mut out = String::new();
    for c in harmless(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            other => out.push(other),
        }
    }
    out
}

/// As [`xml`], for several lines.
pub(super) fn xml_lines(text: &str) -> String {
    text.split('\n').map(xml).collect::<Vec<_>>().join("\n")
}

/// Control characters, and those that turn the direction of what follows.
fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// What a hostile program might print, for the tests of all formats.
#[cfg(test)]
pub(super) const HOSTILE: &str = "\u{1b}[2J<b>&\"|`x`";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_and_all_else_is_kept() {
        for (text, expected) in [
            ("plain – ünïcode", "plain – ünïcode"),
            ("\u{1b}[2Jgone", "\\u{1b}[2Jgone"),
            ("a\r\nb\tc", "a / b c"),
            ("line 6: no\n  6 | oif snatt\n          ^^^^^\n", "line 6: no / 6 | oif snatt"),
            ("a\rb", "a\\rb"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("x\u{202e}y", "x\\u{202e}y"),
            ("bell\u{7}", "bell\\u{7}"),
        ] {
            assert_eq!(harmless(text), expected);
        }
        assert_eq!(harmless_lines("a\n  b\u{7}\r\n ^\n"), "a\n  b\\u{7}\n ^");
    }
}
