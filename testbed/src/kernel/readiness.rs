//! Descriptors that the async runtime watches.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::unix::AsyncFd;

/// Has the runtime of this thread watch a descriptor, which must not block.
///
/// # Errors
/// The runtime has no room for it, or it cannot be watched.
pub(crate) fn watch(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open, and the same, until it is dropped; the `AsyncFd` owns it until then.
    unsafe { AsyncFd::register(descriptor) }.map_err(io::Error::from)
}
