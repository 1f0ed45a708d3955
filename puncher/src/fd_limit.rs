//! Room for sockets: a punch may need one descriptor for each SYN it may send.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Descriptors that are not dials: standard streams, the runtime, the rendezvous connections, the application's own.
const OTHERS: u64 = 64;

/// Raises this process's limit of open files, as far as it may, so that `syns` sockets fit; how many do.
///
/// # Errors
/// When the limit cannot be read.
pub(crate) fn make_room(syns: u32) -> io::Result<u32> {
    let wanted = u64::from(syns) + OTHERS;
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft >= wanted {
        return Ok(syns);
    }
    let raised = wanted.min(hard);
    let limit = if setrlimit(Resource::RLIMIT_NOFILE, raised, hard).is_ok() { raised } else { soft };
    Ok(u32::try_from(limit.saturating_sub(OTHERS)).unwrap_or(syns).min(syns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_left_alone_and_what_does_not_is_lowered() {
        assert_eq!(make_room(1).unwrap(), 1);
        let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let fits = make_room(u32::MAX).unwrap();
        assert!(u64::from(fits) <= hard);
    }
}
