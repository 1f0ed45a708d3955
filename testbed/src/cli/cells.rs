//! Finds the cell that an argument names: by its whole name, or by a part that no other cell has. A part between slashes takes
//! precedence over any other.

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
    let whole = |cell: &&T| format!("/{}/", id(cell)).contains(&format!("/{wanted}/"));
    let mut found: Vec<&T> = cells.iter().filter(whole).collect();
    if found.is_empty() {
        found = cells.iter().filter(|cell| id(cell).contains(wanted)).collect();
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_parts_of_a_name_go_before_others() {
        let cells = ["reset/reset/auto", "reset/reset-late/auto", "random/reset/auto"];
        let pick = |wanted: &str| pick(&cells, |cell| cell, wanted, ("here", "")).copied().map_err(|_| ());
        assert_eq!(pick("reset/reset"), Ok("reset/reset/auto"));
        assert_eq!(pick("reset-late"), Ok("reset/reset-late/auto"));
        assert_eq!(pick("rand"), Ok("random/reset/auto"));
        assert_eq!(pick("auto"), Err(()), "all have it");
        assert_eq!(pick("reset/reset/auto"), Ok("reset/reset/auto"));
    }
}
