//! A TCP hole puncher.
