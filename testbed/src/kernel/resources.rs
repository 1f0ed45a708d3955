//! What this process may use.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Lets this process have as many descriptors as its hard limit allows; returns how many that is.
pub fn raise_descriptor_limit() -> u64 {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return 0 };
    // Where even this is refused, the soft limit stays what it was.
    if setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() { hard } else { soft }
}
