//! Whatever comes over the network or from another person. `fuzz/` goes on where this ends.

#[expect(unreachable_pub, reason = "the fuzz targets use the same file from outside")]
mod bodies;
mod havoc;
