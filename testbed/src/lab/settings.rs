//! What every namespace of a lab is pinned to before it has any device, whatever NAT is put into it later.
//!
//! A new namespace takes some of its settings over from the host's, so whatever matters is set.

use std::sync::LazyLock;

use crate::kernel::sysctl::Sysctl;
use crate::model::topology::NodeKind;

/// From which port on everybody may bind (Documentation/networking/ip-sysctl.rst). Each node begins with 0: programs under test
/// have no capability, and NATs hand out low ports.
pub(super) const FIRST_FREE_PORT: &str = "net.ipv4.ip_unprivileged_port_start";

/// The settings of a node of a kind.
#[must_use]
pub fn settings(kind: NodeKind) -> Vec<Sysctl> {
    let mut all = silence();
    all.extend([
        // A closed connection with unsent data keeps its namespace for two minutes; so, for less than two seconds.
        Sysctl::new("net.ipv4.tcp_orphan_retries", 1),
        // Who answers by ICMP answers always: the limiter would make it silent at random.
        Sysctl::new("net.ipv4.icmp_ratemask", 0),
        // A trial must not use what an earlier one learnt of a path.
        Sysctl::new("net.ipv4.tcp_no_metrics_save", 1),
        Sysctl::new(FIRST_FREE_PORT, 0),
        Sysctl::new("net.ipv4.conf.all.rp_filter", 0),
        Sysctl::new("net.ipv4.conf.default.rp_filter", 0),
    ]);
    if matches!(kind, NodeKind::Nat | NodeKind::Router) {
        all.extend([
            // A hairpinned packet leaves where it came in; nobody is to be told of a shorter way.
            Sysctl::new("net.ipv4.conf.all.send_redirects", 0),
            Sysctl::new("net.ipv4.conf.default.send_redirects", 0),
            Sysctl::new("net.ipv4.ip_forward", 1),
        ]);
    }
    all
}

/// What TCP between two hosts hangs on besides.
const TCP: [&str; 20] = [
    "net.ipv4.icmp_echo_ignore_all",
    "net.ipv4.ip_default_ttl",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_no_pmtu_disc",
    "net.ipv4.ip_nonlocal_bind",
    "net.ipv4.tcp_abort_on_overflow",
    "net.ipv4.tcp_congestion_control",
    "net.ipv4.tcp_ecn",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_mtu_probing",
    "net.ipv4.tcp_retries2",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_sack",
    "net.ipv4.tcp_syn_retries",
    "net.ipv4.tcp_synack_retries",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_timestamps",
    "net.ipv4.tcp_tw_reuse",
    "net.ipv4.tcp_window_scaling",
    "net.ipv4.tcp_wmem",
];

/// The settings that a program in a node must not change.
pub(super) fn keys_to_keep() -> &'static [String] {
    static KEYS: LazyLock<Vec<String>> = LazyLock::new(|| {
        let pinned = settings(NodeKind::Router).into_iter().map(|setting| setting.key);
        pinned.chain(TCP.map(str::to_owned)).collect()
    });
    &KEYS
}

/// No device ever says a word of IPv6. `default` and not `all`: that one takes the longer the more namespaces there are.
pub(super) fn silence() -> Vec<Sysctl> {
    ["default", "lo"].map(|scope| Sysctl::new(format!("net.ipv6.conf.{scope}.disable_ipv6"), 1)).into()
}
