//! Exactly what was typed: no file is read here and no name looked up.

mod nats;

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};
use clap_complete::Shell;

use crate::cli::filter::Filter;
pub use nats::{
    ConformanceArgs, FuzzArgs, MeasureArgs, NatAction, NatsInstead, OwnNats, ProveArgs, WantedNats,
};

pub use crate::cli::options::{Accepted, KeepArg, Verbosity};
use crate::lab::Rights;
use crate::model::quantity;
use crate::model::shard::WantedShard;
use crate::model::suite::MOST_TRIALS;
use crate::report::format::Format;

/// Builds real NATs from the Linux kernel and measures TCP hole punching across them.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "Exit code: 0 all as expected, 1 some cell differs from theory or changed, \
                        2 something broke or could not run, 3 none of these but something is not decided \
                        (--allow accepts it), 4 nothing ran.")]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Action,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Run a suite; needs root, or --rootless
    Run(RunArgs),
    /// Show what a suite would run and what theory expects; works without root
    Plan(PlanArgs),
    /// Show what this machine can and cannot do, and how long a suite would take on it
    Check(CheckArgs),
    /// List the suites and topologies that come with testbed
    List(ListArgs),
    /// List, show, prove and measure NATs
    #[command(subcommand)]
    Nat(NatAction),
    /// Compare the reference NAT with real NATs, by random packets; needs root, or --rootless
    FuzzNat(FuzzArgs),
    /// Measure NATs against RFC 5382, RFC 7857 and RFC 6888
    Conformance(ConformanceArgs),
    /// Show an old run again, in any format
    Report(ReportArgs),
    /// Show what changed between two runs, such as those of two kernels or two versions of a puncher
    Diff(DiffArgs),
    /// Join the parts of a run that was split by --shard
    Merge(MergeArgs),
    /// Show as a table what the NATs of several kernels do, from runs of the suite kernel
    Kernels(KernelsArgs),
    /// Store what a run found, for `run --baseline`
    #[command(subcommand)]
    Baseline(BaselineAction),
    /// Draw a kept trial of an old run, packet by packet, and say why it ended as it did
    Explain(ExplainArgs),
    /// Bring up the lab of a cell and open a shell in one of its nodes, with all your rights and files
    Shell(ShellArgs),
    /// Bring up the lab of a cell and run a command in one of its nodes
    Exec(ExecArgs),
    /// Print completions for a shell; scripts/install puts them where the shell looks for them
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the manual pages of testbed and of each of its commands to a folder
    #[command(hide = true)]
    Man {
        /// The folder, which must exist
        folder: PathBuf,
    },
}

/// Where the rights to build labs come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args)]
pub struct RightsArgs {
    /// Run without root, in a user namespace
    #[arg(long)]
    pub rootless: bool,
}

impl From<RightsArgs> for Rights {
    fn from(args: RightsArgs) -> Self {
        if args.rootless { Self::UserNamespace } else { Self::Own }
    }
}

/// `testbed check`.
#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// Also show how many trials of this suite can run at the same time, and how long the suite takes
    pub suite: Option<String>,
    /// Trials in each cell, instead of what the suite says
    #[arg(long, value_name = "N", value_parser = trials, requires = "suite")]
    pub trials: Option<NonZeroU32>,
    /// Root, or a user namespace.
    #[command(flatten)]
    pub rights: RightsArgs,
}

/// `testbed list`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args)]
pub struct ListArgs {
    /// Print JSON, for programs
    #[arg(long)]
    pub json: bool,
}

/// Which cells of which suites.
#[derive(Debug, clap::Args)]
pub struct Selection {
    /// Suites that come with testbed, or the paths of files; several are run one after another
    #[arg(required = true, value_name = "SUITE")]
    pub suites: Vec<String>,
    /// Only cells whose axis has one of these values, or with `!=` none of them: `nat-a=random`, `method=auto,spray`,
    /// `nat-b!=hash-*`, `cell=GLOB`
    #[arg(long, value_name = "AXIS=VALUES")]
    pub filter: Vec<Filter>,
    /// Trials in each cell, instead of what the suite says
    #[arg(long, value_name = "N", value_parser = trials)]
    pub trials: Option<NonZeroU32>,
    /// The punching method, instead of those of the suite; `puncher connect --help` lists puncher's
    #[arg(long, value_name = "NAME")]
    pub method: Option<String>,
    /// NATs instead of the suite's.
    #[command(flatten)]
    pub instead: NatsInstead,
    /// NATs of your own.
    #[command(flatten)]
    pub nats: OwnNats,
}

/// `testbed run`.
#[derive(Debug, clap::Args)]
pub struct RunArgs {
    /// Which cells.
    #[command(flatten)]
    pub selection: Selection,
    /// Run only part N of M, such as 2/8, to spread a suite over M machines: the parts take about equally long, and `testbed
    /// merge` joins them; `auto` takes N and M from Slurm, `auto/8` N from Slurm or Kubernetes
    #[arg(long, value_name = "N/M")]
    pub shard: Option<WantedShard>,
    /// Add trials to an undecided cell until a sequential test tells whether it agrees with theory, up to N trials in the cell
    #[arg(long, value_name = "N", value_parser = trials)]
    pub until_sure: Option<NonZeroU32>,
    /// The most trials that run in parallel; fewer do while the processors are busy [default: as many as this machine's limits
    /// allow, between 16 and 128 per processor]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    pub jobs: Option<NonZeroU32>,
    /// Seed of all randomness except the kernel's [default: the time, or 1 with --shard; it is recorded]
    #[arg(long, value_name = "N", value_parser = seed)]
    pub seed: Option<u64>,
    /// An empty or new folder for the results [default: testbed-runs/SUITE-1, -2, …]
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Which trials' packets, rules and logs are kept in the run's folder
    #[arg(long, value_name = "WHICH", default_value = "failed")]
    pub keep: KeepArg,
    /// Another build of puncher to use; to test a program of your own, name it in a suite, under `[program]`
    #[arg(long, value_name = "PATH")]
    pub puncher: Option<PathBuf>,
    /// Compare with what an earlier run found, and fail on a change; `baseline update` writes the file
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
    /// Only the cells that were not as expected in that run: its folder, or its `results.json`
    #[arg(long, value_name = "RUN")]
    pub rerun: Option<PathBuf>,
    /// Stop at the first cell that differs or is an error
    #[arg(long)]
    pub fail_fast: bool,
    /// What is accepted.
    #[command(flatten)]
    pub accepted: Accepted,
    /// How much is told.
    #[command(flatten)]
    pub verbosity: Verbosity,
    /// Root, or a user namespace.
    #[command(flatten)]
    pub rights: RightsArgs,
}

/// `testbed plan`.
#[derive(Debug, clap::Args)]
pub struct PlanArgs {
    /// Which cells.
    #[command(flatten)]
    pub selection: Selection,
    /// Print JSON, for programs
    #[arg(long)]
    pub json: bool,
}

/// `testbed report`.
#[derive(Debug, clap::Args)]
pub struct ReportArgs {
    /// The folder of the run, or its `results.json`
    pub run: PathBuf,
    /// The output format
    #[arg(long, value_name = "FORMAT", default_value = "terminal")]
    pub format: Format,
    /// How much is told, by the format terminal.
    #[command(flatten)]
    pub verbosity: Verbosity,
}

/// `testbed diff`.
#[derive(Debug, clap::Args)]
pub struct DiffArgs {
    /// The older run: its folder, its `results.json`, or a baseline
    pub before: PathBuf,
    /// The newer run
    pub now: PathBuf,
    /// Print Markdown, for job summaries
    #[arg(long)]
    pub markdown: bool,
    /// What is accepted.
    #[command(flatten)]
    pub accepted: Accepted,
}

/// `testbed kernels`.
#[derive(Debug, clap::Args)]
pub struct KernelsArgs {
    /// The folders of the runs
    #[arg(required = true)]
    pub runs: Vec<PathBuf>,
}

/// `testbed merge`.
#[derive(Debug, clap::Args)]
pub struct MergeArgs {
    /// The folders of all parts
    #[arg(required = true)]
    pub parts: Vec<PathBuf>,
    /// An empty or new folder for the whole
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Compare with what an earlier run found, and fail on a change
    #[arg(long, value_name = "FILE")]
    pub baseline: Option<PathBuf>,
    /// How much is told.
    #[command(flatten)]
    pub verbosity: Verbosity,
    /// What is accepted.
    #[command(flatten)]
    pub accepted: Accepted,
}

/// `testbed baseline`.
#[derive(Debug, Subcommand)]
pub enum BaselineAction {
    /// Write what a run found to a file; cells that are not in the run are dropped
    Update(BaselineUpdateArgs),
}

/// `testbed baseline update`.
#[derive(Debug, clap::Args)]
pub struct BaselineUpdateArgs {
    /// The folder of the run, or its `results.json`
    pub run: PathBuf,
    /// The file to write
    pub file: PathBuf,
    /// Add the run's trials to those of the file: more trials show smaller changes
    #[arg(long)]
    pub add: bool,
}

/// `testbed explain`.
#[derive(Debug, clap::Args)]
pub struct ExplainArgs {
    /// The folder of the run, or its `results.json`
    pub run: PathBuf,
    /// The name of a cell, or a part of it that no other cell has; `list` lists what was kept
    pub cell: String,
    /// Number of the trial [default: the first kept that did not pass, else the first kept]
    #[arg(value_parser = trial_number)]
    pub trial: Option<u32>,
    /// Print JSON, for programs: the trial, its sequence diagram (`ladder`), what its programs said, and where its packets are
    #[arg(long)]
    pub json: bool,
}

/// `testbed shell`.
#[derive(Debug, clap::Args)]
pub struct ShellArgs {
    /// A suite that comes with testbed, or the path of a file
    pub suite: String,
    /// The name of a cell, or a part of it that no other cell has; the word `list` lists the cells instead
    pub cell: String,
    /// The node that the shell runs in
    #[arg(default_value = "peer-a")]
    pub node: String,
    /// NATs instead of the suite's.
    #[command(flatten)]
    pub instead: NatsInstead,
    /// NATs of your own.
    #[command(flatten)]
    pub nats: OwnNats,
    /// Root, or a user namespace.
    #[command(flatten)]
    pub rights: RightsArgs,
}

/// `testbed exec`.
#[derive(Debug, clap::Args)]
pub struct ExecArgs {
    /// A suite that comes with testbed, or the path of a file
    pub suite: String,
    /// The name of a cell, or a part of it that no other cell has; `testbed shell SUITE list` lists the cells
    pub cell: String,
    /// The node that the command runs in
    pub node: String,
    /// The command, after `--`
    #[arg(last = true, required = true)]
    pub command: Vec<String>,
    /// NATs instead of the suite's.
    #[command(flatten)]
    pub instead: NatsInstead,
    /// NATs of your own.
    #[command(flatten)]
    pub nats: OwnNats,
    /// Root, or a user namespace.
    #[command(flatten)]
    pub rights: RightsArgs,
}

/// Reads how many trials a cell is to have.
fn trials(text: &str) -> Result<NonZeroU32, String> {
    count(text, MOST_TRIALS)
}

/// Reads how many of something there are to be.
fn at_least_one(text: &str) -> Result<NonZeroU32, String> {
    count(text, u32::MAX)
}

fn count(text: &str, most: u32) -> Result<NonZeroU32, String> {
    match quantity::whole_number(text)? {
        0 => Err("must be at least 1".to_owned()),
        number if number > u64::from(most) => Err(format!("must be at most {most}")),
        number => {
            let number = u32::try_from(number).ok().and_then(NonZeroU32::new);
            number.ok_or_else(|| format!("must be at most {most}"))
        }
    }
}

/// Reads a seed.
fn seed(text: &str) -> Result<u64, String> {
    quantity::whole_number(text)
}

/// Reads the number of a trial.
fn trial_number(text: &str) -> Result<u32, String> {
    at_least_one(text).map(NonZeroU32::get)
}

/// Reads how long something is to be done.
fn how_long(text: &str) -> Result<Duration, String> {
    quantity::positive_duration(text).and_then(|time| quantity::at_most(time, text, A_WEEK))
}

/// The longest that a command is told to go on.
const A_WEEK: Duration = Duration::from_secs(7 * 24 * 3600);
