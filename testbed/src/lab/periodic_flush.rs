//! Has a NAT forget everything it holds at regular intervals, whatever passes: connections, and what its rules have learnt in sets and maps.
//!
//! A thread does it. It stamps each time, because no event of connection tracking tells that sets and maps were emptied, or that there was
//! nothing to forget. The thread may be late where the machine is busy, and tells that.

use std::fmt;
use std::io;
use std::time::Duration;

use parking_lot::Mutex;

use crate::kernel::clock;
use crate::kernel::conntrack::Conntrack;
use crate::kernel::error::Result;
use crate::kernel::namespace::Inside;
use crate::kernel::ruleset::{DynamicSet, SetFlusher};
use crate::lab::nat_rules::NatConfig;
use crate::lab::nat_thread::{Enforcement, NatThread, TimedDuty};
use crate::model::behavior::FLUSH_OFF;
use crate::model::evidence::{Nanos, NatFlush, nanos};
use crate::model::topology::NodeName;

/// What is later than this is told: less than what the judge allows.
const TOLD_FROM: Duration = FLUSH_OFF.saturating_sub(Duration::from_millis(50));

/// What has one NAT forget, at work until it is dropped.
#[derive(Debug)]
pub(crate) struct PeriodicFlush<M: NatMemory = KernelMemory>(NatThread<FlushOfAll<M>>);

/// All that a NAT holds.
pub(crate) trait NatMemory: fmt::Debug + Send + Sync + 'static {
    /// Empties it.
    ///
    /// # Errors
    /// When some of it is left.
    fn forget(&self) -> Result<()>;
}

/// What the kernel holds for a NAT.
#[derive(Debug)]
pub(crate) struct KernelMemory {
    conntrack: Conntrack,
    flusher: SetFlusher,
    /// The sets and maps that the NAT's rules fill.
    sets: Vec<DynamicSet>,
}

impl NatMemory for KernelMemory {
    fn forget(&self) -> Result<()> {
        self.conntrack.flush(&[])?;
        self.flusher.flush(&self.sets)
    }
}

/// Empties all that the NAT holds, every so often.
#[derive(Debug)]
struct FlushOfAll<M> {
    every: Duration,
    memory: M,
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
    /// That of the NAT that this thread is in, whose rules fill `sets`, if it declares to forget everything at regular intervals.
    ///
    /// # Errors
    /// When a socket or a thread cannot be had.
    pub(crate) fn of(
        inside: &Inside,
        config: &NatConfig,
        sets: &[DynamicSet],
        enforcement: Enforcement,
    ) -> Result<Option<Self>> {
        let Some(every) = config.flush_every else { return Ok(None) };
        let (conntrack, flusher) = (Conntrack::open(inside)?, SetFlusher::open(inside)?);
        let memory = KernelMemory { conntrack, flusher, sets: sets.to_vec() };
        Self::start(every, memory, enforcement).map(Some)
    }
}

impl<M: NatMemory> PeriodicFlush<M> {
    fn start(every: Duration, memory: M, enforcement: Enforcement) -> Result<Self> {
        NatThread::start(FlushOfAll { every, memory, log: Mutex::default() }, enforcement).map(Self)
    }

    /// Begins now, also if it had begun before: the first time is an interval later.
    pub(crate) fn enforce(&self) {
        self.0.duty().log.lock().next = None;
        self.0.enforce();
    }

    /// Not until [`PeriodicFlush::enforce`] from now on.
    pub(crate) fn put_off(&self) {
        self.0.put_off();
    }

    /// From one time to the next.
    pub(crate) fn interval(&self) -> Duration {
        self.0.duty().every
    }

    /// Waits until the NAT has forgotten everything, if that has begun.
    pub(crate) fn wait_until_done(&self) {
        drop(self.0.duty().log.lock());
    }

    /// Each time that the NAT, which is this node, has forgotten everything since this was last asked, in their order.
    pub(crate) fn take(&self, node: &NodeName) -> Vec<NatFlush> {
        let flush = |(before, after)| NatFlush { node: node.clone(), before, after };
        self.0.duty().log.lock().done.drain(..).map(flush).collect()
    }

    /// What went wrong since this was last asked, in words: that it was late, or failed.
    pub(crate) fn take_trouble(&self) -> Vec<String> {
        let mut log = self.0.duty().log.lock();
        let overdue = log.next.and_then(|next| clock::monotonic().checked_sub(next));
        let mut trouble = std::mem::take(&mut log.trouble);
        trouble.extend(overdue.and_then(told_late));
        trouble
    }
}

impl<M: NatMemory> TimedDuty for FlushOfAll<M> {
    const TRIED: &str = "have a NAT forget everything at regular intervals";

    /// Forgets everything if it is time. Returns when it will be. Whoever asks meanwhile what was done waits until it is.
    fn do_due(&self, enforcement: Enforcement) -> Option<Nanos> {
        if enforcement == Enforcement::PutOff {
            return None;
        }
        let every = nanos(self.every);
        let mut log = self.log.lock();
        let before = clock::monotonic();
        let due = *log.next.get_or_insert(before.saturating_add(every));
        if due > before {
            return Some(due);
        }
        let done = self.memory.forget();
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

    fn ended(&self, why: &io::Error) {
        self.log.lock().trouble.push(format!("the NAT forgets nothing any more: {why}"));
    }
}

/// What is said of something that is so late.
fn told_late(late: Nanos) -> Option<String> {
    let late = Duration::from_nanos(late);
    (late > TOLD_FROM).then(|| format!("the NAT forgot everything {} ms after its time", late.as_millis()))
}

#[cfg(test)]
mod tests {
    use std::thread;
    use std::time::Instant;

    use super::*;

    /// A NAT that holds nothing.
    #[derive(Debug)]
    struct Nothing;

    impl NatMemory for Nothing {
        fn forget(&self) -> Result<()> {
            Ok(())
        }
    }

    /// When it has forgotten for the first time after `since`.
    fn forgotten_after(flush: &PeriodicFlush<Nothing>, since: Nanos) -> Nanos {
        let node = NodeName::new("nat").expect("a good name");
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            let done = flush.take(&node).into_iter().map(|done| done.before);
            if let Some(first) = done.filter(|before| *before >= since).min() {
                return first;
            }
            thread::yield_now();
        }
        panic!("it was never made to forget");
    }

    #[test]
    fn after_it_was_put_off_the_first_time_is_an_interval_later() {
        const EVERY: Duration = Duration::from_millis(100);
        let started = clock::monotonic();
        let flush = PeriodicFlush::start(EVERY, Nothing, Enforcement::Enforced).expect("a thread");
        let first = forgotten_after(&flush, started);
        assert!(first >= started + nanos(EVERY));
        // The next time comes while it is put off.
        flush.put_off();
        while clock::monotonic() < first + 2 * nanos(EVERY) {
            thread::yield_now();
        }
        let enforced = clock::monotonic();
        flush.enforce();
        assert!(forgotten_after(&flush, enforced) >= enforced + nanos(EVERY));
    }
}
