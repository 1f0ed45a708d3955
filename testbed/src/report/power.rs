//! The tables of `docs/judging.md` that say what each test can see and how often it is wrong. They are computed here, and
//! a test compares them with the page; with `TESTBED_UPDATE_DOCS` set it writes them there instead.

use std::fmt::Write as _;
use std::path::Path;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::model::statistics::{
    Count, FALSE_ALARMS_PER_RUN, PooledTest, Rates, RejectionRegion, at_most, changed_rates, not_larger,
    not_larger_size, percent,
};

/// Cells of a run, as `matrix` has.
const CELLS: f64 = 121.0;

/// The error rate of a cell against theory.
const ALPHA: f64 = FALSE_ALARMS_PER_RUN / CELLS;

/// One guess at a port of the kernel's pool.
const ONE_PORT: f64 = 1.0 / 64_512.0;

/// Simulations behind a figure that is not summed.
const DRAWS: u32 = 500;

/// Where the tables stand in the page.
const BEGIN: &str = "<!-- computed: TESTBED_UPDATE_DOCS=1 cargo test -p testbed --lib power -->\n";
const END: &str = "<!-- end of what is computed -->\n";

#[test]
fn the_page_says_what_the_tests_can_do() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/judging.md");
    let page = std::fs::read_to_string(&path).expect("the page");
    let (before, rest) = page.split_once(BEGIN).expect("the page has the first mark");
    let (said, after) = rest.split_once(END).expect("the page has the second mark");
    let computed = tables();
    if std::env::var_os("TESTBED_UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{computed}{END}{after}")).expect("room on the disk");
    } else {
        assert!(said == computed, "docs/judging.md says something else; write it anew:\n{BEGIN}{computed}");
    }
}

fn tables() -> String {
    let tables = [against_theory(), curves(), until_sure(), against_a_baseline(), pooled(), times()];
    format!("\n{}\n", tables.join("\n"))
}

fn table(title: &str, header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut out = format!("{title}\n\n| {} |\n|{}\n", header.join(" | "), "---|".repeat(header.len()));
    for row in rows {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "| {} |", row.join(" | "));
    }
    out
}

fn rate(rate: Option<f64>) -> String {
    rate.map_or_else(|| "–".to_owned(), percent)
}

/// A probability in a curve, where only the digits before the first one that is lost matter.
fn power(probability: f64) -> String {
    match probability {
        p if p <= 0.0 || p >= 1.0 => percent(p),
        p if p < 0.001 => "< 0.1 %".to_owned(),
        p if p > 0.999 => "> 99.9 %".to_owned(),
        p => percent(p),
    }
}

fn size(size: f64) -> String {
    if size == 0.0 { "0".to_owned() } else { format!("{size:.1e}") }
}

fn against_theory() -> String {
    let expected = [1.0, 0.9, 0.5, 0.26, ONE_PORT, 0.0];
    let rows = expected.into_iter().flat_map(|expected| {
        [5_u64, 20, 60, 200].map(|tried| {
            let rates = Rates::exactly(expected);
            let region = RejectionRegion::binomial(tried, rates, ALPHA);
            let seen = region.sensitivity(rates);
            let decided = if region.sees_total_change(rates) { "yes" } else { "no" };
            let [fall, rise] = [seen.fall_to, seen.rise_to].map(rate);
            vec![percent(expected), tried.to_string(), size(seen.false_alarm), fall, rise, decided.to_owned()]
        })
    });
    table(
        "**A cell against theory**, in a run of 121 cells: how often the test is wrong, the smallest changes that it sees with \
         90 % probability,\nand whether the cell can be *as expected* at all.",
        &["theory", "trials", "size", "a fall to", "a rise to", "sees a total change"],
        rows,
    )
}

fn curves() -> String {
    let curves = [(1.0, 20), (1.0, 60), (0.5, 60), (0.5, 200), (0.26, 20), (0.26, 60)];
    let regions =
        curves.map(|(expected, tried)| RejectionRegion::binomial(tried, Rates::exactly(expected), ALPHA));
    let rows = [0.0, 0.02, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98, 1.0].map(|truth| {
        let seen = regions.map(|region| power(region.probability(truth)));
        [percent(truth)].into_iter().chain(seen).collect()
    });
    let names = curves.map(|(expected, tried)| format!("{}, {tried} trials", percent(expected)));
    let header: Vec<&str> = ["true rate"].into_iter().chain(names.iter().map(String::as_str)).collect();
    table(
        "**Power curves** of the same test: how often a cell *differs* where theory says what heads the column.",
        &header,
        rows,
    )
}

/// The trials after which `--until-sure 640` looks.
const LOOKS: [u64; 6] = [20, 40, 80, 160, 320, 640];

/// Probability that the sequential test refutes `expected` at any look, where a trial passes at the rate `truth`.
fn refuted(expected: f64, truth: f64, alpha: f64) -> f64 {
    let (mut refuted, mut ways) = (0.0, vec![1.0]);
    for tried in 1..=LOOKS[LOOKS.len() - 1] {
        let mut next = vec![0.0; ways.len() + 1];
        for (passed, way) in ways.iter().enumerate() {
            next[passed] += way * (1.0 - truth);
            next[passed + 1] += way * truth;
        }
        if LOOKS.contains(&tried) {
            let region = RejectionRegion::sequential(tried, Rates::exactly(expected), alpha);
            let rejected = (0..).zip(&mut next).filter(|(passed, _)| region.rejects(*passed));
            refuted += rejected.map(|(_, way)| std::mem::take(way)).sum::<f64>();
        }
        ways = next;
    }
    refuted
}

fn until_sure() -> String {
    let rows = [1.0, 0.9, 0.5, 0.26].map(|expected| {
        let seen = [0.3, 0.2, 0.1].map(|less| power(refuted(expected, expected - less * expected, ALPHA)));
        [percent(expected), size(refuted(expected, expected, ALPHA))].into_iter().chain(seen).collect()
    });
    table(
        "**`--until-sure 640`**, which looks after 20, 40, … 640 trials: how often any look is wrong, and how often one of them sees \
         a\nrate that is lower by so much of itself.",
        &["theory", "size", "30 % lower", "20 % lower", "10 % lower"],
        rows,
    )
}

/// Probability that the comparison of two cells finds a change where every trial passes at one and the same rate: the
/// worst of many rates.
fn worst_size(before: u64, now: u64, alpha: f64) -> f64 {
    let regions: Vec<RejectionRegion> =
        (0..=before).map(|passed| changed_rates(Count { passed, tried: before }, now, alpha)).collect();
    let size = |rate: f64| -> f64 {
        let exactly = |k: u64| {
            at_most(before, rate, k) - k.checked_sub(1).map_or(0.0, |below| at_most(before, rate, below))
        };
        (0..).zip(&regions).map(|(passed, region)| exactly(passed) * region.probability(rate)).sum()
    };
    (1..50).map(|step| size(f64::from(step) / 50.0)).fold(0.0, f64::max)
}

fn against_a_baseline() -> String {
    let alpha = FALSE_ALARMS_PER_RUN / 2.0 / CELLS;
    let counts = [
        (4, 4, 4),
        (20, 20, 20),
        (40, 40, 40),
        (40, 40, 20),
        (100, 100, 100),
        (10, 20, 20),
        (50, 100, 100),
        (0, 20, 20),
    ];
    let rows = counts.map(|(passed, tried, now)| {
        let before = Count { passed, tried };
        let (region, rates) = (changed_rates(before, now, alpha), Rates::exactly(before.rate()));
        let (seen, blind) = (region.sensitivity(rates), !region.sees_total_change(rates));
        let [fall, rise] = [seen.fall_to, seen.rise_to].map(rate);
        let sees = if blind { "no: blind" } else { "yes" };
        let size = size(worst_size(tried, now, alpha));
        vec![format!("{passed}/{tried}"), now.to_string(), size, fall, rise, sees.to_owned()]
    });
    table(
        "**A cell against a baseline**, in a run of 121 cells. The size is that of this many trials at the worst true rate.",
        &["before", "trials now", "size", "a fall to", "a rise to", "sees a total change"],
        rows,
    )
}

fn pooled() -> String {
    let alpha = FALSE_ALARMS_PER_RUN / 4.0 / 6.0;
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let rows = [(4, 20), (36, 20), (36, 40), (100, 20)].map(|(cells, tried): (usize, u64)| {
        let before = Count { passed: tried, tried };
        let mut power = |truth: f64| {
            let mut now = || Count {
                passed: (0..tried).filter(|_| random.random::<f64>() < truth).count() as u64,
                tried,
            };
            let mut changed = || PooledTest::new((0..cells).map(|_| (before, now()))).chance() < alpha;
            let seen = (0..DRAWS).filter(|_| changed()).count();
            format!("{:.0} %", 100.0 * seen as f64 / f64::from(DRAWS))
        };
        let half = Count { passed: tried / 2, tried };
        let size = size(PooledTest::new(std::iter::repeat_n((half, half), cells)).size(alpha));
        vec![
            cells.to_string(),
            tried.to_string(),
            size,
            power(0.99),
            power(0.98),
            power(0.95),
            power(0.9),
            power(0.8),
        ]
    });
    table(
        "**Like cells together**, one of six groups: the size where half of all passed, and how often the test sees that cells that \
         always\npassed now pass at this rate (500 simulations each).",
        &["cells", "trials", "size", "99 %", "98 %", "95 %", "90 %", "80 %"],
        rows,
    )
}

fn times() -> String {
    let alpha = FALSE_ALARMS_PER_RUN / 4.0 / CELLS / 2.0;
    let rows = [12_u32, 20, 40].map(|trials| {
        let times = |later: f64| -> Vec<f64> { (0..trials).map(|at| f64::from(at) + later).collect() };
        let all = f64::from(trials);
        let chance = not_larger(&times(0.0), &times(all));
        let sees = if chance < alpha { "yes" } else { "no" };
        vec![
            trials.to_string(),
            size(not_larger_size(&times(0.0), &times(0.5), alpha)),
            size(chance),
            sees.to_owned(),
        ]
    });
    table(
        "**Times**, slower or faster: the size without ties, and whether as many times before and now can show that all are later.",
        &["times", "size", "chance of the most extreme order", "sees it"],
        rows,
    )
}
