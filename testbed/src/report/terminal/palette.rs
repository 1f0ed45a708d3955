//! How a verdict looks on a terminal: a colour and a mark, so that nothing is lost without colours.

use anstyle::{AnsiColor, Style};

use crate::report::results::{PunchCell, VerdictDoc};

pub(super) const BOLD: Style = Style::new().bold();
pub(super) const DIM: Style = Style::new().dimmed();

/// How many trials of a cell passed, as one character.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Share {
    All,
    Some,
    None,
}

impl Share {
    pub(super) fn of(cell: &PunchCell) -> Self {
        match cell.passed {
            0 => Self::None,
            passed if passed == cell.trials => Self::All,
            _ => Self::Some,
        }
    }

    pub(super) fn glyph(self) -> &'static str {
        match self {
            Self::All => "●",
            Self::Some => "◐",
            Self::None => "·",
        }
    }

    pub(super) fn words(self) -> &'static str {
        match self {
            Self::All => "all trials passed",
            Self::Some => "some passed",
            Self::None => "none passed",
        }
    }
}

/// One character for a cell: how many passed where that is as expected or nothing is expected, the mark of the verdict
/// elsewhere.
pub(super) fn glyph(cell: &PunchCell) -> &'static str {
    if tells_share(cell) { Share::of(cell).glyph() } else { cell.verdict.mark() }
}

/// Whether the character of a cell tells how many of its trials passed.
pub(super) fn tells_share(cell: &PunchCell) -> bool {
    match cell.verdict {
        VerdictDoc::AsExpected => true,
        VerdictDoc::NoExpectation => cell.trials > 0,
        VerdictDoc::Differs | VerdictDoc::Undecided | VerdictDoc::Error | VerdictDoc::Skipped => false,
    }
}

/// The colour of a cell: green where trials passed, as they should.
pub(super) fn style(cell: &PunchCell) -> Style {
    match cell.verdict {
        VerdictDoc::AsExpected if cell.passed == 0 => Style::new(),
        verdict => verdict_style(verdict),
    }
}

pub(super) fn verdict_style(verdict: VerdictDoc) -> Style {
    let colour = |colour: AnsiColor| colour.on_default();
    match verdict {
        VerdictDoc::AsExpected => colour(AnsiColor::Green),
        VerdictDoc::Differs => colour(AnsiColor::Red).bold(),
        VerdictDoc::Undecided | VerdictDoc::NoExpectation => colour(AnsiColor::Yellow),
        VerdictDoc::Error => colour(AnsiColor::Magenta).bold(),
        VerdictDoc::Skipped => DIM,
    }
}
