//! Text in lines of limited length.

use std::io::{self, Write};

/// A blank that no line is broken at; it is written as any other.
pub(super) const TIE: char = '\u{a0}';

/// Columns that a text takes.
pub(super) fn length(text: &str) -> usize {
    console::measure_text_width(text)
}

/// The text, or its beginning with `…` where it is wider than that.
pub(super) fn cut(text: &str, width: usize) -> String {
    console::truncate_str(text, width, "…").into_owned()
}

/// The text in lines of at most so many columns, each after the first behind `indent`. Only blanks are broken at: a word
/// that is longer than a line, such as a path, can still be copied whole. What comes after a line break is left as it is:
/// it points at columns.
pub(super) fn wrapped(text: &str, indent: &str, width: usize) -> Vec<String> {
    wrapped_behind(0, text, indent, width)
}

/// The same, where so many columns of the first line are taken.
pub(super) fn wrapped_behind(taken: usize, text: &str, indent: &str, width: usize) -> Vec<String> {
    let (text, rest) = text.split_once('\n').unwrap_or((text, ""));
    let mut lines = Vec::new();
    let (mut line, mut used) = (String::new(), taken);
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let room = used + 1 + length(word) <= width;
        if !line.trim().is_empty() && !room {
            lines.push(std::mem::replace(&mut line, indent.to_owned()));
            used = length(indent);
        } else if !line.trim().is_empty() {
            line.push(' ');
            used += 1;
        }
        line.push_str(word);
        used += length(word);
    }
    lines.push(line);
    lines.extend(rest.lines().map(|line| format!("{indent}{line}")));
    lines.iter().map(|line| line.replace(TIE, " ")).collect()
}

/// Writes a text behind `taken` columns that are already on the line, later lines behind `indent`.
///
/// # Errors
/// What the writer says.
pub(crate) fn write_behind(
    taken: usize,
    text: &str,
    indent: &str,
    width: usize,
    out: &mut impl Write,
) -> io::Result<()> {
    wrapped_behind(taken, text, indent, width).iter().try_for_each(|line| writeln!(out, "{line}"))
}

/// Writes a name and, behind that column and a gap, a text that may take several lines; where the text has too little room
/// there, below the name.
///
/// # Errors
/// What the writer says.
pub(crate) fn columns(
    name: &str,
    (column, text): (usize, &str),
    width: usize,
    out: &mut impl Write,
) -> io::Result<()> {
    let gap = 2;
    let taken = column + gap;
    if taken + LEAST_TEXT <= width {
        let pad = column.saturating_sub(length(name)) + gap;
        write!(out, "{name}{:pad$}", "")?;
        return write_behind(taken, text, &" ".repeat(taken), width, out);
    }
    if !name.is_empty() {
        writeln!(out, "{}", name.trim_end())?;
    }
    write!(out, "{BELOW}")?;
    write_behind(BELOW.len(), text, BELOW, width, out)
}

/// Columns that a text needs beside a name.
const LEAST_TEXT: usize = 30;

/// What stands before a text that is below its name.
const BELOW: &str = "    ";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_at_blanks_and_long_words_stay_whole() {
        assert_eq!(wrapped("one two three", "  ", 8), ["one two", "  three"]);
        assert_eq!(wrapped("a /very/long/path b", "", 6), ["a", "/very/long/path", "b"]);
        assert_eq!(wrapped("", "  ", 8), [""]);
        assert_eq!(wrapped("one 2\u{a0}s", "", 6), ["one", "2 s"]);
        assert_eq!(wrapped("a b\n  c d\n  ^", "> ", 3), ["a b", ">   c d", ">   ^"]);
        assert_eq!(wrapped_behind(4, "one two", "", 8), ["one", "two"]);
    }

    #[test]
    fn a_text_goes_below_its_name_where_there_is_no_room_beside_it() {
        let at = |width| {
            let mut out = Vec::new();
            columns("name", (6, "one two three four five six seven eight"), width, &mut out)
                .expect("a vector");
            String::from_utf8(out).expect("text")
        };
        assert_eq!(at(usize::MAX), "name    one two three four five six seven eight\n");
        assert_eq!(at(40), "name    one two three four five six\n        seven eight\n");
        assert_eq!(at(20), "name\n    one two three\n    four five six\n    seven eight\n");
    }

    #[test]
    fn a_cut_text_says_so() {
        assert_eq!((cut("abcdef", 6), cut("abcdef", 4)), ("abcdef".to_owned(), "abc…".to_owned()));
    }
}
