//! Builds real NATs out of the Linux kernel and tells the truth about TCP hole punching across them.

pub mod cli;
pub mod kernel;
pub mod lab;
pub mod model;
pub mod report;
pub mod run;
