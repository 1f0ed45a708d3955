//! A thread that has a NAT do what no rule of nftables can, at times of its own.
//!
//! It is urgent, as that of the wires is: what it does late is late for every packet. The kernel may still hold it up, because whatever
//! walks through a table of connection tracking waits for all others that do, in whichever namespace.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use crate::kernel::error::{Error, Result};
use crate::kernel::poller::{Poller, Waker};
use crate::kernel::scheduling::make_urgent;
use crate::model::evidence::Nanos;

/// Whether it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Enforcement {
    /// When it is time.
    Enforced,
    /// Not until [`NatThread::enforce`]: what else a NAT does can be measured meanwhile.
    PutOff,
}

/// What is to be done to a NAT at times.
pub(super) trait TimedDuty: fmt::Debug + Send + Sync + 'static {
    /// What it is, as in "cannot end connections".
    const TRIED: &str;

    /// Has the thread woken by whatever tells of something to do.
    ///
    /// # Errors
    /// The kernel's.
    fn watch(&self, _: &Poller) -> io::Result<()> {
        Ok(())
    }

    /// Does what is due. Returns when something will be.
    fn do_due(&self, enforcement: Enforcement) -> Option<Nanos>;

    /// Nothing will be done any more.
    fn ended(&self, why: &io::Error);
}

/// The thread, at work until this is dropped.
#[derive(Debug)]
pub(super) struct NatThread<D> {
    shared: Arc<Shared<D>>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared<D> {
    duty: D,
    enforced: AtomicBool,
    stopped: AtomicBool,
}

impl<D: TimedDuty> NatThread<D> {
    /// Starts it.
    ///
    /// # Errors
    /// When a descriptor or a thread cannot be had.
    pub(super) fn start(duty: D, enforcement: Enforcement) -> Result<Self> {
        let failed = |e| Error::io(D::TRIED, "epoll_create", &e);
        let poller = Poller::new().map_err(failed)?;
        duty.watch(&poller).map_err(failed)?;
        let enforced = AtomicBool::new(enforcement == Enforcement::Enforced);
        let shared = Arc::new(Shared { duty, enforced, stopped: AtomicBool::new(false) });
        let (own, waker) = (Arc::clone(&shared), poller.waker());
        let run = move || {
            make_urgent();
            own.run(poller);
        };
        let thread = thread::Builder::new().name("testbed-nat".to_owned()).spawn(run);
        let thread = thread.map_err(|e| Error::io(D::TRIED, "clone", &e))?;
        Ok(Self { shared, waker, thread: Some(thread) })
    }

    /// What it does.
    pub(super) fn duty(&self) -> &D {
        &self.shared.duty
    }

    /// Whether it does it.
    pub(super) fn enforcement(&self) -> Enforcement {
        self.shared.enforcement()
    }

    /// Does it from now on.
    pub(super) fn enforce(&self) {
        self.shared.enforced.store(true, Ordering::Relaxed);
        self.waker.wake();
    }

    /// Does nothing from now on.
    pub(super) fn put_off(&self) {
        self.shared.enforced.store(false, Ordering::Relaxed);
    }
}

impl<D> Drop for NatThread<D> {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        self.waker.wake();
        // It panics nowhere, and nobody is left to be told.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl<D: TimedDuty> Shared<D> {
    fn enforcement(&self) -> Enforcement {
        match self.enforced.load(Ordering::Relaxed) {
            true => Enforcement::Enforced,
            false => Enforcement::PutOff,
        }
    }

    fn run(&self, mut poller: Poller) {
        let mut ready = Vec::new();
        while !self.stopped.load(Ordering::Relaxed) {
            let next = self.duty.do_due(self.enforcement());
            if let Err(why) = poller.wait(next, &mut ready) {
                return self.duty.ended(&why);
            }
        }
    }
}
