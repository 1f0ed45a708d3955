//! The only code that touches Linux: one kernel object a file. Knows nothing of topologies.
