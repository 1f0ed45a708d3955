//! System calls for processes that were forked off a program with many threads.
//!
//! Nothing here allocates, locks or panics, so all of it may run between fork and exec.

use std::mem::{size_of, size_of_val, zeroed};
use std::os::fd::RawFd;
use std::ptr::{null, null_mut};

use nix::errno::Errno;

use super::protocol::{CpuTime, DESCRIPTORS};

/// The end of a process that has nothing to clean up.
pub(super) fn exit(code: i32) -> ! {
    // SAFETY: takes no pointers and does not come back.
    unsafe { libc::_exit(code) }
}

/// Forks without running anybody's fork handlers; `flags` are those of clone(2).
///
/// # Safety
/// The child must not touch what other threads of the parent may have had in hand: the allocator, any lock.
pub(super) unsafe fn fork(flags: libc::c_int) -> nix::Result<libc::pid_t> {
    const NONE: libc::c_long = 0;
    let flags = libc::c_long::from(flags | libc::SIGCHLD);
    // SAFETY: without a stack of its own, clone(2) goes on in the child as fork(2) does; what the child does is the
    // caller's promise.
    let pid = Errno::result(unsafe { libc::syscall(libc::SYS_clone, flags, NONE, NONE, NONE, NONE) })?;
    Ok(pid as libc::pid_t)
}

/// Starts a child on a stack of its own that shares this process' memory, and waits until it has executed a program or
/// has exited: what vfork(2) does, without two processes on one stack.
///
/// # Safety
/// This process must have a single thread. The child must leave nothing in memory that this process minds, and must not
/// return; `argument` must be what `child` takes it for.
pub(super) unsafe fn fork_sharing_memory(
    stack: &mut [u8],
    child: extern "C" fn(*mut libc::c_void) -> libc::c_int,
    argument: *mut libc::c_void,
) -> nix::Result<libc::pid_t> {
    // Stacks grow downwards from an end that is aligned.
    let end = stack.as_mut_ptr_range().end.map_addr(|address| address & !0xf);
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the stack is nobody else's while this process waits; the rest is the caller's promise.
    Errno::result(unsafe { libc::clone(child, end.cast(), flags, argument) })
}

/// Gives this process, and the children that it has from now on, the clocks of a time namespace.
///
/// # Errors
/// The kernel's.
pub(super) fn set_clocks(namespace: RawFd) -> nix::Result<()> {
    /// The child before may still be letting go of the memory that it shared: EUSERS until then, microseconds.
    const TRIES: usize = 10_000;
    for _ in 0..TRIES {
        // SAFETY: takes no pointers.
        match Errno::result(unsafe { libc::setns(namespace, libc::CLONE_NEWTIME) }) {
            Err(Errno::EUSERS) => {
                // SAFETY: takes no pointers.
                unsafe { libc::sched_yield() };
            }
            result => return result.map(drop),
        }
    }
    Err(Errno::EUSERS)
}

/// Room for the descriptors of one message, aligned as a header must be.
#[repr(C)]
struct Control {
    header: libc::cmsghdr,
    descriptors: [RawFd; DESCRIPTORS],
}

/// Sends a message in two parts, and descriptors with it.
pub(super) fn send(socket: RawFd, head: &[u8], tail: &[u8], descriptors: &[RawFd]) -> nix::Result<()> {
    let mut parts =
        [head, tail].map(|p| libc::iovec { iov_base: p.as_ptr().cast_mut().cast(), iov_len: p.len() });
    // SAFETY: both are plain numbers and pointers, for which zero is a value.
    let (mut message, mut control): (libc::msghdr, Control) = unsafe { (zeroed(), zeroed()) };
    message.msg_iov = parts.as_mut_ptr();
    message.msg_iovlen = parts.len() as _;
    if !descriptors.is_empty() {
        let Some(room) = control.descriptors.get_mut(..descriptors.len()) else {
            return Err(Errno::EINVAL);
        };
        room.copy_from_slice(descriptors);
        let length = size_of_val(descriptors) as u32;
        // SAFETY: only computes sizes.
        let (used, space) = unsafe { (libc::CMSG_LEN(length), libc::CMSG_SPACE(length)) };
        control.header.cmsg_level = libc::SOL_SOCKET;
        control.header.cmsg_type = libc::SCM_RIGHTS;
        control.header.cmsg_len = used as _;
        message.msg_control = (&raw mut control).cast();
        message.msg_controllen = space as _;
    }
    loop {
        // SAFETY: every pointer in `message` is valid for the length beside it and outlives the call; the kernel
        // only reads through them.
        match Errno::result(unsafe { libc::sendmsg(socket, &raw const message, libc::MSG_NOSIGNAL) }) {
            Err(Errno::EINTR) => {}
            result => return result.map(drop),
        }
    }
}

/// What was received.
#[derive(Debug, Clone, Copy)]
pub(super) struct Received {
    /// Bytes in the buffer; 0 when the other side has gone.
    pub(super) length: usize,
    /// Descriptors that came along; the others are -1. They are closed on exec.
    pub(super) descriptors: [RawFd; DESCRIPTORS],
}

/// Receives one message, as far as `buffer` reaches.
pub(super) fn receive(socket: RawFd, buffer: &mut [u8]) -> nix::Result<Received> {
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: both are plain numbers and pointers, for which zero is a value.
    let (mut message, mut control): (libc::msghdr, Control) = unsafe { (zeroed(), zeroed()) };
    control.descriptors = [-1; DESCRIPTORS];
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of::<Control>() as _;
    let length = loop {
        // SAFETY: every pointer in `message` is valid for the length beside it and outlives the call.
        match Errno::result(unsafe { libc::recvmsg(socket, &raw mut message, libc::MSG_CMSG_CLOEXEC) }) {
            Err(Errno::EINTR) => {}
            result => break result?.cast_unsigned(),
        }
    };
    let got_rights =
        message.msg_controllen >= size_of::<libc::cmsghdr>() && control.header.cmsg_type == libc::SCM_RIGHTS;
    let descriptors = if got_rights { control.descriptors } else { [-1; DESCRIPTORS] };
    Ok(Received { length, descriptors })
}

/// Puts `socket` at number 3 and `/dev/null` at 0 to 2, and closes everything else: no other descriptor of the
/// parent is kept open by the child, so that its other ends get to see when the parent lets go.
pub(super) fn keep_only(socket: RawFd) -> nix::Result<()> {
    const SOCKET: RawFd = 3;
    if socket != SOCKET {
        // SAFETY: takes no pointers.
        Errno::result(unsafe { libc::dup3(socket, SOCKET, libc::O_CLOEXEC) })?;
    }
    // SAFETY: takes no pointers. Where the kernel is too old for it, descriptors are closed one by one.
    if unsafe { libc::syscall(libc::SYS_close_range, SOCKET + 1, u32::MAX, 0) } != 0 {
        (SOCKET + 1..65_536).for_each(close);
    }
    // SAFETY: the path ends in a zero byte.
    let null = Errno::result(unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) })?;
    for standard in 0..SOCKET {
        // SAFETY: takes no pointers.
        Errno::result(unsafe { libc::dup2(null, standard) })?;
    }
    if null > SOCKET {
        close(null);
    }
    Ok(())
}

/// Closes a descriptor, if it is one.
pub(super) fn close(descriptor: RawFd) {
    if descriptor >= 0 {
        // SAFETY: takes no pointers. These processes own all of their descriptors as plain numbers.
        unsafe { libc::close(descriptor) };
    }
}

/// Gives each signal its default disposition: handlers of the parent would run in the child otherwise, and what the
/// parent ignores would stay ignored in every program.
pub(super) fn reset_signals() {
    // The C library keeps two signals to itself and refuses to touch them, so the kernel is asked directly. Its own
    // structure for a disposition is smaller than this, and all zero means SIG_DFL.
    let default = [0u64; 8];
    const SET_SIZE: libc::c_long = 8;
    for signal in 1..=64 as libc::c_long {
        let none = null_mut::<libc::c_void>();
        // SAFETY: `default` outlives the call. SIGKILL and SIGSTOP are refused, harmlessly.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), none, SET_SIZE) };
    }
}

/// Ignores the end of children: the kernel reaps them.
pub(super) fn ignore_children() {
    // SAFETY: a sigaction is plain numbers and pointers, for which zero is a value.
    let mut ignore: libc::sigaction = unsafe { zeroed() };
    ignore.sa_sigaction = libc::SIG_IGN;
    // SAFETY: `ignore` outlives the call.
    unsafe { libc::sigaction(libc::SIGCHLD, &raw const ignore, null_mut()) };
}

/// Blocks or unblocks every signal in this thread, and returns what was blocked before.
pub(super) fn block_all_signals() -> libc::sigset_t {
    // SAFETY: sets are plain numbers, and both outlive the call.
    unsafe {
        let (mut all, mut before): (libc::sigset_t, libc::sigset_t) = (zeroed(), zeroed());
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
        before
    }
}

/// Blocks exactly the signals of a set in this thread.
pub(super) fn set_blocked_signals(set: &libc::sigset_t) {
    // SAFETY: the set outlives the call.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, set, null_mut()) };
}

/// The set of no signal, or of one.
pub(super) fn signal_set(signal: Option<libc::c_int>) -> libc::sigset_t {
    // SAFETY: a set is plain numbers; `set` outlives the calls.
    unsafe {
        let mut set: libc::sigset_t = zeroed();
        libc::sigemptyset(&raw mut set);
        if let Some(signal) = signal {
            libc::sigaddset(&raw mut set, signal);
        }
        set
    }
}

/// A descriptor that is readable while one of the signals of a set, which must be blocked, is pending.
pub(super) fn signal_descriptor(set: &libc::sigset_t) -> nix::Result<RawFd> {
    // SAFETY: the set outlives the call.
    Errno::result(unsafe { libc::signalfd(-1, set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) })
}

/// Takes what a signal descriptor has; the signals themselves say nothing that wait(2) does not say better.
pub(super) fn take_signals(descriptor: RawFd) {
    let mut buffer = [0u8; size_of::<libc::signalfd_siginfo>() * 4];
    // SAFETY: the pointer is valid for the length beside it.
    while unsafe { libc::read(descriptor, buffer.as_mut_ptr().cast(), buffer.len()) } > 0 {}
}

/// Nanoseconds of this process' CLOCK_MONOTONIC.
pub(super) fn now() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec.cast_unsigned().wrapping_mul(1_000_000_000).wrapping_add(now.tv_nsec.cast_unsigned())
}

/// Waits until one of two descriptors can be read or has been hung up, or this many nanoseconds below a second have passed; says
/// which can.
pub(super) fn wait_readable(first: RawFd, second: RawFd, at_most: Option<u32>) -> (bool, bool) {
    let timeout = at_most.map(|nanos| libc::timespec { tv_sec: 0, tv_nsec: nanos.into() });
    let timeout = timeout.as_ref().map_or(null(), std::ptr::from_ref);
    let mut descriptors = [first, second].map(|fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 });
    // SAFETY: the pointer is valid for the two entries, and outlives the call.
    let count = unsafe { libc::ppoll(descriptors.as_mut_ptr(), 2, timeout, null()) };
    if count <= 0 {
        return (false, false);
    }
    let [first, second] = descriptors.map(|d| d.revents != 0);
    (first, second)
}

/// How wait(2) is to wait.
#[derive(Debug, Clone, Copy)]
pub(super) enum WaitMode {
    None,
    UntilOneEnds,
}

/// A child that has ended, if there is one. It is still to be reaped.
pub(super) fn ended(patience: WaitMode) -> nix::Result<Option<libc::pid_t>> {
    let options = libc::WEXITED
        | libc::WNOWAIT
        | match patience {
            WaitMode::None => libc::WNOHANG,
            WaitMode::UntilOneEnds => 0,
        };
    // SAFETY: plain numbers, for which zero is a value.
    let mut info: libc::siginfo_t = unsafe { zeroed() };
    loop {
        // SAFETY: `info` outlives the call.
        match Errno::result(unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, options) }) {
            Err(Errno::EINTR) => {}
            // SAFETY: of a child that has ended the kernel writes its number, and of none it leaves what was there.
            result => return result.map(|_| Some(unsafe { info.si_pid() }).filter(|pid| *pid > 0)),
        }
    }
}

/// A child that somebody has stopped since the last time that this was asked.
pub(super) fn stopped() -> Option<libc::pid_t> {
    // SAFETY: plain numbers, for which zero is a value.
    let mut info: libc::siginfo_t = unsafe { zeroed() };
    let options = libc::WSTOPPED | libc::WNOHANG;
    // SAFETY: `info` outlives the call; of a child that was stopped the kernel writes its number.
    let pid = unsafe {
        libc::waitid(libc::P_ALL, 0, &raw mut info, options);
        info.si_pid()
    };
    Some(pid).filter(|pid| *pid > 0)
}

/// Reaps a child that has ended: its status, and for how many microseconds it ran, with all its descendants that were waited
/// for (getrusage(2)).
pub(super) fn reap(child: libc::pid_t) -> nix::Result<(libc::c_int, u64)> {
    let mut status = 0;
    // SAFETY: plain numbers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { zeroed() };
    loop {
        // SAFETY: `status` and `usage` outlive the call.
        match Errno::result(unsafe { libc::wait4(child, &raw mut status, 0, &raw mut usage) }) {
            Err(Errno::EINTR) => {}
            result => {
                let us = |time: libc::timeval| {
                    let [seconds, rest] =
                        [time.tv_sec, time.tv_usec].map(|part| u64::try_from(part).unwrap_or(0));
                    seconds * 1_000_000 + rest
                };
                return result.map(|_| (status, us(usage.ru_utime) + us(usage.ru_stime)));
            }
        }
    }
}

/// The number of this process where `/proc` was mounted, if it can be seen there.
pub(super) fn number_in_proc() -> Option<libc::pid_t> {
    let mut text = [0u8; 16];
    // SAFETY: the path ends in a zero byte, and the buffer is valid for the length beside it.
    let length = unsafe { libc::readlink(c"/proc/self".as_ptr(), text.as_mut_ptr().cast(), text.len()) };
    leading_number(text.get(..usize::try_from(length).ok()?)?).and_then(|number| number.try_into().ok())
}

/// What the first thread of a process had of the processors: the first two numbers of its `schedstat`
/// (Documentation/scheduler/sched-stats.rst). Both are 0 where the kernel does not count.
pub(super) fn cpu_time(in_proc: libc::pid_t) -> Option<CpuTime> {
    let mut path = [0u8; 32];
    numbered(&mut path, b"/proc/", u32::try_from(in_proc).ok()?, b"/schedstat")?;
    let mut text = [0u8; 64];
    let text = read_file(&path, &mut text)?;
    let second = text.iter().position(|byte| *byte == b' ')? + 1;
    let us = |text| Some(u32::try_from(leading_number(text)? / 1000).unwrap_or(u32::MAX));
    Some(CpuTime { ran: us(text)?, waited: us(text.get(second..)?)? })
}

/// Whether there is nothing in a folder.
pub(super) fn is_empty(folder: &std::ffi::CStr) -> nix::Result<bool> {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_NOFOLLOW | libc::O_CLOEXEC;
    // SAFETY: the path ends in a zero byte.
    let file = Errno::result(unsafe { libc::open(folder.as_ptr(), flags) })?;
    // The folder itself and the one above it come first, 24 bytes each (getdents64(2)); there is room for a third.
    let mut entries = [0u64; 64];
    let room = size_of_val(&entries);
    // SAFETY: the pointer is valid for the length beside it.
    let length =
        Errno::result(unsafe { libc::syscall(libc::SYS_getdents64, file, entries.as_mut_ptr(), room) });
    close(file);
    Ok(length? <= 48)
}

/// Reads the beginning of a file, as far as `room` reaches; `path` ends in a zero byte.
pub(super) fn read_file<'a>(path: &[u8], room: &'a mut [u8]) -> Option<&'a [u8]> {
    path.contains(&0).then_some(())?;
    // SAFETY: the path ends in a zero byte.
    let file = Errno::result(unsafe { libc::open(path.as_ptr().cast(), libc::O_RDONLY) }).ok()?;
    // SAFETY: the pointer is valid for the length beside it.
    let length = unsafe { libc::read(file, room.as_mut_ptr().cast(), room.len()) };
    close(file);
    room.get(..usize::try_from(length).ok()?)
}

/// Writes a path with a number in it, and the zero byte that ends it.
pub(super) fn numbered(path: &mut [u8], before: &[u8], number: u32, after: &[u8]) -> Option<()> {
    let mut digits = [0u8; 10];
    let mut rest = number;
    let mut first = digits.len();
    while first == digits.len() || rest > 0 {
        first -= 1;
        *digits.get_mut(first)? = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let parts = before.iter().chain(digits.get(first..)?).chain(after).chain(&[0]);
    let length = before.len() + (digits.len() - first) + after.len() + 1;
    path.get_mut(..length)?.iter_mut().zip(parts).for_each(|(place, byte)| *place = *byte);
    Some(())
}

/// The number that a text begins with.
pub(super) fn leading_number(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    let mut number = None;
    for digit in digits {
        number = Some(number.unwrap_or(0u64).checked_mul(10)?.checked_add(u64::from(digit - b'0'))?);
    }
    number
}

/// Takes every capability that has no bit in `keep` from what this process can ever have; those without a bit in `within_reach` it
/// cannot get as it is.
pub(super) fn drop_capabilities(within_reach: u64, keep: u64) -> nix::Result<()> {
    match put_out_of_reach(within_reach, keep) {
        // That takes CAP_SETPCAP, which a container may lack.
        Err(Errno::EPERM) => give_up_capabilities(keep),
        result => result,
    }
}

/// Takes care that no program that this process, or a child of it, executes gets a capability by that, but those with a bit in
/// `keep`. What this process has itself it keeps. Those without a bit in `within_reach` were dealt with before.
///
/// # Errors
/// EPERM without CAP_SETPCAP; then nothing has changed.
pub(super) fn put_out_of_reach(within_reach: u64, keep: u64) -> nix::Result<()> {
    for capability in (0..64).filter(|c| within_reach & !keep & (1 << c) != 0) {
        // SAFETY: takes no pointers.
        match Errno::result(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) }) {
            // Beyond the last capability that this kernel knows.
            Err(Errno::EINVAL) => break,
            result => result.map(drop)?,
        }
    }
    Ok(())
}

/// Gives up every capability that has no bit in `keep`, and getting any by executing a program: under `no_new_privs` root
/// gets no more than it had (`security/commoncap.c`, `cap_bprm_creds_from_file`). What it takes away is in no set of this
/// process; that set-user-ID programs do not work is the price.
pub(super) fn give_up_capabilities(keep: u64) -> nix::Result<()> {
    /// `struct __user_cap_header_struct` and `__user_cap_data_struct` of `linux/capability.h`.
    #[repr(C)]
    struct Header {
        version: u32,
        pid: libc::c_int,
    }
    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    const VERSION_3: u32 = 0x2008_0522;
    let mut header = Header { version: VERSION_3, pid: 0 };
    let mut data = [Data::default(); 2];
    // SAFETY: the third argument is a number; the structures are the kernel's, of this version, and outlive the calls.
    unsafe {
        Errno::result(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
        Errno::result(libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()))?;
    }
    for (data, kept) in data.iter_mut().zip([keep as u32, (keep >> 32) as u32]) {
        let permitted = data.permitted & kept;
        *data = Data { effective: permitted, permitted, inheritable: 0 };
    }
    // SAFETY: as above.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) }).map(drop)
}

/// Names this process for ps(1).
pub(super) fn set_name(name: &std::ffi::CStr) {
    // SAFETY: the name ends in a zero byte.
    unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr()) };
}
