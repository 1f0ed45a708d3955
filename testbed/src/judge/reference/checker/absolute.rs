//! Connections that a NAT had to end at its absolute timeout and did not.
//!
//! That one ended too early shows as of any timer. But the next packet from inside begins a connection anew, and passes as before where
//! ports are kept. So the NAT's own records have to tell of each end: of one whose idle time was over before as well, since whatever
//! looks for an entry finds that.

use super::{Checker, Entry, TICKS};
use crate::judge::reference::Contradiction;
use crate::judge::reference::order::Way;
use crate::judge::reference::passage::Passage;
use crate::judge::reference::rules::{BrokenRule, keeps, named as rules};
use crate::model::evidence::{CtChange, CtEvent, Nanos};

/// How long before the end of the evidence the end of a connection must have been due: what happens last may not be told.
const TOLD_WITHIN: Nanos = 500_000_000;

impl Checker<'_> {
    /// Whether a packet passed as those of a connection that has no state left, and whose end was due and not told.
    pub(super) fn outlives(&self, id: usize, way: Way, passage: &Passage) -> Result<(), BrokenRule> {
        let (entry, at) = (&self.entries[id], passage.input.at);
        let Some(due) = self.absolute_end(entry).filter(|due| *due < at) else { return Ok(()) };
        if passage.output.is_none_or(|output| output.head.tuple != entry.outside(way)) {
            return Ok(());
        }
        let age = at.saturating_sub(entry.opened) as f64 / 1e9;
        let what = || format!("passed, and its connection had to end before it was {age:.1} s old");
        self.rules.hold(rules::TIMERS, keeps(self.may_have_ended(entry, due), what))
    }

    /// Whether all connections have ended that are old enough, as all events tell.
    pub(in crate::judge::reference) fn ended_at_absolute(&self) -> Result<(), Contradiction> {
        self.entries.iter().try_for_each(|entry| {
            let over = |due: &Nanos| *due + TOLD_WITHIN < self.passages.ended;
            let Some(due) = self.absolute_end(entry).filter(over) else { return Ok(()) };
            let age = self.passages.ended.saturating_sub(entry.opened) as f64 / 1e9;
            let what =
                || format!("the connection {} did not end within {age:.1} s after it began", entry.original);
            let held = self.rules.hold(rules::TIMERS, keeps(self.may_have_ended(entry, due), what));
            held.map_err(|(rule, what)| Contradiction {
                rule,
                sentence: self.sentence(rule, &what),
                frames: vec![(
                    self.passages.all[entry.opener].input.frame,
                    "opened the connection, or went on with it".to_owned(),
                )],
            })
        })
    }

    /// By when a connection surely had to end.
    fn absolute_end(&self, entry: &Entry) -> Option<Nanos> {
        self.nat.declared.timeouts.absolute?;
        Some(self.how.timers.absolute.latest(entry.opened) + TICKS)
    }

    /// Whether an entry may have ended by then, as events tell.
    fn may_have_ended(&self, entry: &Entry, by: Nanos) -> bool {
        let of_it = |event: &&CtEvent| {
            event.node == *self.nat.node
                && event.change == CtChange::Destroy
                && (event.entry.original, event.entry.reply) == (entry.original, entry.reply)
        };
        let mut events = self.events.iter().filter(of_it);
        events.any(|event| event.at >= entry.opened && event.after <= by)
    }
}
