//! Text that others wrote, made fit for a terminal or a log.

/// Longest text that is shown, in characters.
const LONGEST: usize = 200;

/// The text without what a terminal would act upon: control characters, line breaks and marks that reorder text are written as
/// escapes, and what is too long is cut.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::new();
    for (place, letter) in text.chars().enumerate() {
        if place == LONGEST {
            shown.push('…');
            break;
        }
        match letter {
            '"' | '\'' | '\\' => shown.push(letter),
            letter => shown.extend(letter.escape_debug()),
        }
    }
    shown
}

/// A number and the noun that goes with it, in the plural unless it is one.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_a_terminal_would_act_upon_is_shown_as_text() {
        let cases = [
            ("the server is full", "the server is full"),
            ("größe \"ok\" \\", "größe \"ok\" \\"),
            ("\x1b[2J\x1b]0;pwn\x07", "\\u{1b}[2J\\u{1b}]0;pwn\\u{7}"),
            ("one\n::error::two\r", "one\\n::error::two\\r"),
            ("\u{202e}txt.exe\u{2066}", "\\u{202e}txt.exe\\u{2066}"),
            ("\u{9b}2J\u{2028}", "\\u{9b}2J\\u{2028}"),
        ];
        for (text, shown) in cases {
            assert_eq!(printable(text), shown, "{text:?}");
        }
        assert_eq!(printable(&"x".repeat(5000)).chars().count(), LONGEST + 1);
    }

    proptest! {
        #[test]
        fn nothing_unprintable_is_left(text in any::<String>()) {
            let shown = printable(&text);
            prop_assert!(!shown.chars().any(char::is_control), "{shown:?}");
        }
    }
}
