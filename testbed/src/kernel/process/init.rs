//! The init of a lab: PID 1 of its PID namespace, which starts, signals and reaps.
//!
//! It has one thread, two descriptors and buffers from before the fork. See the top of `process.rs` for why.
//!
//! A program's process shares the memory of its init until it is executed, and the init waits so long: nothing is copied
//! that the next moment throws away. Only a process that shares its memory with nobody may change
//! its clocks (time_namespaces(7)), so the init takes on those of the program, which inherits them.
//!
//! The kernel counts how long each program ran, and was ready to run and had no processor. The init reads that between the end of
//! the program and the moment when nothing is left of it. It sees `/proc` as it was mounted, where programs have other
//! numbers than in its own PID namespace; each tells its own before it is executed.

use std::ffi::{c_char, c_int, c_void};
use std::os::fd::RawFd;
use std::ptr::null;

use nix::errno::Errno;

use super::confinement;
use super::protocol::{DESCRIPTORS, Failure, InitRequest, LONGEST, PassedFds, REQUEST, Reply, Spawn, Step};
use super::raw::{self, Received, WaitMode};
use super::stopped::{self, ProcessTable};

/// Where every init, and the nursery, has its socket.
pub(super) const SOCKET: RawFd = 3;

/// The most arguments and variables that a program may have together; room is needed for two null pointers more.
const MOST_STRINGS: usize = 8190;

/// What a program's process has for a stack until it is executed.
const STACK: usize = 64 * 1024;

/// Memory that is there before the fork.
pub(super) struct Buffers {
    message: Box<[u8]>,
    strings: Box<[*const c_char]>,
    stack: Box<[u8]>,
    listed: Listed,
    heartbeat: InitHeartbeat,
    /// For how many microseconds all that was reaped has run, since this was last told.
    used: u64,
    /// Where the children of its children can be seen: in a sandbox.
    processes: Option<ProcessTable>,
    /// The capabilities that programs could still get when they are executed: bit n for capability n.
    within_reach: u64,
}

/// The heartbeat of an init, while a program runs under it.
#[derive(Default)]
struct InitHeartbeat {
    /// The last beat; 0 where none is to be compared with.
    last: u64,
    /// The longest time between two beats, in nanoseconds, less what is meant to be between them beyond [`BEAT`].
    largest_gap: u64,
    /// When something was asked for last.
    asked: u64,
    /// The time until the next beat.
    next: u32,
}

/// The time between two beats, in nanoseconds; as `kernel::heartbeat` has it.
const BEAT: u32 = 20_000_000;

/// The same once the programs have run for [`LONG`]: they most likely wait for a deadline, and hundreds of labs may do so side by
/// side. A pause that is shorter may be missed here; the heart of the process that started this one has it.
const SLOW_BEAT: u32 = 200_000_000;

/// After this time programs are taken to wait, in nanoseconds.
const LONG: u64 = 400_000_000;

impl InitHeartbeat {
    fn beat(&mut self, now: u64) {
        if self.last > 0 {
            let meant = u64::from(self.next.saturating_sub(BEAT));
            self.largest_gap = self.largest_gap.max(now.saturating_sub(self.last).saturating_sub(meant));
        }
        self.last = now;
        self.next = if now.saturating_sub(self.asked) < LONG { BEAT } else { SLOW_BEAT };
    }

    /// Starts over: while nothing ran there was no beat, and a program that starts may change this process' clocks.
    fn begin(&mut self, now: u64) {
        (self.last, self.asked, self.next) = (now, now, BEAT);
    }
}

/// The programs that run. A lab has few; of more than there is room for, nobody knows what they had of the processors.
struct Listed {
    programs: [ListedProgram; 64],
    /// The one that was started last.
    newest: libc::pid_t,
}

/// A program that runs; its number is 0 where there is none.
#[derive(Clone, Copy, Default)]
struct ListedProgram {
    pid: libc::pid_t,
    in_proc: libc::pid_t,
    /// Whether it was told that something of it was stopped.
    stopped: bool,
}

impl Listed {
    fn add(&mut self, pid: libc::pid_t, in_proc: libc::pid_t) {
        if let Some(free) = self.programs.iter_mut().find(|program| program.pid == 0) {
            *free = ListedProgram { pid, in_proc, stopped: false };
        }
    }

    /// Whether any program runs.
    fn is_used(&self) -> bool {
        self.programs.iter().any(|program| program.pid != 0)
    }

    /// Tells of each program of which a process is stopped. One that belongs to none of them may belong to any.
    fn tell_stopped(&mut self) {
        stopped::each(|session| {
            let is_known = self.programs.iter().any(|program| program.pid == session);
            let is_it =
                |program: &&mut ListedProgram| program.pid != 0 && (!is_known || program.pid == session);
            for program in self.programs.iter_mut().filter(is_it).filter(|program| !program.stopped) {
                program.stopped = true;
                tell(Reply::Stopped(program.pid));
            }
        });
    }

    /// The number in `/proc` of a program that is not to be listed any longer.
    fn take(&mut self, pid: libc::pid_t) -> Option<libc::pid_t> {
        let program = self.programs.iter_mut().find(|program| program.pid == pid)?;
        Some(std::mem::take(program).in_proc)
    }
}

impl Buffers {
    pub(super) fn new() -> Self {
        Self {
            // One byte more than can be received stays 0, so that every text ends.
            message: vec![0; LONGEST + 1].into_boxed_slice(),
            strings: vec![null(); MOST_STRINGS + 2].into_boxed_slice(),
            stack: vec![0; STACK].into_boxed_slice(),
            listed: Listed { programs: [ListedProgram::default(); 64], newest: 0 },
            heartbeat: InitHeartbeat::default(),
            used: 0,
            processes: None,
            within_reach: u64::MAX,
        }
    }
}

/// All that an init ever does.
pub(super) fn run(socket: RawFd, buffers: &mut Buffers) -> ! {
    raw::reset_signals();
    raw::set_name(c"testbed-init");
    let child_ends = raw::signal_set(Some(libc::SIGCHLD));
    raw::set_blocked_signals(&child_ends);
    if raw::keep_only(socket).is_err() {
        raw::exit(1);
    }
    let Ok(ends) = raw::signal_descriptor(&child_ends) else { raw::exit(1) };
    loop {
        let beats = buffers.listed.is_used();
        let (message_waits, child_ended) =
            raw::wait_readable(SOCKET, ends, beats.then_some(buffers.heartbeat.next));
        if beats {
            buffers.heartbeat.beat(raw::now());
            report_stopped_descendants(buffers);
        }
        if child_ended {
            raw::take_signals(ends);
            report_stopped();
            reap_all(WaitMode::None, buffers);
        }
        if message_waits {
            match raw::receive(SOCKET, &mut buffers.message[..LONGEST]) {
                Ok(message) if message.length > 0 => {
                    obey(&message, buffers);
                    buffers.heartbeat.begin(raw::now());
                }
                // The other side is gone, so everything here must end, too.
                _ => raw::exit(0),
            }
        }
    }
}

/// Reports every child that was stopped.
fn report_stopped() {
    while let Some(pid) = raw::stopped() {
        tell(Reply::Stopped(pid));
    }
}

/// Reports the programs of which a process is stopped that is no child of this one. A look at all processes is worth its time only
/// where something was started after the last program.
fn report_stopped_descendants(Buffers { listed, processes, .. }: &mut Buffers) {
    let last = processes.as_ref().and_then(ProcessTable::last_started);
    if last.is_some_and(|last| last != listed.newest) {
        listed.tell_stopped();
    }
}

/// Reports every child that has ended, until none is left or none has ended.
fn reap_all(patience: WaitMode, Buffers { listed, used, .. }: &mut Buffers) {
    while let Ok(Some(pid)) = raw::ended(patience) {
        let cpu_time = listed.take(pid).and_then(raw::cpu_time).unwrap_or_default();
        let Ok((status, ran)) = raw::reap(pid) else { break };
        *used = used.saturating_add(ran);
        tell(Reply::Exited { pid, status, cpu_time });
    }
}

fn tell(reply: Reply) {
    if raw::send(SOCKET, &reply.encode(), &[], &[]).is_err() {
        raw::exit(0);
    }
}

fn obey(message: &Received, buffers: &mut Buffers) {
    match InitRequest::decode(&buffers.message) {
        Some(InitRequest::Spawn(spawn)) => match start(spawn, &message.descriptors, buffers) {
            Ok(pid) => tell(Reply::Started(pid)),
            Err(errno) => tell(Reply::NotStarted(errno)),
        },
        Some(InitRequest::Signal { pid, signal }) if pid > 1 => {
            // Each program leads a process group of its own.
            // SAFETY: takes no pointers.
            unsafe { libc::kill(-pid, signal) };
        }
        Some(InitRequest::Drain) => drain(buffers),
        Some(InitRequest::Enter(entry)) => {
            let entered = confinement::enter(message.descriptors[0], entry);
            buffers.processes = entered.ok().and_then(|_| ProcessTable::open());
            buffers.within_reach = entered.unwrap_or(u64::MAX);
            tell(Reply::Confined(entered.err()));
        }
        Some(InitRequest::Renew(renewal)) => {
            tell(Reply::Confined(confinement::renew(renewal, &mut buffers.message[REQUEST..]).err()));
        }
        _ => {}
    }
    message.descriptors.into_iter().for_each(raw::close);
}

/// Ends everything else in this PID namespace.
fn drain(buffers: &mut Buffers) {
    reap_all(WaitMode::None, buffers);
    // Orphans become children of the init, so without a child nothing is left. To find the processes of one namespace, the
    // kernel looks at each process of the machine.
    if raw::ended(WaitMode::None) != Err(Errno::ECHILD) {
        // SAFETY: takes no pointers. From inside a PID namespace, -1 means everything in it but its init. A process that
        // forks at this moment has the signal pending and is refused, so no child escapes.
        unsafe { libc::kill(-1, libc::SIGKILL) };
        reap_all(WaitMode::UntilOneEnds, buffers);
    }
    let word = |us: u64| u32::try_from(us).unwrap_or(u32::MAX);
    let gap = word(std::mem::take(&mut buffers.heartbeat.largest_gap) / 1000);
    tell(Reply::Drained { gap, used: word(std::mem::take(&mut buffers.used)) });
}

/// What the process of a program has in hand before it is executed.
struct ChildSetup<'a> {
    spawn: Spawn,
    descriptors: &'a [RawFd; DESCRIPTORS],
    message: &'a [u8],
    strings: &'a mut [*const c_char],
    within_reach: u64,
    /// Whether the init has the program's clocks.
    clocks: nix::Result<()>,
    /// Its number in `/proc`, when it has found that out.
    in_proc: Option<libc::pid_t>,
}

/// Starts a process for a program, and goes on when that has executed it or has failed and said why.
fn start(
    spawn: Spawn,
    descriptors: &[RawFd; DESCRIPTORS],
    buffers: &mut Buffers,
) -> nix::Result<libc::pid_t> {
    let clocks = match descriptors[PassedFds::Time as usize] {
        own if own < 0 => Ok(()),
        time => raw::set_clocks(time),
    };
    let Buffers { message, strings, stack, listed, within_reach, .. } = buffers;
    let within_reach = *within_reach;
    let mut child = ChildSetup { spawn, descriptors, message, strings, within_reach, clocks, in_proc: None };
    // SAFETY: this process has a single thread, which waits; the child makes plain system calls only, and `child` is a
    // `ChildSetup` that outlives them.
    let pid = unsafe { raw::fork_sharing_memory(stack, born, (&raw mut child).cast()) }?;
    child.in_proc.into_iter().for_each(|in_proc| listed.add(pid, in_proc));
    listed.newest = pid;
    Ok(pid)
}

/// What happens between fork and exec.
extern "C" fn born(child: *mut c_void) -> c_int {
    // SAFETY: `start` passes a `ChildSetup` and waits until it is not needed any more.
    let child = unsafe { &mut *child.cast::<ChildSetup<'_>>() };
    let report = child.descriptors[PassedFds::Report as usize];
    let Err(failure) = become_program(child);
    let bytes = failure.encode();
    // SAFETY: the pointer is valid for the length beside it.
    unsafe { libc::write(report, bytes.as_ptr().cast(), bytes.len()) };
    raw::exit(127)
}

fn become_program(child: &mut ChildSetup<'_>) -> Result<std::convert::Infallible, Failure> {
    let step =
        |step: Step, result: c_int| Errno::result(result).map(drop).map_err(|errno| Failure { step, errno });
    let ChildSetup { spawn, descriptors, clocks, within_reach, .. } = *child;
    let passed = |place: PassedFds| descriptors[place as usize];
    child.in_proc = raw::number_in_proc();
    raw::set_blocked_signals(&raw::signal_set(None));
    clocks.map_err(|errno| Failure { step: Step::Time, errno })?;
    let text = collect_strings(spawn, child.message, child.strings)
        .ok_or(Failure { step: Step::Exec, errno: Errno::E2BIG })?;
    // SAFETY: none of these takes a pointer but `chdir`, whose path ends in a zero byte, and `ioctl`, whose argument
    // is a number here.
    unsafe {
        step(Step::Network, libc::setns(passed(PassedFds::Network), libc::CLONE_NEWNET))?;
        step(Step::Session, libc::setsid())?;
        if spawn.terminal != 0 {
            step(Step::Terminal, libc::ioctl(passed(PassedFds::Stdin), libc::TIOCSCTTY, 0))?;
        }
        step(Step::Directory, libc::chdir(text.directory))?;
        for (standard, place) in [(0, PassedFds::Stdin), (1, PassedFds::Stdout), (2, PassedFds::Stderr)] {
            step(Step::Stdio, libc::dup2(passed(place), standard))?;
        }
    }
    match spawn.confined {
        0 => raw::drop_capabilities(u64::MAX, spawn.capabilities)
            .map_err(|errno| Failure { step: Step::Capabilities, errno })?,
        _ => confinement::give_up(&spawn, within_reach)?,
    }
    // SAFETY: the path ends in a zero byte, both arrays in a null pointer, and all of them outlive the call.
    Err(match Errno::result(unsafe { libc::execve(text.program, text.arguments, text.variables) }) {
        Err(errno) => Failure { step: Step::Exec, errno },
        Ok(_) => Failure { step: Step::Exec, errno: Errno::UnknownErrno },
    })
}

/// The text of a [`Spawn`] as execve(2) wants it.
struct SpawnText {
    program: *const c_char,
    directory: *const c_char,
    arguments: *const *const c_char,
    variables: *const *const c_char,
}

/// Finds the strings behind the words of a request: program, directory, arguments, variables.
fn collect_strings(spawn: Spawn, message: &[u8], strings: &mut [*const c_char]) -> Option<SpawnText> {
    let (arguments, variables) = (spawn.arguments as usize, spawn.variables as usize);
    if arguments.checked_add(variables)? > MOST_STRINGS {
        return None;
    }
    let mut rest = message.get(REQUEST..)?;
    let mut next = || {
        let length = rest.iter().position(|byte| *byte == 0)?;
        let string = rest.as_ptr().cast::<c_char>();
        rest = rest.get(length + 1..)?;
        Some(string)
    };
    let (program, directory) = (next()?, next()?);
    let (first, second) = strings.split_at_mut(arguments + 1);
    for (list, count) in [(&mut *first, arguments), (&mut *second, variables)] {
        for place in list.get_mut(..count)? {
            *place = next()?;
        }
        *list.get_mut(count)? = null();
    }
    Some(SpawnText { program, directory, arguments: first.as_ptr(), variables: second.as_ptr() })
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    const NOTHING: Spawn = Spawn {
        arguments: 0,
        variables: 0,
        capabilities: 0,
        terminal: 0,
        confined: 0,
        user: 0,
        files: 0,
        processes: 0,
    };

    fn collect(spawn: Spawn, buffers: &mut Buffers) -> Option<SpawnText> {
        collect_strings(spawn, &buffers.message, &mut buffers.strings)
    }

    fn with_text(text: &[u8]) -> Buffers {
        let mut buffers = Buffers::new();
        buffers.message[REQUEST..REQUEST + text.len()].copy_from_slice(text);
        buffers
    }

    fn list(strings: *const *const c_char) -> Vec<String> {
        let mut found = Vec::new();
        // SAFETY: lists end in a null pointer and strings in a zero byte, which is what is being tested.
        unsafe {
            while !(*strings.add(found.len())).is_null() {
                let string = CStr::from_ptr(*strings.add(found.len()));
                found.push(string.to_string_lossy().into_owned());
            }
        }
        found
    }

    #[test]
    fn strings_are_found_in_their_order() {
        let mut buffers = with_text(b"/bin/echo\0/tmp\0echo\0one\0\0A=1\0");
        let spawn = Spawn { arguments: 3, variables: 1, ..NOTHING };
        let text = collect(spawn, &mut buffers).expect("good text");
        assert_eq!(list(text.arguments), ["echo", "one", ""]);
        assert_eq!(list(text.variables), ["A=1"]);
        // SAFETY: both end in a zero byte.
        let (program, directory) = unsafe { (CStr::from_ptr(text.program), CStr::from_ptr(text.directory)) };
        assert_eq!((program, directory), (c"/bin/echo", c"/tmp"));
    }

    #[test]
    fn programs_that_run_for_long_are_asked_after_less_often() {
        let (beat, slow) = (u64::from(BEAT), u64::from(SLOW_BEAT));
        let mut heartbeat = InitHeartbeat::default();
        heartbeat.begin(1);
        assert_eq!(heartbeat.next, BEAT);
        heartbeat.beat(1 + LONG);
        assert_eq!((heartbeat.next, heartbeat.largest_gap), (SLOW_BEAT, LONG));
        heartbeat.largest_gap = 0;
        heartbeat.beat(1 + LONG + slow);
        assert_eq!(heartbeat.largest_gap, beat, "what is meant to pass between two beats is no gap");
        heartbeat.beat(1 + LONG + 11 * slow);
        assert_eq!(heartbeat.largest_gap, 9 * slow + beat, "what passes beyond that is one");
        heartbeat.begin(0);
        assert_eq!(heartbeat.next, BEAT);
    }

    #[test]
    fn more_strings_than_fit_are_refused() {
        let mut buffers = with_text(b"x\0");
        for (arguments, variables) in [(MOST_STRINGS as u32, 1), (u32::MAX, u32::MAX)] {
            let spawn = Spawn { arguments, variables, ..NOTHING };
            assert!(collect(spawn, &mut buffers).is_none());
        }
    }
}
