//! The `puncher` command.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use puncher::cli::{Cli, cannot_run, run};

fn main() -> ExitCode {
    run(Cli::parse()).unwrap_or_else(|error| {
        let _ = writeln!(std::io::stderr(), "puncher: {error:#}");
        cannot_run()
    })
}
