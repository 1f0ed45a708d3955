//! How many descriptors this process may have: each lab needs some dozens.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::kernel::error::{Error, Result};

/// Raises the limit of open descriptors as far as this process may, and returns it. Programs that are started
/// inherit it.
///
/// # Errors
/// When the kernel refuses.
pub fn raise_descriptor_limit() -> Result<u64> {
    const TRIED: &str = "raise the limit of open files";
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)
        .map_err(|errno| Error::call(TRIED, "getrlimit(RLIMIT_NOFILE)", errno))?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
            .map_err(|errno| Error::call(TRIED, "setrlimit(RLIMIT_NOFILE)", errno))?;
    }
    Ok(hard)
}
