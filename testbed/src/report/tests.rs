//! Every format shows every kind of cell, and none lets a program's words act.

use std::collections::HashSet;
use std::io::Write;
use std::path::Path;

use crate::model::event::{Event, ProofResult};
use crate::report::escape::HOSTILE;
use crate::report::format::Format;
use crate::report::losses::Losses;
use crate::report::results::{CellDoc, EndingDoc, Results, Totals, VerdictDoc};
use crate::report::sample::{events, kernel_check, results};
use crate::report::view::RunView;
use crate::report::view::{Detail, Screen};
use crate::report::{collect, csv, folder, github, html, junit, markdown, schema, terminal};

fn on_terminal(results: &Results, width: usize) -> String {
    let mut out = anstream::StripStream::new(Vec::new());
    terminal::write(results, Screen { width, detail: Detail::Usual }, &mut out)
        .expect("a vector takes everything");
    String::from_utf8(out.into_inner()).expect("text")
}

#[test]
fn cells_come_in_the_order_of_the_suite_after_the_proofs() {
    let results = results();
    let ids: Vec<_> = results.cells.iter().map(CellDoc::id).collect();
    let expected =
        ["proof/even", "proof/odd", "even/even/auto", "even/odd/auto", "odd/even/auto", "odd/odd/auto"];
    assert_eq!(ids, expected);
    let totals = Totals {
        cells: 4,
        as_expected: 1,
        differs: 1,
        undecided: 1,
        no_expectation: 0,
        error: 1,
        skipped: 0,
        proofs: 2,
        proofs_failed: 1,
    };
    assert_eq!(results.totals, totals);
}

#[test]
fn only_our_own_escape_sequences_reach_a_terminal() {
    let mut out = Vec::new();
    terminal::write(&results(), Screen { width: 80, detail: Detail::Usual }, &mut out)
        .expect("a vector takes everything");
    let text = String::from_utf8(out).expect("text");
    assert!(text.contains("\u{1b}[") && !text.contains("\u{1b}[2J"), "{text:?}");
}

#[test]
fn junit_has_a_case_for_each_cell() {
    let text = junit::text(&results(), None);
    assert!(
        text.contains(
            r#"<testsuite name="sample" tests="6" failures="1" errors="2" skipped="1" time="1.500">"#
        ),
        "{text}"
    );
    assert!(
        text.contains(r#"<testcase name="even/even/auto" classname="sample.punch" time="0.150"/>"#),
        "{text}"
    );
    assert!(text.contains("1 × predicted port wrong\">trial 3: SYNs went to"), "{text}");
    assert!(text.contains("<skipped message=\"undecided: 3 trials are too few"), "{text}");
    assert!(text.contains("\\u{1b}[2J&lt;b&gt;&amp;&quot;|`x`") && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn markdown_shows_the_matrix_and_what_is_wrong() {
    let text = markdown::text(&results());
    assert!(
        text.contains("4 cells: **1** as expected, **1** differ, **1** undecided, **1** broken."),
        "{text}"
    );
    assert!(
        text.contains("| **even** | 3/3, 20.2 ms | ❌ 2/3, 20.1 ms |\n| **odd** | ❔ 0/3 | 💥 0/3 |"),
        "{text}"
    );
    assert!(text.contains("- **differs** `even/odd/auto`: 2 of 3 passed"), "{text}");
    assert!(text.contains("\\\\u{1b}\\[2J&lt;b>&amp;\"\\|\\`x\\`"), "{text}");
}

#[test]
fn csv_has_a_line_for_each_cell() {
    let text = csv::text(&results());
    let lines: Vec<_> = text.split_terminator("\r\n").collect();
    assert_eq!(lines.len(), 5, "{text}");
    assert!(lines[0].starts_with("id,method,nat-a,nat-b,trials,passed,"), "{}", lines[0]);
    assert!(lines[2].starts_with(
        "even/odd/auto,auto,even,odd,3,2,1,0,0,3,1,1,1,,,0.6666666666666666,0,1,differs,20.15,"
    ));
    assert!(lines[4].ends_with(",\"\\u{1b}[2J<b>&\"\"|`x`\""), "{}", lines[4]);
}

#[test]
fn the_page_shows_every_cell_and_runs_only_its_own_script() {
    let text = html::text(&results(), None);
    for part in [
        "2/3",
        "20.1 ms",
        "theory 100 %",
        "does not hold",
        "1 × predicted port wrong",
        "cells/1/trial-3/",
        "id=\"cell-even/odd/auto\"",
        "href=\"#cell-even/odd/auto\"",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(text.contains("\\u{1b}[2J&lt;b&gt;&amp;&quot;|`x`") && !text.contains("<b>&"));
    assert_eq!(text.matches("<script").count(), 1);
    for active in ["javascript:", "http:", "https:", "src=", "@import", "url(", "onload", "onclick"] {
        assert!(!text.contains(active), "{active}");
    }
}

#[test]
fn json_reads_back_as_it_was_written_and_another_schema_is_refused() {
    let results = results();
    let text = results.to_json();
    assert_eq!(Results::from_json(&text), Ok(results));
    let newer = text.replacen("\"schema\": 2", "\"schema\": 9", 1);
    assert_eq!(
        Results::from_json(&newer),
        Err("it has schema 9, and this testbed reads schema 2: run the suite again, or use the testbed that wrote it"
            .to_owned())
    );
    assert_eq!(Results::from_json("{}"), Err("it names no schema".to_owned()));
}

#[test]
fn counts_that_contradict_each_other_are_refused() {
    let mut changed = results();
    changed.totals.proofs_failed = 5;
    assert_eq!(
        Results::from_json(&changed.to_json()),
        Err("its totals are not those of its cells".to_owned())
    );
    for passed in [9, usize::MAX] {
        let mut changed = results();
        let punch = changed.cells.iter_mut().find_map(|cell| match cell {
            CellDoc::Punch(cell) => Some(cell),
            CellDoc::Proof(_) | CellDoc::Kernel(_) => None,
        });
        punch.expect("it has one").passed = passed;
        assert_eq!(
            Results::from_json(&changed.to_json()),
            Err("the outcomes of cell \"even/even/auto\" do not add up to its trials".to_owned())
        );
    }
}

#[test]
fn json_fits_its_schema_and_damage_is_noticed() {
    let good = serde_json::to_value(results()).expect("JSON");
    assert_eq!(schema::faults(schema::RESULTS, &good), [""; 0]);
    let spoil: [fn(&mut serde_json::Value); 6] = [
        |run| run["schema"] = 1.into(),
        |run| run["cells"][3]["verdict"] = "fine".into(),
        |run| run["cells"][3]["each"][0]["number"] = 0.into(),
        |run| run["cells"][0]["extra"] = true.into(),
        |run| run["totals"]["cells"] = "four".into(),
        |run| drop(run["cells"][2].as_object_mut().expect("a cell").remove("note")),
    ];
    for spoil in spoil {
        let mut bad = good.clone();
        spoil(&mut bad);
        assert_ne!(schema::faults(schema::RESULTS, &bad), [""; 0], "{bad}");
    }
}

#[test]
fn checks_of_the_kernel_are_in_every_format() {
    let mut collector = collect::ResultsBuilder::default();
    for event in events().iter().take(1) {
        collector.event(event);
    }
    for check in [kernel_check("good", "kept", "kept"), kernel_check("bad", "lost", "kept")] {
        collector.event(&Event::KernelChecked(check));
    }
    let results = collector.results();
    assert_eq!((results.totals.cells, results.totals.differs), (2, 1));
    let value = serde_json::to_value(&results).expect("JSON");
    assert_eq!(schema::faults(schema::RESULTS, &value), [""; 0]);
    assert_eq!(Results::from_json(&results.to_json()), Ok(results.clone()));
    let note = "expected kept, observed lost (1 of 1)";
    for text in [on_terminal(&results, 80), markdown::text(&results), junit::text(&results, None)] {
        assert!(text.contains("kernel/bad") && text.contains("expected kept, observed lost"), "{text}");
    }
    assert!(on_terminal(&results, 80).contains(&format!("differs kernel/bad\n  {note}")), "{note}");
}

#[test]
fn a_finished_folder_holds_every_format() {
    let parent = tempfile::tempdir().expect("a folder");
    let folder = folder::Folder::create_numbered(parent.path(), "run").expect("a folder");
    let path = folder.path().to_owned();
    let mut losses = Losses::default();
    folder.finish(&results(), &mut losses);
    assert!(losses.is_empty(), "{losses:?}");
    let mut names: Vec<_> =
        path.read_dir().expect("a folder").map(|entry| entry.expect("an entry").file_name()).collect();
    names.sort();
    assert_eq!(names, ["junit.xml", "report.html", "results.json", "summary.md"]);
    assert_eq!(folder::read(&path), Ok(results()));
    assert_eq!(folder::read(&path.join("results.json")), Ok(results()));
    let again = folder::Folder::create_numbered(parent.path(), "run").expect("a folder");
    assert!(again.path().ends_with("run-2"));
    assert!(folder::Folder::create(&path).is_err(), "a run must not mix with another");
}

#[test]
fn what_is_finished_outlives_the_run() {
    let parent = tempfile::tempdir().expect("a folder");
    let mut folder = folder::Folder::create(&parent.path().join("run")).expect("a folder");
    let mut collector = collect::ResultsBuilder::default();
    for event in events().iter().take(5) {
        if let Some(cell) = collector.event(event) {
            folder.cell(cell).expect("room on the disk");
        } else {
            folder.started(&collector.results()).expect("room on the disk");
        }
    }
    let path = folder.path().to_owned();
    drop(folder);
    let mut cut = std::fs::OpenOptions::new().append(true).open(path.join("cells.jsonl")).expect("the file");
    cut.write_all(b"{\"kind\":\"punch\",\"id\":\"cut").expect("room on the disk");
    let recovered = folder::read(&path).expect("what was finished");
    let ids: Vec<_> = recovered.cells.iter().map(CellDoc::id).collect();
    assert_eq!(ids, ["proof/even", "proof/odd", "odd/odd/auto", "odd/even/auto"]);
    assert_eq!((recovered.ending, recovered.totals.cells), (EndingDoc::Interrupted, 2));
    let unreached = ["even/even/auto", "even/odd/auto"].map(str::to_owned);
    assert_eq!(recovered.unreached, Some(unreached.to_vec()));
    assert_eq!((&recovered.unreached, results().unreached), (&collector.results().unreached, None));
    // Notes may name trials that gave way later: only what is there is named.
    let named = |results: &Results| {
        let trials = results.punches().flat_map(|cell| &cell.each);
        trials.filter_map(|trial| trial.artefacts.clone()).collect::<Vec<_>>()
    };
    let noted = named(&collector.results());
    assert!(noted.len() > 1 && named(&recovered).is_empty(), "{noted:?}");
    std::fs::create_dir_all(path.join(&noted[0])).expect("room on the disk");
    assert_eq!(named(&folder::read(&path).expect("what was finished")), noted[..1]);
}

#[test]
fn the_hostile_words_are_in_the_sample() {
    assert!(results().to_json().contains("\\u001b[2J"), "{HOSTILE:?}");
}

#[test]
fn annotations_are_one_line_each_and_cannot_be_forged() {
    let mut results = results();
    let text = github::text(&results);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 4, "{text}");
    assert!(lines[0].starts_with("::error title=even/odd/auto differs::2 of 3 passed"), "{text}");
    assert!(lines[0].contains("%0A1 × predicted port wrong: SYNs went to 198.51.100.2:4000"), "{text}");
    assert!(lines[3].starts_with("::warning title=odd/even/auto undecided::"), "{text}");
    let forged = "x\r\n::set-output name=a::b\u{1b}[2J 100%";
    for cell in &mut results.cells {
        if let CellDoc::Punch(cell) = cell {
            forged.clone_into(&mut cell.note);
        }
    }
    let text = github::text(&results);
    assert!(
        text.lines().all(|line| line.starts_with("::error title=") || line.starts_with("::warning title="))
    );
    assert!(text.contains("100%25") && !text.contains('\u{1b}'), "{text}");
}

/// The sample with a cell whose method theory does not know in the place of the undecided one.
fn without_expectation() -> Results {
    let mut results = results();
    for cell in &mut results.cells {
        match cell {
            CellDoc::Punch(cell) if cell.verdict == VerdictDoc::Undecided => {
                (cell.verdict, cell.expected) = (VerdictDoc::NoExpectation, None);
                "theory does not know this method".clone_into(&mut cell.note);
            }
            _ => (),
        }
    }
    results.totals = Totals::of(&results.cells);
    results
}

#[test]
fn a_cell_without_expectation_has_a_word_of_its_own_in_every_format() {
    let results = without_expectation();
    assert_eq!((results.totals.no_expectation, results.totals.undecided), (1, 0));
    let value = serde_json::to_value(&results).expect("JSON");
    assert_eq!(schema::faults(schema::RESULTS, &value), [""; 0]);
    assert_eq!(Results::from_json(&results.to_json()), Ok(results.clone()));
    let terminal = on_terminal(&results, 80);
    for said in [
        "0/3*",
        "* no expectation",
        "1 no expectation",
        "no expectation, 1 cell: predicted port wrong\n  odd/even/auto  0/3 passed\n    theory does not",
    ] {
        assert!(terminal.contains(said), "{said}: {terminal}");
    }
    for (text, said) in [
        (markdown::text(&results), "**1** without expectation"),
        (junit::text(&results, None), "<skipped message=\"no expectation: theory does not know this method"),
        (github::text(&results), "::warning title=odd/even/auto no expectation::"),
        (csv::text(&results), ",no expectation,"),
        (html::text(&results, None), "no expectation"),
        (results.to_json(), "\"verdict\": \"no_expectation\""),
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    let advice = |results: &Results| {
        let mut advice = anstream::StripStream::new(Vec::new());
        terminal::advice(results, Path::new("run-1"), 80, &mut advice).expect("a vector takes everything");
        String::from_utf8(advice.into_inner()).expect("text")
    };
    let few = advice(&results);
    for said in ["1 cell has no expectation", "--baseline", "[[expect]]", "too few trials to support"] {
        assert!(few.contains(said) && !few.contains("--format expect"), "{said}: {few}");
    }
    let mut enough = results.clone();
    let cells = enough.cells.iter_mut().filter_map(|cell| match cell {
        CellDoc::Punch(cell) => Some(cell),
        _ => None,
    });
    cells.for_each(|cell| (cell.asked, cell.trials, cell.passed, cell.failed) = (60, 60, 60, 0));
    let enough = advice(&enough);
    assert!(enough.contains("testbed report run-1 --format expect"), "{enough}");
}

#[test]
fn a_nat_that_this_machine_cannot_have_is_skipped_and_not_an_error() {
    let mut collector = collect::ResultsBuilder::default();
    for event in events().iter().take(2) {
        collector.event(event);
    }
    let unsupported = Some("nft refused its ruleset".to_owned());
    let proof = ProofResult { nat: "new".to_owned(), unsupported, ..ProofResult::default() };
    assert!(!proof.holds());
    collector.event(&Event::NatProved(proof));
    let results = collector.results();
    assert_eq!((results.totals.proofs, results.totals.proofs_failed), (2, 0));
    let said = "skipped NAT \"new\" cannot be made on this machine: nft refused its ruleset";
    assert!(on_terminal(&results, 80).contains(said), "{}", on_terminal(&results, 80));
    let value = serde_json::to_value(&results).expect("JSON");
    assert_eq!(schema::faults(schema::RESULTS, &value), [""; 0]);
}

#[test]
fn no_more_annotations_are_written_than_are_shown() {
    let mut results = results();
    let red = |cell: &&CellDoc| [VerdictDoc::Differs, VerdictDoc::Error].contains(&cell.verdict());
    let some: Vec<CellDoc> = results.cells.iter().filter(red).cloned().collect();
    assert!(some.len() >= 2, "a cell that differs and one that broke");
    results.cells = some.iter().cycle().take(30).cloned().collect();
    let text = github::text(&results);
    assert_eq!(text.matches("::error ").count(), 10, "{text}");
    assert!(text.contains("title=21 more cells%3A differs or error::"), "{text}");
}

#[test]
fn every_format_names_every_cell_or_every_cell_that_is_wrong() {
    let results = without_expectation();
    let shown = RunView { run: Path::new("run"), folder: None, width: 80, detail: Detail::Usual };
    for format in Format::ALL {
        let mut out = anstream::StripStream::new(Vec::new());
        format.write(&results, shown, &mut out).expect("a vector takes everything");
        let text = String::from_utf8(out.into_inner()).expect("text");
        let names = text.contains("odd/even/auto") || text.contains("even/odd/auto");
        assert!(names, "{format}: {text}");
    }
    let files: Vec<_> = Format::ALL.iter().filter_map(|format| format.file()).collect();
    assert_eq!(files, ["results.json", "junit.xml", "summary.md", "report.html"]);
    assert_eq!(Format::ALL.iter().collect::<HashSet<_>>().len(), Format::WORDS.len());
}
