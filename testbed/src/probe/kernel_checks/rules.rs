//! The rulesets of the checks: as short as they can be, so that what is seen is the kernel's doing.

use crate::lab::nat_rules::NatConfig;

/// A NAT with these rules. All else is as the kernel has it.
fn config(ruleset: String) -> NatConfig {
    let sysctls = [("net.ipv4.ip_forward", "1"), ("net.ipv4.icmp_ratemask", "0")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .to_vec();
    NatConfig { ruleset, sysctls, ..NatConfig::default() }
}

/// The same NAT with one more sysctl set.
pub(super) fn with_sysctl(mut config: NatConfig, key: &str, value: &str) -> NatConfig {
    config.sysctls.push((key.to_owned(), value.to_owned()));
    config
}

/// The same NAT with one more table.
pub(super) fn with_table(mut config: NatConfig, table: &str) -> NatConfig {
    config.ruleset.push_str(table);
    config
}

/// Translates what leaves by `wan` in this way.
pub(super) fn source(statement: &str) -> NatConfig {
    config(format!(
        "table ip nat {{\n  chain post {{\n    type nat hook postrouting priority srcnat\n    \
         oifname \"wan\" ip protocol tcp {statement}\n  }}\n}}\n"
    ))
}

/// Translates what leaves by the bridge between the networks below.
pub(super) fn of_bridge() -> NatConfig {
    let rules = "table ip nat {\n  chain post {\n    type nat hook postrouting priority srcnat\n    \
                 oifname \"bridge\" ip protocol tcp snat to 192.0.2.2\n  }\n}\n";
    // Both networks are behind one device then, and its addresses are those of others.
    let config = with_sysctl(config(rules.to_owned()), "net.ipv4.conf.all.rp_filter", "0");
    with_sysctl(config, "net.ipv4.conf.default.rp_filter", "0")
}

/// Translates what comes in by `wan` to port 80 in this way, and what leaves as well.
pub(super) fn destination(statement: &str) -> NatConfig {
    let inwards = format!(
        "table ip inwards {{\n  chain pre {{\n    type nat hook prerouting priority dstnat\n    \
         iifname \"wan\" tcp dport 80 {statement}\n  }}\n}}\n"
    );
    with_table(source("masquerade"), &inwards)
}

/// A counter that goes through `ports` ports from `first` on.
pub(super) fn counter(first: u16, ports: u16) -> NatConfig {
    let elements: Vec<String> = (0..ports).map(|n| format!("{n} : {}", first + n)).collect();
    source(&format!("masquerade to :numgen inc mod {ports} map {{ {} }}", elements.join(", ")))
}
