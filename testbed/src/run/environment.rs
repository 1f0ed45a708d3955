//! The machine and its tools, as far as results depend on them.

use nix::sys::utsname::uname;
use nix::unistd::geteuid;

use crate::kernel::scheduling::Urgency;
use crate::lab::WireEngine;
use crate::model::event::Environment;

/// Looks around; without a wire where none is used.
#[must_use]
pub fn environment(engine: Option<&WireEngine>) -> Environment {
    let kernel = uname().map(|u| u.release().to_string_lossy().into_owned()).unwrap_or_default();
    let wire_scheduling = match engine.map(WireEngine::urgency) {
        Some(Urgency::Fifo) => "SCHED_FIFO",
        Some(Urgency::Ordinary(_)) => "SCHED_OTHER",
        None => "none",
    };
    Environment {
        kernel,
        nft: nft_version(),
        testbed: env!("CARGO_PKG_VERSION").to_owned(),
        rights: if in_user_namespace() {
            "user namespace"
        } else if geteuid().is_root() {
            "root"
        } else {
            "none"
        }
        .to_owned(),
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        wire_scheduling: wire_scheduling.to_owned(),
    }
}

/// `nftables v1.0.6 (Lester Gooch #5)` -> `1.0.6`.
fn nft_version() -> String {
    let said = std::process::Command::new("nft").arg("--version").output();
    let said = said.map(|out| String::from_utf8_lossy(&out.stdout).into_owned()).unwrap_or_default();
    said.split_whitespace().nth(1).map(|v| v.trim_start_matches('v').to_owned()).unwrap_or_default()
}

/// Whether users are mapped: the first user namespace maps all 2^32 - 1 onto themselves.
fn in_user_namespace() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().collect::<Vec<_>>() != ["0", "0", "4294967295"]
}
