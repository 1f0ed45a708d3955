//! The clocks of nodes: nodes of a name have the same ones in every lab, and those of another name others.

use std::collections::BTreeMap;
use std::hash::Hasher as _;
use std::sync::Arc;
use std::time::Duration;

use fnv::FnvHasher;
use parking_lot::Mutex;

use crate::kernel::error::Result;
use crate::kernel::time_namespace::TimeNamespace;
use crate::model::topology::NodeName;

/// The clocks of nodes of this name, made for the first of them.
pub(super) fn of(name: &NodeName) -> Result<Arc<TimeNamespace>> {
    /// One for all labs of this process: a descriptor a lab is worth saving where there are hundreds.
    static MADE: Mutex<BTreeMap<NodeName, Arc<TimeNamespace>>> = Mutex::new(BTreeMap::new());
    let mut made = MADE.lock();
    if let Some(clocks) = made.get(name) {
        return Ok(Arc::clone(clocks));
    }
    let clocks = Arc::new(TimeNamespace::new(ahead(name))?);
    made.insert(name.clone(), Arc::clone(&clocks));
    Ok(clocks)
}

/// How far a node's clocks are ahead of the machine's: no two hosts share a clock. Fixed by the name, so that the same
/// lab is the same lab; between an hour and some days.
fn ahead(name: &NodeName) -> Duration {
    // FNV-1a, with its low bits, which differ least between like names, shifted out.
    let mut hasher = FnvHasher::default();
    hasher.write(name.as_str().as_bytes());
    let hash = hasher.finish() >> 20;
    Duration::from_secs(3_600 + hash % 500_000) + Duration::from_micros(hash % 999_983)
}
