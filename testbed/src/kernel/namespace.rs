//! Network namespaces as file descriptors, and the user namespace of `--rootless`.
//!
//! # The rule of entering
//! A network namespace belongs to a *thread*, and a thread of the async runtime must never change its own. So code
//! that needs to be inside enters through [`Namespace::enter`]: a thread is started for the purpose, joins the namespace,
//! does the work and ends. Sockets made in there belong to the namespace for good and may be used from anywhere.
//! What acts on "the namespace of this thread" takes an [`Inside`], which only such a thread can have: by type, nothing
//! of the sort can happen in the host's own namespace.
//!
//! A namespace lives as long as its descriptor, a process or a socket in it, and has no name. When this process ends,
//! however it ends, the kernel frees it.

use std::fs::File;
use std::iter;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::panic::resume_unwind;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle, Scope, ScopedJoinHandle};

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};

use crate::kernel::error::{Error, Result};
use crate::kernel::processors;

/// A network namespace of ours.
#[derive(Debug)]
pub struct Namespace {
    fd: OwnedFd,
}

/// Proof that the current thread is inside a namespace of ours; see the top of this file.
#[derive(Debug)]
pub struct Inside {
    /// The proof must not leave the thread.
    stays: PhantomData<*const ()>,
}

impl Namespace {
    /// Makes a new, empty namespace.
    ///
    /// # Errors
    /// When the kernel refuses: mostly missing rights, or `user.max_net_namespaces`.
    pub fn new() -> Result<Self> {
        Self::create(|_| ()).map(|(namespace, ())| namespace)
    }

    /// Makes a new namespace and does the first work inside it, all in one thread.
    ///
    /// # Errors
    /// As [`Namespace::new`].
    pub fn create<T: Send>(work: impl FnOnce(&Inside) -> T + Send) -> Result<(Self, T)> {
        thread::scope(|scope| begin(scope, || Self::around_this_thread(work))?.finish())
    }

    /// Makes a namespace for each of `items` and does the first work inside it; the answers come in any order.
    ///
    /// As many threads as there are processors share the work. More would only wait for each other: much of it the kernel
    /// does under locks, and who waits for those keeps a processor busy.
    ///
    /// # Errors
    /// As [`Namespace::new`].
    pub fn create_each<I: Sync, T: Send>(
        items: &[I],
        work: impl Fn(&Inside, &I) -> T + Sync,
    ) -> Result<Vec<(Self, T)>> {
        let next = AtomicUsize::new(0);
        let own = || {
            let own = iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
            let own = own.map_while(|number| items.get(number));
            own.map(|item| Self::around_this_thread(|inside| work(inside, item))).collect::<Result<Vec<_>>>()
        };
        let threads = processors::count().min(items.len());
        let shares = thread::scope(|scope| {
            // All are under way before the first is waited for.
            let begun: Vec<_> = (0..threads).map(|_| begin(scope, own)).collect();
            begun.into_iter().map(|share| share?.finish()).collect::<Result<Vec<_>>>()
        })?;
        Ok(shares.into_iter().flatten().collect())
    }

    /// Makes a new namespace, with this thread inside it, and does the first work. The thread must be one that was
    /// started for the purpose.
    fn around_this_thread<T>(work: impl FnOnce(&Inside) -> T) -> Result<(Self, T)> {
        const TRIED: &str = "create a network namespace";
        unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| match errno {
            Errno::EPERM => Error::call(TRIED, "unshare(CLONE_NEWNET)", errno)
                .with_help("run as root, or with --rootless"),
            Errno::ENOSPC => Error::call(TRIED, "unshare(CLONE_NEWNET)", errno)
                .with_help("sysctl user.max_net_namespaces sets the limit"),
            _ => Error::call(TRIED, "unshare(CLONE_NEWNET)", errno),
        })?;
        let path = "/proc/thread-self/ns/net";
        let fd = File::open(path).map_err(|e| Error::io(TRIED, format!("open {path}"), &e))?;
        Ok((Self { fd: fd.into() }, work(&Inside { stays: PhantomData })))
    }

    /// Opens a namespace that somebody else keeps, by the path of its descriptor.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(path: &Path) -> Result<Self> {
        let fd = File::open(path)
            .map_err(|e| Error::io("open a network namespace", format!("open {}", path.display()), &e))?;
        Ok(Self { fd: fd.into() })
    }

    /// Runs `work` in a thread of its own inside this namespace, and waits for it.
    ///
    /// # Errors
    /// When the thread cannot be started or the namespace cannot be entered.
    pub fn enter<T: Send>(&self, work: impl FnOnce(&Inside) -> T + Send) -> Result<T> {
        thread::scope(|scope| self.begin_work(scope, work)?.finish())
    }

    /// Runs `work` inside each of these namespaces, one after the other in the same thread, and waits for it.
    ///
    /// # Errors
    /// As [`Namespace::enter`].
    pub fn enter_each<'a, T: Send>(
        namespaces: impl Iterator<Item = &'a Self> + Send,
        mut work: impl FnMut(&Inside) -> T + Send,
    ) -> Result<Vec<T>> {
        let each = || namespaces.map(|namespace| namespace.join_it().map(|inside| work(&inside))).collect();
        thread::scope(|scope| begin(scope, each)?.finish())
    }

    /// Begins `work` in a thread of its own inside this namespace: other work may be under way beside it.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub fn begin_work<'scope, T: Send + 'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        work: impl FnOnce(&Inside) -> T + Send + 'scope,
    ) -> Result<Work<'scope, T>> {
        begin(scope, || self.join_it().map(|inside| work(&inside)))
    }

    /// Takes this thread into the namespace. It must be one that was started for the purpose.
    fn join_it(&self) -> Result<Inside> {
        let joined = setns(&self.fd, CloneFlags::CLONE_NEWNET);
        joined.map_err(|e| Error::call("enter a network namespace", "setns(CLONE_NEWNET)", e))?;
        Ok(Inside { stays: PhantomData })
    }

    /// Begins `work` in a thread of its own inside this namespace, which goes on even when this is dropped.
    ///
    /// # Errors
    /// When no descriptor is left, or the thread cannot be started.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inside) -> T + Send + 'static,
    ) -> Result<JoinHandle<Result<T>>> {
        let fd = self.fd.try_clone().map_err(|e| Error::io("enter a network namespace", "dup", &e))?;
        builder().spawn(move || Self { fd }.join_it().map(|inside| work(&inside))).map_err(no_thread)
    }

    /// Where other tools find the namespace while this process lives: `nsenter --net=PATH`.
    #[must_use]
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.fd.as_raw_fd())
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Work that is under way in a thread of its own.
#[derive(Debug)]
pub struct Work<'scope, T>(ScopedJoinHandle<'scope, Result<T>>);

impl<T> Work<'_, T> {
    /// Waits for it; a panic in there goes on out here.
    ///
    /// # Errors
    /// When the kernel does not make the namespace, or does not let anybody enter it.
    pub fn finish(self) -> Result<T> {
        self.0.join().unwrap_or_else(|panic| resume_unwind(panic))
    }
}

/// Begins `work` in a thread that ends with it.
fn begin<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    work: impl FnOnce() -> Result<T> + Send + 'scope,
) -> Result<Work<'scope, T>> {
    builder().spawn_scoped(scope, work).map(Work).map_err(no_thread)
}

fn builder() -> thread::Builder {
    thread::Builder::new().name("testbed-ns".into())
}

fn no_thread(why: std::io::Error) -> Error {
    Error::io("start a thread", "clone", &why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| begin(scope, work)?.finish())
    }

    #[test]
    fn the_thread_that_enters_is_another_one() {
        let outside = thread::current().id();
        let inside = in_thread(|| Ok(thread::current().id())).expect("a thread");
        assert_ne!(outside, inside);
    }

    #[test]
    #[should_panic(expected = "as it was")]
    fn a_panic_inside_reaches_the_caller() {
        let _ = in_thread::<()>(|| panic!("as it was"));
    }
}
