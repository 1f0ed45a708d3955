//! What the fuzz targets do with their bytes. The tests of the two packages include the same files.

#[path = "../puncher/tests/hostile/bodies.rs"]
pub mod puncher;
#[path = "bodies/testbed.rs"]
pub mod testbed;
