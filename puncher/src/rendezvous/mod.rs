//! The rendezvous: where two peers find each other, learn how the world sees them, and agree upon a start.
//!
//! ```no_run
//! # async fn example() -> std::io::Result<()> {
//! use puncher::rendezvous::{Limits, Server};
//!
//! let endpoints = ["203.0.113.1:7000".parse().unwrap(), "203.0.113.2:7001".parse().unwrap()];
//! let server = Server::bind(&endpoints, Limits::default())?;
//! let figures = server.metrics();
//! server.run(async { let _ = tokio::signal::ctrl_c().await; }).await;
//! println!("{} starts agreed", figures.read().starts);
//! # Ok(()) }
//! ```
// `message` is the language, `lobby` decides who hears what (pure), `server` is its sockets, `client` the peer's end,
// `proof` what a peer proves to the server.

pub(crate) mod client;
mod lobby;
pub(crate) mod message;
mod name;
pub(crate) mod proof;
pub(crate) mod server;

pub use name::resolve;
pub use server::{DrainingServer, Limits, Metrics, MetricsReader, Server, Setup, TokenError, Tokens};
