//! `testbed merge`: the parts of a run that was split by `--shard` become one.

use std::process::ExitCode;

use crate::cli::args::MergeArgs;
use crate::cli::baseline;
use crate::cli::command_error::CommandError;
use crate::cli::conclude::{conclude, exit_code};
use crate::cli::run::cannot_record;
use crate::cli::stored_run::read_run;
use crate::report::folder::Folder;
use crate::report::merge::{Source, merge};
use crate::report::recorder::record_merged;

/// `testbed merge`: the exit code is that of the whole run.
///
/// # Errors
/// When a part cannot be read, is missing, there twice or of another run, or the whole cannot be written.
pub fn run(args: &MergeArgs) -> Result<ExitCode, CommandError> {
    let read = |path: &std::path::PathBuf| {
        read_run(path).map(|results| Source { name: path.display().to_string(), results })
    };
    let parts = args.parts.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    let results = merge(&parts).map_err(|faults| {
        CommandError::new(format!(
            "cannot join the parts: {}",
            faults.join("\ntestbed: cannot join the parts: ")
        ))
    })?;
    let known = args.baseline.as_deref().map(|file| baseline::of_suite(file, &results.suite)).transpose()?;
    let folder = Folder::create(&args.out).map_err(|why| cannot_record(&args.out, &why))?;
    let recorded = record_merged(&folder, results, &args.parts);
    exit_code(&[conclude(recorded, known, &args.accepted, args.verbosity.detail())?], &args.accepted)
}
