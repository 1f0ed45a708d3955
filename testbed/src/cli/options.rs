//! Options that several commands have, and the words that they take.

use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::report::exit_status::UndecidedReason;
use crate::report::format::Format;
use crate::report::view::Detail;
use crate::run::Keep;

/// How much is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args)]
pub struct Verbosity {
    /// Print only the totals and what to look at next, and no progress
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Name every cell that is not as expected, and the smallest differences that its trials would have shown; `testbed run` also
    /// prints each cell as it finishes
    #[arg(short, long)]
    pub verbose: bool,
}

impl Verbosity {
    /// The same as one value.
    #[must_use]
    pub fn detail(self) -> Detail {
        match (self.quiet, self.verbose) {
            (true, _) => Detail::Brief,
            (_, true) => Detail::Everything,
            _ => Detail::Usual,
        }
    }
}

/// What does not make a command end with 3.
#[derive(Debug, Clone, clap::Args)]
pub struct Accepted {
    /// End with exit code 0, not 3, if only what is named here is left open, as in `--allow undecided,no-expectation`
    #[arg(long, value_name = "WHAT", value_delimiter = ',')]
    pub allow: Vec<UndecidedReason>,
}

impl ValueEnum for UndecidedReason {
    fn value_variants<'a>() -> &'a [Self] {
        Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()).help(self.summary()))
    }
}

/// Which trials' artefacts are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
pub enum KeepArg {
    /// Those of every trial
    All,
    /// Those of each trial that did not pass, and of the first of each cell that did
    Failed,
    /// Those of no trial
    None,
}

impl From<KeepArg> for Keep {
    fn from(which: KeepArg) -> Self {
        match which {
            KeepArg::All => Self::All,
            KeepArg::Failed => Self::Failed,
            KeepArg::None => Self::None,
        }
    }
}

impl ValueEnum for Format {
    fn value_variants<'a>() -> &'a [Self] {
        Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()).help(self.summary()))
    }
}
