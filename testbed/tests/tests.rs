//! Tests.

/// The real kernel: namespaces, rulesets, labs.
mod lab;
