//! Programs, started so that none of them outlives this process, however it ends.
//!
//! # Who starts what
//! ```text
//! this process ──┬── nursery            forked once, early and small; bears an init for each lab
//!                │     ├── init         PID 1 of a lab's own PID namespace
//!                │     │     ├── program
//!                │     │     └── program ── grandchild
//! ```
//! An init lives as long as the socket between it and this process. When that closes, because the [`Init`] is dropped
//! or because this process was killed, the init exits, and the kernel ends everything in its PID namespace with it:
//! grandchildren and daemons too, which a parent-death signal would miss.
//!
//! This process never forks for a program. It may be large and have an urgent thread, and each fork would mark all of
//! its memory copy-on-write under that thread's feet. The nursery is a copy from when this process was small
//! ([`prepare`]), and forking *it* is cheap. Between fork and exec only plain system calls are made, on memory that was
//! there before, as the locks of the other threads are copied in whatever state they were.

mod command;
mod confined;
mod confinement;
mod init;
mod nursery;
mod protocol;
mod raw;
mod runnable;
mod session;
mod stopped;
mod user_socket;

pub use nix::sys::signal::Signal;

pub use command::{Capabilities, Command, Limits, Stdio, Terminal};
pub use confined::{ConfinedInit, NetworkSettings};
pub use nursery::prepare;
pub use session::{CpuTime, Init, InitReport, Output, Place, Process};
pub use user_socket::{UserConnection, UserListener, UserRequest, send_request, socket_name};

pub(crate) use nursery::is_running as nursery_is_running;
