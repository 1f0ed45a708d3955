//! Kernels across, behaviours down: what the kernel's NAT did in several runs of the kernel checks, as Markdown.

use std::fmt::Write as _;

use crate::report::escape::markdown as escape;
use crate::report::results::{KernelCell, Results, VerdictDoc};

/// The table; empty where no run has such checks. What all kernels do alike and what they do not are told apart.
#[must_use]
pub fn table(runs: &[&Results]) -> String {
    let mut ids: Vec<&str> = Vec::new();
    for check in runs.iter().flat_map(|run| run.kernel_checks()) {
        if !ids.contains(&check.id.as_str()) {
            ids.push(&check.id);
        }
    }
    if ids.is_empty() {
        return String::new();
    }
    let mut out = String::from("\n| check |");
    for run in runs {
        let _ = write!(out, " {} |", escape(&run.kernel));
    }
    let _ = write!(out, "\n|---|{}\n", "---|".repeat(runs.len()));
    for id in ids {
        let row: Vec<Option<&KernelCell>> =
            runs.iter().map(|run| run.kernel_checks().find(|check| check.id == id)).collect();
        let same = row.windows(2).all(|pair| word(pair[0]) == word(pair[1]));
        let mark = if same { "" } else { "**" };
        let _ = write!(out, "| {mark}{}{mark} |", escape(id.trim_start_matches("kernel/")));
        for check in row {
            let _ = write!(out, " {} |", escape(&word(check)));
        }
        out.push('\n');
    }
    out
}

/// What was seen, with the mark of what was not expected.
fn word(check: Option<&KernelCell>) -> String {
    match check {
        None => "-".to_owned(),
        Some(check) if check.verdict == VerdictDoc::Error => "error".to_owned(),
        Some(check) if check.verdict == VerdictDoc::Differs => format!("{} (unexpected)", check.observed),
        Some(check) => check.observed.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::results::CellDoc;
    use crate::report::sample::{kernel_check, results};

    #[test]
    fn what_differs_between_kernels_is_marked() {
        let run = |kernel: &str, dnat: &str| {
            let checks =
                [kernel_check("port-kept", "kept", "kept"), kernel_check("dnat-range", dnat, "first")];
            let cells = checks.iter().map(|check| CellDoc::Kernel(check.into())).collect();
            Results { kernel: kernel.to_owned(), cells, ..results() }
        };
        let (old, new) = (run("5.10", "random"), run("6.12", "first"));
        let expected = "\n| check | 5.10 | 6.12 |\n|---|---|---|\n| port-kept | kept | kept |\n\
                        | **dnat-range** | random (unexpected) | first |\n";
        assert_eq!(table(&[&old, &new]), expected);
        assert_eq!(table(&[&results()]), "");
    }
}
