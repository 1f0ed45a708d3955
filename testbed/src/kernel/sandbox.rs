//! What a stranger's program sees of this machine: a root folder of its own, that holds only what is named.
//!
//! A [`Sandbox`] is a mount namespace, made once for all programs of a run by a thread that ends with it. Each node's init makes
//! a copy of it for the node's programs (`process/confinement.rs`), with a `/proc` of its own PID namespace and, anew for each
//! trial, an empty `/tmp`.
//!
//! | there is | what |
//! |---|---|
//! | system folders | `/usr`, `/etc`, `/opt` and the like, read-only |
//! | what is named | folders and files at their own paths, read-only; folders to write to where the user names some |
//! | `/dev` | a few devices that hold nothing |
//! | `/proc` | of the node's own processes, read-only |
//! | `/tmp` | empty at the begin of each trial; `/tmp/home` is HOME, `/tmp/work` is where programs start |
//! | `/run`, `/var` | empty |
//!
//! In place of the machine's system folders there may be those of another root file system, an unpacked image (`image.rs`).
//!
//! Named folders come through overlayfs: a read-only bind mount would let programs connect to UNIX sockets in there, and
//! write to named pipes, while overlayfs shows them as dead ones.

pub mod image;
mod mount_table;
mod tree;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::{fs, thread};

use parking_lot::Mutex;

use crate::kernel::error::{Error, Result};

/// The folders of the system, which every program sees.
const SYSTEM: [&str; 11] =
    ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "etc", "opt", "nix", "gnu"];

/// Folders that are new for each trial. What is named below them is put there each time.
const FRESH: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];

/// Folders that cannot be shown, as programs have others of that name.
const TAKEN: [&str; 9] = ["/", "/tmp", "/proc", "/dev", "/sys", "/run", "/var", "/var/run", "/var/tmp"];

/// What programs see besides the system's folders: files and folders of the host, by absolute path. The system's may be those
/// of another root file system.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct ShownFiles {
    named: BTreeMap<PathBuf, Source>,
    root: Option<PathBuf>,
}

/// Where something that is shown comes from, and what may be done with it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Source {
    /// Its path without symbolic links.
    real: PathBuf,
    access: Access,
}

/// What programs may do with something that is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Access {
    Read,
    Write,
}

/// A root folder for programs.
#[derive(Debug)]
pub struct Sandbox {
    namespace: OwnedFd,
    late: Vec<PathBuf>,
    shown: ShownFiles,
    /// Where the host has what programs see as the root.
    root: PathBuf,
}

impl ShownFiles {
    /// Shows what is in this folder as the root, in place of the machine's own system: an unpacked image.
    ///
    /// # Errors
    /// When there is no such folder, or it looks like no root file system.
    pub fn with_root(folder: &Path) -> Result<Self> {
        let tried = || format!("take \"{}\" for a root file system", folder.display());
        let real = fs::canonicalize(folder).map_err(|e| Error::io(tried(), "realpath", &e))?;
        if !["usr", "bin", "lib"].iter().any(|name| real.join(name).is_dir()) {
            let why = "it is no folder with usr, bin or lib in it";
            let help = "docs/programs.md says how to unpack an image";
            return Err(Error::other(tried(), why).with_help(help));
        }
        if real == Path::new("/") {
            let why = "that is this machine's own: leave \"root\" out";
            return Err(Error::other(tried(), why));
        }
        Ok(Self { root: Some(real), ..Self::default() })
    }

    /// Shows a file or folder, read-only. Relative paths count from where this process is.
    ///
    /// # Errors
    /// When there is none, or programs have something else in its place.
    pub fn add(&mut self, path: &Path) -> Result<()> {
        let (path, real) = checked(path)?;
        self.insert(&path, &real, Access::Read);
        Ok(())
    }

    /// Shows a folder that programs may write to, as far as its own permissions let them.
    ///
    /// # Errors
    /// As [`ShownFiles::add`], or when it is no folder or belongs to the machine's system.
    pub fn add_writable(&mut self, path: &Path) -> Result<()> {
        let (path, real) = checked(path)?;
        if !real.is_dir() {
            return Err(Error::other(tried(&path), "only folders can be written to"));
        }
        // Whatever their root is: what is written to is the machine's.
        if [&path, &real].into_iter().any(|name| is_of_the_system(name)) {
            let why = "folders of the system are never written to";
            return Err(Error::other(tried(&path), why).with_help("name a folder elsewhere"));
        }
        self.insert(&path, &real, Access::Write);
        Ok(())
    }

    /// Shows it by the name that it was given, and by its real one, which symbolic links lead to.
    fn insert(&mut self, path: &Path, real: &Path, access: Access) {
        for name in [path, real] {
            if access == Access::Write || !self.holds(name) {
                self.named.insert(name.to_owned(), Source { real: real.to_owned(), access });
            }
        }
    }

    /// Whether programs see this path of the host.
    #[must_use]
    pub fn holds(&self, path: &Path) -> bool {
        let of_the_system = self.root.is_none() && is_of_the_system(path);
        of_the_system || self.named.keys().any(|shown| path.starts_with(shown))
    }
}

fn tried(path: &Path) -> String {
    format!("show \"{}\" to programs", path.display())
}

/// The absolute path of something that can be shown, and the same without symbolic links.
fn checked(path: &Path) -> Result<(PathBuf, PathBuf)> {
    let absolute = std::path::absolute(path).map_err(|e| Error::io(tried(path), "getcwd", &e))?;
    let tidy = lexically_normal(&absolute);
    let found = fs::metadata(&tidy).map_err(|e| Error::io(tried(&tidy), "stat", &e))?;
    if !found.is_dir() && !found.is_file() {
        return Err(Error::other(tried(&tidy), "it is neither a file nor a folder"));
    }
    let real = fs::canonicalize(&tidy).map_err(|e| Error::io(tried(&tidy), "realpath", &e))?;
    let taken = TAKEN.iter().any(|taken| real == Path::new(taken) || tidy == Path::new(taken));
    if taken
        || ["/proc", "/sys", "/dev"].iter().any(|taken| real.starts_with(taken))
            && !real.starts_with("/dev/shm/")
    {
        let why = "programs have another folder in its place";
        return Err(Error::other(tried(&tidy), why).with_help("put it into a folder of its own"));
    }
    if std::env::var_os("HOME").is_some_and(|home| fs::canonicalize(home).is_ok_and(|home| home == real)) {
        let why = "it is your home, with all your secrets in it";
        return Err(Error::other(tried(&tidy), why).with_help("put it into a folder of its own"));
    }
    Ok((tidy, real))
}

/// Without `.` and `..`: what is shown is found by its text.
fn lexically_normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => drop(normal.pop()),
            std::path::Component::CurDir => {}
            part => normal.push(part),
        }
    }
    normal
}

fn is_of_the_system(path: &Path) -> bool {
    SYSTEM.iter().any(|folder| path.starts_with(Path::new("/").join(folder)))
}

impl Sandbox {
    /// Makes a root folder that shows this.
    ///
    /// # Errors
    /// When the kernel refuses a mount.
    pub fn new(shown: &ShownFiles) -> Result<Self> {
        let thread = thread::Builder::new().name("testbed-root".into());
        let made = thread::scope(|scope| {
            let made = thread.spawn_scoped(scope, || tree::build(shown));
            made.map(|made| made.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        let (namespace, late) = made.map_err(|e| Error::io("start a thread", "clone", &e))??;
        let root = shown.root.clone().unwrap_or_else(|| PathBuf::from("/"));
        Ok(Self { namespace, late, shown: shown.clone(), root })
    }

    /// The one that shows this: a new one, unless somebody has one already.
    ///
    /// # Errors
    /// As [`Sandbox::new`].
    pub fn shared(shown: &ShownFiles) -> Result<Arc<Self>> {
        static ALL: Mutex<BTreeMap<ShownFiles, Weak<Sandbox>>> = Mutex::new(BTreeMap::new());
        let mut all = ALL.lock();
        all.retain(|_, sandbox| sandbox.strong_count() > 0);
        if let Some(sandbox) = all.get(shown).and_then(Weak::upgrade) {
            return Ok(sandbox);
        }
        let sandbox = Arc::new(Self::new(shown)?);
        all.insert(shown.clone(), Arc::downgrade(&sandbox));
        Ok(sandbox)
    }

    /// Whether programs see this path of the host at its own place.
    pub(crate) fn shows(&self, path: &Path) -> bool {
        self.shown.holds(path)
    }

    /// The folder of the host that programs see as their root.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// What is to be put below a fresh folder each time: number n of these is to be seen at `/.late/n` until then.
    pub(crate) fn late(&self) -> &[PathBuf] {
        &self.late
    }
}

impl AsFd for Sandbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.namespace.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_programs_have_themselves_cannot_be_shown() {
        let mut shown = ShownFiles::default();
        for taken in ["/", "/tmp", "/tmp/.", "/usr/../tmp", "/proc/self", "/dev/null", "/var"] {
            let error = shown.add(Path::new(taken)).expect_err(taken);
            assert!(error.to_string().starts_with("cannot show"), "{taken}: {error}");
        }
        assert_eq!(shown, ShownFiles::default());
    }

    #[test]
    fn what_is_of_the_system_is_seen_anyway() {
        let mut shown = ShownFiles::default();
        shown.add(Path::new("/usr/bin")).expect("a folder of the system");
        assert_eq!(shown, ShownFiles::default());
        assert!(shown.holds(Path::new("/usr/bin/env")));
        assert!(!shown.holds(Path::new("/home/me")));
    }

    #[test]
    fn folders_of_the_system_cannot_be_written_to() {
        let folder = tempfile::tempdir().expect("a folder");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/usr/share", &link).expect("a link");
        let mut shown = ShownFiles::default();
        for path in ["/usr", "/etc", "/usr/share/..", &link.to_string_lossy()] {
            let error = shown.add_writable(Path::new(path)).expect_err(path);
            assert!(error.to_string().ends_with(": folders of the system are never written to"), "{error}");
        }
        assert_eq!(shown, ShownFiles::default());
        shown.add_writable(folder.path()).expect("a folder of ours");
    }

    #[test]
    fn a_named_folder_holds_what_is_in_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut shown = ShownFiles::default();
        shown.add(&folder.path().join("x")).expect_err("there is no x");
        shown.add(folder.path()).expect("a folder");
        assert!(shown.holds(&folder.path().join("a/b")));
    }
}
