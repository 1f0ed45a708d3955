//! From a topology to living nodes, and back to nothing.
//!
//! ```no_run
//! use testbed::lab::{Lab, WireEngine};
//! use testbed::model::{embedded, topology_file};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let file = embedded::find(embedded::TOPOLOGIES, "pair").expect("it is built in");
//! let topology = topology_file::parse(file.file, file.text)?;
//! let lab = Lab::build(&topology, &Default::default(), &WireEngine::start()?).await?;
//! let peer = lab.node_named("peer-a")?;
//! let ping = peer.spawn("ping -c 1 203.0.113.1").await?;
//! assert!(ping.output().await?.status.success());
//! # Ok(())
//! # }
//! ```
//! When the lab is dropped its programs are killed and the kernel frees its namespaces. So it does when this process
//! ends, however it ends.

mod build;
mod capture;
mod clocks;
mod handle;
pub(crate) mod nat_program;
pub mod nat_rules;
pub mod nat_source;
mod nat_state;
mod netns;
mod node;
mod recorder;
mod settings;
mod trouble;
pub mod wire;

pub use handle::Lab;
pub use netns::BuildTimes;
pub use node::Node;
pub use settings::settings;
pub use wire::WireEngine;
