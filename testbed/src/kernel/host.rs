//! What this process runs on and with which rights: read only.

use std::fs;

use nix::sys::utsname::uname;
use nix::unistd::{geteuid, gethostname};

/// The rights of this process on the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostRights {
    /// Root of the host.
    Root,
    /// Whatever its user may do, in a user namespace of its own.
    UserNamespace,
    /// Those of an ordinary user.
    None,
}

/// The release of the running kernel, as `uname -r` prints it; empty where the kernel does not say.
#[must_use]
pub fn kernel_release() -> String {
    uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default()
}

/// The name of the host, as `hostname` prints it; empty where the kernel does not say.
#[must_use]
pub fn host_name() -> String {
    gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// Which rights this process has.
#[must_use]
pub fn rights() -> HostRights {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    if !maps_every_user(&map) {
        HostRights::UserNamespace
    } else if geteuid().is_root() {
        HostRights::Root
    } else {
        HostRights::None
    }
}

/// The first user namespace maps all 2^32 - 1 users onto themselves (user_namespaces(7)).
fn maps_every_user(map: &str) -> bool {
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_user_namespace_maps_every_user() {
        assert!(maps_every_user("         0          0 4294967295\n"));
        assert!(!maps_every_user("         0       1000          1\n"));
        assert!(!maps_every_user(""));
    }

    #[test]
    fn the_kernel_says_its_release() {
        assert!(kernel_release().starts_with(|c: char| c.is_ascii_digit()));
    }
}
