//! Builds real NATs out of the Linux kernel and tells the truth about TCP hole punching across them.
//!
//! ```no_run
#![doc = include_str!("../examples/two_peers.rs")]
//! ```

pub mod cli;
pub mod judge;
pub mod kernel;
pub mod lab;
pub mod model;
pub mod probe;
pub mod report;
pub mod run;

pub use kernel::Error;
pub use kernel::process::Command;
pub use lab::{Lab, LabBuilder, Rights, prepare, setup};
pub use model::behavior::{Behavior, Filtering};
pub use model::conditions::Conditions;
pub use model::topology::{Topology, TopologyError};
