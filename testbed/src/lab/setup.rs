//! What a process needs before it builds labs: rights, file descriptors, the process that starts programs, and nftables.
//! Everything that builds labs begins here.

use tokio::runtime::{Builder, Runtime};

use crate::kernel::error::{Errno, Error, Result};
use crate::kernel::namespace::Namespace;
use crate::kernel::ruleset::Nft;
use crate::kernel::{limits, process, user_namespace};

/// A ruleset that changes nothing.
const NO_RULES: &str = "table ip testbed_check\ndelete table ip testbed_check\n";

/// Where the rights to build labs come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Rights {
    /// Root's, if this process runs as root, else those in a new user namespace.
    #[default]
    Any,
    /// Those that this process has: as root, or in a user namespace that somebody else has made (`unshare -Urn`).
    Own,
    /// Those in a new user namespace, which any user may make where the machine allows it. The process must not have
    /// started any thread, so this does not work in the tests of a `#[test]` harness: run those under `unshare -Urn`.
    UserNamespace,
}

/// Gets everything that labs need, and starts a runtime for them. Call it first of all, before any thread is started.
///
/// ```no_run
/// use testbed::{Lab, Rights, Topology};
///
/// testbed::setup(Rights::Any)?.block_on(async {
///     let lab = Lab::new(&Topology::named("pair")?).nat("nat-a", "full-cone").nat("nat-b", "random").build().await?;
///     assert!(lab.node("peer-a")?.spawn("ping -c 1 203.0.113.1").await?.output().await?.status.success());
///     Ok::<_, Box<dyn std::error::Error>>(())
/// })
/// # .unwrap();
/// # Ok::<_, testbed::Error>(())
/// ```
///
/// # Errors
/// When labs cannot be built here; [`Error::help`] says what would change that.
pub fn setup(rights: Rights) -> Result<Runtime> {
    prepare(rights)?;
    let runtime = Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|why| Error::io("start the async runtime", "clone", &why))
}

/// As [`setup`], for a process that has a tokio runtime of its own or needs none. It may be called again.
///
/// # Errors
/// As [`setup`].
pub fn prepare(rights: Rights) -> Result<()> {
    let enters = match rights {
        Rights::Any => !user_namespace::is_root(),
        Rights::Own => false,
        Rights::UserNamespace => true,
    };
    if enters {
        user_namespace::enter_user_namespace()?;
    }
    // Programs inherit the limit from the process that starts them, so it comes first.
    limits::raise_descriptor_limit()?;
    process::prepare()?;
    let namespace = Namespace::new()?;
    let loaded = namespace.enter(|inside| Nft::get().load(inside, NO_RULES))?;
    loaded.map_err(|refusal| match refusal.errno() {
        Some(Errno::ENOENT) => refusal.with_help("install nftables: apt-get install nftables"),
        _ => refusal,
    })
}
