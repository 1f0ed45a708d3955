//! What a user sees, at each width.

use super::*;
use crate::report::charset::Charset;
use crate::report::results::{CellDoc, VerdictDoc};
use crate::report::sample::{kernel_check, results, square};

/// Widths of terminals: a narrow one, one beside an editor, a wide one, one over a whole screen.
const WIDTHS: [usize; 4] = [40, 80, 120, 200];

fn shown(results: &Results, width: usize, detail: Detail) -> String {
    let mut out = anstream::StripStream::new(Vec::new());
    write(results, Screen { width, detail }, &mut out).expect("a vector takes everything");
    let view = RunView { run: Path::new("testbed-runs/sample-1"), folder: None, width, detail };
    next(results, view, &mut out).expect("a vector takes everything");
    String::from_utf8(out.into_inner()).expect("text")
}

/// The lines of the first matrix, without those above and below it.
fn matrix_of(text: &str) -> String {
    let lines = text.lines().skip_while(|line| !line.starts_with("  nat-a \\ nat-b"));
    lines.take_while(|line| !line.is_empty()).map(|line| format!("{line}\n")).collect()
}

#[test]
fn every_line_fits_unless_it_is_one_long_word() {
    for results in [results(), square(22), square(11), square(3), kernel_results(), long_names()] {
        for width in WIDTHS {
            for line in shown(&results, width, Detail::Everything).lines() {
                let longest = line.split_whitespace().map(length).max().unwrap_or(0);
                // Behind a label of eight columns.
                assert!(length(line) <= width || longest + 8 > width, "{width}: {line}");
            }
        }
    }
}

/// Checks of the kernel with names and words as long as there are.
fn kernel_results() -> Results {
    let checks = [("x", "kept"), ("mapping-reused-fully-random", "another port of 1024-65535")];
    let checks = checks.map(|(id, word)| CellDoc::Kernel((&kernel_check(id, word, word)).into()));
    Results { cells: checks.to_vec(), ..results() }
}

/// Cells with names that are just as wide as the narrowest terminal.
fn long_names() -> Results {
    let mut results = results();
    for cell in &mut results.cells {
        if let CellDoc::Punch(cell) = cell {
            cell.id = format!("{:-<40}", cell.id.replace(char::is_whitespace, "-"));
        }
    }
    results
}

#[test]
fn a_name_that_fits_the_terminal_is_not_moved_out_of_it() {
    let text = shown(&long_names(), 40, Detail::Everything);
    assert!(text.lines().any(|line| line.starts_with("even/odd/auto---") && length(line) == 40), "{text}");
}

#[test]
fn checks_of_the_kernel_stand_beside_their_names_or_below() {
    let at = |width| {
        let text = shown(&kernel_results(), width, Detail::Usual);
        text.lines().filter(|line| line.contains("port of")).map(str::to_owned).collect::<Vec<_>>()
    };
    let name = "  kernel/mapping-reused-fully-random";
    assert!(at(120).contains(&format!("{name}  another port of 1024-65535  1 of 1")), "{:?}", at(120));
    assert!(at(40).contains(&"    another port of 1024-65535  1 of 1".to_owned()), "{:?}", at(40));
}

#[test]
fn a_result_is_told_from_the_matrix_to_what_one_needs_next() {
    insta::assert_snapshot!(shown(&results(), 80, Detail::Usual));
}

#[test]
fn quiet_is_the_totals_and_what_one_needs_next() {
    insta::assert_snapshot!(shown(&results(), 80, Detail::Brief));
}

/// An error decides the exit code, so it must not hide behind a cell that differs.
#[test]
fn the_error_that_decides_the_exit_code_is_told_before_a_cell_that_differs() {
    let mut results = results();
    results.cells.retain(|cell| cell.as_punch().is_some());
    let text = shown(&results, 80, Detail::Brief);
    let at = |line: &str| text.find(line).unwrap_or_else(|| panic!("no {line:?} in:\n{text}"));
    assert!(at("error   odd/odd/auto\n") < at("worst   even/odd/auto\n"), "{text}");
    assert_eq!(text.matches("\ncause ").count(), 2, "{text}");
    for (verdict, line) in [(VerdictDoc::Error, "error   "), (VerdictDoc::Differs, "worst   ")] {
        let mut alone = results.clone();
        alone.cells.retain(|cell| cell.as_punch().is_some_and(|cell| cell.verdict == verdict));
        let text = shown(&alone, 80, Detail::Brief);
        assert!(text.contains(line) && text.matches("\ncause ").count() == 1, "{text}");
    }
}

#[test]
fn twenty_two_nats_a_side_fit_eighty_columns() {
    insta::assert_snapshot!(matrix_of(&shown(&square(22), 80, Detail::Usual)));
}

#[test]
fn twenty_two_nats_a_side_have_medians_on_wide_terminals() {
    insta::assert_snapshot!(matrix_of(&shown(&square(22), 200, Detail::Usual)));
}

#[test]
fn eleven_nats_a_side_have_rates_in_eighty_columns() {
    insta::assert_snapshot!(matrix_of(&shown(&square(11), 80, Detail::Usual)));
}

/// A program of somebody else's: what it can do shows, although theory is silent.
#[test]
fn cells_without_an_expectation_show_what_passed() {
    let mut results = square(22);
    results.cells.iter_mut().for_each(|cell| {
        if let CellDoc::Punch(cell) = cell {
            cell.verdict = VerdictDoc::NoExpectation;
        }
    });
    let text = matrix_of(&shown(&results, 80, Detail::Usual));
    let count = |glyph: &str| text.matches(glyph).count();
    assert!(count("●") > 300 && count("·") > 50 && count("◐") > 10, "{text}");
    let legend = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(legend.contains("no expectation of 484 of 484 cells"), "{text}");
}

#[test]
fn the_proof_of_a_nat_of_one_s_own_is_asked_for_with_its_file() {
    for (words, expected) in [
        (vec!["testbed", "run", "matrix", "--nats", "my own.toml"], Some("my own.toml")),
        (vec!["testbed", "run", "matrix", "--nats=own.toml", "--nat-a", "home"], Some("own.toml")),
        (vec!["testbed", "run", "matrix", "--nats"], None),
        (vec!["testbed", "run", "matrix"], None),
    ] {
        let mut results = results();
        results.origin.command = words.into_iter().map(str::to_owned).collect();
        assert_eq!(super::next::nats_file(&results), expected);
    }
}

#[test]
fn a_table_that_is_too_wide_is_cut_into_blocks() {
    let text = matrix_of(&shown(&square(22), 40, Detail::Usual));
    assert_eq!(text.matches("nat-a").count(), 2, "{text}");
}

#[test]
fn nothing_but_ascii_is_left_where_nothing_else_can_be_shown() {
    let text = shown(&square(22), 80, Detail::Usual);
    let plain = Charset::Ascii.show(&text);
    assert!(plain.is_ascii(), "{plain}");
    // `?` is also the sign of a cell that is undecided.
    assert_eq!(plain.matches('?').count(), text.matches('?').count(), "{plain}");
    let columns = |text: &str| text.lines().map(length).max();
    assert_eq!(columns(&text), columns(&plain));
}

#[test]
fn colours_are_only_where_they_mean_something() {
    let mut out = Vec::new();
    write(&results(), Screen { width: 80, detail: Detail::Usual }, &mut out).expect("a vector");
    let text = String::from_utf8(out).expect("text");
    assert!(text.contains("\u{1b}[1m\u{1b}[31m2/3! 20.1 ms\u{1b}[0m"), "{text:?}");
}

#[test]
fn the_list_of_kept_trials_explains_which_side_was_late() {
    let mut results = results();
    let listed = |results: &Results| {
        let mut out = anstream::StripStream::new(Vec::new());
        super::kept(results, &mut out).expect("a vector takes everything");
        String::from_utf8(out.into_inner()).expect("text")
    };
    assert!(!listed(&results).contains(" late: the first SYN"));
    let CellDoc::Punch(cell) = &mut results.cells[2] else { panic!("a cell after the proofs") };
    (cell.each[0].how, cell.each[0].artefacts) =
        (Some("b late".to_owned()), Some("cells/0/trial-1".to_owned()));
    let said = "\nb late: the first SYN of a was refused or lost, because b had not sent its own yet\n";
    assert!(listed(&results).ends_with(said), "{}", listed(&results));
}
