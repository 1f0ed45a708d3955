//! Standard output and standard error: which characters and colours they take, and how wide the terminal is.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::cli::command_error::CommandError;
use crate::kernel::user_file;
use crate::report::charset::Charset;
use crate::report::view::USUAL_WIDTH;

/// Shows no colours on a terminal that says it has none, also within CI, where anstream takes every terminal for one that
/// has. `CLICOLOR_FORCE` wins.
pub fn respect_dumb_terminals() {
    let is_dumb = std::env::var_os("TERM").is_some_and(|kind| kind == "dumb");
    let is_forced = std::env::var_os("CLICOLOR_FORCE").is_some_and(|value| value != "0");
    if is_dumb && !is_forced {
        anstream::ColorChoice::Never.write_global();
    }
}

/// Columns of help where nothing says how many there are.
pub const HELP_WIDTH: usize = 100;

/// Whether what `COLUMNS` says, if it says anything, can be the width of a screen.
#[must_use]
pub fn has_columns() -> bool {
    std::env::var("COLUMNS").map_or(true, |columns| columns.parse().is_ok_and(|columns: usize| columns > 0))
}

/// Columns of the terminal on standard output; without one what `COLUMNS` says, else [`USUAL_WIDTH`].
pub(super) fn width() -> usize {
    let terminal = console::Term::stdout().size_checked().map(|(_, columns)| usize::from(columns));
    let told = || std::env::var("COLUMNS").ok()?.parse().ok().filter(|columns| *columns > 0);
    terminal.or_else(told).unwrap_or(USUAL_WIDTH)
}

/// Columns for lists, of which each line is best whole: without a terminal there is no limit unless `COLUMNS` says one.
pub(super) fn list_width() -> usize {
    let is_limited = console::Term::stdout().is_term() || std::env::var_os("COLUMNS").is_some();
    if is_limited { width() } else { usize::MAX }
}

/// The characters that people can read here.
pub(super) fn charset() -> Charset {
    Charset::from_environment(|name| std::env::var(name).ok())
}

/// Prints what `write` writes for people: in colour where that is wanted, in ASCII where nothing else can be shown. A
/// reader that has seen enough is no error.
pub(super) fn print(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> Result<ExitCode, CommandError> {
    print_as(charset(), write)
}

/// Prints what `write` writes for programs, as it is.
pub(super) fn print_data(
    write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
) -> Result<ExitCode, CommandError> {
    print_as(Charset::Unicode, write)
}

fn print_as(
    charset: Charset,
    write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
) -> Result<ExitCode, CommandError> {
    let mut text = Vec::new();
    let mut out = anstream::AutoStream::auto(io::stdout().lock());
    let written = write(&mut text).and_then(|()| {
        out.write_all(charset.show(&String::from_utf8_lossy(&text)).as_bytes())?;
        out.flush()
    });
    match written {
        Err(why) if why.kind() != io::ErrorKind::BrokenPipe => {
            Err(CommandError::new(format!("cannot write to standard output: {}", user_file::words(&why))))
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Prints a line for people on standard error.
pub fn print_error(text: &str) {
    // Nothing is left to be done when standard error is closed.
    let _ = writeln!(anstream::stderr(), "{}", charset().show(text));
}
