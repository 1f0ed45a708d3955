//! From a topology to living nodes, and back to nothing.

pub mod nat_rules;
pub mod wire;
