//! The sysctls that a NAT's behaviour rests on, as much a part of it as its rules.

use crate::model::behavior::{Behavior, Strictness};

/// The one timer that a rule has to set.
pub(super) const WITHOUT_SYSCTL: &str = "syn_sent2";

/// All of them, with their values: also those that are at their default, because the NAT that stood in the node before
/// may have changed them.
pub(super) fn sysctls(behavior: &Behavior) -> Vec<(String, String)> {
    let liberal = match behavior.strictness {
        Strictness::Strict => 0,
        Strictness::Liberal => 1,
    };
    let mut all = vec![
        pin("net.ipv4.ip_forward", 1),
        // `icmp_ratelimit=0` alone leaves the global bucket, and some refusals would go missing at random.
        pin("net.ipv4.icmp_ratemask", 0),
        pin("net.netfilter.nf_conntrack_tcp_be_liberal", liberal),
        // Connections that stand already are picked up in the middle: the kernel's default, pinned.
        pin("net.netfilter.nf_conntrack_tcp_loose", 1),
    ];
    for (name, value, default) in behavior.timeouts.timers().into_iter().filter(|t| t.0 != WITHOUT_SYSCTL) {
        let seconds = value.unwrap_or(default).as_secs();
        all.push(pin(&format!("net.netfilter.nf_conntrack_tcp_timeout_{name}"), seconds));
    }
    if behavior.timeouts.absolute.is_some() {
        // The kernel's own clock tells whether connections were ended in time.
        all.push(pin("net.netfilter.nf_conntrack_timestamp", 1));
    }
    all
}

fn pin(name: &str, value: u64) -> (String, String) {
    (name.to_owned(), value.to_string())
}
