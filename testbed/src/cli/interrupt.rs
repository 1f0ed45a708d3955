//! Ctrl-C, and the other signals by which a command is told to stop.

use std::future::{Future, pending};
use std::mem::ManuallyDrop;
use std::process::ExitCode;

use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::command_error::CommandError;
use crate::cli::output::print_error;
use crate::lab::{self, Rights};

/// A runtime for measurements that may be given up before they end. It is never shut down: the threads of those measurements
/// would panic, and the end of this process ends them.
pub(super) fn runtime(rights: Rights) -> Result<ManuallyDrop<Runtime>, CommandError> {
    Ok(ManuallyDrop::new(lab::setup(rights)?))
}

/// The exit code of a command that was interrupted before it found anything wrong.
const CODE: u8 = 3;

/// Waits for Ctrl-C, for the signal that service managers send, or for the end of the terminal.
pub(super) async fn wanted() {
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
    let Ok(mut signals) = kinds.into_iter().map(signal).collect::<Result<Vec<_>, _>>() else {
        return pending().await;
    };
    let each = signals.iter_mut().map(|signal| Box::pin(signal.recv()));
    futures::future::select_all(each).await;
}

/// What comes first: the work, or the wish to stop, which is told; `None` then.
pub(super) async fn unless_wanted<T>(work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        done = work => Some(done),
        () = wanted() => {
            tell();
            None
        }
    }
}

/// The worst of the exit codes, or that of an interruption where the work is not `whole`: what could not be measured first, then
/// what differs, then what was left open, then that nothing was to be done.
pub(super) fn exit_code(codes: &[u8], whole: Option<()>) -> ExitCode {
    let open = whole.is_none().then_some(CODE);
    let all: Vec<u8> = codes.iter().copied().chain(open).collect();
    ExitCode::from([2, 1, CODE, 4].into_iter().find(|code| all.contains(code)).unwrap_or(0))
}

/// Says that not everything was done.
pub(super) fn tell() {
    print_error("testbed: interrupted: what is not printed was not measured");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_exit_code_counts() {
        for (codes, whole, worst) in [
            (&[][..], Some(()), 0),
            (&[4, 0], Some(()), 4),
            (&[0, 4], None, 3),
            (&[3, 1, 4], Some(()), 1),
            (&[1, 2], None, 2),
        ] {
            assert_eq!(exit_code(codes, whole), ExitCode::from(worst), "{codes:?}");
        }
    }
}
