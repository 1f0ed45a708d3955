//! What a network namespace is like: settings, devices, addresses, routes and rules, to be compared with what it was.

use std::fs;

use crate::kernel::error::{Error, Result};
use crate::kernel::namespace::Inside;
use crate::kernel::ruleset::SetFlusher;
use crate::kernel::sysctl::{Sysctl, Tree};

/// A network namespace as it is at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkState {
    settings: Vec<Sysctl>,
    devices: Vec<String>,
    /// Addresses and routes, a line each as the kernel prints them.
    routes: Vec<String>,
    /// The number of the rules, if they are to stay as they are.
    rules: Option<u32>,
}

/// Whether the rules of a namespace are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rules {
    /// They are to stay as they are.
    Fixed,
    /// They may change.
    Free,
}

impl NetworkState {
    /// Reads the state of the namespace that this thread is in, with the settings of these keys.
    ///
    /// # Errors
    /// When a setting or a table cannot be read.
    pub fn read<'a>(inside: &Inside, keys: impl Iterator<Item = &'a str>, rules: Rules) -> Result<Self> {
        let mut tree = Tree::of(inside);
        let settings = keys.map(|key| tree.read(key)).collect::<Result<_>>()?;
        // Two lines of headings; then a device a line, its name before a colon and its counters behind it.
        let devices = table("dev")?;
        let name = |line: &String| line.split(':').next().unwrap_or_default().trim().to_owned();
        let rules = match rules {
            Rules::Fixed => Some(SetFlusher::open(inside)?.generation()?),
            Rules::Free => None,
        };
        let devices = devices.iter().skip(2).map(name).collect();
        Ok(Self { settings, devices, routes: table("fib_trie")?, rules })
    }

    /// The first thing that is another than it was: what it is, what it was, what it is now.
    #[must_use]
    pub fn difference(&self, before: &Self) -> Option<String> {
        let setting = self.setting_that_differs(before);
        if setting.is_some() {
            return setting;
        }
        if self.devices != before.devices {
            return Some(format!(
                "its devices are {}, and were {}",
                self.devices.join(" "),
                before.devices.join(" ")
            ));
        }
        if self.routes != before.routes {
            return Some("its addresses or routes are others than before".to_owned());
        }
        (self.rules != before.rules).then(|| "its rules were changed".to_owned())
    }

    /// The first setting that is another than it was.
    #[must_use]
    pub fn setting_that_differs(&self, before: &Self) -> Option<String> {
        let (now, then) = self.settings.iter().zip(&before.settings).find(|(now, then)| now != then)?;
        Some(format!("{} is {}, and was {}", now.key, now.value, then.value))
    }
}

/// A table of the namespace that this thread is in.
fn table(name: &str) -> Result<Vec<String>> {
    let path = format!("/proc/thread-self/net/{name}");
    let text = fs::read_to_string(&path);
    let text = text.map_err(|e| Error::io("read the state of a network", format!("read {path}"), &e))?;
    Ok(text.lines().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_named() {
        let state = |ttl: u8, devices: &[&str], routes: &[&str]| NetworkState {
            settings: vec![Sysctl::new("net.ipv4.ip_default_ttl", ttl)],
            devices: devices.iter().map(|s| (*s).to_owned()).collect(),
            routes: routes.iter().map(|s| (*s).to_owned()).collect(),
            rules: Some(1),
        };
        let before = state(64, &["lo", "wan"], &["192.0.2.2"]);
        assert_eq!(before.difference(&before.clone()), None);
        let said = |now: NetworkState| now.difference(&before).expect("another");
        assert_eq!(said(state(2, &["lo"], &[])), "net.ipv4.ip_default_ttl is 2, and was 64");
        assert_eq!(said(state(64, &["lo"], &[])), "its devices are lo, and were lo wan");
        assert!(said(state(64, &["lo", "wan"], &[])).contains("routes"));
        assert_eq!(said(NetworkState { rules: Some(2), ..before.clone() }), "its rules were changed");
    }
}
