//! The network settings of a namespace: keys below `net.`, written the way sysctl(8) writes them.
//!
//! `/proc/sys/net` shows each thread its own namespace, so code that reads or writes must be inside one.

use std::fs::{self, File};
use std::io::Read as _;
use std::marker::PhantomData;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use nix::errno::Errno;
use nix::fcntl::{self, OFlag, openat};
use nix::sys::stat::Mode;
use nix::sys::uio::pwrite;
use nix::unistd;

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
/// The step from `/proc/sys/net` to `ipv4` takes the longer the more namespaces there are (0.2 µs for each, while the rest of
/// a path always takes the same): the folders of all have the same parent and name. So each of them is opened once.
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
        let file = self.open(setting, OFlag::O_WRONLY)?;
        put(&file, setting)
    }

    /// Writes settings as far as they exist: machines without IPv6 lack everything below `net.ipv6.`, and need none of it.
    ///
    /// # Errors
    /// As [`Sysctl::write`], but not when there is no key of this name below `net.ipv6.`.
    pub fn write_all(&mut self, settings: &[Sysctl]) -> Result<()> {
        for setting in settings {
            match self.open(setting, OFlag::O_WRONLY) {
                Err(error)
                    if error.errno() == Some(Errno::ENOENT) && setting.key.starts_with("net.ipv6.") => {}
                file => put(&file?, setting)?,
            }
        }
        Ok(())
    }

    /// Writes a setting if it is another, and returns what it was before.
    ///
    /// # Errors
    /// As [`Sysctl::write`].
    pub fn exchange(&mut self, setting: &Sysctl) -> Result<Sysctl> {
        let mut file = File::from(self.open(setting, OFlag::O_RDWR)?);
        let mut before = String::new();
        file.read_to_string(&mut before)
            .map_err(|e| Error::io(tried(setting), format!("read {}", setting.key), &e))?;
        if before.trim() != setting.value {
            put(&file, setting)?;
        }
        Ok(Sysctl::new(setting.key.clone(), before.trim()))
    }

    /// Reads a setting; one that this kernel does not have is empty.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&mut self, key: &str) -> Result<Sysctl> {
        let wanted = Sysctl::new(key, "");
        let value = match self.open(&wanted, OFlag::O_RDONLY) {
            Err(error) if error.errno() == Some(Errno::ENOENT) => String::new(),
            file => text_of(&file?)
                .map_err(|errno| Error::call(format!("read {key}"), format!("read {key}"), errno))?,
        };
        Ok(Sysctl::new(key, value.trim()))
    }

    /// Opens the file of a setting.
    fn open(&mut self, setting: &Sysctl, flags: OFlag) -> Result<OwnedFd> {
        let path = path(&setting.key).ok_or_else(|| Error::other(tried(setting), "not a key below net."))?;
        let mut open = || {
            let mut names = setting.key.splitn(3, '.').skip(1);
            let (Some(folder), Some(key)) = (names.next(), names.next()) else { return Err(Errno::ENOENT) };
            openat(
                self.folder(folder)?,
                key.replace('.', "/").as_str(),
                flags | OFlag::O_CLOEXEC,
                Mode::empty(),
            )
        };
        open().map_err(|e| Error::call(tried(setting), format!("open {}", path.display()), e))
    }

    /// A folder of `/proc/sys/net`.
    fn folder(&mut self, name: &str) -> nix::Result<BorrowedFd<'_>> {
        const FLAGS: OFlag = OFlag::O_PATH.union(OFlag::O_DIRECTORY).union(OFlag::O_CLOEXEC);
        let known = self.folders.iter().position(|(known, _)| known == name);
        let index = match known {
            Some(index) => index,
            None => {
                let folder = fcntl::open(&Path::new(ROOT).join("net").join(name), FLAGS, Mode::empty())?;
                self.folders.push((name.to_owned(), folder));
                self.folders.len() - 1
            }
        };
        Ok(self.folders[index].1.as_fd())
    }
}

/// The text of a setting. The kernel hands out all of it at once if there is room, so nothing follows what leaves some: to ask
/// for its length, or once more for its end, would take as long as to read it.
fn text_of(file: &OwnedFd) -> nix::Result<String> {
    let (mut text, mut room) = (Vec::new(), [0; 4096]);
    loop {
        let length = unistd::read(file, &mut room)?;
        text.extend_from_slice(&room[..length]);
        if length < room.len() {
            return Ok(String::from_utf8_lossy(&text).into_owned());
        }
    }
}

fn tried(setting: &Sysctl) -> String {
    format!("set {} to {}", setting.key, setting.value)
}

fn put(file: impl AsFd, setting: &Sysctl) -> Result<()> {
    let written = pwrite(file, setting.value.as_bytes(), 0);
    written.map(drop).map_err(|e| Error::call(tried(setting), format!("write {}", setting.key), e))
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
