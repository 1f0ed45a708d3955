//! One binary for all tests that use testbed from outside.

/// The command line: exit code, standard output and standard error.
mod cli;
/// What is listed is documented, found and tried.
mod complete;
/// What comes from outside and means no good.
mod hostile;
/// The real kernel: namespaces, rulesets, labs.
mod lab;
/// Which layer may use which.
mod layers;
