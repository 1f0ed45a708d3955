//! How many descriptors and processes and how much memory this process and the programs that it starts may have.
//!
//! Limits are read, and raised where this process may raise its own. Nothing else of the machine is changed.

mod cgroup;

use std::fs;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::kernel::error::{Error, Result};
use crate::kernel::host::{self, HostRights};

/// What a process that may do so gives itself: a thousand labs with a small topology need some forty thousand.
const PLENTY: u64 = 1 << 17;

/// One limit, and what is used of it already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ceiling {
    /// What it is called, with the command or file that shows it.
    pub name: String,
    /// Its value.
    pub limit: u64,
    /// How much of it is used.
    pub used: u64,
}

impl Ceiling {
    /// How much is left.
    #[must_use]
    pub fn room(&self) -> u64 {
        self.limit.saturating_sub(self.used)
    }
}

/// All limits that can end a trial.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ceilings {
    /// Descriptors of this process.
    pub files: Ceiling,
    /// Descriptors that a program may have: the hard limit.
    pub files_of_a_program: Ceiling,
    /// Processes and threads, in all groups and of the user that this process belongs to.
    pub processes: Vec<Ceiling>,
    /// Bytes of memory, for this process and its programs together.
    pub memory: Vec<Ceiling>,
    /// Bytes of addresses, for this process and for each program alone.
    pub addresses: Option<Ceiling>,
}

/// Looks at all limits. What the kernel does not tell is taken for unlimited.
///
/// # Errors
/// When the kernel does not even tell how many descriptors there may be.
pub fn ceilings() -> Result<Ceilings> {
    let (soft, hard) = files()?;
    let open = fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64);
    let name = "the limit of open files (ulimit -n)".to_owned();
    let hard_name = "the hard limit of open files (ulimit -Hn)".to_owned();
    Ok(Ceilings {
        files: Ceiling { name, limit: soft, used: open },
        files_of_a_program: Ceiling { name: hard_name, limit: hard, used: 0 },
        processes: processes_of_user().into_iter().chain(threads_max()).chain(cgroup::processes()).collect(),
        memory: available_memory().into_iter().chain(cgroup::memory()).collect(),
        addresses: addresses(),
    })
}

/// Raises the limit of open descriptors as far as is useful and allowed, and returns it. Programs that are started
/// inherit it.
///
/// Beyond the hard limit goes only who has CAP_SYS_RESOURCE on the host, and no further than `fs.nr_open`
/// (getrlimit(2)).
///
/// # Errors
/// When the kernel refuses.
pub fn raise_descriptor_limit() -> Result<u64> {
    let (soft, hard) = files()?;
    if hard < PLENTY && setrlimit(Resource::RLIMIT_NOFILE, PLENTY, PLENTY).is_ok() {
        return Ok(PLENTY);
    }
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map_err(|errno| {
            Error::call("raise the limit of open files", "setrlimit(RLIMIT_NOFILE)", errno)
        })?;
    }
    Ok(hard)
}

/// The stack that the first thread needs, in bytes. A build without optimisation, which takes most, needs between 256 and
/// 512 kB.
const STACK: u64 = 1 << 20;

/// Makes sure that the first thread has the stack that it needs. The kernel asks for the limit whenever a stack grows
/// (`acct_stack_growth` in `mm/vma.c`), so that raising it helps at once.
///
/// # Errors
/// When the limit is lower, and this process may not raise it.
pub fn ensure_stack() -> Result<()> {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_STACK) else { return Ok(()) };
    if soft >= STACK || setrlimit(Resource::RLIMIT_STACK, STACK, hard.max(STACK)).is_ok() {
        return Ok(());
    }
    let tried = format!("have a stack of {} kB", STACK >> 10);
    let why = format!("the limit of the stack (ulimit -Hs) is {} kB", hard >> 10);
    Err(Error::other(tried, why))
}

/// The soft and the hard limit of open descriptors.
fn files() -> Result<(u64, u64)> {
    getrlimit(Resource::RLIMIT_NOFILE)
        .map_err(|errno| Error::call("ask for the limit of open files", "getrlimit(RLIMIT_NOFILE)", errno))
}

/// The processes of the user, unless it is root: the kernel does not limit the first user (`copy_process` in
/// `kernel/fork.c`).
fn processes_of_user() -> Option<Ceiling> {
    let (limit, _) = getrlimit(Resource::RLIMIT_NPROC).ok()?;
    if host::rights() == HostRights::Root || limit == u64::MAX {
        return None;
    }
    let own = user_of(&fs::read_to_string("/proc/self/status").ok()?)?.0;
    let statuses = fs::read_dir("/proc").ok()?.filter_map(|entry| {
        let entry = entry.ok()?;
        entry.file_name().to_str()?.parse::<u32>().ok()?;
        user_of(&fs::read_to_string(entry.path().join("status")).ok()?)
    });
    let used = statuses.filter(|(user, _)| *user == own).map(|(_, threads)| threads).sum();
    Some(Ceiling { name: "the user's limit of processes (ulimit -u)".to_owned(), limit, used })
}

/// The real user of a process, and how many threads it has, from its status (proc_pid_status(5)).
fn user_of(status: &str) -> Option<(u64, u64)> {
    Some((field(status, "Uid:")?, field(status, "Threads:")?))
}

/// The first number behind the name of a field.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The threads of the whole machine.
fn threads_max() -> Option<Ceiling> {
    let limit = fs::read_to_string("/proc/sys/kernel/threads-max").ok()?.trim().parse().ok()?;
    // The fourth word: those that run, a slash, and all of them (proc_loadavg(5)).
    let load = fs::read_to_string("/proc/loadavg").ok()?;
    let used = load.split_whitespace().nth(3)?.split_once('/')?.1.parse().ok()?;
    Some(Ceiling { name: "kernel.threads-max".to_owned(), limit, used })
}

/// The memory that the machine can still give without swapping (proc_meminfo(5)).
fn available_memory() -> Option<Ceiling> {
    let available = field(&fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")?;
    Some(Ceiling { name: "the machine's free memory".to_owned(), limit: available * 1024, used: 0 })
}

/// The addresses of this process, if they are limited.
fn addresses() -> Option<Ceiling> {
    let (limit, _) = getrlimit(Resource::RLIMIT_AS).ok().filter(|(limit, _)| *limit != u64::MAX)?;
    let used = field(&fs::read_to_string("/proc/self/status").ok()?, "VmSize:").unwrap_or(0) * 1024;
    Some(Ceiling { name: "the limit of addresses (ulimit -v)".to_owned(), limit, used })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_tells_the_user_and_the_threads() {
        let status = "Name:\tx\nUid:\t1000\t1001\t1000\t1000\nThreads:\t7\nVmSize:\t  9024 kB\n";
        assert_eq!(user_of(status), Some((1000, 7)));
        assert_eq!(field(status, "VmSize:"), Some(9024));
        assert_eq!(user_of("Name:\tx\n"), None);
    }

    #[test]
    fn the_machine_tells_its_limits() {
        let ceilings = ceilings().expect("a limit of open files");
        assert!(ceilings.files.used > 2 && ceilings.files.limit > ceilings.files.used, "{ceilings:?}");
        assert!(ceilings.processes.iter().any(|c| c.used > 0 && c.room() > 0), "{ceilings:?}");
        assert!(ceilings.memory.iter().any(|c| c.room() > 0), "{ceilings:?}");
    }

    #[test]
    fn there_is_never_less_than_no_room() {
        let full = Ceiling { name: "x".into(), limit: 3, used: 7 };
        assert_eq!(full.room(), 0);
    }
}
