//! The `testbed` command.

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use testbed::cli::{self, args::Args};
use testbed::kernel::memory::SystemOrExit;

#[global_allocator]
static ALLOCATOR: SystemOrExit = SystemOrExit;

fn main() -> ExitCode {
    // What goes wrong out of sight; RUST_LOG=testbed=debug shows more.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    cli::run(Args::parse()).unwrap_or_else(|failure| {
        // Nothing is left to be done when standard error is closed.
        let _ = writeln!(anstream::stderr(), "{failure}");
        ExitCode::from(failure.exit_code())
    })
}
