//! The network settings of a namespace: keys below `net.`, written the way sysctl(8) writes them.
//!
//! `/proc/sys/net` shows each thread its own namespace, so whoever reads or writes wants to be inside one.

use std::fs;
use std::marker::PhantomData;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use nix::errno::Errno;
use nix::fcntl::{self, OFlag, openat};
use nix::sys::stat::Mode;
use nix::sys::uio::{pread, pwrite};

use crate::kernel::error::{Error, Result};
use crate::kernel::namespace::Inside;

const ROOT: &str = "/proc/sys";

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

    /// Writes the setting to the namespace that this thread is in.
    ///
    /// # Errors
    /// When there is no such key, or it is not this namespace's to change.
    pub fn write(&self, inside: &Inside) -> Result<()> {
        Tree::of(inside).write(self)
    }
}

/// The settings of one namespace.
///
/// The kernel keeps the files of all namespaces in one table under the same names, so every step of a path takes the longer
/// the more namespaces there are. Each folder is therefore opened once.
#[derive(Debug)]
pub struct Tree<'inside> {
    folders: Vec<(String, OwnedFd)>,
    inside: PhantomData<&'inside Inside>,
}

impl<'inside> Tree<'inside> {
    /// The settings of the namespace that this thread is in.
    #[must_use]
    pub fn of(_: &'inside Inside) -> Self {
        Self { folders: Vec::new(), inside: PhantomData }
    }

    /// Writes a setting.
    ///
    /// # Errors
    /// As [`Sysctl::write`].
    pub fn write(&mut self, setting: &Sysctl) -> Result<()> {
        let written = self.open(setting, OFlag::O_WRONLY).and_then(|file| put(&file, setting));
        written.map_err(|error| refused(setting, error))
    }

    /// Writes settings as far as they exist: machines without IPv6 lack everything below `net.ipv6.`, and need none of it.
    ///
    /// # Errors
    /// As [`Sysctl::write`], but not when a key below `net.ipv6.` is missing.
    pub fn write_all(&mut self, settings: &[Sysctl]) -> Result<()> {
        for setting in settings {
            match self.open(setting, OFlag::O_WRONLY).and_then(|file| put(&file, setting)) {
                Err(Errno::ENOENT) if setting.key.starts_with("net.ipv6.") => {}
                written => written.map_err(|error| refused(setting, error))?,
            }
        }
        Ok(())
    }

    /// Writes a setting, and returns what it was before.
    ///
    /// # Errors
    /// As [`Sysctl::write`].
    pub fn exchange(&mut self, setting: &Sysctl) -> Result<Sysctl> {
        let mut exchange = || {
            let file = self.open(setting, OFlag::O_RDWR)?;
            let mut before = [0; 128];
            let length = pread(&file, &mut before, 0)?;
            put(&file, setting)?;
            Ok(String::from_utf8_lossy(&before[..length]).trim().to_owned())
        };
        let before = exchange().map_err(|error| refused(setting, error))?;
        Ok(Sysctl::new(setting.key.clone(), before))
    }

    /// Opens the file of a setting.
    fn open(&mut self, setting: &Sysctl, flags: OFlag) -> nix::Result<OwnedFd> {
        if path(&setting.key).is_none() {
            return Err(Errno::ENOENT);
        }
        let (above, name) = setting.key.rsplit_once('.').ok_or(Errno::ENOENT)?;
        openat(self.folder(above)?, name, flags | OFlag::O_CLOEXEC, Mode::empty())
    }

    /// The folder of the keys that begin so.
    fn folder(&mut self, prefix: &str) -> nix::Result<BorrowedFd<'_>> {
        const FLAGS: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);
        let index = match self.folders.iter().position(|(known, _)| known == prefix) {
            Some(known) => known,
            None => {
                let folder = match prefix.rsplit_once('.') {
                    Some((above, name)) => openat(self.folder(above)?, name, FLAGS, Mode::empty()),
                    None => fcntl::open(&Path::new(ROOT).join(prefix), FLAGS, Mode::empty()),
                }?;
                self.folders.push((prefix.to_owned(), folder));
                self.folders.len() - 1
            }
        };
        Ok(self.folders[index].1.as_fd())
    }
}

fn put(file: &OwnedFd, setting: &Sysctl) -> nix::Result<()> {
    pwrite(file, setting.value.as_bytes(), 0).map(drop)
}

fn refused(setting: &Sysctl, error: Errno) -> Error {
    let tried = format!("set {} to {}", setting.key, setting.value);
    match path(&setting.key) {
        Some(path) => Error::call(tried, format!("write {}", path.display()), error),
        None => Error::other(tried, "not a key below net."),
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
    (key.starts_with("net.") && key.split('.').all(good)).then(|| Path::new(ROOT).join(key.replace('.', "/")))
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
