//! The messages between this process and an init: fixed words, then text; one message a packet.

use nix::errno::Errno;

/// The longest message: arguments and variables of a program. A packet must fit into a socket's default buffer.
pub(super) const LONGEST: usize = 160 * 1024;

/// Bytes of the words in front of each request.
pub(super) const REQUEST: usize = 48;

/// Bytes of a reply.
pub(super) const REPLY: usize = 20;

/// The most descriptors that come with a message.
pub(super) const DESCRIPTORS: usize = 6;

/// What an init is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InitRequest {
    /// Start a program; its text follows, and its descriptors come along in the order of [`PassedFds`].
    Spawn(Spawn),
    /// Send a signal to a program and its process group.
    Signal {
        /// The program, by its number in the init's namespace.
        pid: i32,
        /// The signal.
        signal: i32,
    },
    /// End everything and say when nothing is left.
    Drain,
    /// Enter a sandbox, whose mount namespace comes along, before anything is started.
    Enter(EnterRequest),
    /// Make what each trial gets new; the key and paths follow as text.
    Renew(RenewRequest),
}

/// What to know of an [`InitRequest::Enter`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EnterRequest {
    /// Not 0: programs may write the network's settings, as far as their capabilities let them.
    pub(super) settings: u32,
    /// A bit for each capability that some program in there may have.
    pub(super) capabilities: u64,
}

/// What to know of an [`InitRequest::Renew`] before its text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RenewRequest {
    /// Whom the new folders belong to; [`KEEP_USER`] is the init's own user.
    pub(super) user: u32,
    /// How many paths follow the key.
    pub(super) paths: u32,
}

/// In the place of a user: the one that the init has.
pub(super) const KEEP_USER: u32 = u32::MAX;

/// What to know of a program before its text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spawn {
    /// How many arguments the text has, including the name of the program.
    pub(super) arguments: u32,
    /// How many environment variables follow them.
    pub(super) variables: u32,
    /// A bit for each capability that the program may have.
    pub(super) capabilities: u64,
    /// Not 0: standard input is a terminal that becomes the program's controlling terminal.
    pub(super) terminal: u32,
    /// Not 0: the program has given up what it could do to the machine. The words below count only then.
    pub(super) confined: u32,
    /// The user that it becomes; [`KEEP_USER`] for none.
    pub(super) user: u32,
    /// How many descriptors it may have; 0 for as many as its init.
    pub(super) files: u32,
    /// How many processes and threads its user may have; 0 for as many as its init's.
    pub(super) processes: u32,
}

/// The descriptors that come with [`InitRequest::Spawn`], by their place.
#[derive(Debug, Clone, Copy)]
pub(super) enum PassedFds {
    Stdin = 0,
    Stdout = 1,
    Stderr = 2,
    /// Where to write a [`Failure`]; closed by the exec that succeeds.
    Report = 3,
    Network = 4,
    /// Only when the program gets clocks of its own.
    Time = 5,
}

/// What the first thread of a program had of the processors, in microseconds; both are 0 where nobody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct CpuTime {
    /// How long it ran.
    pub(super) ran: u32,
    /// How long it was ready to run and had none.
    pub(super) waited: u32,
}

/// What an init, or the nursery before it, tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reply {
    /// The init lives, and has this number for us.
    Born(i32),
    /// There is no init, for this reason.
    Stillborn(Errno),
    /// A program was forked, and has this number in the init's namespace.
    Started(i32),
    /// A program could not be forked.
    NotStarted(Errno),
    /// A process ended: a program, or an orphan of one.
    Exited {
        /// Its number in the init's namespace.
        pid: i32,
        /// As wait(2) tells it.
        status: i32,
        /// What it had of the processors.
        cpu_time: CpuTime,
    },
    /// A program was stopped, by whomever.
    Stopped(i32),
    /// Nothing is left.
    Drained {
        /// The longest time, in microseconds, for which the init did nothing while programs ran.
        gap: u32,
        /// For how many microseconds all that ended since the last time has run.
        used: u32,
    },
    /// A sandbox was entered or renewed, or a step of it failed.
    Confined(Option<Failure>),
}

/// The step between fork and exec that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failure {
    /// Which step.
    pub(super) step: Step,
    /// Why.
    pub(super) errno: Errno,
}

/// What a program's process does between fork and exec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Step {
    Network,
    Time,
    Session,
    Terminal,
    Directory,
    Stdio,
    Capabilities,
    Exec,
    Mounts,
    Proc,
    Bpf,
    Temporary,
    Key,
    Ipc,
    Limits,
    User,
    NoNewPrivileges,
}

impl Step {
    const ALL: [Self; 17] = [
        Self::Network,
        Self::Time,
        Self::Session,
        Self::Terminal,
        Self::Directory,
        Self::Stdio,
        Self::Capabilities,
        Self::Exec,
        Self::Mounts,
        Self::Proc,
        Self::Bpf,
        Self::Temporary,
        Self::Key,
        Self::Ipc,
        Self::Limits,
        Self::User,
        Self::NoNewPrivileges,
    ];

    /// The system call that it is.
    pub(super) fn call(self) -> &'static str {
        match self {
            Self::Network => "setns(CLONE_NEWNET)",
            Self::Time => "setns(CLONE_NEWTIME)",
            Self::Session => "setsid",
            Self::Terminal => "ioctl(TIOCSCTTY)",
            Self::Directory => "chdir",
            Self::Stdio => "dup2",
            Self::Capabilities => "prctl(PR_CAPBSET_DROP)",
            Self::Exec => "execve",
            Self::Mounts => "setns(CLONE_NEWNS)",
            Self::Proc => "mount(proc)",
            Self::Bpf => "mount(bpf)",
            Self::Temporary => "mount(tmpfs)",
            Self::Key => "write the peers' secret",
            Self::Ipc => "unshare(CLONE_NEWIPC)",
            Self::Limits => "setrlimit",
            Self::User => "setresuid",
            Self::NoNewPrivileges => "prctl(PR_SET_NO_NEW_PRIVS)",
        }
    }
}

/// Writes words one after the other.
fn words<const N: usize>(words: &[u32]) -> [u8; N] {
    let mut bytes = [0; N];
    for (place, word) in bytes.chunks_exact_mut(4).zip(words) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
    bytes
}

/// Reads the word number `index`, or 0 behind the end.
fn word(bytes: &[u8], index: usize) -> u32 {
    let word = bytes.get(index * 4..index * 4 + 4).and_then(|b| b.try_into().ok());
    word.map_or(0, u32::from_ne_bytes)
}

/// Reads a number of two words, the lower one first.
fn long_word(bytes: &[u8], index: usize) -> u64 {
    u64::from(word(bytes, index)) | u64::from(word(bytes, index + 1)) << 32
}

impl InitRequest {
    pub(super) fn encode(self) -> [u8; REQUEST] {
        match self {
            Self::Spawn(spawn) => {
                let Spawn { arguments, variables, capabilities, terminal, .. } = spawn;
                let Spawn { confined, user, files, processes, .. } = spawn;
                let [low, high] = [capabilities as u32, (capabilities >> 32) as u32];
                words(&[1, arguments, variables, low, high, terminal, confined, user, files, processes])
            }
            Self::Signal { pid, signal } => words(&[2, pid.cast_unsigned(), signal.cast_unsigned()]),
            Self::Drain => words(&[3]),
            Self::Enter(EnterRequest { settings, capabilities }) => {
                words(&[4, settings, capabilities as u32, (capabilities >> 32) as u32])
            }
            Self::Renew(RenewRequest { user, paths }) => words(&[5, user, paths]),
        }
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        match word(bytes, 0) {
            1 => Some(Self::Spawn(Spawn {
                arguments: word(bytes, 1),
                variables: word(bytes, 2),
                capabilities: long_word(bytes, 3),
                terminal: word(bytes, 5),
                confined: word(bytes, 6),
                user: word(bytes, 7),
                files: word(bytes, 8),
                processes: word(bytes, 9),
            })),
            2 => {
                Some(Self::Signal { pid: word(bytes, 1).cast_signed(), signal: word(bytes, 2).cast_signed() })
            }
            3 => Some(Self::Drain),
            4 => Some(Self::Enter(EnterRequest {
                settings: word(bytes, 1),
                capabilities: long_word(bytes, 2),
            })),
            5 => Some(Self::Renew(RenewRequest { user: word(bytes, 1), paths: word(bytes, 2) })),
            _ => None,
        }
    }
}

impl Reply {
    pub(super) fn encode(self) -> [u8; REPLY] {
        let none = CpuTime::default();
        let (kind, first, second, cpu_time) = match self {
            Self::Born(pid) => (1, pid, 0, none),
            Self::Stillborn(errno) => (2, errno as i32, 0, none),
            Self::Started(pid) => (3, pid, 0, none),
            Self::NotStarted(errno) => (4, errno as i32, 0, none),
            Self::Exited { pid, status, cpu_time } => (5, pid, status, cpu_time),
            Self::Drained { gap, used } => (6, gap.cast_signed(), used.cast_signed(), none),
            Self::Stopped(pid) => (8, pid, 0, none),
            Self::Confined(None) => (7, -1, 0, none),
            Self::Confined(Some(Failure { step, errno })) => (7, step as i32, errno as i32, none),
        };
        words(&[kind, first.cast_unsigned(), second.cast_unsigned(), cpu_time.ran, cpu_time.waited])
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (first, second) = (word(bytes, 1).cast_signed(), word(bytes, 2).cast_signed());
        match word(bytes, 0) {
            1 => Some(Self::Born(first)),
            2 => Some(Self::Stillborn(Errno::from_raw(first))),
            3 => Some(Self::Started(first)),
            4 => Some(Self::NotStarted(Errno::from_raw(first))),
            5 => {
                let cpu_time = CpuTime { ran: word(bytes, 3), waited: word(bytes, 4) };
                Some(Self::Exited { pid: first, status: second, cpu_time })
            }
            6 => Some(Self::Drained { gap: first.cast_unsigned(), used: second.cast_unsigned() }),
            8 => Some(Self::Stopped(first)),
            7 => {
                let step = usize::try_from(first).ok().and_then(|step| Step::ALL.get(step));
                Some(Self::Confined(step.map(|step| Failure { step: *step, errno: Errno::from_raw(second) })))
            }
            _ => None,
        }
    }
}

impl Failure {
    /// Bytes of a failure.
    pub(super) const SIZE: usize = 8;

    pub(super) fn encode(self) -> [u8; Self::SIZE] {
        words(&[self.step as u32, self.errno as u32])
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let step = *Step::ALL.get(word(bytes, 0) as usize)?;
        Some(Self { step, errno: Errno::from_raw(word(bytes, 1).cast_signed()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_survive_the_way() {
        let spawn = Spawn {
            arguments: 3,
            variables: 70_000,
            capabilities: 1 << 40 | 5,
            terminal: 1,
            confined: 1,
            user: KEEP_USER,
            files: 1024,
            processes: 512,
        };
        for request in [
            InitRequest::Spawn(spawn),
            InitRequest::Signal { pid: 7, signal: 9 },
            InitRequest::Drain,
            InitRequest::Enter(EnterRequest { settings: 1, capabilities: 1 << 39 | 3 }),
            InitRequest::Renew(RenewRequest { user: 0x7000_0000, paths: 2 }),
        ] {
            assert_eq!(InitRequest::decode(&request.encode()), Some(request));
        }
        assert_eq!(InitRequest::decode(&[]), None);
    }

    #[test]
    fn replies_survive_the_way() {
        for reply in [
            Reply::Born(12),
            Reply::Stillborn(Errno::ENOSPC),
            Reply::Started(2),
            Reply::NotStarted(Errno::EAGAIN),
            Reply::Exited { pid: 3, status: -1, cpu_time: CpuTime { ran: 70_000, waited: u32::MAX } },
            Reply::Drained { gap: u32::MAX, used: 7 },
            Reply::Stopped(9),
            Reply::Confined(None),
            Reply::Confined(Some(Failure { step: Step::Proc, errno: Errno::EPERM })),
        ] {
            assert_eq!(Reply::decode(&reply.encode()), Some(reply));
        }
        assert_eq!(Reply::decode(&[0; REPLY]), None);
    }

    #[test]
    fn each_step_survives_the_way() {
        for step in Step::ALL {
            let failure = Failure { step, errno: Errno::ENOENT };
            assert_eq!(Failure::decode(&failure.encode()), Some(failure));
        }
    }
}
