//! The `puncher` command.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
mod cli;

fn main() -> ExitCode {
    cli::run(cli::Cli::parse()).unwrap_or_else(|error| {
        let _ = writeln!(std::io::stderr(), "puncher: {error:#}");
        cli::cannot_run()
    })
}
