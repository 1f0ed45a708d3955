//! Builds real NATs out of the Linux kernel and tells the truth about TCP hole punching across them.

pub mod cli;
pub mod judge;
pub mod kernel;
pub mod lab;
pub mod model;
pub mod probe;
pub mod report;
pub mod run;
