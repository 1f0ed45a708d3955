//! What Linux and macOS do alike.

use std::fs::{Metadata, OpenOptions};
use std::io;
use std::net::Ipv4Addr;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::DialFailure;

pub(super) fn is_connecting(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EINPROGRESS)
}

pub(super) fn dial_failure(error: &io::Error) -> DialFailure {
    match error.raw_os_error() {
        Some(libc::ECONNREFUSED | libc::ECONNRESET) => DialFailure::Reset,
        Some(libc::EHOSTUNREACH | libc::ENETUNREACH | libc::EACCES | libc::ENOPROTOOPT) => {
            DialFailure::Unreachable
        }
        Some(libc::ETIMEDOUT) => DialFailure::TimedOut,
        Some(libc::EADDRNOTAVAIL | libc::EADDRINUSE) => DialFailure::InUse,
        errno => DialFailure::Other(errno.unwrap_or(0)),
    }
}

pub(super) fn interface_addresses() -> Vec<Ipv4Addr> {
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    interfaces.filter_map(|interface| Some(interface.address?.as_sockaddr_in()?.ip())).collect()
}

pub(super) fn raise_open_files(wanted: u64) -> io::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    if soft >= wanted {
        return Ok(soft);
    }
    let raised = wanted.min(hard);
    Ok(if setrlimit(Resource::RLIMIT_NOFILE, raised, hard).is_ok() { raised } else { soft })
}

pub(super) fn mode_that_others_read(metadata: &Metadata) -> Option<u32> {
    let mode = metadata.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then_some(mode)
}

pub(super) fn make_private(options: &mut OpenOptions) {
    options.mode(0o600);
}
