//! The user namespace of `--rootless`: an unprivileged user becomes root over namespaces of its own.
//!
//! It must be entered before any thread exists, so `main` does it first of all.

use std::fs;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

use crate::kernel::error::{Error, Result};
use crate::kernel::process;

const TRIED: &str = "create a user namespace";

/// Moves this process, which must have a single thread, into a new user and network namespace, where it is root.
///
/// # Errors
/// When the machine does not allow it; the help names the setting that forbids it.
pub fn enter_user_namespace() -> Result<()> {
    if process::nursery_is_running() {
        return Err(Error::other(TRIED, "this process already has children in the old one"));
    }
    let (uid, gid) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)
        .map_err(|e| explain(Error::call(TRIED, "unshare(CLONE_NEWUSER)", e), e))?;
    // An unprivileged user may map its own group only after giving up setgroups(2) (user_namespaces(7)).
    for (file, text) in [
        ("setgroups", "deny".to_owned()),
        ("uid_map", format!("0 {uid} 1")),
        ("gid_map", format!("0 {gid} 1")),
    ] {
        let path = format!("/proc/self/{file}");
        fs::write(&path, text).map_err(|e| {
            let errno = Errno::from_raw(e.raw_os_error().unwrap_or(0));
            explain(Error::io(TRIED, format!("write {path}"), &e), errno)
        })?;
    }
    Ok(())
}

/// Whether this process runs as root, of the machine or of a user namespace.
#[must_use]
pub fn is_root() -> bool {
    geteuid().is_root()
}

/// Adds the setting that forbids user namespaces here, as read from this machine.
fn explain(error: Error, errno: Errno) -> Error {
    if errno == Errno::EINVAL {
        return error.with_help("it must happen before the first thread starts");
    }
    match forbidden_by() {
        Some(setting) => error.with_help(format!("run as root, or: sysctl -w {setting}")),
        None => error.with_help("run as root"),
    }
}

/// The assignment that would allow unprivileged user namespaces, if a setting of this machine forbids them.
pub(crate) fn forbidden_by() -> Option<&'static str> {
    let settings = [
        (
            "kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0", "user.max_user_namespaces=10000"),
    ];
    let forbids = |file: &str, value: &str| {
        fs::read_to_string(format!("/proc/sys/{file}")).is_ok_and(|text| text.trim() == value)
    };
    settings.into_iter().find(|(file, value, _)| forbids(file, value)).map(|(_, _, cure)| cure)
}
