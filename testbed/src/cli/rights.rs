//! What every command needs that builds labs: rights, descriptors, and the async runtime, in this order.

use tokio::runtime::{Builder, Runtime};

use crate::cli::command_error::CommandError;
use crate::kernel::error::Errno;
use crate::kernel::namespace::Namespace;
use crate::kernel::ruleset::Nft;
use crate::kernel::{limits, process, user_namespace};

/// A ruleset that changes nothing.
const NO_RULES: &str = "table ip testbed_check\ndelete table ip testbed_check\n";

/// How the rights to build labs are had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::Args)]
pub struct Rights {
    /// Run without root, in a user namespace
    #[arg(long)]
    pub rootless: bool,
}

/// Takes the rights and tries them. A process with threads cannot enter a user namespace, so this comes before all else
/// that starts any.
///
/// # Errors
/// When labs cannot be built here, with what would help.
pub fn take(rights: Rights) -> Result<(), CommandError> {
    if rights.rootless {
        user_namespace::enter_user_namespace()?;
    }
    // Programs inherit the limit from the process that starts them, so it comes first.
    limits::raise_descriptor_limit()?;
    process::prepare()?;
    let namespace = Namespace::new()?;
    let loaded = namespace.enter(|inside| Nft::get().load(inside, NO_RULES))?;
    loaded.map_err(|why| match why.errno() {
        Some(Errno::ENOENT) => {
            CommandError::with_help(why.to_string(), "install nftables: apt-get install nftables")
        }
        _ => CommandError::from(why),
    })
}

/// Starts the async runtime.
///
/// # Errors
/// When the machine has no room for its threads.
pub fn runtime() -> Result<Runtime, CommandError> {
    let runtime = Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|why| CommandError::new(format!("cannot start the async runtime: {why}")))
}
