//! The only code that touches Linux: one kernel object a file. Knows nothing of topologies.

pub mod backlog;
pub mod clock;
pub mod conntrack;
pub mod error;
pub mod executable;
pub mod heartbeat;
pub mod host;
pub mod limits;
pub mod link;
pub mod listening;
pub mod memory;
pub mod namespace;
pub mod network_state;
pub mod packet_socket;
pub mod poller;
pub mod preflight;
pub mod process;
pub mod processors;
pub(crate) mod readiness;
pub mod refusal;
pub mod ruleset;
pub mod sandbox;
pub mod scheduling;
pub mod script;
pub mod sysctl;
pub mod tcp_socket;
pub mod tcp_sockets;
pub mod terminal;
pub mod time_namespace;
pub mod user_file;
pub mod user_namespace;
pub(crate) mod users;

pub use error::{Errno, Error, Result};
