//! What connection tracking counted of its own failures, and what that explains.

use super::Checker;
use crate::judge::reference::tracker::Tracked;

impl Checker<'_> {
    /// Whether an entry may have made room for a new one in a full table, as often as the NAT counted that (`early_drop`: only
    /// entries that no data confirmed).
    pub(super) fn evicted(&mut self, id: usize) -> Option<()> {
        let assured = |state: &Option<Tracked>| state.is_some_and(|tracked| tracked.is_assured());
        if self.entries[id].possible.iter().all(assured) {
            return None;
        }
        self.counted.early_drop = self.counted.early_drop.checked_sub(1)?;
        Some(())
    }

    /// Whether the first packet of a connection that went nowhere is one of those of which the NAT counted that no entry could be
    /// made (`insert_failed`, `drop`, `chaintoolong`).
    pub(super) fn not_inserted(&mut self) -> bool {
        let counters = &mut self.counted;
        if counters.lost_openings() == 0 {
            return false;
        }
        if counters.insert_failed.max(counters.drop) == 0 {
            counters.chain_too_long -= 1;
        } else {
            counters.insert_failed = counters.insert_failed.saturating_sub(1);
            counters.drop = counters.drop.saturating_sub(1);
        }
        true
    }
}
