//! Whatever comes from outside: files, programs' words, packets, the kernel's messages. `fuzz/` goes on where this ends.

#[path = "../../fuzz/bodies/testbed.rs"]
#[expect(unreachable_pub, reason = "the fuzz targets use the same file from outside")]
mod bodies;
#[path = "../../puncher/tests/hostile/havoc.rs"]
mod havoc;

/// Programs under test that try to do harm.
mod attacks;

use std::fs;
use std::path::Path;

use testbed::report::ladder::Ladder;
use testbed::report::results::Results;

/// A seed that is refused at once leads a fuzzer nowhere: formats change, and seeds have to follow.
#[test]
fn seeds_of_whole_files_are_understood() {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds");
    let read = |name: &str| fs::read_to_string(seeds.join(name)).expect("a seed");
    for name in ["classic", "spray", "swept", "kernel"] {
        Results::from_json(&read(&format!("results/{name}"))).unwrap_or_else(|why| panic!("{name}: {why}"));
    }
    for name in ["passed", "failed"] {
        Ladder::from_json(&read(&format!("ladder/{name}"))).unwrap_or_else(|why| panic!("{name}: {why}"));
    }
    for (name, why) in [
        ("nowhere", "something goes from lane 1 to lane 1"),
        ("talks-to-itself", "something goes from lane 0 to lane 0"),
        ("leaves-no-lane", "it names the lane 6, and has 5"),
    ] {
        assert_eq!(Ladder::from_json(&read(&format!("ladder/{name}"))), Err(why.to_owned()));
    }
}
