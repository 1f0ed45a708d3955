//! What a process needs before it builds labs: rights, file descriptors, the process that starts programs, and nftables.
//! Everything that builds labs begins here.

use std::panic::{self, PanicHookInfo};
use std::sync::{Arc, mpsc};
use std::{io, thread};

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
    start_runtime(|| Builder::new_multi_thread().enable_all().build())
}

/// The name of the thread that starts the runtime.
const STARTER: &str = "testbed-runtime";

/// Starts a runtime, or says why that cannot be. A runtime that cannot start one of its threads panics and then waits for
/// those that it has started, for ever. So another thread starts it, and is left alone if it panics.
fn start_runtime(build: impl FnOnce() -> std::io::Result<Runtime> + Send + 'static) -> Result<Runtime> {
    const TRIED: &str = "start the async runtime";
    let (told, panicked) = mpsc::channel();
    let built = told.clone();
    let usual: Arc<dyn Fn(&PanicHookInfo<'_>) + Send + Sync> = Arc::from(panic::take_hook());
    let hook = Arc::clone(&usual);
    panic::set_hook(Box::new(move |info| match thread::current().name() {
        // Whoever waited has given up: nobody is left to tell.
        Some(STARTER) => drop(told.send(Err(io::Error::other(what(info))))),
        _ => hook(info),
    }));
    let starter = thread::Builder::new().name(STARTER.to_owned()).spawn(move || drop(built.send(build())));
    let started =
        starter.and_then(|_| panicked.recv().unwrap_or_else(|_| Err(io::Error::other("it is gone"))));
    panic::set_hook(Box::new(move |info| usual(info)));
    started.map_err(|why| {
        Error::io(TRIED, "clone", &why).with_help("the limits of processes and threads: ulimit -u, pids.max")
    })
}

/// What a panic says.
fn what(info: &PanicHookInfo<'_>) -> String {
    let payload = info.payload();
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("it panicked").to_owned()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_whose_thread_cannot_start_is_an_error_and_no_hang() {
        let error = start_runtime(|| {
            // As tokio does: one thread runs already, and is waited for when the panic unwinds.
            struct Waits(Option<thread::JoinHandle<()>>);
            impl Drop for Waits {
                fn drop(&mut self) {
                    self.0.take().map(thread::JoinHandle::join);
                }
            }
            let _runs = Waits(Some(thread::spawn(|| {
                loop {
                    thread::park();
                }
            })));
            panic!("OS can't spawn worker thread: Resource temporarily unavailable");
        });
        let error = error.expect_err("no runtime").to_string();
        assert!(
            error.contains("cannot start the async runtime: clone: OS can't spawn worker thread"),
            "{error}"
        );
        let runtime = start_runtime(|| Builder::new_multi_thread().enable_all().build()).expect("a runtime");
        assert_eq!(runtime.block_on(async { 7 }), 7);
    }
}
