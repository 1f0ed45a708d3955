//! From a topology to living nodes, and back to nothing.

pub mod wire;
