//! How many descriptors this process may have: each lab needs some dozens.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::kernel::error::{Error, Result};

/// What a process that may do so gives itself: a thousand labs with a small topology need some forty thousand.
const PLENTY: u64 = 1 << 17;

/// Raises the limit of open descriptors as far as is useful and allowed, and returns it. Programs that are started
/// inherit it.
///
/// Beyond the hard limit goes only who has CAP_SYS_RESOURCE on the host, and no further than `fs.nr_open`
/// (getrlimit(2)).
///
/// # Errors
/// When the kernel refuses.
pub fn raise_descriptor_limit() -> Result<u64> {
    const TRIED: &str = "raise the limit of open files";
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)
        .map_err(|errno| Error::call(TRIED, "getrlimit(RLIMIT_NOFILE)", errno))?;
    if hard < PLENTY && setrlimit(Resource::RLIMIT_NOFILE, PLENTY, PLENTY).is_ok() {
        return Ok(PLENTY);
    }
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard)
            .map_err(|errno| Error::call(TRIED, "setrlimit(RLIMIT_NOFILE)", errno))?;
    }
    Ok(hard)
}

/// How many descriptors this process may have open now.
///
/// # Errors
/// When the kernel refuses.
pub fn descriptor_limit() -> Result<u64> {
    let limits = getrlimit(Resource::RLIMIT_NOFILE);
    let (soft, _) = limits
        .map_err(|errno| Error::call("ask for the limit of open files", "getrlimit(RLIMIT_NOFILE)", errno))?;
    Ok(soft)
}
