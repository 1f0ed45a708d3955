//! The nursery: one small child of this process that forks an init for every lab.

use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, setsockopt, socketpair, sockopt};
use parking_lot::Mutex;

use super::init::{self, Buffers};
use super::protocol::{LONGEST, Reply};
use super::raw;
use crate::kernel::error::{Error, Result};

const TRIED: &str = "start the process that starts programs";

/// The nursery of this process; it lives as long as this process does.
static NURSERY: OnceLock<OwnedFd> = OnceLock::new();

/// Forks the nursery, if that has not happened yet.
///
/// Programs that grow large or have urgent threads do so first of all; everyone else may leave it to the first lab.
///
/// # Errors
/// When no process can be forked.
pub fn prepare() -> Result<()> {
    nursery().map(drop)
}

/// Whether the nursery has been forked.
pub(crate) fn is_running() -> bool {
    NURSERY.get().is_some()
}

fn nursery() -> Result<&'static OwnedFd> {
    static FORKING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = FORKING.lock();
    if let Some(socket) = NURSERY.get() {
        return Ok(socket);
    }
    let socket = fork_nursery()?;
    Ok(NURSERY.get_or_init(|| socket))
}

/// Has an init born; what is left of it here is a socket, on which [`Reply::Born`] or [`Reply::Stillborn`] comes.
pub(super) fn bear_init() -> Result<OwnedFd> {
    let (ours, theirs) = packets()?;
    let nursery = nursery()?;
    raw::send(nursery.as_raw_fd(), b"init", &[], &[theirs.as_raw_fd()])
        .map_err(|errno| Error::call("start a lab's init", "sendmsg to the nursery", errno))?;
    Ok(ours)
}

/// A pair of sockets that keep messages apart.
fn packets() -> Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
        .map_err(|errno| Error::call(TRIED, "socketpair", errno))?;
    // A message with all its text must fit; where the machine's limit is lower, long messages fail with EMSGSIZE.
    let _ = setsockopt(&ours, sockopt::SndBuf, &(2 * LONGEST));
    Ok((ours, theirs))
}

fn fork_nursery() -> Result<OwnedFd> {
    let (ours, theirs) = packets()?;
    let mut buffers = Buffers::new();
    // A signal between the fork and the reset below would run one of our handlers in the child.
    let blocked = raw::block_all_signals();
    // SAFETY: the child makes plain system calls only, on memory that is its own copy, and never returns.
    let forked = unsafe { raw::fork(0) };
    match forked {
        Ok(0) => run(theirs.as_raw_fd(), &mut buffers),
        result => {
            raw::set_blocked_signals(&blocked);
            result.map(|_| ours).map_err(|errno| Error::call(TRIED, "clone", errno))
        }
    }
}

/// All that the nursery ever does.
fn run(socket: RawFd, buffers: &mut Buffers) -> ! {
    raw::reset_signals();
    raw::ignore_children();
    raw::set_blocked_signals(&raw::signal_set(None));
    raw::set_name(c"testbed-nursery");
    if raw::keep_only(socket).is_err() || leave_the_terminal().is_err() {
        raw::exit(1);
    }
    loop {
        let mut text = [0; 8];
        match raw::receive(init::SOCKET, &mut text) {
            Ok(message) if message.length > 0 => bear(message.descriptors[0], buffers),
            _ => raw::exit(0),
        }
    }
}

/// Leaves the terminal's session and the current directory, so that Ctrl-C does not end the nursery and it keeps no folder busy.
fn leave_the_terminal() -> nix::Result<()> {
    // SAFETY: the first takes no pointers, the path of the second ends in a zero byte.
    let results = unsafe { [libc::setsid(), libc::chdir(c"/".as_ptr())] };
    results.into_iter().try_for_each(|result| Errno::result(result).map(drop))
}

fn bear(socket: RawFd, buffers: &mut Buffers) {
    // SAFETY: this process has a single thread, and the child makes plain system calls only.
    let reply = match unsafe { raw::fork(libc::CLONE_NEWPID) } {
        Ok(0) => init::run(socket, buffers),
        Ok(pid) => Reply::Born(pid),
        Err(errno) => Reply::Stillborn(errno),
    };
    // Who asked may be gone already; then nobody minds.
    let _ = raw::send(socket, &reply.encode(), &[], &[]);
    raw::close(socket);
}
