//! The `testbed` command.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use testbed::cli::{self, args::Args};

fn main() -> ExitCode {
    cli::run(Args::parse()).unwrap_or_else(|failure| {
        // Nothing is left to be done when standard error is closed.
        let _ = writeln!(anstream::stderr(), "{failure}");
        ExitCode::from(failure.exit_code())
    })
}
