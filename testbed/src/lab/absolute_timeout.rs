//! Ends each connection of a NAT that has an absolute timeout when its time is up, however busy it is.
//!
//! No rule of nftables ends an entry of connection tracking. The kernel can be told to refresh an entry no more
//! (`IPS_FIXED_TIMEOUT`), but then neither a FIN nor a reset shortens its time: an absolute timeout would take the place of all
//! others. So a thread does here what the software of a carrier's NAT does: it hears of each entry when connection tracking makes
//! it, and has connection tracking delete it when its time is up. Whatever ends an entry earlier does so as in any NAT.
//!
//! The thread may be late where the machine is busy. The kernel stamps when entries begin and end, so that this shows.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};

use crate::kernel::clock;
use crate::kernel::conntrack::{Conntrack, Events, Read};
use crate::kernel::error::Result;
use crate::kernel::namespace::Inside;
use crate::kernel::poller::Poller;
use crate::lab::nat_rules::NatConfig;
use crate::lab::nat_thread::{Enforcement, NatThread, TimedDuty};
use crate::model::behavior::ABSOLUTE_LATE;
use crate::model::evidence::{CtChange, Nanos, Tuple, nanos};

/// What is later than this is told: less than what the judge allows.
const TOLD_FROM: Duration = ABSOLUTE_LATE.saturating_sub(Duration::from_millis(50));

/// The absolute timeout of one NAT, at work until it is dropped.
#[derive(Debug)]
pub(crate) struct AbsoluteTimeout(NatThread<EndOfEntries>);

/// Ends entries when they are as old as that.
#[derive(Debug)]
struct EndOfEntries {
    limit: Duration,
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
        let Some(limit) = config.absolute else { return Ok(None) };
        let (events, conntrack) = (Events::of_begins_and_ends(inside)?, Conntrack::open(inside)?);
        let duty = EndOfEntries { limit, events, conntrack, entries: Mutex::default() };
        NatThread::start(duty, enforcement).map(|thread| Some(Self(thread)))
    }

    /// Ends entries from now on, those whose time is up already at once.
    pub(crate) fn enforce(&self) {
        self.0.enforce();
    }

    /// How long connections live at most.
    pub(crate) fn limit(&self) -> Duration {
        self.0.duty().limit
    }

    /// How long the entry of a flow has left at most; `None` if no event told of one.
    pub(crate) fn left(&self, flow: &Tuple) -> Option<Duration> {
        let mut entries = self.0.duty().entries.lock();
        self.0.duty().read(&mut entries, self.0.enforcement());
        let (end, _) = entries.due.iter().rfind(|(_, other)| *other == flow)?.0;
        Some(Duration::from_nanos(end.saturating_sub(clock::monotonic())))
    }

    /// What went wrong since this was last asked, in words: entries that ended late, or may have.
    pub(crate) fn take_trouble(&self) -> Vec<String> {
        let (duty, enforcement) = (self.0.duty(), self.0.enforcement());
        let mut entries = duty.entries.lock();
        duty.end_due(&mut entries, enforcement);
        // The ends of those are told by now.
        duty.read(&mut entries, enforcement);
        std::mem::take(&mut entries.trouble)
    }
}

impl TimedDuty for EndOfEntries {
    const TRIED: &str = "end connections at their absolute timeout";

    fn watch(&self, poller: &Poller) -> io::Result<()> {
        poller.add(&self.events, 0)
    }

    fn do_due(&self, enforcement: Enforcement) -> Option<Nanos> {
        self.end_due(&mut self.entries.lock(), enforcement)
    }

    fn ended(&self, why: &io::Error) {
        self.entries.lock().trouble.push(format!("the absolute timeout: {why}"));
    }
}

impl EndOfEntries {
    /// Ends what is due. Returns when something will be.
    fn end_due(&self, entries: &mut MutexGuard<'_, Entries>, enforcement: Enforcement) -> Option<Nanos> {
        self.read(entries, enforcement);
        if enforcement == Enforcement::PutOff {
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
    fn read(&self, entries: &mut Entries, enforcement: Enforcement) {
        let limit = nanos(self.limit);
        let Entries { due, ends, trouble } = entries;
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
                    && enforcement == Enforcement::Enforced
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
