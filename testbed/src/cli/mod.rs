//! The `testbed` command: what was typed becomes requests to the layers below, and their answers an exit code.

pub mod args;
pub mod baseline;
pub mod catalogue;
mod cells;
pub mod command_error;
mod conclude;
pub mod conformance;
pub mod explain;
pub mod filter;
pub mod fuzz;
mod interrupt;
pub mod kernel;
pub mod list;
pub mod manual;
pub mod measure;
pub mod merge;
pub mod nat;
mod node_command;
pub mod options;
mod origin;
pub mod output;
pub mod prove;
pub mod report;
mod rerun;
mod rule_devices;
pub mod run;
pub mod select;
pub mod shard;
pub mod shell;
mod stored_run;

use std::process::ExitCode;

use crate::cli::args::{Action, Args, BaselineAction, NatAction};
use crate::cli::command_error::CommandError;

/// Does what was asked for.
///
/// # Errors
/// Why it could not be done; [`CommandError::exit_code`] says how to end.
pub fn run(args: Args) -> Result<ExitCode, CommandError> {
    match args.command {
        Action::Run(args) => run::run(&args),
        Action::Kernels(args) => kernel::table(&args),
        Action::Check(args) => list::check(&args),
        Action::List(args) => list::list(args),
        Action::Plan(args) => list::plan(&args),
        Action::Report(args) => report::report(&args),
        Action::Diff(args) => baseline::diff(&args),
        Action::Merge(args) => merge::run(&args),
        Action::Baseline(BaselineAction::Update(args)) => baseline::update(&args),
        Action::Explain(args) => explain::explain(&args),
        Action::Shell(args) => shell::shell(&args),
        Action::Exec(args) => shell::exec(&args),
        Action::Nat(NatAction::List(own)) => nat::list(&own),
        Action::Nat(NatAction::Show { name, nats }) => nat::show(&name, &nats),
        Action::Nat(NatAction::Prove(args)) => prove::run(&args),
        Action::Nat(NatAction::Measure(args)) => measure::run(&args),
        Action::FuzzNat(args) => fuzz::run(&args),
        Action::Conformance(args) => conformance::run(&args),
        Action::Completions { shell } => manual::completions(shell),
        Action::Man { folder } => manual::pages(&folder),
    }
}
