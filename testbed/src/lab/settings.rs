//! What every namespace of a lab is pinned to before it has any device, whatever NAT is put into it later.
//!
//! A new namespace takes some of its settings over from the host's, so whatever matters is set.

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
        // No trial shall profit from what an earlier one learnt of a path.
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

/// No device ever says a word of IPv6. `default` and not `all`: that one takes the longer the more namespaces there are.
pub(super) fn silence() -> Vec<Sysctl> {
    ["default", "lo"].map(|scope| Sysctl::new(format!("net.ipv6.conf.{scope}.disable_ipv6"), 1)).into()
}
