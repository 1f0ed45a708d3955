//! What a shell and `man` need to know of the command line.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_complete::Shell;

use super::args::Cli;

/// `puncher completions`.
pub(super) fn completions(shell: Shell) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "puncher", &mut script);
    io::stdout().write_all(&script).context("cannot write to standard output")?;
    Ok(ExitCode::SUCCESS)
}

/// `puncher man`: one page for puncher and one for each of its commands, named as `man` wants it.
pub(super) fn pages(folder: &Path) -> anyhow::Result<ExitCode> {
    let pages = clap_mangen::generate_to(Cli::command(), folder);
    pages.with_context(|| format!("cannot write manual pages to \"{}\"", folder.display()))?;
    Ok(ExitCode::SUCCESS)
}
