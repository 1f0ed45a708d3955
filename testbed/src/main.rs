//! The `testbed` command.

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use testbed::cli::command_error::CommandError;
use testbed::cli::{self, args::Args, output};
use testbed::kernel::limits;
use testbed::kernel::memory::SystemOrExit;

#[global_allocator]
static ALLOCATOR: SystemOrExit = SystemOrExit;

fn main() -> ExitCode {
    output::respect_dumb_terminals();
    // Before anything that may need more.
    if let Err(error) = limits::ensure_stack() {
        let failure = CommandError::from(error);
        output::print_error(&failure.to_string());
        return ExitCode::from(failure.exit_code());
    }
    log_to_stderr();
    cli::run(parse()).unwrap_or_else(|failure| {
        output::print_error(&failure.to_string());
        ExitCode::from(failure.exit_code())
    })
}

/// Reads what was typed; of a screen without columns nothing can be said, so help is as wide as without one.
fn parse() -> Args {
    let command = Args::command();
    let command = if output::has_columns() { command } else { command.term_width(output::HELP_WIDTH) };
    Args::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit())
}

/// Logs what goes wrong out of sight; `RUST_LOG=testbed=debug` shows more. The variable holds targets and levels.
fn log_to_stderr() {
    let wanted = std::env::var("RUST_LOG").ok().and_then(|text| text.parse::<Targets>().ok());
    let targets = wanted.unwrap_or_else(|| Targets::new().with_default(LevelFilter::WARN));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    tracing_subscriber::registry().with(targets).with(lines).init();
}
