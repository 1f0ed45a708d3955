//! Each kind of change is found, what did not change is not told, and no test is wrong more often than it says.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::model::statistics::{at_least, at_most};

fn record(passed: u64, failed: u64, trips: f64) -> Record {
    let passed_times = usize::try_from(passed).expect("few");
    let causes = (failed > 0).then(|| ("filtered".to_owned(), usize::try_from(failed).expect("few")));
    Record {
        passed,
        failed,
        trip_ms: 20.0,
        trips: vec![trips; passed_times],
        causes: causes.into_iter().collect(),
        ..Record::default()
    }
}

fn run(cells: &[(&str, Record)]) -> Baseline {
    let cells = cells.iter().map(|(id, record)| ((*id).to_owned(), record.clone())).collect();
    Baseline { suite: "s".to_owned(), kernel: "6".to_owned(), cells, checks: BTreeMap::new() }
}

fn kinds(before: Record, now: Record) -> Vec<ChangeKind> {
    let compared = Comparison::new(&run(&[("a", before)]), &run(&[("a", now)]));
    compared.changes.iter().map(|change| change.kind).collect()
}

#[test]
fn what_did_not_change_is_not_told() {
    assert_eq!(kinds(record(20, 0, 2.0), record(20, 0, 2.1)), []);
    assert_eq!(kinds(record(0, 20, 0.0), record(0, 20, 0.0)), []);
    assert_eq!(kinds(record(12, 8, 2.0), record(9, 11, 2.0)), []);
}

#[test]
fn each_kind_of_change_is_told_from_the_others() {
    assert_eq!(kinds(record(20, 0, 2.0), record(0, 20, 0.0)), [ChangeKind::Broken]);
    assert_eq!(kinds(record(200, 0, 2.0), record(150, 50, 2.0)), [ChangeKind::Flaky]);
    assert_eq!(kinds(record(150, 50, 2.0), record(60, 140, 2.0)), [ChangeKind::Worse]);
    assert_eq!(kinds(record(0, 20, 2.0), record(20, 0, 2.0)), [ChangeKind::Better]);
    assert_eq!(kinds(record(20, 0, 2.0), record(20, 0, 3.0)), [ChangeKind::Slower]);
    assert_eq!(kinds(record(20, 0, 3.0), record(20, 0, 2.0)), [ChangeKind::Faster]);
    assert_eq!(kinds(record(200, 0, 2.0), record(100, 100, 9.0)), [ChangeKind::Flaky, ChangeKind::Slower]);
}

#[test]
fn a_busy_machine_is_not_a_slower_program() {
    let late = |ms: f64, trip_ms: f64| {
        let at = |trips| Record { trip_ms, ..record(50, 0, trips) };
        kinds(at(2.0), at(2.0 + ms / trip_ms))
    };
    assert_eq!(late(9.0, 10.0), []);
    assert_eq!(late(11.0, 10.0), [ChangeKind::Slower]);
    assert_eq!(late(49.0, 100.0), []);
    assert_eq!(late(51.0, 100.0), [ChangeKind::Slower]);
}

#[test]
fn causes_that_came_and_went_are_named() {
    let compared = Comparison::new(&run(&[("a", record(20, 0, 2.0))]), &run(&[("a", record(0, 20, 0.0))]));
    let change = &compared.changes[0];
    assert_eq!((change.before.as_str(), change.now.as_str()), ("20/20", "0/20"));
    assert_eq!(change.cause, "filtered 0 -> 20");
    assert!(change.by_chance.is_some_and(|p| p < 1e-9), "{change:?}");
}

#[test]
fn what_is_only_in_one_is_told_and_what_broke_is_not_compared() {
    let broken = Record { broken: 1, ..record(0, 19, 0.0) };
    let before = run(&[("a", record(20, 0, 2.0)), ("b", record(20, 0, 2.0)), ("few", record(2, 0, 2.0))]);
    let now = run(&[("b", broken), ("c", record(20, 0, 2.0)), ("few", record(2, 0, 2.0))]);
    let compared = Comparison::new(&before, &now);
    assert_eq!((&compared.missing, &compared.new), (&vec!["a".to_owned()], &vec!["c".to_owned()]));
    assert_eq!((compared.blind().collect::<Vec<_>>(), compared.sees("few")), (vec!["few"], false));
    assert_eq!(compared.broken, ["b"]);
    assert_eq!((compared.compared, compared.changes), (2, vec![]));
}

#[test]
fn a_check_that_sees_another_thing_changed() {
    let seen = |word: &str| Baseline {
        checks: BTreeMap::from([("kernel/dnat-range".to_owned(), word.to_owned())]),
        kernel: word.to_owned(),
        ..Baseline::default()
    };
    let compared = Comparison::new(&seen("random"), &seen("first"));
    assert_eq!(compared.changes[0].kind, ChangeKind::Other);
    assert_eq!(compared.kernels, Some(("random".to_owned(), "first".to_owned())));
    assert!(Comparison::new(&seen("first"), &seen("first")).is_unchanged());
}

/// Pairs of runs that are simulated, and the error rate that they are compared at: so high that false alarms occur.
const RUNS: u64 = 1000;
const FALSE_ALARMS: f64 = 1e-2;

/// A run of the same programs on the same NATs: three groups of cells, each cell with a rate and a number of trials.
fn simulated(random: &mut ChaCha8Rng) -> Baseline {
    let rates = [(0.95, 60), (0.5, 40), (0.26, 100), (1.0, 20), (0.0, 20), (0.7, 30)];
    let cells = rates.iter().cycle().take(12).enumerate().map(|(at, (rate, tried))| {
        let passed = (0..*tried).filter(|_| random.random::<f64>() < *rate).count() as u64;
        let times = (0..passed).map(|_| f64::from(random.random_range(20..60_u32)) / 10.0);
        let record = Record {
            trips: times.collect(),
            group: format!("group {}", at % 3),
            ..record(passed, tried - passed, 0.0)
        };
        (format!("cell {at}"), record)
    });
    Baseline { cells: cells.collect(), ..Baseline::default() }
}

/// In 1,000 comparisons of runs between which nothing changed, no more report a change than the sizes of the tests add up
/// to, and not many fewer.
#[test]
fn false_alarms_are_as_rare_as_computed() {
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let (mut alarms, mut sizes) = (0, 0.0);
    for _ in 0..RUNS {
        let (before, now) = (simulated(&mut random), simulated(&mut random));
        let compared = Comparison::at(&before, &now, FALSE_ALARMS);
        assert!(compared.false_alarms <= FALSE_ALARMS, "{}", compared.false_alarms);
        sizes += compared.false_alarms / RUNS as f64;
        alarms += u64::from(!compared.is_unchanged());
    }
    assert!(sizes > FALSE_ALARMS / 20.0, "{sizes}");
    assert!(at_least(RUNS, sizes, alarms) > 1e-6, "{alarms} of {RUNS}, computed {sizes}");
    assert!(at_most(RUNS, sizes, alarms) > 1e-6, "{alarms} of {RUNS}, computed {sizes}");
}

fn like(cells: u64, each: impl Fn(u64) -> Record) -> Baseline {
    let cells =
        (0..cells).map(|at| (format!("cell {at:02}"), Record { group: "g, m".to_owned(), ..each(at) }));
    Baseline { cells: cells.collect(), ..Baseline::default() }
}

#[test]
fn a_loss_that_no_cell_shows_is_seen_in_all_like_cells_together() {
    let (before, now) = (like(40, |_| record(40, 0, 2.0)), like(40, |_| record(38, 2, 2.0)));
    let compared = Comparison::new(&before, &now);
    let [change] = compared.together.as_slice() else { panic!("{:?}", compared.together) };
    assert_eq!((compared.changes.len(), compared.is_unchanged()), (0, false));
    assert_eq!((change.id.as_str(), change.kind), ("40 cells of g, m, together", ChangeKind::Worse));
    assert_eq!((change.before.as_str(), change.now.as_str()), ("1600/1600", "1520/1600"));
    assert_eq!(change.cause, "filtered 0 -> 80");
    let apart = |mut run: Baseline| {
        for (id, record) in &mut run.cells {
            record.group.clone_from(id);
        }
        run
    };
    assert!(Comparison::new(&apart(before), &apart(now)).is_unchanged());
}

/// What passes always was tried often before, what passes rarely is tried often now.
#[test]
fn other_numbers_of_trials_are_no_change() {
    let runs =
        |easy: u64, hard: u64| {
            like(20, move |at| {
                if at % 2 == 0 { record(easy, 0, 2.0) } else { record(hard / 10, hard - hard / 10, 2.0) }
            })
        };
    assert!(Comparison::new(&runs(200, 20), &runs(20, 200)).is_unchanged());
}

#[test]
fn a_program_that_always_fails_is_not_silently_unchanged_after_four_trials() {
    let (before, now) = (like(6, |_| record(4, 0, 2.0)), like(6, |_| record(0, 4, 0.0)));
    let compared = Comparison::new(&before, &now);
    assert_eq!(compared.blind().count(), 6);
    assert_eq!(
        compared.together[0].kind,
        ChangeKind::Worse,
        "together they show it: {:?}",
        compared.together
    );
    let one = Comparison::new(&like(1, |_| record(4, 0, 2.0)), &like(1, |_| record(0, 4, 0.0)));
    assert_eq!((one.blind().count(), one.is_unchanged()), (1, true));
}

#[test]
fn an_interrupted_cell_is_not_compared() {
    let cut = Record { unfinished: 8, ..record(12, 0, 2.0) };
    let compared = Comparison::new(&run(&[("a", record(0, 20, 0.0))]), &run(&[("a", cut)]));
    assert_eq!((compared.interrupted, compared.changes), (vec!["a".to_owned()], vec![]));
}

#[test]
fn a_comparison_says_what_each_cell_could_have_shown() {
    let compared = Comparison::new(&run(&[("a", record(40, 0, 2.0))]), &run(&[("a", record(38, 2, 2.0))]));
    let [cell] = compared.cells.as_slice() else { panic!("one cell") };
    let fall = cell.sensitivity.fall_to.expect("a fall is seen");
    assert!((0.4..0.6).contains(&fall) && cell.sensitivity.rise_to.is_none(), "{cell:?}");
    assert_eq!(
        (cell.total_change, cell.before, cell.tried),
        (TotalChange::Detectable, Count { passed: 40, tried: 40 }, 40)
    );
}
