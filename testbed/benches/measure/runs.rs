//! Whole runs: trials a second, and how long a connection takes in trips.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use testbed::kernel::processors::Ticks;

use crate::table::Table;

/// The cells of `classic` that connect.
const PREDICTABLE: [&str; 4] =
    ["--filter", "nat-a=port-preserving,sequential", "--filter", "nat-b=port-preserving,sequential"];

/// Turns in which two builds are compared where a few percent matter.
const TURNS: usize = 10;

pub(crate) fn program(variable: &str, otherwise: &str) -> PathBuf {
    std::env::var_os(variable).map_or_else(|| PathBuf::from(otherwise), PathBuf::from)
}

/// Both programs of one build.
#[derive(Debug)]
struct Build {
    /// What its figures are called besides.
    name: &'static str,
    testbed: PathBuf,
    puncher: Option<PathBuf>,
}

impl Build {
    fn ours() -> Self {
        let testbed = program("TESTBED", env!("CARGO_BIN_EXE_testbed"));
        Self { name: "", testbed, puncher: std::env::var_os("PUNCHER").map(PathBuf::from) }
    }

    /// The one to compare with, if there is one: the folder that `AGAINST` names has both of its programs.
    fn other() -> Option<Self> {
        let folder = PathBuf::from(std::env::var_os("AGAINST")?);
        let [testbed, puncher] = ["testbed", "puncher"].map(|program| folder.join(program));
        Some(Self { name: ", the other build", testbed, puncher: Some(puncher) })
    }

    /// How long it takes to build the lab of a cell, to run a command in it that does nothing, and to end.
    fn exec(&self) -> Duration {
        let mut command = Command::new(&self.testbed);
        command.args(["exec", "classic", "sequential/sequential/simultaneous-open", "peer-a", "--", "true"]);
        let start = Instant::now();
        let status = command.status().expect("testbed");
        assert!(status.success(), "exec: {status}");
        start.elapsed()
    }

    /// A run, as a user would make it; nothing of it is kept. Returns the text of its results.
    fn run(&self, arguments: &[&str]) -> String {
        let out = std::env::temp_dir().join(format!("bench-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&out);
        let mut command = Command::new(&self.testbed);
        command.arg("run").args(arguments).args(["--keep", "none"]).arg("--out").arg(&out);
        if let Some(puncher) = &self.puncher {
            command.arg("--puncher").arg(puncher);
        }
        let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("testbed");
        let results = std::fs::read_to_string(out.join("results.json")).expect("results");
        let _ = std::fs::remove_dir_all(&out);
        assert!(status.success(), "{arguments:?}: {status}");
        results
    }
}

/// What a run took.
#[derive(Debug, Clone, Copy)]
struct Cost {
    seconds: f64,
    trials: f64,
    /// What the processors did meanwhile, in milliseconds of one.
    busy_ms: f64,
}

impl Cost {
    /// Makes a run. Whatever else the machine does is counted with it.
    fn of(build: &Build, arguments: &[&str]) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        let (began, before) = (Instant::now(), Ticks::read());
        let results = build.run(arguments);
        let (elapsed, after) = (began.elapsed(), Ticks::read());
        let idle = before.zip(after).and_then(|(before, after)| after.idle_since(before)).unwrap_or(0.0);
        // Of another build's results only this much needs to be as it is here.
        let results: serde_json::Value = serde_json::from_str(&results).expect("JSON");
        let cells = results["cells"].as_array().expect("cells");
        let punches = cells.iter().filter(|cell| cell["kind"] == "punch");
        Self {
            seconds: results["took_ms"].as_f64().expect("a time") / 1e3,
            trials: punches.filter_map(|cell| cell["trials"].as_f64()).sum(),
            busy_ms: (1.0 - idle) * elapsed.as_secs_f64() * 1e3 * processors,
        }
    }
}

/// A figure of a run: its name, its unit, and how it is read.
type CostFigure = (&'static str, &'static str, fn(&Cost) -> f64);

const RATE: CostFigure = ("", "/s", |cost| cost.trials / cost.seconds);
const SECONDS: CostFigure = (": the run", "s", |cost| cost.seconds);
const BUSY: CostFigure = (": processors' time of one", "ms", |cost| cost.busy_ms / cost.trials);

/// Makes the same run several times, in turns with the other build if there is one, and adds these figures of it.
fn compare(table: &mut Table, what: &str, arguments: &[&str], (rounds, figures): (usize, &[CostFigure])) {
    let builds: Vec<Build> = std::iter::once(Build::ours()).chain(Build::other()).collect();
    let mut costs = vec![Vec::new(); builds.len()];
    for _ in 0..rounds {
        for (build, costs) in builds.iter().zip(&mut costs) {
            costs.push(Cost::of(build, arguments));
        }
    }
    for (figure, unit, read) in figures {
        for (build, costs) in builds.iter().zip(&costs) {
            let name = format!("{what}{figure}{}", build.name);
            table.add(name, unit, costs.iter().map(read).collect());
        }
        if let [ours, other] = &costs[..] {
            let ratios = ours.iter().zip(other).map(|(ours, other)| read(ours) / read(other)).collect();
            table.add(format!("{what}{figure}, against the other build"), "times", ratios);
        }
    }
}

/// Measures both builds in turns, if there is another one, and adds the ratio of each figure.
fn in_turns<const N: usize>(table: &mut Table, what: [&str; N], measure: impl Fn(&Build) -> [f64; N]) {
    let Some(other) = Build::other() else { return };
    let ours = Build::ours();
    let mut ratios: [Vec<f64>; N] = std::array::from_fn(|_| Vec::new());
    for _ in 0..TURNS {
        let figures = measure(&ours).into_iter().zip(measure(&other));
        ratios.iter_mut().zip(figures).for_each(|(ratios, (ours, other))| ratios.push(ours / other));
    }
    for (what, ratios) in what.into_iter().zip(ratios) {
        table.add(format!("{what}, against the other build"), "times", ratios);
    }
}

/// Labs as both builds make them, each of which has a library of its own.
pub(crate) fn labs_in_turns(table: &mut Table) {
    in_turns(table, ["a lab built for testbed exec"], |build| [build.exec().as_secs_f64()]);
}

/// What a trial costs at the usual load, in milliseconds of one processor.
pub(crate) fn busy_ms_of_trial() -> f64 {
    let mut arguments = vec!["classic", "--trials", "400", "--jobs", "32"];
    arguments.extend(PREDICTABLE);
    let cost = Cost::of(&Build::ours(), &arguments);
    cost.busy_ms / cost.trials
}

pub(crate) fn trials(table: &mut Table) {
    for jobs in ["1", "4", "16", "32", "64"] {
        // This many that the start of a run does not matter.
        let trials = match jobs {
            "1" => "20",
            "4" => "100",
            _ => "400",
        };
        let mut arguments = vec!["classic", "--trials", trials, "--jobs", jobs];
        arguments.extend(PREDICTABLE);
        let usual = jobs == "32";
        let figures: &[CostFigure] = if usual { &[RATE, BUSY] } else { &[RATE] };
        let rounds = if usual && Build::other().is_some() { TURNS } else { 3 };
        compare(table, &format!("trials with {jobs} at a time, 10 ms trip"), &arguments, (rounds, figures));
    }
}

/// The command of the README: each trial of a round has other NATs than the one before.
pub(crate) fn matrix(table: &mut Table) {
    for (trials, rounds) in [("4", 3), ("20", 2)] {
        let what = format!("trials of matrix, {trials} a cell");
        compare(table, &what, &["matrix", "--trials", trials], (rounds, &[RATE, SECONDS, BUSY]));
    }
}

pub(crate) fn timing(table: &mut Table) {
    for delay_ms in [0_u32, 5, 10, 20, 80] {
        let trip = 2 * delay_ms;
        let times = connection_times(&Build::ours(), delay_ms);
        for ((what, trips), times) in [("established", 2), ("authenticated", 3)].into_iter().zip(times) {
            let median = table.add(format!("{what}, {trip} ms trip"), "ms", times);
            if trip > 0 {
                let share = median / f64::from(trips * trip);
                table.add(format!("{what}, {trip} ms trip, against {trips} trips"), "times", vec![share]);
            }
        }
    }
    in_turns(table, ["established, 20 ms trip", "authenticated, 20 ms trip"], |build| {
        connection_times(build, 10).map(|mut times| {
            times.sort_by(f64::total_cmp);
            times[times.len() / 2]
        })
    });
}

/// How long each connection of a run took until it was established, and until it was authenticated, in milliseconds.
fn connection_times(build: &Build, delay_ms: u32) -> [Vec<f64>; 2] {
    let suite = std::env::temp_dir().join(format!("bench-{}.toml", std::process::id()));
    let text = format!(
        "name = \"timing\"\nsummary = \"two NATs that keep ports\"\ntopology = \"pair\"\ntrials = 60\n\
         [axes]\nnat-a = [\"port-preserving\"]\nnat-b = [\"port-preserving\", \"sequential\"]\n\
         method = [\"auto\"]\ndelay = [\"{delay_ms}ms\"]\n"
    );
    std::fs::write(&suite, text).expect("a temporary file");
    let results = build.run(&[suite.to_str().expect("a path in plain letters"), "--jobs", "4"]);
    let _ = std::fs::remove_file(&suite);
    let results: serde_json::Value = serde_json::from_str(&results).expect("JSON");
    let cells = results["cells"].as_array().expect("cells").iter();
    let trials: Vec<_> = cells.filter_map(|cell| cell["each"].as_array()).flatten().collect();
    ["established_ms", "authenticated_ms"]
        .map(|time| trials.iter().filter_map(|trial| trial[time].as_f64()).collect())
}
