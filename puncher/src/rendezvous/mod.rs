//! The rendezvous: where two peers find each other, learn how the world sees them, and agree upon a start.
//!
//! `message` is the language, `lobby` decides who hears what (pure), `server` is its sockets, `client` the peer's end,
//! `proof` what a peer proves to the server.

pub mod client;
pub mod lobby;
pub mod message;
pub mod proof;
pub mod server;
