//! `--shard`: this machine's share of the cells, by the time that each is expected to take.

use std::collections::BTreeSet;

use crate::cli::command_error::CommandError;
use crate::cli::select::Selected;
use crate::model::catalogue::Catalogue;
use crate::model::shard::{Shard, WantedShard};
use crate::run::cost::expected_time;

/// Leaves the cells of one share, in their order, and says which part of the run they are.
///
/// # Errors
/// When there is no such share, or a cell cannot be run at all.
pub fn take(
    selected: Selected,
    wanted: Option<WantedShard>,
    catalogue: &Catalogue,
) -> Result<(Selected, Shard), CommandError> {
    let Selected { suite, cells } = selected;
    let whole = Shard::whole(cells.iter().map(|cell| (cell, suite.part(cell).trials)));
    let Some(wanted) = wanted else { return Ok((Selected { suite, cells }, whole)) };
    let shard = wanted.find(|name| std::env::var(name).ok()).map_err(|why| {
        CommandError::with_help(format!("cannot tell which shard this is: {why}"), "--shard 2/8 names one")
    })?;
    let times = cells.iter().map(|cell| expected_time(&suite, catalogue, cell));
    let times = times.collect::<Result<Vec<_>, _>>()?;
    let mine: BTreeSet<usize> = shard.of_times(&times).into_iter().collect();
    let cells =
        cells.into_iter().enumerate().filter(|(at, _)| mine.contains(at)).map(|(_, cell)| cell).collect();
    Ok((Selected { suite, cells }, Shard { shard, ..whole }))
}
