//! Proves the NATs, runs the trials, judges them: events out through one callback, nothing formatted here.

pub mod account;
pub mod verdict;
