//! How urgently the kernel runs a thread.

use std::fmt;

use nix::errno::Errno;

/// What a thread that asked for urgency got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ThreadPriority {
    /// SCHED_FIFO: it runs as soon as it can.
    Fifo,
    /// The ordinary policy, and why: rootless processes may not ask for more.
    Ordinary(Errno),
}

impl fmt::Display for ThreadPriority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fifo => f.write_str("SCHED_FIFO"),
            Self::Ordinary(why) => write!(f, "SCHED_OTHER (SCHED_FIFO refused: {why})"),
        }
    }
}

/// Makes the calling thread urgent as far as the kernel allows, and its timers exact.
///
/// The real-time throttle (`kernel.sched_rt_runtime_us`) still leaves others a share of the processor.
pub fn make_urgent() -> ThreadPriority {
    const PRIORITY: libc::c_int = 10;
    // Ordinary threads wait up to 50 us longer than they ask for unless told otherwise.
    let _ = nix::sys::prctl::set_timerslack(1);
    let parameter = libc::sched_param { sched_priority: PRIORITY };
    // musl's wrapper always fails, so this goes to the kernel directly. Thread 0 is the calling one.
    // SAFETY: `parameter` is a valid sched_param that lives across the call.
    let result =
        unsafe { libc::syscall(libc::SYS_sched_setscheduler, 0, libc::SCHED_FIFO, &raw const parameter) };
    match Errno::result(result) {
        Ok(_) => ThreadPriority::Fifo,
        Err(why) => ThreadPriority::Ordinary(why),
    }
}
