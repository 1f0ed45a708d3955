//! Whatever comes from outside: files, programs' words, packets, the kernel's messages. `fuzz/` goes on where this ends.

#[path = "../../fuzz/bodies/testbed.rs"]
#[expect(unreachable_pub, reason = "the fuzz targets use the same file from outside")]
mod bodies;
#[path = "../../fuzz/bodies/havoc.rs"]
#[expect(unreachable_pub, reason = "a file of its own, used by two packages")]
mod havoc;

#[test]
fn seeds_and_their_mutants_are_survived() {
    havoc::run(&bodies::ALL);
}
