//! One binary for all tests that use testbed from outside.

/// The command line: exit code, standard output and standard error.
mod cli;
/// The real kernel: namespaces, rulesets, labs.
mod lab;
/// Which layer may use which.
mod layers;
