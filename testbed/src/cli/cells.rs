//! Which cell somebody means: its name, or a part of it that no other has.

use crate::cli::command_error::CommandError;
use crate::model::problem::suggestion;

/// Cells that an error names at most.
const NAMED: usize = 8;

/// The cell of that name, or the only one whose name has that part. `place` says in messages where it was looked for,
/// `help` how to see what there is.
///
/// # Errors
/// When there is none, or more than one.
pub(super) fn pick<'a, T>(
    cells: &'a [T],
    id: impl Fn(&T) -> &str,
    wanted: &str,
    (place, help): (&str, &str),
) -> Result<&'a T, CommandError> {
    if let Some(exact) = cells.iter().find(|cell| id(cell) == wanted) {
        return Ok(exact);
    }
    let found: Vec<&T> = cells.iter().filter(|cell| id(cell).contains(wanted)).collect();
    match found.as_slice() {
        [only] => Ok(only),
        [] => {
            let help = suggestion(wanted, cells.iter().map(&id), help);
            Err(CommandError::with_help(format!("no cell of {place} is called \"{wanted}\""), help))
        }
        several => {
            let names: Vec<&str> = several.iter().take(NAMED).map(|cell| id(cell)).collect();
            let more = several.len().saturating_sub(NAMED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let message =
                format!("\"{wanted}\" is part of {} names: {}{more}", several.len(), names.join(", "));
            Err(CommandError::with_help(message, help))
        }
    }
}
