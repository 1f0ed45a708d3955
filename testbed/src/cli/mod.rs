//! The `testbed` command: what was typed becomes requests to the layers below, and their answers an exit code.

pub mod args;
pub mod baseline;
mod cells;
pub mod conformance;
pub mod explain;
pub mod failure;
pub mod filter;
pub mod kernel;
pub mod list;
pub mod merge;
pub mod nat;
pub mod nats;
pub mod prove;
pub mod rights;
pub mod run;
pub mod select;
pub mod shard;
pub mod shell;

use std::process::ExitCode;

use crate::cli::args::{Args, BaselineCommand, Command, NatCommand};
use crate::cli::failure::Failure;

/// Does what was asked for.
///
/// # Errors
/// Why it could not be done; [`Failure::exit_code`] says how to end.
pub fn run(args: Args) -> Result<ExitCode, Failure> {
    match args.command {
        Command::Run(args) if args.selection.suite == kernel::SUITE => kernel::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Kernels(args) => kernel::table(&args),
        Command::Check(rights) => list::check(rights),
        Command::List => list::list(),
        Command::Plan(args) => list::plan(&args),
        Command::Report(args) => list::report(&args),
        Command::Diff(args) => baseline::diff(&args),
        Command::Merge(args) => merge::run(&args),
        Command::Baseline(BaselineCommand::Update(args)) => baseline::update(&args),
        Command::Explain(args) => explain::explain(&args),
        Command::Shell(args) => shell::shell(&args),
        Command::Exec(args) => shell::exec(&args),
        Command::Nat(NatCommand::List(own)) => nat::list(&own),
        Command::Nat(NatCommand::Show { name, nats }) => nat::show(&name, &nats),
        Command::Nat(NatCommand::Prove(args)) => prove::run(&args),
        Command::Conformance(args) => conformance::run(&args),
    }
}
