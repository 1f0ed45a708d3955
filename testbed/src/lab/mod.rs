//! From a topology to living nodes, and back to nothing.
//! [`setup()`] gets what labs need, [`Lab::new`] says what one is to be, and a [`Lab`] hands out its nodes, their packets and
//! their conntrack events. When the lab is dropped its programs are killed and the kernel frees its namespaces. The same
//! happens when this process ends, however it ends.

pub(crate) mod absolute_timeout;
mod build;
mod builder;
mod capture;
mod clocks;
mod handle;
pub(crate) mod nat_program;
pub mod nat_rules;
pub mod nat_source;
mod nat_state;
pub(crate) mod nat_thread;
mod netns;
mod node;
pub(crate) mod periodic_flush;
mod recorder;
mod settings;
mod settling;
mod setup;
mod trouble;
pub mod wire;

pub use builder::{LabBuilder, NatChoice, Watch};
pub use handle::Lab;
pub use node::Node;
pub use settings::settings;
pub use setup::{Rights, prepare, setup};
pub use wire::WireEngine;
