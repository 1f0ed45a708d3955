//! Descriptors that the async runtime watches.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use tokio::io::unix::AsyncFd;

/// Things that own one descriptor, which is open and stays the same until they are dropped.
///
/// # Safety
/// `as_raw_fd` must name that descriptor.
pub(crate) unsafe trait Owner: AsRawFd {}

// SAFETY: that is what it is for.
unsafe impl Owner for OwnedFd {}

/// Has the runtime of this thread watch a descriptor, which must not block.
///
/// # Errors
/// The runtime has no room for it, or it cannot be watched.
pub(crate) fn watch<T: Owner>(descriptor: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: the owner's descriptor is open, and the same, until it is dropped; the `AsyncFd` owns it until then.
    unsafe { AsyncFd::register(descriptor) }.map_err(io::Error::from)
}
