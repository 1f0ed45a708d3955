//! Proves the NATs, runs the trials, judges them: events out through one callback, nothing formatted here.

pub mod account;
mod attempt;
mod cause;
pub mod conformance;
mod control;
pub mod cost;
pub mod environment;
mod hold;
pub mod judge;
pub mod kernel_checks;
mod neighbours;
pub mod oracle;
mod ordering;
mod pool;
mod programs;
pub mod prove;
mod queue;
mod request;
mod room;
#[cfg(test)]
pub(crate) mod scene;
pub mod seed;
mod session;
mod setting;
pub mod story;
mod throttle;
mod tracked;
mod trouble;
pub mod verdict;

pub use hold::hold;
pub use request::{Cancel, Keep, Request, RunError};
pub use session::run;
pub use setting::Ready;
