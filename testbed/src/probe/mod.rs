//! Measures NATs: the proof of what one declares, conformance to RFCs, and the checks of the kernel's own NAT. Knows
//! nothing of trials.

pub mod conformance;
pub mod kernel_checks;
pub mod prove;
