//! The `puncher` command.

use std::io::Write as _;
use std::process::ExitCode;

mod cli;

fn main() -> ExitCode {
    cli::run(cli::Cli::from_command_line()).unwrap_or_else(|error| {
        let _ = writeln!(std::io::stderr(), "puncher: {error:#}");
        cli::cannot_run()
    })
}
