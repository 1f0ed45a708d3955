//! Whole runs: trials a second, and how long a connection takes in trips.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use testbed::report::folder;
use testbed::report::results::Results;

use crate::table::Table;

/// The cells of `classic` that connect.
const PREDICTABLE: [&str; 4] =
    ["--filter", "nat-a=port-preserving,sequential", "--filter", "nat-b=port-preserving,sequential"];

pub(crate) fn program(variable: &str, otherwise: &str) -> PathBuf {
    std::env::var_os(variable).map_or_else(|| PathBuf::from(otherwise), PathBuf::from)
}

/// A run of the program, as a user would make it; nothing of it is kept.
fn run(arguments: &[&str]) -> Results {
    let out = std::env::temp_dir().join(format!("bench-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&out);
    let mut command = Command::new(program("TESTBED", env!("CARGO_BIN_EXE_testbed")));
    command.arg("run").args(arguments).args(["--keep", "none"]).arg("--out").arg(&out);
    if let Some(puncher) = std::env::var_os("PUNCHER") {
        command.arg("--puncher").arg(puncher);
    }
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("testbed");
    let results = folder::read(&out).expect("results");
    let _ = std::fs::remove_dir_all(&out);
    assert!(status.success(), "{arguments:?}: {status}, {:?}", results.totals);
    results
}

pub(crate) fn trials(table: &mut Table) {
    for jobs in ["1", "4", "16", "32", "64"] {
        // So many that the start of a run does not matter.
        let trials = match jobs {
            "1" => "20",
            "4" => "100",
            _ => "400",
        };
        let mut arguments = vec!["classic", "--trials", trials, "--jobs", jobs];
        arguments.extend(PREDICTABLE);
        let rates = (0..3).map(|_| {
            let results = run(&arguments);
            let trials: usize = results.punches().map(|cell| cell.trials).sum();
            trials as f64 / results.took_ms * 1e3
        });
        table.add(format!("trials with {jobs} at a time, 10 ms trip"), "/s", rates.collect());
    }
}

pub(crate) fn timing(table: &mut Table) {
    for delay_ms in [0_u32, 5, 10, 20, 80] {
        let trip = 2 * delay_ms;
        let suite = std::env::temp_dir().join(format!("bench-{}.toml", std::process::id()));
        let text = format!(
            "name = \"timing\"\nsummary = \"two NATs that keep ports\"\ntopology = \"pair\"\ntrials = 60\n\
             [axes]\nnat-a = [\"port-preserving\"]\nnat-b = [\"port-preserving\", \"sequential\"]\n\
             method = [\"auto\"]\ndelay = [\"{delay_ms}ms\"]\n"
        );
        std::fs::write(&suite, text).expect("a temporary file");
        let results = run(&[suite.to_str().expect("a path in plain letters"), "--jobs", "4"]);
        let _ = std::fs::remove_file(&suite);
        for (what, trips, pick) in [("established", 2, 0), ("authenticated", 3, 1)] {
            let times = results.punches().flat_map(|cell| &cell.each).filter_map(|trial| {
                let times = [trial.established_ms, trial.authenticated_ms];
                times[pick]
            });
            let median = table.add(format!("{what}, {trip} ms trip"), "ms", times.collect());
            if trip > 0 {
                let share = median / f64::from(trips * trip);
                table.add(format!("{what}, {trip} ms trip, against {trips} trips"), "times", vec![share]);
            }
        }
    }
}
