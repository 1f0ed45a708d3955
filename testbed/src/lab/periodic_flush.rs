//! Has a NAT forget everything it holds at regular intervals, whatever passes: connections, and what its rules have learnt in sets and maps.
//!
//! A thread does it. It stamps each time, because no event of connection tracking tells that sets and maps were emptied, or that there was
//! nothing to forget. The thread may be late where the machine is busy, and tells that.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::Mutex;

use crate::kernel::clock;
use crate::kernel::conntrack::Conntrack;
use crate::kernel::error::{Error, Result};
use crate::kernel::namespace::Inside;
use crate::kernel::poller::{Poller, Waker};
use crate::kernel::ruleset::{DynamicSet, SetFlusher};
use crate::kernel::scheduling::make_urgent;
use crate::lab::absolute_timeout::Enforcement;
use crate::lab::nat_rules::NatConfig;
use crate::model::behavior::FLUSH_OFF;
use crate::model::evidence::{Nanos, NatFlush};
use crate::model::topology::NodeName;

/// What is later than this is told: less than what the judge allows.
const TOLD_FROM: Duration = FLUSH_OFF.saturating_sub(Duration::from_millis(50));

/// What has one NAT forget, at work until it is dropped.
#[derive(Debug)]
pub(crate) struct PeriodicFlush {
    shared: Arc<FlushState>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct FlushState {
    every: Duration,
    enforced: AtomicBool,
    stopped: AtomicBool,
    conntrack: Conntrack,
    sets: SetFlusher,
    /// The sets and maps that the NAT's rules fill.
    memory: Vec<DynamicSet>,
    log: Mutex<Log>,
}

/// What was done and not yet asked about.
#[derive(Debug, Default)]
struct Log {
    /// When it is to be done next, if it is not put off.
    next: Option<Nanos>,
    /// Before and after each time.
    done: Vec<(Nanos, Nanos)>,
    /// What went wrong.
    trouble: Vec<String>,
}

impl PeriodicFlush {
    /// That of the NAT that this thread is in, whose rules fill `memory`, if it declares to forget everything at regular intervals.
    ///
    /// # Errors
    /// When a socket or a thread cannot be had.
    pub(crate) fn of(
        inside: &Inside,
        config: &NatConfig,
        memory: &[DynamicSet],
        enforcement: Enforcement,
    ) -> Result<Option<Self>> {
        let Some(every) = config.flush_every else { return Ok(None) };
        let shared = FlushState {
            every,
            enforced: AtomicBool::new(enforcement == Enforcement::Enforced),
            stopped: AtomicBool::new(false),
            conntrack: Conntrack::open(inside)?,
            sets: SetFlusher::open(inside)?,
            memory: memory.to_vec(),
            log: Mutex::default(),
        };
        Self::start(shared).map(Some)
    }

    fn start(shared: FlushState) -> Result<Self> {
        const TRIED: &str = "have a NAT forget everything at regular intervals";
        let shared = Arc::new(shared);
        let poller = Poller::new().map_err(|e| Error::io(TRIED, "epoll_create", &e))?;
        let waker = poller.waker();
        let own = Arc::clone(&shared);
        let builder = thread::Builder::new().name("testbed-flush".to_owned());
        let run = move || {
            make_urgent();
            own.run(poller);
        };
        let thread = builder.spawn(run).map_err(|e| Error::io(TRIED, "clone", &e))?;
        Ok(Self { shared, waker, thread: Some(thread) })
    }

    /// Begins now, also if it had begun before: the first time is an interval later.
    pub(crate) fn enforce(&self) {
        self.shared.log.lock().next = None;
        self.shared.enforced.store(true, Ordering::Relaxed);
        self.waker.wake();
    }

    /// Not until [`PeriodicFlush::enforce`] from now on.
    pub(crate) fn put_off(&self) {
        self.shared.enforced.store(false, Ordering::Relaxed);
    }

    /// From one time to the next.
    pub(crate) fn interval(&self) -> Duration {
        self.shared.every
    }

    /// Waits until the NAT has forgotten everything, if that has begun.
    pub(crate) fn wait_until_done(&self) {
        drop(self.shared.log.lock());
    }

    /// Each time that the NAT, which is this node, has forgotten everything since this was last asked, in their order.
    pub(crate) fn take(&self, node: &NodeName) -> Vec<NatFlush> {
        let flush = |(before, after)| NatFlush { node: node.clone(), before, after };
        self.shared.log.lock().done.drain(..).map(flush).collect()
    }

    /// What went wrong since this was last asked, in words: that it was late, or failed.
    pub(crate) fn take_trouble(&self) -> Vec<String> {
        let mut log = self.shared.log.lock();
        let overdue = log.next.and_then(|next| clock::monotonic().checked_sub(next));
        let mut trouble = std::mem::take(&mut log.trouble);
        trouble.extend(overdue.and_then(told_late));
        trouble
    }
}

impl Drop for PeriodicFlush {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        self.waker.wake();
        // It panics nowhere, and nobody is left to be told.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl FlushState {
    fn run(&self, mut poller: Poller) {
        let mut ready = Vec::new();
        while !self.stopped.load(Ordering::Relaxed) {
            let next = self.flush_if_due();
            if let Err(why) = poller.wait(next, &mut ready) {
                self.log.lock().trouble.push(format!("the NAT forgets nothing any more: {why}"));
                return;
            }
        }
    }

    /// Forgets everything if it is time. Returns when it will be. Whoever asks meanwhile what was done waits until it is.
    fn flush_if_due(&self) -> Option<Nanos> {
        if !self.enforced.load(Ordering::Relaxed) {
            return None;
        }
        let every = Nanos::try_from(self.every.as_nanos()).unwrap_or(Nanos::MAX);
        let mut log = self.log.lock();
        let before = clock::monotonic();
        let due = *log.next.get_or_insert(before.saturating_add(every));
        if due > before {
            return Some(due);
        }
        let done = self.conntrack.flush(&[]).and_then(|()| self.sets.flush(&self.memory));
        let after = clock::monotonic();
        log.done.push((before, after));
        log.trouble.extend(done.err().map(|why| format!("the NAT did not forget everything: {why}")));
        log.trouble.extend(told_late(after - due));
        let in_time = Some(due.saturating_add(every)).filter(|next| *next > after);
        // What was missed is not made up for.
        let next = in_time.unwrap_or(after.saturating_add(every));
        log.next = Some(next);
        Some(next)
    }
}

/// What is said of something that is so late.
fn told_late(late: Nanos) -> Option<String> {
    let late = Duration::from_nanos(late);
    (late > TOLD_FROM).then(|| format!("the NAT forgot everything {} ms after its time", late.as_millis()))
}
