//! For whom a run is shown: how much room there is, how much is told, and where the run lies.

use std::path::Path;

/// Columns where nobody says how many there are.
pub const USUAL_WIDTH: usize = 100;

/// How much is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Detail {
    /// The totals, and what one needs next.
    Brief,
    /// The matrix, and of everything that is not as expected some.
    #[default]
    Usual,
    /// All of it.
    Everything,
}

/// How much room there is, and what for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Screen {
    /// Columns.
    pub width: usize,
    /// How much is told.
    pub detail: Detail,
}

/// Where the results come from, and where they go.
#[derive(Debug, Clone, Copy)]
pub struct RunView<'a> {
    /// What was typed to name the run: its folder, or its `results.json`.
    pub run: &'a Path,
    /// The folder in which the run's artefacts lie, if there is one.
    pub folder: Option<&'a Path>,
    /// Columns for text that people read.
    pub width: usize,
    /// How much is told, by the format for people.
    pub detail: Detail,
}
