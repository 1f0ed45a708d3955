//! What this machine can and cannot do, found out by doing it once, in namespaces that are gone afterwards.
//!
//! Only findings; `report` prints them. Nothing is concluded from version numbers.

mod probes;

use std::fmt;

/// One thing that a machine can do or cannot do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it is about.
    pub what: &'static str,
    /// Whether it works.
    pub state: State,
    /// What was seen: a version, a size, or why it does not work.
    pub seen: String,
    /// How it was found out.
    pub how: &'static str,
    /// What works only with it.
    pub needed_for: &'static str,
    /// A command or hint that helps, where one is known.
    pub help: Option<String>,
}

/// Whether something works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum State {
    /// It works.
    Works,
    /// It works less well than it could; results are right all the same.
    Limited,
    /// It does not work, and something cannot be done without it.
    Missing,
    /// It does not work, and nobody has to have it.
    Absent,
    /// It could not be tried, because something before it is missing.
    Untried,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Works => "works",
            Self::Limited => "limited",
            Self::Missing => "missing",
            Self::Absent => "absent",
            Self::Untried => "not tried",
        })
    }
}

/// Tries everything, in an order in which later things need earlier ones. Takes some ten milliseconds and blocks.
#[must_use]
pub fn look() -> Vec<Finding> {
    probes::ALL.iter().map(probes::Probe::run).collect()
}

/// Whether labs can be built, going by what was found.
#[must_use]
pub fn is_sufficient(findings: &[Finding]) -> bool {
    !findings.iter().any(|finding| matches!(finding.state, State::Missing | State::Untried))
}
