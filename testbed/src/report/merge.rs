//! Several parts of one run become one, if they are all there, each once, and of the same run.

use std::collections::{BTreeMap, BTreeSet};

use crate::report::results::{CellDoc, EndingDoc, PacketsDoc, PartDoc, Results, Totals};

/// One part and where it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Source {
    /// The folder, as the user knows it.
    pub name: String,
    /// What was found.
    pub results: Results,
}

/// Joins the parts of a run.
///
/// # Errors
/// Everything that keeps them from being one run: missing, doubled and foreign parts, each as a sentence.
pub fn merge(parts: &[Source]) -> Result<Results, Vec<String>> {
    let Some(first) = parts.first() else { return Err(vec!["there is no part".to_owned()]) };
    let mut faults: Vec<String> = parts[1..].iter().flat_map(|part| foreign(first, part)).collect();
    if faults.is_empty() {
        faults = incomplete(parts);
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let mut cells: Vec<CellDoc> = proofs(parts).into_values().cloned().collect();
    let mut punches: Vec<&CellDoc> = punches(parts).collect();
    punches.sort_by_key(|cell| cell.as_punch().map(|cell| cell.index));
    cells.extend(punches.into_iter().cloned());
    let one = &first.results;
    let all = || parts.iter().map(|part| &part.results);
    let complete = all().all(|results| results.ending == EndingDoc::Complete);
    let warnings: BTreeSet<&String> = all().flat_map(|results| &results.warnings).collect();
    Ok(Results {
        part: PartDoc { shard: 1, of: 1, ..one.part.clone() },
        ending: if complete { EndingDoc::Complete } else { EndingDoc::Interrupted },
        unreached: if complete { None } else { unreached(parts) },
        took_ms: all().map(|results| results.took_ms).fold(0.0, f64::max),
        totals: Totals::of(&cells),
        warnings: warnings.into_iter().cloned().collect(),
        packets: all().filter_map(|results| results.packets.clone()).reduce(PacketsDoc::plus),
        cells,
        ..one.clone()
    })
}

/// The cells that no part reached; `None` where an interrupted one does not say which.
fn unreached(parts: &[Source]) -> Option<Vec<String>> {
    let interrupted =
        parts.iter().map(|part| &part.results).filter(|results| results.ending == EndingDoc::Interrupted);
    let unreached: Option<Vec<_>> = interrupted.map(|results| results.unreached.clone()).collect();
    unreached.map(|unreached| unreached.concat())
}

/// What all parts of a run must have in common.
fn identity(results: &Results) -> [(&'static str, String); 8] {
    [
        ("suite", results.suite.clone()),
        ("number of shards", results.part.of.to_string()),
        ("plan (cells and trials)", results.part.plan.clone()),
        ("seed", results.seed.to_string()),
        ("kernel", results.kernel.clone()),
        ("nft", results.nft.clone()),
        ("testbed", results.testbed.clone()),
        ("trials a cell", results.trials_per_cell.to_string()),
    ]
}

/// In what a part differs from the first.
fn foreign(first: &Source, part: &Source) -> Vec<String> {
    let (ours, theirs) = (identity(&first.results), identity(&part.results));
    let differing = ours.into_iter().zip(theirs).filter(|(ours, theirs)| ours != theirs);
    differing
        .map(|((what, ours), (_, theirs))| {
            format!("\"{}\" and \"{}\" differ in their {what}: {ours} and {theirs}", first.name, part.name)
        })
        .collect()
}

/// Which parts or cells are missing or there twice.
fn incomplete(parts: &[Source]) -> Vec<String> {
    let mut faults = Vec::new();
    let whole = &parts[0].results.part;
    for shard in 1..=whole.of {
        let named: Vec<&str> =
            parts.iter().filter(|p| p.results.part.shard == shard).map(|p| p.name.as_str()).collect();
        match named.len() {
            0 => faults.push(format!("shard {shard}/{} is missing", whole.of)),
            1 => (),
            _ => faults.push(format!("shard {shard}/{} is there twice: {}", whole.of, named.join(", "))),
        }
    }
    let mut seen = BTreeMap::new();
    for part in parts {
        for cell in part.results.punches() {
            if let Some(other) = seen.insert(&cell.id, &part.name).filter(|other| **other != part.name) {
                faults.push(format!("the cell {} is in both \"{other}\" and \"{}\"", cell.id, part.name));
            }
        }
    }
    let complete = parts.iter().all(|part| part.results.ending == EndingDoc::Complete);
    if faults.is_empty() && complete && seen.len() != whole.cells {
        faults.push(format!("the parts have {} cells, and the run has {}", seen.len(), whole.cells));
    }
    faults
}

/// The proof of each NAT once: the one that went worst, where several parts needed it.
fn proofs(parts: &[Source]) -> BTreeMap<&str, &CellDoc> {
    let mut proofs: BTreeMap<&str, &CellDoc> = BTreeMap::new();
    for cell in parts.iter().flat_map(|part| &part.results.cells).filter(|cell| cell.as_punch().is_none()) {
        let known = proofs.entry(cell.id()).or_insert(cell);
        if cell.verdict() > known.verdict() {
            *known = cell;
        }
    }
    proofs
}

fn punches(parts: &[Source]) -> impl Iterator<Item = &CellDoc> {
    parts.iter().flat_map(|part| &part.results.cells).filter(|cell| cell.as_punch().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample::results;

    /// The sample, dealt out to `of` shards.
    fn dealt(of: u32) -> Vec<Source> {
        let whole = results();
        let share = |shard: u32| {
            let mine = |cell: &CellDoc| {
                let index = cell.as_punch().map(|cell| cell.index);
                index.is_none_or(|index| index as u32 % of == shard - 1)
            };
            let cells: Vec<CellDoc> = whole.cells.iter().filter(|cell| mine(cell)).cloned().collect();
            let part = PartDoc { shard, of, ..whole.part.clone() };
            let results = Results { part, totals: Totals::of(&cells), cells, ..whole.clone() };
            Source { name: format!("part-{shard}"), results }
        };
        (1..=of).map(share).collect()
    }

    #[test]
    fn parts_make_the_whole_again_in_any_order() {
        for of in [1, 2, 3, 4] {
            let mut parts = dealt(of);
            assert_eq!(merge(&parts), Ok(results()));
            parts.reverse();
            assert_eq!(merge(&parts), Ok(results()));
        }
    }

    #[test]
    fn missing_and_doubled_parts_are_named() {
        let mut parts = dealt(3);
        parts.remove(1);
        assert_eq!(merge(&parts), Err(vec!["shard 2/3 is missing".to_owned()]));
        let mut parts = dealt(2);
        parts.push(Source { name: "again".to_owned(), ..parts[0].clone() });
        let faults = merge(&parts).expect_err("a doubled part");
        assert_eq!(faults[0], "shard 1/2 is there twice: part-1, again");
        assert_eq!(merge(&[]), Err(vec!["there is no part".to_owned()]));
    }

    #[test]
    fn foreign_parts_are_named_with_what_differs() {
        type Spoil = fn(&mut Results);
        let spoil: [(&str, Spoil); 5] = [
            ("suite", |r| r.suite.push('x')),
            ("seed", |r| r.seed += 1),
            ("kernel", |r| r.kernel.push('x')),
            ("plan", |r| r.part.plan.push('x')),
            ("trials a cell", |r| r.trials_per_cell += 1),
        ];
        for (what, spoil) in spoil {
            let mut parts = dealt(2);
            spoil(&mut parts[1].results);
            let faults = merge(&parts).expect_err(what);
            assert!(
                faults[0].starts_with(&format!("\"part-1\" and \"part-2\" differ in their {what}")),
                "{faults:?}"
            );
        }
    }

    #[test]
    fn a_part_that_lost_a_cell_is_noticed() {
        let mut parts = dealt(2);
        parts[0].results.cells.pop();
        assert_eq!(merge(&parts), Err(vec!["the parts have 3 cells, and the run has 4".to_owned()]));
        parts[0].results.ending = EndingDoc::Interrupted;
        let merged = |parts: &[Source]| merge(parts).map(|whole| (whole.ending, whole.unreached));
        assert_eq!(merged(&parts), Ok((EndingDoc::Interrupted, None)));
        parts[0].results.unreached = Some(vec!["lost".to_owned()]);
        assert_eq!(merged(&parts), Ok((EndingDoc::Interrupted, Some(vec!["lost".to_owned()]))));
    }
}
