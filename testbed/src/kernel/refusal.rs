//! What nft says when it refuses a text, taken apart so that line and column survive.

use std::fmt;

/// A text that nft did not accept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Refusal {
    /// The first line that nft points at, from 1; `None` when it points nowhere.
    pub line: Option<usize>,
    /// The columns it points at, from 1, both included.
    pub columns: Option<(usize, usize)>,
    /// nft's own words about it.
    pub message: String,
    /// The text of that line.
    pub source_line: String,
    /// Everything that nft said.
    pub said: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(line) = self.line else {
            return write!(f, "nft refused its ruleset: {}", self.message);
        };
        write!(f, "nft refused its ruleset at line {line}: {}", self.message)?;
        // Tabs are one column to nft.
        write!(f, "\n  {line} | {}", self.source_line.replace('\t', " "))?;
        if let Some((first, last)) = self.columns {
            let indent = line.to_string().len() + 5 + first.saturating_sub(1);
            write!(f, "\n{}{}", " ".repeat(indent), "^".repeat(last.saturating_sub(first) + 1))?;
        }
        Ok(())
    }
}

impl Refusal {
    /// Takes apart what nft `said` about `text`: `FILE:LINE:FROM-TO: Error: MESSAGE`, the line and a row of carets.
    pub(super) fn parse(said: &str, text: &str) -> Self {
        let located = said.lines().find_map(|line| {
            let (place, message) = line.split_once(": Error: ")?;
            let mut parts = place.rsplit(':');
            let columns = parts.next()?;
            let (from, to) = columns.split_once('-').unwrap_or((columns, columns));
            let number = parts.next()?.parse::<usize>().ok()?;
            Some((number, from.parse().ok().zip(to.parse().ok()), message.to_owned()))
        });
        let said = said.trim_end().to_owned();
        match located {
            Some((number, columns, message)) => Self {
                line: Some(number),
                columns,
                message,
                source_line: text.lines().nth(number.wrapping_sub(1)).unwrap_or_default().to_owned(),
                said,
            },
            None => {
                let first = said.lines().next().unwrap_or("nothing was said");
                let message = first.strip_prefix("Error: ").unwrap_or(first).to_owned();
                Self { line: None, columns: None, message, source_line: String::new(), said }
            }
        }
    }

    /// Whether the kernel has no code for what the text asks for, as far as nft tells: the kernel says the same of a rule
    /// that names a thing that is not there.
    pub(crate) fn may_be_unsupported(&self) -> bool {
        let why = self.message.strip_prefix("Could not process rule: ");
        why.is_some_and(|why| ["No such file or directory", "Operation not supported"].contains(&why))
    }

    /// The same refusal for a text whose first line had so many bytes put before it.
    pub(super) fn moved_left(mut self, bytes: usize) -> Self {
        if self.line == Some(1)
            && let Some(rest) = self.source_line.get(bytes..)
        {
            self.source_line = rest.to_owned();
            let moved = |(from, to): (usize, usize)| from.checked_sub(bytes).zip(to.checked_sub(bytes));
            self.columns = self.columns.and_then(moved);
        }
        self
    }

    /// The same refusal for a text that had `lines` more lines put before it.
    pub(super) fn moved_up(mut self, lines: usize) -> Self {
        self.line = self.line.and_then(|line| line.checked_sub(lines)).filter(|line| *line > 0);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "table ip nat {\n chain post {\n  oif \"wan\" snatt to 1.2.3.4\n }\n}\n";

    #[test]
    fn line_column_and_message_are_found() {
        let said =
            "<cmdline>:3:13-17: Error: syntax error, unexpected string\n  oif \"wan\" snatt\n     ^^^^^\n";
        let refusal = Refusal::parse(said, TEXT);
        assert_eq!((refusal.line, refusal.columns), (Some(3), Some((13, 17))));
        insta::assert_snapshot!(refusal, @r#"
        nft refused its ruleset at line 3: syntax error, unexpected string
          3 |   oif "wan" snatt to 1.2.3.4
                          ^^^^^
        "#);
    }

    #[test]
    fn a_line_put_before_the_text_is_not_counted() {
        let said = "/dev/stdin:3:1-1: Error: no";
        let refusal = Refusal::parse(said, &format!("flush ruleset\n{TEXT}")).moved_up(1);
        assert_eq!(refusal.line, Some(2));
        assert_eq!(refusal.source_line, " chain post {");
    }

    #[test]
    fn what_was_put_before_the_first_line_is_not_shown() {
        let (front, text) = ("define a = 192.0.2.2; ", "tabel ip nat {}\nx\n");
        let whole = format!("{front}{text}");
        let refusal = Refusal::parse("/dev/stdin:1:23-27: Error: no", &whole).moved_left(front.len());
        insta::assert_snapshot!(refusal, @r#"
        nft refused its ruleset at line 1: no
          1 | tabel ip nat {}
              ^^^^^
        "#);
        let below = Refusal::parse("/dev/stdin:2:1-1: Error: no", &whole);
        assert_eq!(below.clone().moved_left(front.len()), below);
    }

    #[test]
    fn what_the_kernel_lacks_is_told_from_what_is_written_wrongly() {
        for (said, unsupported) in [
            ("/dev/stdin:3:2-6: Error: Could not process rule: No such file or directory", true),
            ("/dev/stdin:3:2-27: Error: Could not process rule: Operation not supported", true),
            ("/dev/stdin:3:2-6: Error: Could not process rule: Operation not permitted", false),
            ("/dev/stdin:3:2-6: Error: syntax error, unexpected string", false),
            ("No such file or directory", false),
        ] {
            assert_eq!(Refusal::parse(said, TEXT).may_be_unsupported(), unsupported, "{said}");
        }
    }

    #[test]
    fn what_points_nowhere_is_kept_whole() {
        let said = "netlink: Error: cache initialization failed: Operation not permitted\n";
        let refusal = Refusal::parse(said, TEXT);
        assert_eq!(refusal.line, None);
        assert_eq!(
            refusal.to_string(),
            "nft refused its ruleset: netlink: Error: cache initialization failed: Operation not permitted"
        );
    }

    proptest::proptest! {
        #[test]
        fn anything_may_be_said(said in ".*", text in ".*") {
            let _ = Refusal::parse(&said, &text).moved_up(1).to_string();
        }

        #[test]
        fn any_place_may_be_pointed_at(line: usize, from: u16, to: u16) {
            let said = format!("f:{line}:{from}-{to}: Error: x");
            let _ = Refusal::parse(&said, TEXT).moved_up(1).to_string();
        }
    }
}
