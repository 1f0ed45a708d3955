//! What it costs to start the programs of a trial in their sandboxes, beside the same programs without.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use testbed::kernel::process::Command;
use testbed::kernel::processors::Ticks;
use testbed::kernel::sandbox::{Sandbox, ShownFiles};
use testbed::lab::Lab;

use crate::labs::Builder;
use crate::runs;
use crate::table::Table;

/// Where a trial has programs.
const NODES: [&str; 3] = ["core", "peer-a", "peer-b"];

/// Trials between two looks at the clock, which goes by hundredths of a second.
const TRIALS: u32 = 150;

/// Looks at each of the two ways, in turns.
const TURNS: usize = 12;

/// The programs of a trial.
struct Programs {
    lab: Lab,
    sandbox: Arc<Sandbox>,
    command: Command,
}

impl Programs {
    /// In sandboxes, with all that a trial does for that.
    async fn start_confined(&self) {
        const KEY: &str = "00";
        for node in NODES {
            self.lab.node(node).expect("a node").admit(&self.sandbox, Some(KEY)).await.expect("a sandbox");
        }
        for node in NODES {
            let started = self.lab.node(node).expect("a node").spawn_confined(&self.command).await;
            started.expect("a program").output().await.expect("its output");
        }
        self.lab.kill_all().await.expect("an end");
        assert_eq!(self.lab.changed_by_programs().expect("a look"), None);
    }

    /// Without.
    async fn start_plainly(&self) {
        for node in NODES {
            let started = self.lab.node(node).expect("a node").spawn(&self.command).await;
            started.expect("a program").output().await.expect("its output");
        }
        self.lab.kill_all().await.expect("an end");
    }
}

/// What the processors did per trial meanwhile, in milliseconds of one.
fn busy_ms(work: impl FnOnce()) -> f64 {
    let processors = std::thread::available_parallelism().map_or(1, usize::from) as f64;
    let (began, before) = (Instant::now(), Ticks::read().expect("/proc/stat"));
    work();
    let (elapsed, after) = (began.elapsed(), Ticks::read().expect("/proc/stat"));
    let idle = after.idle_since(before).expect("time has passed");
    (1.0 - idle) * elapsed.as_secs_f64() * 1e3 * processors / f64::from(TRIALS)
}

pub(crate) fn sandbox(table: &mut Table) {
    let builder = Builder::new();
    let puncher: PathBuf = runs::program("PUNCHER", "/bin/true");
    let mut shown = ShownFiles::default();
    shown.add(&puncher).expect("a program");
    let sandbox = Sandbox::new(&shown).expect("a root folder");
    let command = Command::new(puncher).arg("--version").directory("/");
    let programs = Programs { lab: builder.build(), sandbox: Arc::new(sandbox), command };
    let confined = || {
        builder.runtime.block_on(async {
            for _ in 0..TRIALS {
                programs.start_confined().await;
            }
        });
    };
    let plain = || {
        builder.runtime.block_on(async {
            for _ in 0..TRIALS {
                programs.start_plainly().await;
            }
        });
    };
    confined();
    let turns: Vec<[f64; 2]> = (0..TURNS).map(|_| [busy_ms(confined), busy_ms(plain)]).collect();
    let each = |read: fn(&[f64; 2]) -> f64| turns.iter().map(read).collect::<Vec<_>>();
    table.add("three programs in sandboxes: processors' time", "ms", each(|[confined, _]| *confined));
    table.add("three programs without: processors' time", "ms", each(|[_, plain]| *plain));
    let more = table.add("the sandboxes of a trial: processors' time", "ms", each(|[c, p]| c - p));
    let trials: Vec<f64> = (0..3).map(|_| runs::busy_ms_of_trial()).collect();
    let trial = table.add("a trial, 32 at a time, 10 ms trip: processors' time", "ms", trials);
    table.add(
        "a trial against one without sandboxes: processors' time",
        "times",
        vec![trial / (trial - more)],
    );
}
