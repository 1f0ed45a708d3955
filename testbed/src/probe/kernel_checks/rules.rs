//! The rulesets of the checks: as short as they can be, so that what is seen is the kernel's doing.

/// What every NAT needs; the rest are the kernel's defaults.
pub(super) fn sysctls() -> Vec<(String, String)> {
    [("net.ipv4.ip_forward", "1"), ("net.ipv4.icmp_ratemask", "0")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .to_vec()
}

/// Translates what leaves by `wan` in this way.
pub(super) fn source(statement: &str) -> String {
    format!(
        "table ip nat {{\n  chain post {{\n    type nat hook postrouting priority srcnat\n    \
         oifname \"wan\" ip protocol tcp {statement}\n  }}\n}}\n"
    )
}

/// Translates what comes in by `wan` to port 80 in this way, and what leaves as well.
pub(super) fn destination(statement: &str) -> String {
    let out = source("masquerade");
    format!(
        "{out}table ip inwards {{\n  chain pre {{\n    type nat hook prerouting priority dstnat\n    \
         iifname \"wan\" tcp dport 80 {statement}\n  }}\n}}\n"
    )
}

/// A counter that goes through `ports` ports from `first` on.
pub(super) fn counter(first: u16, ports: u16) -> String {
    let elements: Vec<String> = (0..ports).map(|n| format!("{n} : {}", first + n)).collect();
    source(&format!("masquerade to :numgen inc mod {ports} map {{ {} }}", elements.join(", ")))
}
