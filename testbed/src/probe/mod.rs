//! Measures NATs: the proof of what one declares, the description of what one does, conformance to RFCs, the checks of the
//! kernel's own NAT, and random packets that compare the reference with a real NAT. Knows nothing of trials.

pub mod conformance;
pub mod fuzz;
pub mod kernel_checks;
pub mod measure;
pub mod prove;
pub mod support;
