//! Keeps the conntrack events of one node, so that the kernel never has to throw any away.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::io::unix::AsyncFd;
use tokio::task::AbortHandle;
use tokio::time::sleep;

use crate::kernel::clock;
use crate::kernel::conntrack::{Events, Read};
use crate::kernel::error::{Error, Result};
use crate::kernel::readiness;
use crate::model::evidence::{CtChange, CtEvent, Nanos, Tuple};
use crate::model::topology::NodeName;

/// How long events wait for others to be read with: one packet changes several entries, and one waking is
/// enough for them. What an event tells is not when, but that: times come from the wires.
const PAUSE: Duration = Duration::from_millis(1);

/// Reads the events of a node as they come.
#[derive(Debug)]
pub(super) struct Recorder {
    shared: Arc<Shared>,
    task: AbortHandle,
}

#[derive(Debug)]
struct Shared {
    node: NodeName,
    events: AsyncFd<Events>,
    log: Mutex<Log>,
}

/// The events that were read and not yet taken, and the entries that exist according to all events.
#[derive(Debug, Default)]
struct Log {
    events: Vec<CtEvent>,
    lost: Vec<String>,
    /// When the last reading began that left nothing to read.
    read_at: Nanos,
    /// The entries that are there, by their numbers, as far as events tell.
    known: BTreeMap<u32, Tuple>,
}

impl Recorder {
    /// Begins to record; needs the context of a tokio runtime.
    pub(super) fn start(node: NodeName, events: Events) -> Result<Self> {
        let tried = format!("watch the conntrack events of \"{node}\"");
        let events = readiness::watch(events).map_err(|e| Error::io(tried, "epoll_ctl", &e))?;
        let shared = Arc::new(Shared { node, events, log: Mutex::default() });
        let task = tokio::spawn(record(Arc::clone(&shared))).abort_handle();
        Ok(Self { shared, task })
    }

    /// Everything that has happened until now, and what was lost of it; then starts over.
    pub(super) fn take(&self) -> (Vec<CtEvent>, Vec<String>) {
        let mut log = self.shared.log();
        self.shared.read(&mut log);
        (std::mem::take(&mut log.events), std::mem::take(&mut log.lost))
    }

    /// The entries that are there, as far as events tell; each is named once.
    pub(super) fn take_known(&self) -> Vec<Tuple> {
        let mut log = self.shared.log();
        self.shared.read(&mut log);
        std::mem::take(&mut log.known).into_values().collect()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Shared {
    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock()
    }

    fn read(&self, log: &mut Log) {
        let node = &self.node;
        let Log { events, known, read_at, .. } = log;
        let (begun, after) = (clock::monotonic(), *read_at);
        let read = self.events.get_ref().read(|change, entry| {
            match change {
                CtChange::New => drop(known.insert(entry.id, entry.original)),
                CtChange::Update => {}
                CtChange::Destroy => drop(known.remove(&entry.id)),
            }
            events.push(CtEvent { node: node.clone(), at: clock::monotonic(), after, change, entry });
        });
        match read {
            Ok(Read::Everything) => *read_at = begun,
            Ok(Read::SomeLost) => {
                log.lost.push(format!("conntrack events of \"{node}\": the buffer overflowed"))
            }
            Err(error) => log.lost.push(format!("conntrack events of \"{node}\": {error}")),
        }
    }
}

async fn record(shared: Arc<Shared>) {
    while let Ok(mut ready) = shared.events.readable().await {
        ready.clear_ready();
        shared.read(&mut shared.log());
        sleep(PAUSE).await;
    }
}
