//! Inside a node's init: its copy of a sandbox, made new for each trial, and what a program gives up before it is executed.
//!
//! As all of an init, this makes plain system calls only, on memory that was there before; see the top of `process.rs`.
//! The user database, locks and threads of the C library are not touched: its setresuid(2) would look for threads.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::os::fd::RawFd;
use std::ptr::null;

use nix::errno::Errno;

use super::protocol::{EnterRequest, Failure, KEEP_USER, RenewRequest, Spawn, Step};
use super::raw;

/// How large all that a node's programs write to `/tmp` may be, and how many files it may have. It is memory of the machine.
const TEMPORARY: &CStr = c"mode=1777,size=64m,nr_inodes=16384";

/// Where loaders of BPF keep what they have loaded (bpf(2)): `tc` loads nothing without.
const BPF_FOLDER: &CStr = c"/sys/fs/bpf";

/// `CAP_BPF` of capabilities(7), as a bit.
const CAP_BPF: u64 = 1 << 39;

/// The kernel kills programs before anything else when memory is short, from -1000 to 1000 (proc(5)).
const KILLED_FIRST: &[u8] = b"900";

/// What one process may have of writable memory of its own, in bytes: an interpreter with a heap, not all of the machine.
const MEMORY: libc::rlim_t = 2 << 30;

/// Size of `struct __user_cap_data_struct` twice, see capset(2).
const VERSION_3: u32 = 0x2008_0522;

fn failed(step: Step) -> impl Fn(Errno) -> Failure {
    move |errno| Failure { step, errno }
}

/// Makes a system call that says by a negative number that it failed.
fn made(step: Step, result: c_int) -> Result<(), Failure> {
    Errno::result(result).map(drop).map_err(failed(step))
}

/// Takes this process, and all that it starts from now on, into a copy of a sandbox, with a `/proc` of its own PID namespace.
/// Returns which capabilities programs could still get there: for most programs none, so that each of them need not give up forty.
pub(super) fn enter(mounts: RawFd, entry: EnterRequest) -> Result<u64, Failure> {
    offer_to_the_oom_killer();
    // SAFETY: none of these takes pointers but the last, which is asked for nothing but a new keyring by a null one.
    unsafe {
        libc::umask(0o022);
        // No other process may look into this one, nor into one that shares its memory until it is executed.
        made(Step::Mounts, libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0))?;
        made(Step::Mounts, libc::setns(mounts, libc::CLONE_NEWNS))?;
        made(Step::Mounts, libc::unshare(libc::CLONE_NEWNS))?;
        // The keys of the user who started testbed are not for them. Kernels without keys have none to hide.
        libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, null::<c_char>());
    }
    const QUIET: libc::c_ulong = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    mount(c"proc", c"/proc", QUIET, None).map_err(failed(Step::Proc))?;
    if entry.settings != 0 {
        // What is a mount of its own stays as it is when the rest becomes read-only.
        bind(c"/proc/sys/net", c"/proc/sys/net").map_err(failed(Step::Proc))?;
    }
    remount(c"/proc", QUIET | libc::MS_RDONLY).map_err(failed(Step::Proc))?;
    // Where the host's was needed for this one.
    unmount(c"/.proc");
    if entry.capabilities & CAP_BPF != 0 {
        mount_bpf()?;
    }
    match raw::put_out_of_reach(u64::MAX, entry.capabilities) {
        Ok(()) => Ok(entry.capabilities),
        // Each program deals with that itself.
        Err(_) => Ok(u64::MAX),
    }
}

/// Mounts a file system for BPF with nothing in it. Without BPF in the kernel, or without the right to it, there is none.
fn mount_bpf() -> Result<(), Failure> {
    const QUIET: libc::c_ulong = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    match mount(c"bpf", BPF_FOLDER, QUIET, Some(c"mode=1777")) {
        Err(Errno::ENODEV | Errno::EPERM) => Ok(()),
        mounted => mounted.map_err(failed(Step::Bpf)),
    }
}

/// `KEYCTL_JOIN_SESSION_KEYRING` of `linux/keyctl.h`.
const KEYCTL_JOIN_SESSION_KEYRING: c_int = 1;

/// Programs inherit it. Where it cannot be written, the kernel picks by size alone.
fn offer_to_the_oom_killer() {
    // SAFETY: the path ends in a zero byte, and the pointer is valid for the length beside it.
    unsafe {
        let file = libc::open(c"/proc/self/oom_score_adj".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        if file >= 0 {
            libc::write(file, KILLED_FIRST.as_ptr().cast(), KILLED_FIRST.len());
            libc::close(file);
        }
    }
}

/// Gives the node an empty `/tmp` with the peers' secret, and no System V memory, queues or BPF. Nothing may run meanwhile.
///
/// The text is the key, which may be empty for none, and paths below a fresh folder, each with what is to be seen there at
/// `/.late/NUMBER`.
pub(super) fn renew(renewal: RenewRequest, text: &mut [u8]) -> Result<(), Failure> {
    let RenewRequest { user, paths } = renewal;
    // SAFETY: takes no pointers.
    made(Step::Ipc, unsafe { libc::unshare(libc::CLONE_NEWIPC) })?;
    if user == KEEP_USER || empty_temporary().is_err() {
        unmount(c"/tmp");
        let flags = libc::MS_NOSUID | libc::MS_NODEV;
        mount(c"tmpfs", c"/tmp", flags, Some(TEMPORARY)).map_err(failed(Step::Temporary))?;
    }
    // What was loaded before is forgotten, as all that a program remembers.
    if unmount(BPF_FOLDER) {
        mount_bpf()?;
    }
    for folder in [c"/tmp/home", c"/tmp/work"] {
        make_folder(folder.as_ptr(), 0o700).map_err(failed(Step::Temporary))?;
        give(folder, user).map_err(failed(Step::Temporary))?;
    }
    let (key, mut rest) = split_text(text).ok_or(Failure { step: Step::Key, errno: Errno::EINVAL })?;
    if key.len() > 1 {
        write_key(&key[..key.len() - 1], user).map_err(failed(Step::Key))?;
    }
    for number in 0..paths {
        let (path, after) =
            split_text(rest).ok_or(Failure { step: Step::Temporary, errno: Errno::EINVAL })?;
        put_late(number, path).map_err(failed(Step::Temporary))?;
        rest = after;
    }
    Ok(())
}

/// Takes out of `/tmp` what this process has put there, if nothing else is in there. To mount a new one takes ten times as long,
/// and most programs leave nothing.
///
/// Programs cannot change `/tmp` itself where it is not their user's, nor the mount. What they have put in the place of a
/// folder is none, or not empty.
///
/// # Errors
/// When there is anything else, or it is no `/tmp` of a trial yet.
fn empty_temporary() -> nix::Result<()> {
    // SAFETY: all paths end in a zero byte.
    unsafe {
        match Errno::result(libc::unlink(c"/tmp/key".as_ptr())) {
            Ok(_) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno),
        }
        Errno::result(libc::rmdir(c"/tmp/home".as_ptr()))?;
        Errno::result(libc::rmdir(c"/tmp/work".as_ptr()))?;
    }
    match raw::is_empty(c"/tmp")? {
        true => Ok(()),
        false => Err(Errno::ENOTEMPTY),
    }
}

/// A text with the zero byte that ends it, and what follows.
fn split_text(text: &mut [u8]) -> Option<(&mut [u8], &mut [u8])> {
    let end = text.iter().position(|byte| *byte == 0)?;
    text.split_at_mut_checked(end + 1)
}

fn write_key(key: &[u8], user: u32) -> nix::Result<()> {
    const PATH: &CStr = c"/tmp/key";
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_CLOEXEC;
    // SAFETY: the path ends in a zero byte.
    let file = Errno::result(unsafe { libc::open(PATH.as_ptr(), flags, 0o400) })?;
    // SAFETY: the pointer is valid for the length beside it.
    let written = Errno::result(unsafe { libc::write(file, key.as_ptr().cast(), key.len()) });
    raw::close(file);
    written?;
    give(PATH, user)
}

/// Puts what waits at `/.late/NUMBER` where it belongs.
fn put_late(number: u32, path: &mut [u8]) -> nix::Result<()> {
    let mut from = [0u8; 32];
    raw::numbered(&mut from, b"/.late/", number, b"").ok_or(Errno::EINVAL)?;
    // SAFETY: a `stat` is plain numbers, for which zero is a value.
    let mut found: libc::stat = unsafe { std::mem::zeroed() };
    // SAFETY: the path ends in a zero byte, and `found` outlives the call.
    Errno::result(unsafe { libc::stat(from.as_ptr().cast(), &raw mut found) })?;
    let is_folder = found.st_mode & libc::S_IFMT == libc::S_IFDIR;
    // Each folder on the way, with the slash behind it put out of sight meanwhile.
    for slash in 1..path.len() {
        let last = slash + 1 == path.len();
        if path[slash] == b'/' || last && is_folder {
            let byte = std::mem::replace(&mut path[slash], 0);
            let result = make_folder(path.as_ptr().cast(), 0o755);
            path[slash] = byte;
            result?;
        }
    }
    if !is_folder {
        let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_CLOEXEC;
        // SAFETY: the path ends in a zero byte.
        raw::close(Errno::result(unsafe { libc::open(path.as_ptr().cast(), flags, 0o644) })?);
    }
    let text = |bytes| CStr::from_bytes_until_nul(bytes).map_err(|_| Errno::EINVAL);
    bind(text(&from)?, text(path)?)
}

/// Makes a folder, unless it is there.
fn make_folder(path: *const c_char, mode: libc::mode_t) -> nix::Result<()> {
    // SAFETY: all callers pass a path that ends in a zero byte.
    match Errno::result(unsafe { libc::mkdir(path, mode) }) {
        Err(Errno::EEXIST) => Ok(()),
        result => result.map(drop),
    }
}

/// Gives a file to a user and the group of that number.
fn give(path: &CStr, user: u32) -> nix::Result<()> {
    if user == KEEP_USER {
        return Ok(());
    }
    // SAFETY: the path ends in a zero byte.
    Errno::result(unsafe { libc::chown(path.as_ptr(), user, user) }).map(drop)
}

fn mount(kind: &CStr, point: &CStr, flags: libc::c_ulong, options: Option<&CStr>) -> nix::Result<()> {
    let options = options.map_or(null(), CStr::as_ptr).cast::<c_void>();
    // SAFETY: all texts end in a zero byte and outlive the call.
    Errno::result(unsafe { libc::mount(kind.as_ptr(), point.as_ptr(), kind.as_ptr(), flags, options) })
        .map(drop)
}

fn bind(from: &CStr, point: &CStr) -> nix::Result<()> {
    let flags = libc::MS_BIND | libc::MS_REC;
    // SAFETY: both paths end in a zero byte; without a new file system the kernel reads no other pointer.
    Errno::result(unsafe { libc::mount(from.as_ptr(), point.as_ptr(), null(), flags, null()) }).map(drop)
}

fn remount(point: &CStr, flags: libc::c_ulong) -> nix::Result<()> {
    let flags = flags | libc::MS_REMOUNT | libc::MS_BIND;
    // SAFETY: the path ends in a zero byte; a remount reads no other pointer.
    Errno::result(unsafe { libc::mount(null(), point.as_ptr(), null(), flags, null()) }).map(drop)
}

/// Takes a mount away with all that is below it, if it is one; whether it was.
fn unmount(point: &CStr) -> bool {
    // SAFETY: the path ends in a zero byte.
    unsafe { libc::umount2(point.as_ptr(), libc::MNT_DETACH) == 0 }
}

/// What a program's process does last before it is executed: it keeps to its limits, becomes a user that is nobody else, and can
/// never get any right again but those that it was given.
pub(super) fn give_up(spawn: &Spawn, within_reach: u64) -> Result<(), Failure> {
    limit(spawn)?;
    raw::drop_capabilities(within_reach, spawn.capabilities).map_err(failed(Step::Capabilities))?;
    if spawn.user != KEEP_USER {
        // SAFETY: takes no pointers.
        made(Step::User, unsafe { libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0) })?;
        become_user(spawn.user).map_err(failed(Step::User))?;
    }
    // SAFETY: takes no pointers.
    made(Step::NoNewPrivileges, unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) })?;
    keep_only(spawn.capabilities).map_err(failed(Step::Capabilities))
}

/// Limits that are inherited; without the capability for it, nobody can raise them again.
fn limit(spawn: &Spawn) -> Result<(), Failure> {
    // A limit of one byte is how a process says that it wants no core dump, be it by a program of the host's (core(5)).
    let mut limits =
        [(libc::RLIMIT_CORE, 1), (libc::RLIMIT_DATA, MEMORY), (libc::RLIMIT_RTPRIO, 0), (0, 0), (0, 0)];
    if spawn.files > 0 {
        limits[3] = (libc::RLIMIT_NOFILE, spawn.files.into());
    }
    if spawn.processes > 0 {
        limits[4] = (libc::RLIMIT_NPROC, spawn.processes.into());
    }
    for (resource, most) in limits.into_iter().filter(|limit| limit.1 > 0 || limit.0 == libc::RLIMIT_RTPRIO) {
        let wanted = libc::rlimit { rlim_cur: most, rlim_max: most };
        // SAFETY: `wanted` outlives the call.
        match Errno::result(unsafe { libc::setrlimit(resource, &raw const wanted) }) {
            // It is lower already.
            Err(Errno::EPERM) => {}
            result => result.map(drop).map_err(failed(Step::Limits))?,
        }
    }
    Ok(())
}

/// Becomes a user and its group, with no other groups.
fn become_user(user: u32) -> nix::Result<()> {
    let id = libc::c_long::from(user);
    // SAFETY: an empty list of groups needs no pointer, and the others take none.
    unsafe {
        Errno::result(libc::syscall(libc::SYS_setgroups, 0, null::<libc::gid_t>()))?;
        Errno::result(libc::syscall(libc::SYS_setresgid, id, id, id))?;
        Errno::result(libc::syscall(libc::SYS_setresuid, id, id, id))?;
    }
    Ok(())
}

/// Has these capabilities and no other from now on, and keeps them when a program is executed.
fn keep_only(keep: u64) -> nix::Result<()> {
    /// `struct __user_cap_header_struct` of `linux/capability.h`.
    #[repr(C)]
    struct Header {
        version: u32,
        pid: c_int,
    }
    let header = Header { version: VERSION_3, pid: 0 };
    let [low, high] = [keep as u32, (keep >> 32) as u32];
    // Effective, permitted and inheritable: the lower half of each, then the upper one.
    let data = [low, low, low, high, high, high];
    // SAFETY: both structures are the kernel's, of this version, and outlive the call.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) })?;
    for capability in (0..64).filter(|capability| keep & (1 << capability) != 0) {
        let (raise, capability) = (libc::PR_CAP_AMBIENT_RAISE as libc::c_ulong, capability as libc::c_ulong);
        // SAFETY: takes no pointers.
        Errno::result(unsafe { libc::prctl(libc::PR_CAP_AMBIENT, raise, capability, 0, 0) })?;
    }
    Ok(())
}
