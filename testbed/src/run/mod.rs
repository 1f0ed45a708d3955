//! Makes a run: has the NATs proved, runs the trials in labs from a pool and has them judged. Events go out through one
//! callback, and nothing is formatted here.

pub mod capacity;
mod collector;
mod conntrack_check;
mod control;
pub mod cost;
pub mod environment;
pub mod first_words;
mod full_proofs;
mod lab_probe;
mod nat_views;
mod nat_watch;
mod neighbours;
mod not_judged;
mod not_run;
mod open_lab;
mod ordering;
mod pool;
mod prepared_cell;
mod queue;
mod replay;
mod request;
pub mod sandbox;
pub mod scripts;
pub mod seed;
mod session;
mod throttle;
mod trial;
mod trouble;

pub use open_lab::open_lab;
pub use prepared_cell::PreparedCell;
pub use request::{Cancel, Keep, Mutation, RunError, RunRequest};
pub use session::run;
