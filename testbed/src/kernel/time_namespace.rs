//! Time namespaces: clocks of their own for a node, so that no two peers agree by accident of sharing a machine.
//!
//! CLOCK_MONOTONIC and CLOCK_BOOTTIME can be shifted (time_namespaces(7)); CLOCK_REALTIME cannot.

use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};

use crate::kernel::error::{Error, Result};

const TRIED: &str = "create a time namespace";

/// `CLONE_NEWTIME` of `include/uapi/linux/sched.h`; unshare(2) and setns(2) take it, clone(2) does not.
const CLONE_NEWTIME: CloneFlags = CloneFlags::from_bits_retain(libc::CLONE_NEWTIME);

/// A time namespace that programs can be started in.
#[derive(Debug)]
pub struct TimeNamespace {
    fd: OwnedFd,
}

impl TimeNamespace {
    /// Makes one whose CLOCK_MONOTONIC and CLOCK_BOOTTIME are `ahead` of the machine's.
    ///
    /// # Errors
    /// When the kernel has none (before 5.6, or without CONFIG_TIME_NS) or refuses.
    pub fn new(ahead: Duration) -> Result<Self> {
        // unshare(2) changes what the *children* of a thread get: no thread is ever in there, and ours ends at once.
        let make = move || {
            unshare(CLONE_NEWTIME).map_err(|errno| Error::call(TRIED, "unshare(CLONE_NEWTIME)", errno))?;
            // Only the file of a whole process has offsets, but a thread's number finds it as well.
            let this = fs::read_link("/proc/thread-self")
                .map_err(|e| Error::io(TRIED, "readlink /proc/thread-self", &e))?;
            let thread = this.file_name().unwrap_or_default().to_string_lossy();
            let offsets = format!("/proc/{thread}/timens_offsets");
            let (seconds, nanos) = (ahead.as_secs(), ahead.subsec_nanos());
            fs::write(&offsets, format!("monotonic {seconds} {nanos}\nboottime {seconds} {nanos}\n"))
                .map_err(|e| Error::io(TRIED, format!("write {offsets}"), &e))?;
            let file = "/proc/thread-self/ns/time_for_children";
            let fd = File::open(file).map_err(|e| Error::io(TRIED, format!("open {file}"), &e))?;
            Ok(Self { fd: fd.into() })
        };
        let thread = thread::Builder::new().name("testbed-time".into()).spawn(make);
        let thread = thread.map_err(|e| Error::io(TRIED, "clone", &e))?;
        thread.join().unwrap_or_else(|_| Err(Error::call(TRIED, "thread", Errno::UnknownErrno)))
    }
}

impl AsFd for TimeNamespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
