//! Whatever comes from outside: files, programs' words, packets, the kernel's messages. `fuzz/` goes on where this ends.

#[path = "../../fuzz/bodies/testbed.rs"]
#[expect(unreachable_pub, reason = "the fuzz targets use the same file from outside")]
mod bodies;
#[path = "../../fuzz/bodies/havoc.rs"]
mod havoc;
