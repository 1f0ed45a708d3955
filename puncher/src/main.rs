//! The `puncher` command.

fn main() {}
