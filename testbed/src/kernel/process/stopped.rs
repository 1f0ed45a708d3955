//! Which processes below an init are stopped (SIGSTOP and its like), children of its children too.
//!
//! Of its own children the kernel tells an init (waitid(2)); of all others it tells their parents alone. So an init in a sandbox
//! looks into the `/proc` of its own PID namespace when its heart beats, but only if there is anything besides its children.
//! A process that a freezer cgroup holds looks there like one that sleeps or waits for a disk, and is not found.
//!
//! As all of an init, this makes plain system calls only.

use std::os::fd::RawFd;

use nix::errno::Errno;

use super::raw;

/// The last word is the number that was given last in the PID namespace of whoever reads it (proc_loadavg(5)).
const LAST_NUMBER: &std::ffi::CStr = c"/proc/loadavg";

/// The `/proc` of this process' own PID namespace.
pub(super) struct ProcessTable {
    loadavg: RawFd,
}

impl ProcessTable {
    /// Opens it, once it is mounted; nothing where that cannot be had.
    pub(super) fn open() -> Option<Self> {
        let flags = libc::O_RDONLY | libc::O_CLOEXEC;
        // SAFETY: the path ends in a zero byte.
        let loadavg = Errno::result(unsafe { libc::open(LAST_NUMBER.as_ptr(), flags) }).ok()?;
        Some(Self { loadavg })
    }

    /// The process, or the thread of one, that was started last.
    pub(super) fn last_started(&self) -> Option<libc::pid_t> {
        let mut text = [0u8; 128];
        // SAFETY: the pointer is valid for the length beside it.
        let length = unsafe { libc::pread(self.loadavg, text.as_mut_ptr().cast(), text.len(), 0) };
        let text = text.get(..usize::try_from(length).ok()?)?.trim_ascii_end();
        let last = text.rsplit(|byte| *byte == b' ').next()?;
        raw::leading_number(last)?.try_into().ok()
    }
}

/// Calls `found` with the session of each process that is stopped, which is the number of the program that began it.
pub(super) fn each(mut found: impl FnMut(libc::pid_t)) {
    // SAFETY: the path ends in a zero byte.
    let folder =
        unsafe { libc::open(c"/proc".as_ptr(), libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC) };
    let mut entries = Entries([0; 4096]);
    loop {
        let (bytes, room) = (entries.0.as_mut_ptr(), entries.0.len());
        // SAFETY: the pointer is valid for the length beside it; a folder that could not be opened is refused.
        let length = unsafe { libc::syscall(libc::SYS_getdents64, folder, bytes, room) };
        let Some(read) = usize::try_from(length).ok().filter(|length| *length > 0) else { break };
        entries.numbers(read, |number| found_in(number).into_iter().for_each(&mut found));
    }
    raw::close(folder);
}

fn found_in(number: u32) -> Option<libc::pid_t> {
    let mut path = [0u8; 32];
    raw::numbered(&mut path, b"/proc/", number, b"/stat")?;
    let mut text = [0u8; 256];
    session_if_stopped(raw::read_file(&path, &mut text)?)
}

/// The session of a process, by its `stat` (proc_pid_stat(5)), if it is stopped. A tracer's stop has another letter.
fn session_if_stopped(stat: &[u8]) -> Option<libc::pid_t> {
    // The name, in parentheses, may hold anything.
    let after_name = stat.iter().rposition(|byte| *byte == b')')? + 2;
    let mut words = stat.get(after_name..)?.split(|byte| *byte == b' ');
    (words.next()? == b"T").then_some(())?;
    // Between them stand the parent and the process group.
    raw::leading_number(words.nth(2)?)?.try_into().ok()
}

/// Room for what getdents64(2) writes, aligned as it wants.
#[repr(C, align(8))]
struct Entries([u8; 4096]);

impl Entries {
    /// The entries that are numbers, in the first `length` bytes: processes.
    fn numbers(&self, length: usize, mut found: impl FnMut(u32)) {
        /// `d_reclen`, and `d_name` behind `d_type`.
        const LENGTH: usize = 16;
        const NAME: usize = 19;
        let mut rest = self.0.get(..length).unwrap_or_default();
        while let [low, high] = *rest.get(LENGTH..LENGTH + 2).unwrap_or_default() {
            let size = usize::from(u16::from_ne_bytes([low, high]));
            let Some(name) = rest.get(NAME..size) else { break };
            raw::leading_number(name).and_then(|n| n.try_into().ok()).into_iter().for_each(&mut found);
            rest = rest.get(size..).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_stop_by_a_signal_is_one() {
        let of = |state: &str| session_if_stopped(format!("17 (a) T (b) {state} 3 16 5 0 -1").as_bytes());
        assert_eq!(of("T"), Some(5));
        assert_eq!([of("S"), of("R"), of("D"), of("t"), of("Z")], [None; 5]);
        assert_eq!(
            [session_if_stopped(b""), session_if_stopped(b"17 (a) T"), session_if_stopped(b")")],
            [None; 3]
        );
    }

    #[test]
    fn every_process_is_looked_at() {
        let entry = |name: &str, size: u16| {
            let mut bytes = vec![0; usize::from(size)];
            bytes[16..18].copy_from_slice(&size.to_ne_bytes());
            bytes[19..19 + name.len()].copy_from_slice(name.as_bytes());
            bytes
        };
        let mut entries = Entries([0; 4096]);
        let all = [entry("self", 24), entry("1", 24), entry("meminfo", 32), entry("4711", 24)].concat();
        entries.0[..all.len()].copy_from_slice(&all);
        let mut found = Vec::new();
        entries.numbers(all.len(), |number| found.push(number));
        assert_eq!(found, [1, 4711]);
        entries.numbers(all.len() - 1, |number| found.push(number));
        assert_eq!(found, [1, 4711, 1], "an entry that was cut off is none");
    }
}
