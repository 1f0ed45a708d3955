//! Texts on the lines of a drawn ladder: a text stands whole on its line, or whole on a row below it. No number is cut, because
//! a part of a port looks like a port.

/// The cells of one link that a text may take: from the lane on the left to the one on the right.
#[derive(Clone, Copy)]
pub(super) struct Room {
    /// The lane on the left, or where the line ends.
    pub(super) left: usize,
    /// The same on the right.
    pub(super) right: usize,
    /// Cells beside the left end that an arrowhead takes, and those beside the right end.
    pub(super) heads: (usize, usize),
}

impl Room {
    /// Where the texts stand: with a bit of the line before and behind them, or else on all of it.
    fn start_of(self, text: &str) -> Option<usize> {
        let length = text.chars().count();
        let between = (self.right - self.left).saturating_sub(1);
        let (airy, tight) = (between.saturating_sub(3), between.saturating_sub(self.heads.0 + self.heads.1));
        if length <= airy {
            Some(self.left + 2)
        } else {
            (length <= tight).then_some(self.left + 1 + self.heads.0)
        }
    }

    fn is_airy(self, text: &str) -> bool {
        text.chars().count() + 4 <= self.right - self.left
    }
}

/// Takes what stands on this link from the texts that wait, and says where: all of them on the last link of their kind; on
/// others as many as fit easily, since there is more room to come.
pub(super) fn next(waiting: &mut Vec<String>, room: Room, is_last: bool) -> Option<(usize, String)> {
    let fitting =
        |fits: &dyn Fn(&str) -> bool| (1..=waiting.len()).rev().find(|n| fits(&waiting[..*n].join(" ")));
    let airy = fitting(&|text| room.is_airy(text));
    let tight = fitting(&|text| room.start_of(text).is_some());
    let count = if is_last { tight } else { airy.or(tight) }?;
    let text = waiting.drain(..count).collect::<Vec<_>>().join(" ");
    room.start_of(&text).map(|start| (start, text))
}

/// A text in so many columns: its end is left out where it is too long, but never a part of a number.
pub(super) fn shortened(text: &str, room: usize) -> String {
    let letters: Vec<char> = text.chars().collect();
    if letters.len() <= room {
        return text.to_owned();
    }
    let end = before_number(&letters, room.saturating_sub(1));
    let kept: String = letters[..end].iter().collect();
    if room == 0 { String::new() } else { format!("{}…", kept.trim_end()) }
}

/// A word, broken where it is longer than a line; inside a number only if the number is as long as a line.
pub(super) fn pieces(word: &str, room: usize) -> Vec<String> {
    let mut rest: Vec<char> = word.chars().collect();
    let mut pieces = Vec::new();
    while rest.len() > room {
        let end = Some(before_number(&rest, room)).filter(|end| *end > 0).unwrap_or(room);
        pieces.push(rest.drain(..end).collect());
    }
    pieces.push(rest.into_iter().collect());
    pieces
}

/// This end, or the begin of the number that it would cut.
fn before_number(letters: &[char], end: usize) -> usize {
    let inside = |at: usize| letters[at].is_ascii_digit() && at > 0 && letters[at - 1].is_ascii_digit();
    if !inside(end) {
        return end;
    }
    let digits = letters[..end].iter().rev().take_while(|c| c.is_ascii_digit()).count();
    end - digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_is_too_long_ends_before_a_number() {
        for (text, room, expected) in [
            ("37912→19440", 11, "37912→19440"),
            ("37912→19440", 10, "37912→…"),
            ("37912→19440", 4, "…"),
            ("12 × SYN ACK", 11, "12 × SYN A…"),
            ("12", 0, ""),
        ] {
            assert_eq!(shortened(text, room), expected);
        }
    }

    #[test]
    fn a_word_that_is_too_long_breaks_beside_its_numbers() {
        assert_eq!(pieces("198.51.100.2:42456", 16), ["198.51.100.2:", "42456"]);
        assert_eq!(pieces("123456", 4), ["1234", "56"]);
        assert_eq!(pieces("", 4), [""]);
    }

    #[test]
    fn texts_that_wait_take_the_links_of_their_kind() {
        let room = |gap: usize| Room { left: 10, right: 10 + gap, heads: (0, 1) };
        let waiting = || vec!["SYN".to_owned(), "37912→19440".to_owned()];
        let mut texts = waiting();
        assert_eq!(next(&mut texts, room(24), true), Some((12, "SYN 37912→19440".to_owned())));
        assert!(texts.is_empty());
        let mut texts = waiting();
        assert_eq!(next(&mut texts, room(17), false), Some((12, "SYN".to_owned())));
        assert_eq!(next(&mut texts, room(13), true), Some((11, "37912→19440".to_owned())));
        let mut texts = waiting();
        assert_eq!(next(&mut texts, room(13), true), Some((12, "SYN".to_owned())));
        assert_eq!(texts, ["37912→19440"]);
        assert_eq!(next(&mut texts, room(12), true), None);
    }
}
