//! A TCP hole puncher: gets a direct TCP connection between two hosts behind NATs, wherever that is physically possible.
//!
//! [`Puncher`] gets connections, [`rendezvous::Server`] is where two peers meet, and [`nat::probe`] tells what the local NAT
//! does.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use puncher::{Config, Meeting, Puncher, Role, Secret};
//!
//! let servers = vec!["203.0.113.1:7000".parse()?, "203.0.113.2:7001".parse()?];
//! let secret = Secret::from_file("secret".as_ref())?;
//! let meeting = Meeting { name: "some-name".into(), role: Role::A, secret };
//! let connection = Puncher::new(Config::new(servers))?.connect(&meeting).await?;
//! println!("won by {} in {:?}", connection.report.method, connection.report.established);
//! # Ok(()) }
//! ```
//!
//! Inside, from bottom to top: `socket` (one TCP socket), `secret`, `meeting` and `session` (who may meet, and their keys), `rendezvous` (where they
//! meet), `classify` and `predict` (what the NATs do; pure), `method` (how to punch; pure), `handshake` (is it the peer),
//! `driver` (rounds), `puncher` (all of it).

mod address_policy;
mod attempt_log;
mod classify;
mod config;
mod connection;
mod contract;
mod driver;
mod error;
mod fault_injection;
mod fd_limit;
mod handshake;
#[doc(hidden)]
pub mod internals;
mod introducer;
mod live_streams;
mod meeting;
mod method;
mod own_channel;
mod pattern;
mod platform;
mod predict;
mod probe;
mod puncher;
pub mod rendezvous;
mod sealed;
mod secret;
mod session;
mod signalling;
mod socket;
mod socket_set;
mod stream;
mod sync;
mod text;
mod ticket;
mod trace;
mod x25519;

pub use address_policy::{ServerTrust, SpecialAddresses};
pub use attempt_log::{AttemptLog, FailureKind, Tally};
pub use config::{Config, ConfigError, LowPorts, Protection};
pub use connection::{Connection, Report};
pub use contract::{Awaited, Event, Outcome};
pub use error::ConnectError;
pub use meeting::{Meeting, Role};
pub use method::{MethodName, Outlook};
pub use puncher::Puncher;
pub use rendezvous::client::ClientError;
pub use sealed::SealError;
pub use secret::{Secret, SecretError, read_private, write_private};
pub use signalling::{Breadth, Observed, Observer, Signalling, dial};
pub use stream::PeerStream;
pub use ticket::{OwnTicket, SealedTicket, Ticket, TicketError};

/// What the local NAT does: [`probe`](nat::probe) observes it, [`classify`](nat::classify) tells what it amounts to.
pub mod nat {
    pub use crate::classify::Answer;
    pub use crate::classify::class::{Evidence, Filtering, Mapping, NatClass, PortAllocation, classify};
    pub use crate::classify::{Allocation, Observation};
    pub use crate::probe::{ProbeConfig, probe};
}

/// The examples of the page about puncher, compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod page {}
