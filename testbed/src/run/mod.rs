//! Proves the NATs, runs the trials, judges them: events out through one callback, nothing formatted here.

pub mod account;
pub mod cause;
pub mod judge;
pub mod oracle;
pub mod prove;
pub mod queue;
#[cfg(test)]
mod scene;
pub mod seed;
pub mod story;
pub mod verdict;
