//! A comparison for people: a table of what changed, then what could not be compared, then one line.

use std::fmt::Write as _;
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

use crate::model::plural::counted;
use crate::report::compare::{Change, ChangeKind, Comparison};
use crate::report::escape::harmless;
use crate::report::escape::markdown as escape;
use crate::report::sensitivity;

/// Ids that are named when there are many.
const NAMED: usize = 5;

/// Kinds of cells of which is said what they could have shown.
const KINDS: usize = 2;

/// Writes the comparison to a terminal; `with` says what was compared with.
///
/// # Errors
/// What the writer says.
pub fn write(comparison: &Comparison, with: &str, out: &mut impl Write) -> io::Result<()> {
    let bold = Style::new().bold();
    writeln!(out, "{bold}compared with {}{bold:#}", harmless(with))?;
    if let Some((before, now)) = &comparison.kernels {
        writeln!(out, "  kernel {} -> {}", harmless(before), harmless(now))?;
    }
    let changes = || comparison.changes.iter().chain(&comparison.together);
    let rows: Vec<[String; 4]> = changes().map(columns).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2)];
    for (row, change) in rows.iter().zip(changes()) {
        let (style, [kind, id, figures, chance]) = (style(change.kind), row);
        let pad = |text: &str, width: usize| width.saturating_sub(text.chars().count()) + 2;
        write!(out, "  {style}{kind}{style:#}{:1$}", "", pad(kind, widths[0]))?;
        write!(out, "{id}{:1$}", "", pad(id, widths[1]))?;
        let line = format!("{figures}{:1$}{chance}", "", pad(figures, widths[2]));
        writeln!(out, "{}", line.trim_end())?;
        if !change.cause.is_empty() {
            writeln!(out, "  {:1$}{2}", "", widths[0] + 2, harmless(&change.cause))?;
        }
    }
    for line in remarks(comparison) {
        writeln!(out, "  {}", harmless(&line))?;
    }
    writeln!(out, "{}", conclusion(comparison))
}

/// The comparison as Markdown.
#[must_use]
pub fn markdown(comparison: &Comparison, with: &str) -> String {
    let mut out = format!("### compared with {}\n\n{}\n", escape(with), escape(&conclusion(comparison)));
    if let Some((before, now)) = &comparison.kernels {
        let _ = writeln!(out, "\nkernel {} -> {}", escape(before), escape(now));
    }
    let changes = || comparison.changes.iter().chain(&comparison.together);
    if changes().next().is_some() {
        out.push_str("\n| | cell | before | now | by chance | cause |\n|---|---|---|---|---|---|\n");
    }
    for change in changes() {
        let Change { id, kind, before, now, by_chance, cause } = change;
        let chance = by_chance.map_or_else(String::new, |p| format!("{p:.1e}"));
        let [id, before, now, cause] = [id, before, now, cause].map(|text| escape(text));
        let _ = writeln!(out, "| **{}** | {id} | {before} | {now} | {chance} | {cause} |", kind.words());
    }
    let remarks = remarks(comparison);
    if !remarks.is_empty() {
        out.push('\n');
    }
    for line in remarks {
        let _ = writeln!(out, "- {}", escape(&line));
    }
    out
}

/// The comparison in one line.
fn conclusion(comparison: &Comparison) -> String {
    let mut changed: Vec<&str> = comparison.changes.iter().map(|change| change.id.as_str()).collect();
    changed.dedup();
    let changed = if changed.is_empty() { "none".to_owned() } else { changed.len().to_string() };
    let missing = comparison.missing.len();
    let missing = if missing == 0 { String::new() } else { format!(", {missing} missing") };
    let blind = comparison.blind().count();
    let blind = if blind == 0 { String::new() } else { format!(", {blind} blind") };
    let together = match comparison.together.len() {
        0 => String::new(),
        groups => format!(", {} of like cells changed", counted(groups, "group")),
    };
    format!("{} compared: {changed} changed{together}{missing}{blind}", counted(comparison.compared, "cell"))
}

/// What the table does not show.
fn remarks(comparison: &Comparison) -> Vec<String> {
    let blind: Vec<String> = comparison.blind().map(str::to_owned).collect();
    let parts = [
        ("missing", &comparison.missing),
        ("new", &comparison.new),
        ("not compared, because something broke", &comparison.broken),
        ("not compared, because a run was interrupted", &comparison.interrupted),
        ("blind: with too few trials to show even a total change", &blind),
    ];
    let told = parts.into_iter().filter(|(_, ids)| !ids.is_empty());
    let told = told.map(|(what, ids)| {
        let named = ids.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
        let more = if ids.len() > NAMED { ", …" } else { "" };
        format!("{} {what}: {named}{more}", ids.len())
    });
    told.chain(sensitivity_lines(comparison)).collect()
}

/// What the cells of a comparison could have shown: `20 trials now would reveal (with 90 % probability) a fall from 20/20 to 38.1 %
/// (98 cells)`.
fn could_have_shown(compared: &Comparison) -> Vec<String> {
    let texts = compared.cells.iter().map(|cell| {
        let trials = counted(usize::try_from(cell.tried).unwrap_or(usize::MAX), "trial") + " now";
        let before = format!("{}/{}", cell.before.passed, cell.before.tried);
        sensitivity::sentence(&trials, &before, cell.sensitivity)
    });
    sensitivity::lines(texts, KINDS)
}

/// What could have been seen, and how often something is seen that is not there.
fn sensitivity_lines(comparison: &Comparison) -> Vec<String> {
    let mut lines = could_have_shown(comparison);
    // Without any test that can show something there is no false alarm either.
    if !lines.is_empty() && comparison.false_alarms > 0.0 {
        lines.push(format!(
            "probability of a false alarm in any of these tests, computed: {:.1e}",
            comparison.false_alarms
        ));
    }
    lines
}

/// Kind, id, figures and chance of a change.
fn columns(change: &Change) -> [String; 4] {
    let chance = change.by_chance.map_or_else(String::new, |p| format!("by chance {p:.1e}"));
    let figures = format!("{} -> {}", harmless(&change.before), harmless(&change.now));
    [change.kind.words().to_owned(), harmless(&change.id).into_owned(), figures, chance]
}

fn style(kind: ChangeKind) -> Style {
    match kind {
        ChangeKind::Better | ChangeKind::Faster => AnsiColor::Green.on_default(),
        ChangeKind::Broken | ChangeKind::Flaky | ChangeKind::Worse => AnsiColor::Red.on_default().bold(),
        ChangeKind::Slower | ChangeKind::Other => AnsiColor::Yellow.on_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::statistics::{Count, Sensitivity};
    use crate::report::compare::{ComparedCell, TotalChange};

    fn comparison() -> Comparison {
        let change = |id: &str, kind, before: &str, now: &str, cause: &str| Change {
            id: id.to_owned(),
            kind,
            before: before.to_owned(),
            now: now.to_owned(),
            by_chance: Some(1.5e-9),
            cause: cause.to_owned(),
        };
        let cell = |id: &str, tried, total_change| ComparedCell {
            id: id.to_owned(),
            before: Count { passed: tried, tried },
            tried,
            sensitivity: Sensitivity {
                false_alarm: 1e-7,
                fall_to: (total_change == TotalChange::Detectable).then_some(0.381),
                rise_to: None,
            },
            total_change,
        };
        Comparison {
            compared: 4,
            changes: vec![
                change("even/odd", ChangeKind::Broken, "20/20", "0/20", "filtered 0 -> 20"),
                change("odd|odd", ChangeKind::Slower, "2.1 one-way delays", "3.1 one-way delays", ""),
            ],
            together: Vec::new(),
            missing: (1..=7).map(|n| format!("gone-{n}")).collect(),
            new: vec!["fresh".to_owned()],
            broken: Vec::new(),
            interrupted: Vec::new(),
            cells: vec![
                cell("few", 2, TotalChange::Undetectable),
                cell("one", 20, TotalChange::Detectable),
                cell("two", 20, TotalChange::Detectable),
            ],
            false_alarms: 2.5e-7,
            kernels: Some(("5.10".to_owned(), "6.12".to_owned())),
        }
    }

    #[test]
    fn a_terminal_gets_aligned_columns() {
        let mut out = anstream::StripStream::new(Vec::new());
        write(&comparison(), "b.toml", &mut out).expect("a vector takes everything");
        insta::assert_snapshot!(String::from_utf8(out.into_inner()).expect("text"), @r"

        compared with b.toml
          kernel 5.10 -> 6.12
          broken  even/odd  20/20 -> 0/20                             by chance 1.5e-9
                  filtered 0 -> 20
          slower  odd|odd   2.1 one-way delays -> 3.1 one-way delays  by chance 1.5e-9
          7 missing: gone-1, gone-2, gone-3, gone-4, gone-5, …
          1 new: fresh
          1 blind: with too few trials to show even a total change: few
          20 trials now would reveal (with 90 % probability) a fall from 20/20 to 38.1 % (2 cells)
          2 trials now would not reveal even a total change from 2/2 (1 cell)
          probability of a false alarm in any of these tests, computed: 2.5e-7
        4 cells compared: 2 changed, 7 missing, 1 blind
        ");
    }

    #[test]
    fn markdown_is_a_table() {
        insta::assert_snapshot!(markdown(&comparison(), "b.toml"), @r"
        ### compared with b.toml

        4 cells compared: 2 changed, 7 missing, 1 blind

        kernel 5.10 -> 6.12

        | | cell | before | now | by chance | cause |
        |---|---|---|---|---|---|
        | **broken** | even/odd | 20/20 | 0/20 | 1.5e-9 | filtered 0 -> 20 |
        | **slower** | odd\|odd | 2.1 one-way delays | 3.1 one-way delays | 1.5e-9 |  |

        - 7 missing: gone-1, gone-2, gone-3, gone-4, gone-5, …
        - 1 new: fresh
        - 1 blind: with too few trials to show even a total change: few
        - 20 trials now would reveal (with 90 % probability) a fall from 20/20 to 38.1 % (2 cells)
        - 2 trials now would not reveal even a total change from 2/2 (1 cell)
        - probability of a false alarm in any of these tests, computed: 2.5e-7
        ");
    }

    #[test]
    fn nothing_changed_is_one_line() {
        let same = Comparison { changes: Vec::new(), missing: Vec::new(), ..comparison() };
        assert_eq!(conclusion(&same), "4 cells compared: none changed, 1 blind");
    }
}
