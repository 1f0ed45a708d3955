//! Mounts a root folder for programs, in a mount namespace that holds nothing else.
//!
//! A new tmpfs takes the place of the root, with the host's files in [`HOST`] while it is filled. At the end they are let go.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{chdir, chroot, pivot_root};

use super::mount_table::{self, Entry};
use super::{Access, FRESH, SYSTEM, ShownFiles, Source};
use crate::kernel::error::{Error, Result};
use crate::kernel::host::{self, HostRights};

/// Where the host's files are meanwhile.
const HOST: &str = "/.host";

/// Where named folders are before overlayfs takes them, whose options know no path with a colon or comma.
const STASH: &str = "/.stash";

/// Where things wait that belong below a folder which is new for each trial.
const LATE: &str = "/.late";

/// The host's `/proc`, for as long as a copy needs it to mount one of its own.
const HOST_PROC: &str = "/.proc";

/// Devices that lead nowhere.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Symbolic links that programs expect.
const LINKS: [(&str, &str); 7] = [
    ("/dev/fd", "/proc/self/fd"),
    ("/dev/stdin", "/proc/self/fd/0"),
    ("/dev/stdout", "/proc/self/fd/1"),
    ("/dev/stderr", "/proc/self/fd/2"),
    ("/dev/shm", "/tmp"),
    ("/var/tmp", "/tmp"),
    ("/var/run", "/run"),
];

const TRIED: &str = "make a root folder for programs";

/// Makes the namespace around this thread, which must have been started for the purpose. Returns what is to be put below
/// fresh folders.
pub(super) fn build(shown: &ShownFiles) -> Result<(OwnedFd, Vec<PathBuf>)> {
    call("unshare(CLONE_NEWNS)", unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_FS))?;
    umask(Mode::from_bits_truncate(0o022));
    let confined = host::rights() == HostRights::UserNamespace;
    let own = "/proc/thread-self/ns/mnt";
    let namespace = File::open(own).map_err(|e| Error::io(TRIED, format!("open {own}"), &e))?;
    call("mount(MS_PRIVATE)", change("/", MsFlags::MS_REC | MsFlags::MS_PRIVATE))?;
    take_the_root()?;
    match &shown.root {
        None => SYSTEM.into_iter().try_for_each(show_system)?,
        Some(root) => show_image(root, shown)?,
    }
    for folder in ["/dev", "/proc", "/sys/fs/bpf", "/run", "/var", "/tmp", STASH, LATE] {
        make_folder(Path::new(folder))?;
    }
    make_devices()?;
    if confined {
        // The kernel lets an unprivileged user mount a new /proc only beside one that hides nothing.
        make_folder(Path::new(HOST_PROC))?;
        bind(&host("/proc"), Path::new(HOST_PROC), MsFlags::MS_REC)?;
    }
    let FileIdentity { late, writable } = show_named(shown)?;
    let table = Path::new(HOST).join("proc/thread-self/mountinfo");
    let table =
        fs::read_to_string(&table).map_err(|e| Error::io(TRIED, "read /proc/thread-self/mountinfo", &e))?;
    call("umount", umount2(HOST, MntFlags::MNT_DETACH))?;
    fs::remove_dir(HOST).map_err(|e| Error::io(TRIED, "rmdir", &e))?;
    forbid_writing(&mount_table::parse(&table), &writable)?;
    Ok((namespace.into(), late))
}

/// Puts an empty root in the place of the host's, which is at [`HOST`] then.
fn take_the_root() -> Result<()> {
    // Any folder will do; this one is everywhere.
    const BASE: &str = "/proc";
    call(
        "mount(tmpfs)",
        mount(Some("testbed"), BASE, Some("tmpfs"), MsFlags::MS_NOSUID, Some("mode=0755,size=1m")),
    )?;
    call("chdir", chdir(BASE))?;
    DirBuilder::new().mode(0o755).create(&HOST[1..]).map_err(|e| Error::io(TRIED, "mkdir", &e))?;
    match pivot_root(".", &HOST[1..]) {
        // The root of an initial ram disk cannot be moved, only covered.
        Err(Errno::EINVAL) => cover_the_root(BASE)?,
        result => call("pivot_root", result)?,
    }
    call("chdir", chdir("/"))
}

/// Puts the file system that is mounted at `base`, where this thread is, over the root.
fn cover_the_root(base: &str) -> Result<()> {
    bind(Path::new("/"), Path::new(&HOST[1..]), MsFlags::MS_REC)?;
    call("mount(MS_MOVE)", mount(Some(base), "/", None::<&str>, MsFlags::MS_MOVE, None::<&str>))?;
    call("chroot", chroot("."))
}

/// Shows a folder of the system, or the link that stands in its place.
fn show_system(name: &str) -> Result<()> {
    let (from, to) = (Path::new(HOST).join(name), Path::new("/").join(name));
    match fs::symlink_metadata(&from) {
        Ok(found) if found.is_symlink() => {
            let target = fs::read_link(&from).and_then(|target| symlink(target, &to));
            target.map_err(|e| Error::io(TRIED, format!("symlink {}", to.display()), &e))
        }
        Ok(found) if found.is_dir() => {
            make_folder(&to)?;
            bind(&from, &to, MsFlags::MS_REC)
        }
        _ => Ok(()),
    }
}

/// Folders of an image that programs have others in the place of.
const NOT_OF_AN_IMAGE: [&str; 5] = ["/dev", "/proc", "/sys", "/run", "/tmp"];

/// Shows what is in a root file system, each folder of its top through overlayfs; in `/var` each of its folders.
fn show_image(root: &Path, shown: &ShownFiles) -> Result<()> {
    for folder in [STASH, "/var"] {
        make_folder(Path::new(folder))?;
    }
    for name in names_in(&host(root))? {
        let path = Path::new("/").join(&name);
        match path.to_str() {
            Some("/var") => {
                for name in names_in(&host(root).join("var"))? {
                    show_entry(root, &path.join(name), shown)?;
                }
            }
            Some(taken) if NOT_OF_AN_IMAGE.contains(&taken) => {}
            _ => show_entry(root, &path, shown)?,
        }
    }
    Ok(())
}

fn names_in(folder: &Path) -> Result<Vec<std::ffi::OsString>> {
    let failed = |e: io::Error| Error::io(TRIED, format!("readdir {}", folder.display()), &e);
    let names = fs::read_dir(folder).map_err(failed)?.map(|entry| entry.map(|entry| entry.file_name()));
    names.collect::<io::Result<_>>().map_err(failed)
}

/// Shows a folder, a link or a file of an image, unless programs have another in its place.
fn show_entry(root: &Path, path: &Path, shown: &ShownFiles) -> Result<()> {
    let from = host(root).join(path.strip_prefix("/").unwrap_or(path));
    if LINKS.iter().any(|(link, _)| Path::new(link) == path) {
        return Ok(());
    }
    match fs::symlink_metadata(&from) {
        Ok(found) if found.is_symlink() => {
            let target = fs::read_link(&from).and_then(|target| symlink(target, path));
            target.map_err(|e| Error::io(TRIED, format!("symlink {}", path.display()), &e))
        }
        Ok(found) if found.is_dir() => {
            make_folder(path)?;
            let places = make_places(path, shown)?;
            show_by_overlay(&from, path, &places).or_else(|_| bind(&from, path, MsFlags::MS_REC))
        }
        Ok(found) if found.is_file() => {
            touch(path)?;
            bind(&from, path, MsFlags::empty())
        }
        _ => Ok(()),
    }
}

/// A folder with nothing but the places that named files and folders below `path` need: an image may not have them.
fn make_places(path: &Path, shown: &ShownFiles) -> Result<PathBuf> {
    let places = Path::new(STASH).join("places").join(path.strip_prefix("/").unwrap_or(path));
    make_folder(&places)?;
    for (named, Source { real, .. }) in &shown.named {
        let Ok(below) = named.strip_prefix(path) else { continue };
        let place = places.join(below);
        if host(real).is_dir() {
            make_folder(&place)?;
        } else {
            make_folder(place.parent().unwrap_or(&places))?;
            touch(&place)?;
        }
    }
    Ok(places)
}

fn make_devices() -> Result<()> {
    for device in DEVICES {
        let (from, to) = (host("/dev").join(device), Path::new("/dev").join(device));
        if from.exists() {
            touch(&to)?;
            bind(&from, &to, MsFlags::empty())?;
        }
    }
    for (link, target) in LINKS {
        symlink(target, link).map_err(|e| Error::io(TRIED, format!("symlink {link}"), &e))?;
    }
    Ok(())
}

/// What is named, as far as it matters later.
#[derive(Debug, Default)]
struct FileIdentity {
    /// What has to wait for its folder.
    late: Vec<PathBuf>,
    /// Where programs may write.
    writable: Vec<PathBuf>,
}

fn show_named(shown: &ShownFiles) -> Result<FileIdentity> {
    let mut named = FileIdentity::default();
    for (path, Source { real, access }) in &shown.named {
        let to = match FRESH.iter().any(|fresh| path.starts_with(fresh)) {
            true => {
                named.late.push(path.clone());
                Path::new(LATE).join((named.late.len() - 1).to_string())
            }
            false => path.clone(),
        };
        show(real, &to, *access)?;
        named.writable.extend((*access == Access::Write).then_some(to));
    }
    Ok(named)
}

fn show(real: &Path, to: &Path, access: Access) -> Result<()> {
    let from = host(real);
    if !from.is_dir() {
        make_folder(to.parent().unwrap_or(Path::new("/")))?;
        touch(to)?;
        return bind(&from, to, MsFlags::empty());
    }
    make_folder(to)?;
    let nothing = Path::new(STASH).join("nothing");
    make_folder(&nothing)?;
    if access == Access::Read && show_by_overlay(&from, to, &nothing).is_ok() {
        return Ok(());
    }
    bind(&from, to, MsFlags::MS_REC)
}

/// Shows a folder through overlayfs, which has no way to the other end of a socket or pipe.
fn show_by_overlay(from: &Path, to: &Path, first: &Path) -> Result<()> {
    let folder = Path::new(STASH).join("folder");
    make_folder(&folder)?;
    bind(from, &folder, MsFlags::empty())?;
    // The first one lends its permissions: a folder that is closed to others is open here, and what is in it as it was.
    let options = format!("lowerdir={}:{}", first.display(), folder.display());
    let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let shown = mount(Some("overlay"), to, Some("overlay"), flags, Some(options.as_str()));
    call("umount", umount2(&folder, MntFlags::MNT_DETACH))?;
    call("mount(overlay)", shown)
}

/// Makes every mount read-only but those that are to be written to; the root comes last.
fn forbid_writing(table: &[Entry], writable: &[PathBuf]) -> Result<()> {
    let writable = |point: &Path| writable.iter().any(|path| point.starts_with(path));
    for Entry { point, flags } in table.iter().rev() {
        if point.starts_with(HOST) || point.starts_with(HOST_PROC) || point == Path::new("/") {
            continue;
        }
        let mut flags = *flags | MsFlags::MS_NOSUID;
        if !writable(point) {
            flags |= MsFlags::MS_RDONLY;
        }
        if !point.starts_with("/dev") {
            flags |= MsFlags::MS_NODEV;
        }
        call(format!("mount(MS_REMOUNT) {}", point.display()), change(point, flags | REMOUNT))?;
    }
    call(
        "mount(MS_REMOUNT) /",
        change("/", REMOUNT | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV),
    )
}

/// Changes the flags of one mount, and nothing of its file system.
const REMOUNT: MsFlags = MsFlags::MS_REMOUNT.union(MsFlags::MS_BIND);

fn change(point: impl AsRef<Path>, flags: MsFlags) -> nix::Result<()> {
    mount(None::<&str>, point.as_ref(), None::<&str>, flags, None::<&str>)
}

fn bind(from: &Path, to: &Path, how: MsFlags) -> Result<()> {
    let bound = mount(Some(from), to, None::<&str>, MsFlags::MS_BIND | how, None::<&str>);
    call(format!("mount(MS_BIND) {}", to.display()), bound)
}

/// A path of the host's, without symbolic links: they would lead to where they do here.
fn host(path: impl AsRef<Path>) -> PathBuf {
    Path::new(HOST).join(path.as_ref().strip_prefix("/").unwrap_or(path.as_ref()))
}

fn make_folder(path: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o755).create(path);
    made.map_err(|e| Error::io(TRIED, format!("mkdir {}", path.display()), &e))
}

fn touch(path: &Path) -> Result<()> {
    match File::create_new(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
            Err(Error::io(TRIED, format!("create {}", path.display()), &e))
        }
        _ => Ok(()),
    }
}

fn call<T>(call: impl Into<String>, result: std::result::Result<T, Errno>) -> Result<T> {
    result.map_err(|errno| Error::call(TRIED, call, errno))
}
