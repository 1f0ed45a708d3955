//! About what time a NAT forgot everything it held.

use super::passage::STAMPED_LATE;
use crate::model::evidence::{CtEvent, Nanos, NatFlush};

/// A time that the NAT forgot everything, and what came to it at about that time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FlushWindow {
    /// Before it began to forget.
    pub(super) before: Nanos,
    /// When it had forgotten.
    after: Nanos,
    /// What came sooner had surely been dealt with by then.
    pub(super) opens: Nanos,
    /// What came later surely came to a NAT that had forgotten everything.
    pub(super) closes: Nanos,
}

impl FlushWindow {
    /// Where the order of packets is uncertain that come within this margin.
    pub(super) fn of(flush: &NatFlush, margin: Nanos) -> Self {
        let around = margin + STAMPED_LATE;
        Self {
            before: flush.before,
            after: flush.after,
            opens: flush.before.saturating_sub(around),
            closes: flush.after + around,
        }
    }

    /// Whether an event tells what may have happened meanwhile.
    pub(super) fn explains(&self, event: &CtEvent) -> bool {
        event.after <= self.after && self.before <= event.at
    }
}
