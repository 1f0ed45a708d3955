//! Room for sockets: how many this process may open, counted in one place for every purpose.

use std::io;

use crate::platform::{Host, System as _};

/// Descriptors that are no sockets of a punch or a client: standard streams, the runtime, listeners, the rendezvous
/// connections, the application's own.
const OTHERS: u64 = 64;

/// Raises this process's limit of open files, as far as it may, so that `syns` sockets fit; how many do.
///
/// # Errors
/// When the limit cannot be read.
pub(crate) fn make_room(syns: u32) -> io::Result<u32> {
    let limit = Host::raise_open_files(u64::from(syns) + OTHERS)?;
    Ok(u32::try_from(limit.saturating_sub(OTHERS)).unwrap_or(syns).min(syns))
}

/// What a rendezvous server may use its descriptors for. All of them together fit into the limit of open files, so that
/// none of them can keep another from its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Descriptors {
    /// Connections of clients.
    pub(crate) connections: usize,
    /// Connections that have been accepted and not been admitted yet, or been ended and not been closed yet.
    pub(crate) turnover: usize,
    /// Sockets of unsolicited probes.
    pub(crate) probes: usize,
}

impl Descriptors {
    /// Raises this process's limit of open files, as far as it may, and divides what there is.
    ///
    /// # Errors
    /// When the limit cannot be read.
    pub(crate) fn make_room(self) -> io::Result<Self> {
        let wanted = [self.connections, self.turnover, self.probes]
            .iter()
            .fold(OTHERS, |sum, part| sum.saturating_add(u64::try_from(*part).unwrap_or(u64::MAX)));
        let available = Host::raise_open_files(wanted)?.saturating_sub(OTHERS);
        Ok(self.within(usize::try_from(available).unwrap_or(usize::MAX)))
    }

    /// Of this many descriptors probes and turnover get at most an eighth each, and connections the rest.
    fn within(self, available: usize) -> Self {
        let eighth = (available / 8).max(1);
        let (turnover, probes) = (self.turnover.min(eighth), self.probes.min(eighth));
        let rest = available.saturating_sub(turnover + probes);
        Self { connections: self.connections.min(rest.max(1)), turnover, probes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_left_alone_and_what_does_not_is_lowered() {
        assert_eq!(make_room(1).unwrap(), 1);
        let fits = make_room(u32::MAX).unwrap();
        let limit = Host::raise_open_files(u64::from(u32::MAX) + OTHERS).unwrap();
        assert_eq!(u64::from(fits) + OTHERS, limit);
    }

    #[test]
    fn descriptors_are_divided_so_that_the_sum_fits() {
        let wanted = Descriptors { connections: 16_384, turnover: 64, probes: 256 };
        assert_eq!(wanted.within(20_000), wanted);
        for available in [8, 100, 960, 4032, 16_400] {
            let Descriptors { connections, turnover, probes } = wanted.within(available);
            assert!(connections + turnover + probes <= available, "of {available}");
            assert!(connections >= available * 3 / 4, "{connections} of {available}");
            assert!(turnover > 0 && probes > 0, "of {available}");
        }
    }
}
