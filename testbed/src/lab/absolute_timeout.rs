//! Ends each connection of a NAT that has an absolute timeout when its time is up, however busy it is.
//!
//! No rule of nftables ends an entry of connection tracking. The kernel can be told to refresh an entry no more
//! (`IPS_FIXED_TIMEOUT`), but then neither a FIN nor a reset shortens its time: an absolute timeout would take the place of all
//! others. So a thread does here what the software of a carrier's NAT does: it hears of each entry when connection tracking makes
//! it, and has connection tracking delete it when its time is up. Whatever ends an entry earlier does so as in any NAT.
//!
//! The thread may be late where the machine is busy. The kernel stamps when entries begin and end, so that this shows.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use crate::kernel::clock;
use crate::kernel::conntrack::{Conntrack, Events, Read};
use crate::kernel::error::{Error, Result};
use crate::kernel::namespace::Inside;
use crate::kernel::poller::{Poller, Waker};
use crate::kernel::scheduling::make_urgent;
use crate::lab::nat_rules::NatConfig;
use crate::model::behavior::ABSOLUTE_LATE;
use crate::model::evidence::{CtChange, Nanos, Tuple};

/// What is later than this is told: less than what the judge allows.
const TOLD_FROM: Duration = ABSOLUTE_LATE.saturating_sub(Duration::from_millis(50));

/// Whether entries are ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Enforcement {
    /// Each when its time is up.
    Enforced,
    /// None, until [`AbsoluteTimeout::enforce`]: what else a NAT does can be measured meanwhile.
    PutOff,
}

/// The absolute timeout of one NAT, at work until it is dropped.
#[derive(Debug)]
pub(crate) struct AbsoluteTimeout {
    shared: Arc<Shared>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    limit: Duration,
    enforced: AtomicBool,
    stopped: AtomicBool,
    events: Events,
    conntrack: Conntrack,
    entries: Mutex<Entries>,
}

/// The entries that are there, as far as events tell.
#[derive(Debug, Default)]
struct Entries {
    /// By when their time is up.
    due: BTreeMap<(Nanos, u32), Tuple>,
    /// By their numbers.
    ends: HashMap<u32, Nanos>,
    /// What went wrong.
    trouble: Vec<String>,
}

impl AbsoluteTimeout {
    /// That of the NAT that this thread is in, if it declares one.
    ///
    /// # Errors
    /// When a socket or a thread cannot be had.
    pub(crate) fn of(inside: &Inside, config: &NatConfig, enforcement: Enforcement) -> Result<Option<Self>> {
        config.absolute.map(|limit| Self::start(inside, limit, enforcement)).transpose()
    }

    fn start(inside: &Inside, limit: Duration, enforcement: Enforcement) -> Result<Self> {
        const TRIED: &str = "end connections at their absolute timeout";
        let failed = |e| Error::io(TRIED, "epoll_create", &e);
        let shared = Arc::new(Shared {
            limit,
            enforced: AtomicBool::new(enforcement == Enforcement::Enforced),
            stopped: AtomicBool::new(false),
            events: Events::of_begins_and_ends(inside)?,
            conntrack: Conntrack::open(inside)?,
            entries: Mutex::default(),
        });
        let poller = Poller::new().map_err(failed)?;
        poller.add(&shared.events, 0).map_err(failed)?;
        let waker = poller.waker();
        let own = Arc::clone(&shared);
        let builder = thread::Builder::new().name("testbed-timeout".to_owned());
        let run = move || {
            make_urgent();
            own.run(poller);
        };
        let thread = builder.spawn(run).map_err(|e| Error::io(TRIED, "clone", &e))?;
        Ok(Self { shared, waker, thread: Some(thread) })
    }

    /// Ends entries from now on, those whose time is up already at once.
    pub(crate) fn enforce(&self) {
        self.shared.enforced.store(true, Ordering::Relaxed);
        self.waker.wake();
    }

    /// How long connections live at most.
    pub(crate) fn limit(&self) -> Duration {
        self.shared.limit
    }

    /// How long the entry of a flow has left at most; `None` if no event told of one.
    pub(crate) fn left(&self, flow: &Tuple) -> Option<Duration> {
        let mut entries = self.shared.entries.lock();
        self.shared.read(&mut entries);
        let (end, _) = entries.due.iter().rfind(|(_, other)| *other == flow)?.0;
        Some(Duration::from_nanos(end.saturating_sub(clock::monotonic())))
    }

    /// What went wrong since this was last asked, in words: entries that ended late, or may have.
    pub(crate) fn take_trouble(&self) -> Vec<String> {
        let mut entries = self.shared.entries.lock();
        self.shared.end_due(&mut entries);
        // The ends of those are told by now.
        self.shared.read(&mut entries);
        std::mem::take(&mut entries.trouble)
    }
}

impl Drop for AbsoluteTimeout {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        self.waker.wake();
        // It panics nowhere, and nobody is left to be told.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

impl Shared {
    fn run(&self, mut poller: Poller) {
        let mut ready = Vec::new();
        while !self.stopped.load(Ordering::Relaxed) {
            let next = self.end_due(&mut self.entries.lock());
            if let Err(why) = poller.wait(next, &mut ready) {
                self.entries.lock().trouble.push(format!("the absolute timeout: {why}"));
                return;
            }
        }
    }

    /// Ends what is due. Returns when something will be.
    fn end_due(&self, entries: &mut MutexGuard<'_, Entries>) -> Option<Nanos> {
        self.read(entries);
        if !self.enforced.load(Ordering::Relaxed) {
            return None;
        }
        while let Some(first) = entries.due.first_entry() {
            let (end, id) = *first.key();
            if end > clock::monotonic() {
                return Some(end);
            }
            let flow = first.remove();
            entries.ends.remove(&id);
            // One that is gone by now ended by itself.
            if let Err(why) = self.conntrack.delete(&flow, id) {
                entries.trouble.push(format!("the absolute timeout: {why}"));
            }
        }
        None
    }

    /// Hears which entries have begun and ended.
    fn read(&self, entries: &mut Entries) {
        let limit = Nanos::try_from(self.limit.as_nanos()).unwrap_or(Nanos::MAX);
        let Entries { due, ends, trouble } = entries;
        let enforced = self.enforced.load(Ordering::Relaxed);
        let read = self.events.read_with_ages(|change, entry, lived| match change {
            CtChange::New => {
                let end = clock::monotonic().saturating_add(limit);
                ends.insert(entry.id, end);
                due.insert((end, entry.id), entry.original);
            }
            CtChange::Update => {}
            CtChange::Destroy => {
                if let Some(end) = ends.remove(&entry.id) {
                    due.remove(&(end, entry.id));
                }
                if let Some(late) = lived.and_then(|lived| lived.checked_sub(self.limit))
                    && enforced
                    && late > TOLD_FROM
                {
                    let late = late.as_millis();
                    trouble.push(format!("a connection was ended {late} ms after its absolute timeout"));
                }
            }
        });
        match read {
            Ok(Read::Everything) => {}
            Ok(Read::SomeLost) => {
                trouble.push("the absolute timeout: the buffer of events overflowed".to_owned());
            }
            Err(why) => trouble.push(format!("the absolute timeout: {why}")),
        }
    }
}
