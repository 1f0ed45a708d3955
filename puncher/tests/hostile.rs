//! Whatever comes over the network or from another person. `fuzz/` goes on where this ends.

#[path = "../../fuzz/bodies/puncher.rs"]
#[expect(unreachable_pub, reason = "the fuzz targets use the same file from outside")]
mod bodies;
#[path = "../../fuzz/bodies/havoc.rs"]
mod havoc;
