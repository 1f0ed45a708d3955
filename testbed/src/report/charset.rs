//! Which characters a terminal shows, and what stands in for the others.

use std::borrow::Cow;

/// The characters that a terminal, or another reader of the output, can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Charset {
    /// Everything.
    #[default]
    Unicode,
    /// The 95 characters of ASCII.
    Ascii,
}

impl Charset {
    /// Asks the environment: `TERM=dumb` and locales other than those of UTF-8 mean ASCII. `get` looks up a variable.
    #[must_use]
    pub fn from_environment(get: impl Fn(&str) -> Option<String>) -> Self {
        // POSIX, Base Definitions 8.2: the first of these that is set and not empty counts; without any, the locale is C.
        let locale =
            ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(&get).find(|value| !value.is_empty());
        let utf8 = locale.is_some_and(|name| {
            let name = name.to_ascii_lowercase();
            name.contains("utf-8") || name.contains("utf8")
        });
        if utf8 && get("TERM").as_deref() != Some("dumb") { Self::Unicode } else { Self::Ascii }
    }

    /// The text in characters that can be shown. What is drawn in columns keeps its width.
    #[must_use]
    pub fn show(self, text: &str) -> Cow<'_, str> {
        if self == Self::Unicode || text.is_ascii() {
            return Cow::Borrowed(text);
        }
        let mut out = String::with_capacity(text.len());
        text.chars().for_each(|c| push(&mut out, c));
        Cow::Owned(out)
    }
}

fn push(out: &mut String, c: char) {
    let one = match c {
        c if c.is_ascii() => c,
        '●' => '+',
        '◐' => '~',
        '·' => '.',
        '…' => '~',
        '–' | '─' | '╌' | '‐' | '‑' => '-',
        '━' => '=',
        '│' | '┃' => '|',
        '╰' => '`',
        // What else lines are drawn with: corners, branches and crossings.
        '\u{2500}'..='\u{257f}' => '+',
        '→' | '▶' | '►' | '›' => '>',
        '←' | '◀' | '◄' | '‹' => '<',
        '✗' | '×' => 'x',
        '✓' => '+',
        '○' | '◌' => 'o',
        'µ' | 'μ' => 'u',
        '’' | '‘' => '\'',
        '“' | '”' => '"',
        '\u{a0}' | '\u{202f}' => ' ',
        '⇄' => return out.push_str("<>"),
        '≤' => return out.push_str("<="),
        '≥' => return out.push_str(">="),
        _ => '?',
    };
    out.push(one);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)]) -> Charset {
        let find = |name: &str| variables.iter().find(|(known, _)| *known == name);
        Charset::from_environment(|name| find(name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn the_locale_and_the_terminal_decide() {
        for (variables, expected) in [
            (&[][..], Charset::Ascii),
            (&[("LANG", "C")], Charset::Ascii),
            (&[("LANG", "en_GB.UTF-8")], Charset::Unicode),
            (&[("LANG", "de_DE.utf8")], Charset::Unicode),
            (&[("LANG", "en_GB.UTF-8"), ("LC_ALL", "C")], Charset::Ascii),
            (&[("LANG", "en_GB.UTF-8"), ("LC_ALL", "")], Charset::Unicode),
            (&[("LANG", "en_GB.UTF-8"), ("TERM", "dumb")], Charset::Ascii),
            (&[("LC_CTYPE", "C.UTF-8"), ("TERM", "xterm")], Charset::Unicode),
        ] {
            assert_eq!(of(variables), expected, "{variables:?}");
        }
    }

    #[test]
    fn lines_stay_lines() {
        assert_eq!(Charset::Ascii.show("─│├┤┼┬┴╮╯╭┌┐└┘╋╰"), "-|+++++++++++++`");
    }

    #[test]
    fn what_is_not_ascii_is_replaced() {
        let text = "●◐· 20 × reset – ≥ 5 µs → ü";
        assert_eq!(Charset::Unicode.show(text), text);
        assert_eq!(Charset::Ascii.show(text), "+~. 20 x reset - >= 5 us > ?");
    }
}
