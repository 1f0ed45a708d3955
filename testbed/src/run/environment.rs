//! The machine and its tools, as far as results depend on them.

use crate::kernel::host::{self, HostRights};
use crate::kernel::processors;
use crate::kernel::scheduling::ThreadPriority;
use crate::lab::WireEngine;
use crate::model::event::Environment;

/// Looks around; without a wire where none is used.
#[must_use]
pub fn environment(engine: Option<&WireEngine>) -> Environment {
    let wire_scheduling = match engine.map(WireEngine::urgency) {
        Some(ThreadPriority::Fifo) => "SCHED_FIFO",
        Some(ThreadPriority::Ordinary(_)) => "SCHED_OTHER",
        None => "none",
    };
    Environment {
        kernel: host::kernel_release(),
        nft: nft_version(),
        testbed: env!("CARGO_PKG_VERSION").to_owned(),
        rights: match host::rights() {
            HostRights::UserNamespace => "user namespace",
            HostRights::Root => "root",
            HostRights::None => "none",
        }
        .to_owned(),
        processors: processors::count(),
        wire_scheduling: wire_scheduling.to_owned(),
    }
}

/// `nftables v1.0.6 (Lester Gooch #5)` -> `1.0.6`.
fn nft_version() -> String {
    let said = std::process::Command::new("nft").arg("--version").output();
    let said = said.map(|out| String::from_utf8_lossy(&out.stdout).into_owned()).unwrap_or_default();
    said.split_whitespace().nth(1).map(|v| v.trim_start_matches('v').to_owned()).unwrap_or_default()
}
