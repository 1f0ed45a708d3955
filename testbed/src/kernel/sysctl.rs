//! The network settings of a namespace: keys below `net.`, written the way sysctl(8) writes them.
//!
//! `/proc/sys/net` shows each thread its own namespace, so both functions want to be inside one.

use std::fs::{self, File};
use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::str::FromStr;

use crate::kernel::error::{Error, Result};
use crate::kernel::namespace::Inside;

/// A setting and the value it is pinned to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sysctl {
    /// The key in dotted form: `net.ipv4.ip_forward`.
    pub key: String,
    /// The value.
    pub value: String,
}

impl Sysctl {
    /// Pins `key` to `value`.
    pub fn new(key: impl Into<String>, value: impl ToString) -> Self {
        Self { key: key.into(), value: value.to_string() }
    }

    /// Whether this kernel has the setting: machines without IPv6 lack everything below `net.ipv6.`.
    #[must_use]
    pub fn exists(&self, _: &Inside) -> bool {
        path(&self.key).is_some_and(|path| path.exists())
    }

    /// Writes the setting to the namespace that this thread is in.
    ///
    /// # Errors
    /// When there is no such key, or it is not this namespace's to change.
    pub fn write(&self, _: &Inside) -> Result<()> {
        let tried = || format!("set {} to {}", self.key, self.value);
        let path = path(&self.key).ok_or_else(|| Error::other(tried(), "not a key below net."))?;
        fs::write(&path, &self.value).map_err(|e| Error::io(tried(), format!("write {}", path.display()), &e))
    }

    /// Writes the setting, and returns what it was before.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn exchange(&self, _: &Inside) -> Result<Self> {
        let tried = || format!("set {} to {}", self.key, self.value);
        let path = path(&self.key).ok_or_else(|| Error::other(tried(), "not a key below net."))?;
        let failed =
            |call: &str, e: &std::io::Error| Error::io(tried(), format!("{call} {}", path.display()), e);
        // Finding the file takes longer than using it.
        let mut file = File::options().read(true).write(true).open(&path).map_err(|e| failed("open", &e))?;
        let mut before = String::new();
        file.read_to_string(&mut before).map_err(|e| failed("read", &e))?;
        file.write_all_at(self.value.as_bytes(), 0).map_err(|e| failed("write", &e))?;
        Ok(Self::new(self.key.clone(), before.trim()))
    }
}

impl std::fmt::Display for Sysctl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} = {}", self.key, self.value)
    }
}

/// Reads a setting of the namespace that this thread is in.
///
/// # Errors
/// When there is no such key, or its value is no `T`.
pub fn read<T: FromStr>(_: &Inside, key: &str) -> Result<T> {
    let tried = || format!("read {key}");
    let path = path(key).ok_or_else(|| Error::other(tried(), "not a key below net."))?;
    let text =
        fs::read_to_string(&path).map_err(|e| Error::io(tried(), format!("read {}", path.display()), &e))?;
    text.trim().parse().map_err(|_| Error::other(tried(), format!("unexpected value {:?}", text.trim())))
}

/// The file of a key; only keys below `net.` have one that belongs to a namespace.
fn path(key: &str) -> Option<PathBuf> {
    let good = |part: &str| !part.is_empty() && !part.contains('/');
    (key.starts_with("net.") && key.split('.').all(good))
        .then(|| PathBuf::from(format!("/proc/sys/{}", key.replace('.', "/"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_becomes_a_file() {
        let file = path("net.ipv4.ip_forward").expect("a key");
        assert_eq!(file.to_str(), Some("/proc/sys/net/ipv4/ip_forward"));
    }

    #[test]
    fn keys_outside_the_network_are_refused() {
        for key in ["kernel.panic", "net", "net.", "net..x", "net./../kernel.panic", "netx.a", ""] {
            assert_eq!(path(key), None, "{key}");
        }
    }
}
