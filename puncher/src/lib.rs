//! A TCP hole puncher: gets a direct TCP connection between two hosts behind NATs, wherever that is physically possible.
//!
//! Bottom to top: [`socket`] (one TCP socket), [`secret`] and [`meeting`] (who may meet), [`rendezvous`] (where they
//! meet), [`classify`] and [`predict`] (what the NATs do; pure), [`method`] (how to punch; pure), [`handshake`] (is it
//! the peer), [`puncher`] (all of it), [`contract`] (what is told), [`cli`] (the command).

pub mod classify;
pub mod cli;
pub mod config;
pub mod contract;
mod driver;
pub mod handshake;
pub mod limits;
pub mod meeting;
pub mod method;
#[cfg(feature = "noise")]
pub mod noise;
pub mod predict;
pub mod probe;
pub mod puncher;
pub mod rendezvous;
pub mod secret;
pub mod socket;
mod spoil;
mod table;
pub mod ticket;
mod trace;
mod tried;

pub use config::{Config, ConfigError, ServerWord};
pub use driver::LowPorts;
pub use meeting::{Meeting, Role};
pub use method::MethodName;
pub use puncher::{ConnectError, Connection, Puncher, Report};
pub use secret::Secret;
pub use ticket::{SealedTicket, Ticket};
pub use tried::{Tally, Tried};
