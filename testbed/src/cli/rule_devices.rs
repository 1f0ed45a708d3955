//! The devices that the rules of a user name.

use std::collections::BTreeSet;

use crate::model::catalogue::is_nat_device;

/// The devices that rules name and no NAT of testbed has: it has `wan`, `lan0`, `lan1`, …, and `lo`. A name that ends in a wildcard
/// may fit one of these.
pub(super) fn unknown_devices(rules: &str) -> BTreeSet<String> {
    const BEFORE: [&str; 9] =
        ["iifname", "oifname", "iif", "oif", "-i", "-o", "--in-interface", "--out-interface", "devices"];
    let mut unknown = BTreeSet::new();
    for line in rules.lines() {
        let line = line.trim_start();
        if line.starts_with('#') {
            continue;
        }
        let spaced = line.replace(['{', '}', ',', '"', ';', '='], " ");
        let mut words = spaced.split_whitespace().filter(|word| *word != "!").peekable();
        let is_list = line.contains('{');
        while let Some(word) = words.next() {
            if !BEFORE.contains(&word) {
                continue;
            }
            // A set of names goes on up to a word that is none.
            while let Some(name) = words.next_if(|word| is_device_name(word)) {
                if !is_of_nat(name) {
                    unknown.insert(name.to_owned());
                }
                if !is_list {
                    break;
                }
            }
        }
    }
    unknown
}

/// Whether a word of a rule may be the name of a device: it has a digit or is one that routers use.
fn is_device_name(word: &str) -> bool {
    const USUAL: [&str; 5] = ["wan", "lan", "lo", "ppp", "wg"];
    let is_plain = word.chars().all(|c| c.is_ascii_alphanumeric() || "._-@*+".contains(c));
    let begins = word.starts_with(|c: char| c.is_ascii_alphabetic());
    let has_mark = word.contains(|c: char| c.is_ascii_digit() || "-@*+.".contains(c));
    is_plain && begins && (has_mark || USUAL.contains(&word))
}

/// Whether a NAT of testbed has a device of that name, or one that a wildcard fits.
fn is_of_nat(name: &str) -> bool {
    match name.strip_suffix(['*', '+']) {
        Some(start) => ["wan", "lan0", "lo"].iter().any(|own| own.starts_with(start)),
        None => name == "lo" || is_nat_device(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_that_no_nat_has_are_named() {
        let unknown = |rules: &str| unknown_devices(rules).into_iter().collect::<Vec<_>>().join(" ");
        for (rules, expected) in [
            ("oifname \"eth0\" masquerade", "eth0"),
            ("iifname \"wan\" oifname \"lan0\" accept", ""),
            ("iifname { \"eth1\", \"br-lan\", \"lan1\" } accept", "br-lan eth1"),
            ("iifname != \"ppp0\" accept", "ppp0"),
            ("oif lo accept; iifname \"lan*\" accept; oifname \"docker*\" drop", "docker*"),
            ("-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE", "docker0"),
            ("-A FORWARD -i lan+ -o wan -j ACCEPT", ""),
            ("# oifname \"eth0\"", ""),
            ("tcp dport 80 accept", ""),
        ] {
            assert_eq!(unknown(rules), expected, "{rules}");
        }
    }
}
