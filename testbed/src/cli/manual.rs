//! `testbed completions` and `testbed man`: what a shell and `man` need to know of the command line.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::args::Args;
use crate::cli::command_error::CommandError;
use crate::cli::output::print_data;
use crate::kernel::user_file;

/// `testbed completions`.
///
/// # Errors
/// When standard output cannot be written.
pub fn completions(shell: Shell) -> Result<ExitCode, CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "testbed", &mut script);
    print_data(|out| out.write_all(&script))
}

/// `testbed man`: one page for testbed and one for each of its commands, named as `man` wants it.
///
/// # Errors
/// When a page cannot be written.
pub fn pages(folder: &Path) -> Result<ExitCode, CommandError> {
    clap_mangen::generate_to(Args::command(), folder).map_err(|why| {
        CommandError::new(format!(
            "cannot write manual pages to \"{}\": {}",
            folder.display(),
            user_file::words(&why)
        ))
    })?;
    Ok(ExitCode::SUCCESS)
}
