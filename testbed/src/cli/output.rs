//! Standard output, and how wide the terminal on it is.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::cli::command_error::CommandError;

/// Columns of the terminal on standard output, if there is one.
pub(super) fn terminal_width() -> Option<usize> {
    console::Term::stdout().size_checked().map(|(_, columns)| usize::from(columns))
}

/// Lets `write` write to standard output, in colour where that is wanted. A reader that has seen enough is no error.
pub(super) fn print(
    write: impl FnOnce(&mut anstream::AutoStream<io::StdoutLock<'static>>) -> io::Result<()>,
) -> Result<ExitCode, CommandError> {
    let mut out = anstream::AutoStream::auto(io::stdout().lock());
    match write(&mut out).and_then(|()| out.flush()) {
        Err(why) if why.kind() != io::ErrorKind::BrokenPipe => {
            Err(CommandError::new(format!("cannot write to standard output: {why}")))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}
